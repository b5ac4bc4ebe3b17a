"""Pages are short, speak the field's language, and name the versions that are pinned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mobilevit_tools.cli.arguments import KNOWN_PROBLEMS
from tests.docs.pages import PAGES, ROOT, name

MOST_LINES = 200
GENERATED = "<!-- Generated"
WRITTEN = [page for page in PAGES if GENERATED not in page.read_text(encoding="utf-8")[:300]]
HELP = sorted((ROOT / "docs" / "reference" / "cli").glob("*.md"))
BANNED = re.compile(
    r"\b(?:rooms?|doors?|trades?(?!-off)|foreign|flips?|came to nothing|is told|hurts?)\b", re.IGNORECASE
)
PIN = re.compile(r"(?<![\w-])(torch|coremltools|executorch|onnxruntime|coreai-torch|coreai-core|numpy) (\d+(?:\.\w+)+)")


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))], ids=name)
def test_a_page_is_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", [*WRITTEN, *HELP], ids=name)
def test_a_page_speaks_the_fields_language(page: Path) -> None:
    assert BANNED.findall(page.read_text(encoding="utf-8")) == []


def test_the_page_on_known_problems_is_of_the_pinned_versions() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    page = (ROOT / KNOWN_PROBLEMS).read_text(encoding="utf-8")
    said = set(PIN.findall(page)) - {("executorch", "1.4.1")}  # which doctor refuses
    assert len(said) > 5
    assert [each for each in said if not f"{pinned[each[0]]}.".startswith(f"{each[1]}.")] == []


def test_every_finding_is_on_the_page_of_known_problems() -> None:
    page = (ROOT / KNOWN_PROBLEMS).read_text(encoding="utf-8")
    assert [each.name for each in sorted((ROOT / "findings").glob("*.sh")) if f"findings/{each.name}" not in page] == []
