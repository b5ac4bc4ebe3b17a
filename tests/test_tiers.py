"""What `make test` leaves to CI has a smaller twin in `make test`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _mark(function: Function) -> ast.expr | None:
    """Return the mark that leaves a whole test to the second tier."""
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _name(called) == "thorough":
            return decorator
    return None


def _functions(tree: ast.Module) -> dict[str, Function]:
    return {node.name: node for node in ast.walk(tree) if isinstance(node, Function) and node.name.startswith("test_")}


def _is_thorough(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) == "thorough"


def alone(source: str, others: Path = TESTS) -> Iterator[str]:
    """Name the tests of a file that no smaller one stands for."""
    tree = ast.parse(source)
    functions = _functions(tree)
    for name, function in functions.items():
        mark = _mark(function)
        if mark is None:
            continue
        twin = next((ast.literal_eval(each.value) for each in getattr(mark, "keywords", ()) if each.arg == "twin"), "")
        file, _, of = twin.rpartition("::")
        there = _functions(ast.parse((others / file).read_text(encoding="utf-8"))) if file else functions
        if of not in there or _mark(there[of]) is not None:
            yield f"{name}: no test of the first tier is its twin ({twin or 'none is named'})"
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple) and node.elts and all(map(_is_thorough, node.elts)):
            yield f"line {node.lineno}: none of the parameters is in the first tier"


def test_every_thorough_test_has_a_twin_in_the_first_tier() -> None:
    found = {path: list(alone(path.read_text(encoding="utf-8"))) for path in TESTS.rglob("test_*.py")}
    assert {str(path): problems for path, problems in found.items() if problems} == {}


TWINS = """
@pytest.mark.thorough(twin="{twin}")
def test_expensive(): ...

@pytest.mark.parametrize("size", [{first}, thorough(2)])
def test_small(size): ...

@pytest.mark.thorough(twin="test_small")
def test_other(): ...
"""


@pytest.mark.parametrize(
    ("twin", "first", "problems"),
    [
        ("test_small", "1", 0),
        ("test_smal", "1", 1),
        ("test_other", "1", 1),
        ("test_tiers.py::test_every_thorough_test_has_a_twin_in_the_first_tier", "1", 0),
        ("test_tiers.py::test_small", "1", 1),
        ("test_small", "thorough(1)", 1),
    ],
)
def test_one_without_is_named(twin: str, first: str, problems: int) -> None:
    assert len(list(alone(TWINS.format(twin=twin, first=first)))) == problems
