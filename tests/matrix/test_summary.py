from __future__ import annotations

import re
from dataclasses import replace

from mobilevit_tools.matrix.summary import MAX_TOLD, escape, markdown_summary
from tests.matrix.samples import CELL, UNRUNNABLE, broken, not_verified, passed
from tests.matrix.test_outcome import OTHERS, outcome


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of the table, split where Markdown splits them."""
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_a_run_that_passes_is_one_table() -> None:
    text = markdown_summary(outcome(passed(outside={"elu": 2})))
    assert text.startswith("## mvt smoke: all 1 cells passed\n")
    assert rows(text) == [["passed", "care\\_s0/executorch/fp32@count", "1.00", "120.0", "1", "2", "5,000,000", "12.2"]]
    assert "```" not in text


def test_failures_come_first_with_the_command() -> None:
    text = markdown_summary(outcome(passed(), broken(OTHERS[0]), passed(OTHERS[1]), before=passed(size=1)))
    assert [row[0] for row in rows(text)] == ["**regressed**", "**error**", "passed"]
    assert "2 of 3 cells failed" in text
    assert "```bash\nmvt export 'a b' --output out\n```" in text
    assert "- Left out: onnx has no precision named 'palette4'\\." in text


def test_what_could_not_be_verified_is_counted_and_named() -> None:
    text = markdown_summary(outcome(passed(OTHERS[0]), not_verified()))
    assert text.startswith("## mvt smoke: 1 of 2 cells passed, 1 not verified\n")
    assert [row[0] for row in rows(text)] == ["**not verified**", "passed"]
    assert escape(UNRUNNABLE) in text


def test_nothing_of_a_name_or_message_becomes_markdown() -> None:
    nasty = "a|b <img src=x> [c](http://d) `e` *f*\n# g"
    result = broken(replace(CELL, model=nasty), message=nasty)
    text = markdown_summary(outcome(replace(result, command="echo '````'\necho")))
    (row,) = rows(text)
    assert len(row) == 8
    assert "<img" not in text
    assert not [line for line in text.splitlines() if line.startswith("# ")]
    assert "\n`````bash\necho '````'\necho\n`````\n" in text
    assert escape("[c](d) `e` *f* <g>") == "\\[c\\]\\(d\\) \\`e\\` \\*f\\* &lt;g&gt;"


def test_a_summary_stays_below_what_github_takes() -> None:
    cells = [replace(CELL, model=f"care_{number}") for number in range(3 * MAX_TOLD)]
    text = markdown_summary(outcome(*(broken(cell, message="x" * 10_000, hint="y" * 10_000) for cell in cells)))
    assert len(rows(text)) == len(cells)
    assert f"And {2 * MAX_TOLD} more" in text
    assert text.count("\n### ") == MAX_TOLD
    assert len(text.encode()) < 1024 * 1024
