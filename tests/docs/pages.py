"""The pages that people read, and the blocks of code in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tools.generate_reference import GENERATED

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)

PLAIN = re.compile(r"mvt (?P<arguments>[^|>&;$`]*?)(?: > (?P<into>[\w.-]+))?")
"""A line that needs no shell."""

PAGES = [
    path
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
    if not path.read_text(encoding="utf-8").startswith(GENERATED)
]


@dataclass(frozen=True)
class Block:
    """A fenced block; one that is indented belongs to a list, and is a part of something longer."""

    language: str
    code: str
    indented: bool

    @property
    def lines(self) -> list[str]:
        """Its commands, those that go on behind a backslash on one line."""
        return [line for line in self.code.replace("\\\n", " ").splitlines() if line.strip()]


def blocks(page: Path) -> list[Block]:
    """Return every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(match["language"], textwrap.dedent(match["code"]), bool(match["indent"]))
        for match in _FENCE.finditer(text)
    ]
    assert 2 * len(found) == len(re.findall(r"^ *```", text, re.MULTILINE)), f"{page} has a fence that nothing closes"
    return found


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def name(page: Path) -> str:
    """Name a page in a test's parameters."""
    return page.relative_to(ROOT).with_suffix("").as_posix()
