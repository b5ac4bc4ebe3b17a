"""The steps that run, as people see them on a terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
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


class _Of(Column):
    """A column of those steps whose parts are known, or of those whose parts are not."""

    def __init__(self, column: Column, *, parts: bool) -> None:
        super().__init__(column.get_table_column())
        self._column = column
        self._parts = parts

    def render(self, task: Task) -> RenderableType:
        """Draw it; nothing for the other steps."""
        return self._column.render(task) if (task.total is not None) == self._parts else Text()


class Steps:
    """Steps that run inside others, or beside them in other threads; all are drawn together.

    Args:
        console: Where they are drawn.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._display: Progress | None = None

    @contextmanager
    def waiting(self, step: str, parts: int) -> Iterator[Advance]:
        """Show a step while it runs; the function that this gives ends one of its parts."""
        with self._lock:
            if self._display is None:
                self._display = self._started()
            display = self._display
            task = display.add_task(escape(step), total=parts or None)
        try:
            yield lambda: display.advance(task)
        finally:
            with self._lock:
                if len(display.tasks) > 1:
                    display.remove_task(task)
                else:
                    display.stop()
                    self._display = None

    def _started(self) -> Progress:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            _Of(BarColumn(20), parts=True),
            _Of(MofNCompleteColumn(), parts=True),
            _Of(TimeLeft(), parts=True),
            _Of(TimeElapsedColumn(), parts=False),
        )
        display = Progress(*columns, console=self._console, transient=True, refresh_per_second=CALM)
        display.start()
        return display
