"""Only a target's description and its own files name it: whoever adds one touches nothing else."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import mobilevit_tools
from mobilevit_tools.targets.registry import TARGETS

PACKAGE = Path(mobilevit_tools.__file__).parent
NAMES = {*TARGETS, *(backend.name for target in TARGETS.values() for backend in target.backends)}
WORDS = (
    NAMES
    | {target.title for target in TARGETS.values()}
    | {suffix for target in TARGETS.values() for suffix in target.suffixes}
    | {module for target in TARGETS.values() for module in (*target.exporting, target.running)}
) - {"torch"}  # every model is one of its modules
_ANY = "|".join(map(re.escape, sorted(WORDS, key=len, reverse=True)))
NAMED = re.compile(rf"(?<![a-z0-9])({_ANY})(?![a-z0-9])", re.IGNORECASE)
_OF_TARGETS = Counter(device for target in TARGETS.values() for device in target.devices)
OWN_DEVICES = {device for device, count in _OF_TARGETS.items() if count == 1}
"""Devices that run the artifacts of one target only, so that their files are that target's own."""


def is_own(path: Path) -> bool:
    """Tell whether a file is a target's or a backend's own: it, or a folder that it is in, is called after it."""
    parts = path.with_suffix("").parts
    words = {part.partition("_")[0] for part in parts}
    return parts[0] == "targets" or bool(words & NAMES) or (parts[0] == "devices" and bool(words & OWN_DEVICES))


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield what a module says in code: strings other than documentation, names, and what it imports."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in documentation:
                yield node.lineno, text
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.keyword(arg=str(text)):
                yield node.lineno, text
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, text
            case ast.Import() | ast.ImportFrom():
                yield node.lineno, " ".join([getattr(node, "module", None) or "", *(each.name for each in node.names)])


def named(source: str) -> list[str]:
    found = ((line, NAMED.search(text)) for line, text in texts(ast.parse(source)))
    return [f"{line}: {match[0]}" for line, match in found if match]


def test_no_other_module_names_a_target() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{each}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not is_own(path.relative_to(PACKAGE))
        for each in named(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "if target == 'coreml': pass",
        "hint = 'An ExecuTorch backend.'",
        "message = f'{model} needs Core ML.'",
        "deployments = ('executorch-xnnpack',)",
        "import onnxruntime",
        "from mobilevit_tools.exporters.coreml import lower",
        "from mobilevit_tools.exporters import litert",
        "def is_onnx(path): ...",
        "lower(coreml=True)",
        "path.glob('*.pte')",
    ],
)
def test_each_way_of_naming_one_is_found(source: str) -> None:
    assert named(source)


def test_documentation_may_name_one() -> None:
    assert not named('"""For Core ML."""\nLEAST = 3\n"""XNNPACK takes three."""\ndef f():\n    """For ONNX."""')
