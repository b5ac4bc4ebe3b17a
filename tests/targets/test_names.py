"""Only a target's description and its own files name it: whoever adds one touches nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mobilevit_tools
from mobilevit_tools.targets.registry import TARGETS

PACKAGE = Path(mobilevit_tools.__file__).parent
NAMES = {*TARGETS, *(backend.name for target in TARGETS.values() for backend in target.backends)}
WORDS = (
    NAMES
    | {suffix for target in TARGETS.values() for suffix in target.suffixes}
    | {deployment for target in TARGETS.values() for deployment in target.deployments}
)


def is_own(path: Path) -> bool:
    """Tell whether a file is a target's or a backend's own: it, or a folder that it is in, is called after it."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0] == "targets" or any(part.partition("_")[0] in NAMES for part in parts)


def strings(tree: ast.AST) -> Iterator[ast.Constant]:
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node


def test_no_other_module_names_a_target() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value!r}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not is_own(path)
        for node in strings(ast.parse(path.read_text(encoding="utf-8")))
        if node.value in WORDS
    ]
    assert found == []
