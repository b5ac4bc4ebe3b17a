"""What people read has one artifact, not 1 artifacts."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import mobilevit_tools.cli
from mobilevit_tools.wording import number_of

COUNTED = re.compile(
    r" (artifacts|calls|cells|classes|commands|errors|evaluations|inputs|measurements|models|operators|outputs|photos"
    r"|places|runs|steps|tensors)\b"
)
AFTER_A_SHARE = re.compile(r"\b(of|all)( the| its)? $")
MORE_THAN_ONE = {"graph.operators_a", "len(peak.live)", "len(operators)"}
"""These are printed where there are several, or where one is no word of it."""


@pytest.mark.parametrize(
    ("count", "plural", "text"),
    [
        (1, "artifacts", "1 artifact"),
        (0, "artifacts", "0 artifacts"),
        (1, "classes", "1 class"),
        (2, "classes", "2 classes"),
        (1, "places", "1 place"),
        (1, "failed commands", "1 failed command"),
    ],
)
def test_one_is_singular(count: int, plural: str, text: str) -> None:
    assert number_of(count, plural) == text


def plurals(source: str) -> list[str]:
    """Return the numbers in f-strings that a plural follows whatever they are."""
    found = []
    for text in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)):
        for place, part in enumerate(text.values[:-1]):
            before, after = text.values[place - 1] if place else None, text.values[place + 1]
            if not isinstance(part, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            shared = isinstance(before, ast.Constant) and AFTER_A_SHARE.search(str(before.value))
            if COUNTED.match(str(after.value)) and not shared:
                found.append(ast.unparse(part.value))
    return found


def test_a_plural_after_a_number_is_found() -> None:
    assert plurals('f"{count} artifacts, {a} of {b} photos, {c} dB"') == ["count"]


def test_commands_print_no_plural_after_one() -> None:
    folder = Path(mobilevit_tools.cli.__path__[0])
    found = {f"{path.name}: {each}" for path in folder.glob("*.py") for each in plurals(path.read_text())}
    assert {each for each in found if each.split(": ")[1] not in MORE_THAN_ONE} == set()
