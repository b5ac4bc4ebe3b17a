"""A matrix as Markdown, for the page that a CI system shows of a run."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.matrix.figures import HEADINGS, Figures
from mobilevit_tools.matrix.outcome import SmokeResult

MAX_TOLD = 50
"""Failures that are told in full; the table has all. GitHub refuses a summary above 1 MiB."""
MAX_TEXT = 2000

_HEADER = "| | cell | " + " | ".join(HEADINGS) + " |"
_ALIGNMENT = "|---|---|" + "---:|" * len(HEADINGS)
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+.!|~-])")


def markdown_summary(result: SmokeResult) -> str:
    """Return a table of all cells, the failed ones first, and each failure with the commands to see it again."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: SmokeResult) -> Iterator[str]:
    bad = [cell for cell in result.cells if result.complaints(cell.cell.name)]
    total = len(result.cells)
    count = f"{len(bad)} of {total} cells failed" if bad else f"{result.passed} of {total} cells passed"
    unknown = f", {result.not_verified} not verified" if result.not_verified else ""
    yield f"## mvt smoke: {f'all {total} cells passed' if result.passed == total and not bad else count + unknown}"
    yield ""
    yield _HEADER
    yield _ALIGNMENT
    for cell in result.worst_first:
        yield _row(result, cell)
    yield ""
    for cell in bad[:MAX_TOLD]:
        yield from _failure(result, cell)
    if len(bad) > MAX_TOLD:
        yield f"And {len(bad) - MAX_TOLD} more in the table.\n"
    for note in result.notes:
        yield f"- {escape(note)}"


def _row(result: SmokeResult, cell: CellResult) -> str:
    verdict = result.verdict(cell)
    shown = verdict if verdict == "passed" else f"**{verdict}**"
    return f"| {shown} | {escape(cell.cell.name)} | {' | '.join(Figures.of(cell).texts(cell.seconds))} |"


def _failure(result: SmokeResult, cell: CellResult) -> Iterator[str]:
    yield f"### {escape(cell.cell.name)}"
    yield ""
    for sentence in (*result.complaints(cell.cell.name), cell.hint):
        if sentence:
            yield escape(sentence)
            yield ""
    if cell.command:
        longest = max((len(run) for run in re.findall("`+", cell.command)), default=0)
        fence = "`" * max(3, longest + 1)
        yield f"{fence}bash\n{cell.command}\n{fence}"
        yield ""


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line, in a table's cell too."""
    line = " ".join(text.split())
    short = line if len(line) <= MAX_TEXT else f"{line[:MAX_TEXT]}…"
    return _PUNCTUATION.sub(r"\\\1", html.escape(short, quote=False))
