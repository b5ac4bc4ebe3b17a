"""A step that runs, as people see it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import ProgressColumn as Column
from rich.text import Text

from mobilevit_tools.progress import Advance, left_in_words, seconds_left

CALM = 4
"""Drawings a second."""


class TimeLeft(Column):
    """How long the parts of a step that are left take, as far as those that are done tell."""

    def render(self, task: Task) -> Text:
        """Say it in words; nothing where it is not known."""
        left = None if task.total is None else seconds_left(task.elapsed or 0.0, int(task.completed), int(task.total))
        return Text(left_in_words(left), style="dim")


@contextmanager
def waiting(console: Console, step: str, parts: int) -> Iterator[Advance]:
    """Show a step while it runs, inside other steps that run; the function that this gives ends one of its parts."""
    name = (SpinnerColumn(), TextColumn("{task.description}"))
    columns = (*name, BarColumn(20), MofNCompleteColumn(), TimeLeft()) if parts else (*name, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=CALM) as display:
        task = display.add_task(escape(step), total=parts or None)
        yield lambda: display.advance(task)
