"""Time left is what finished parts tell, and is said on a terminal alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from mobilevit_tools.cli import waiting as display
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.progress import Advance, counted, left_in_words, numbered, seconds_left


@pytest.mark.parametrize(
    ("elapsed", "done", "parts", "left"),
    [(10.0, 2, 100, None), (10.0, 4, 5, 2.5), (30.0, 3, 9, 60.0), (10.0, 5, 5, None), (0.0, 0, 5, None)],
)
def test_the_rest_takes_as_long_as_the_first(elapsed: float, done: int, parts: int, left: float | None) -> None:
    assert seconds_left(elapsed, done, parts) == left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.2, "about 1 s left"), (59, "about 59 s left"), (100, "about 2 min left"), (9000, "about 2 h left")],
)
def test_no_more_is_said_than_is_known(seconds: float | None, words: str) -> None:
    assert left_in_words(seconds) == words


class Told:
    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.advanced = 0

    @contextmanager
    def __call__(self, step: str, parts: int = 0, /) -> Iterator[Advance]:
        self.steps.append((step, parts))
        yield self.advance

    def advance(self) -> None:
        self.advanced += 1


def test_a_part_is_done_when_the_next_is_asked_for() -> None:
    told = Told()
    items = counted(told, "Reading", "abc", 3)
    assert (next(items), told.advanced) == ("a", 0)
    assert (next(items), told.advanced) == ("b", 1)
    assert (list(items), told.advanced) == (["c"], 3)
    with numbered(told, 2, 3)("Converting", 7):
        pass
    assert told.steps == [("Reading", 3), ("[2/3] Converting", 7)]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("done", "expected"), [(2, None), (4, "about 24 s left")])
def test_the_terminal_shows_the_time_left(done: int, expected: str | None) -> None:
    clock, written = Clock(), io.StringIO()
    console = Console(file=written, force_terminal=True, width=120, get_time=clock)
    with display.Steps(console).waiting("Measuring [bold]", 10) as advance:
        for _ in range(done):
            clock.now += 4.0
            advance()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.getvalue())
    assert "Measuring [bold]" in shown
    assert f"{done}/10" in shown
    found = re.findall(r"about .*? left", shown)
    assert found[-1:] == ([] if expected is None else [expected])


def test_steps_end_in_any_order() -> None:
    """Those of targets that convert side by side are neither inside nor after each other."""
    written = io.StringIO()
    steps = display.Steps(Console(file=written, force_terminal=True, width=120))
    for _again in range(2):
        one, other = steps.waiting("Converting", 0), steps.waiting("Comparing", 3)
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        written.truncate(0)
        assert steps._display is not None
        steps._display.refresh()
        assert "Comparing" in written.getvalue()
        assert "Converting" not in written.getvalue()
        other.__exit__(None, None, None)
        assert steps._display is None


@pytest.mark.parametrize(
    ("terminal", "options", "shown"),
    [(True, {}, True), (True, {"quiet": True}, False), (True, {"as_json": True}, False), (False, {}, False)],
)
def test_nothing_is_shown_where_nobody_looks(
    terminal: bool, options: dict[str, bool], shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    @contextmanager
    def waiting(_steps: display.Steps, step: str, _parts: int) -> Iterator[Advance]:
        started.append(step)
        yield lambda: None

    monkeypatch.setattr(display.Steps, "waiting", waiting)
    monkeypatch.setattr(Console, "is_terminal", terminal)
    with command_output("export", **options) as output, output.progress("Converting", 3) as advance:  # type: ignore[arg-type]
        advance()
    assert started == (["Converting"] if shown else [])
