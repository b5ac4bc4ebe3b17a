"""Seconds of a command's work, by step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mobilevit_tools.progress import Progress


@dataclass
class StepClock:
    """Seconds by step, and progress to whoever watches."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """Time a step, without the steps inside it; one that is repeated adds up."""
        started, others = time.perf_counter(), sum(self.seconds.values())
        with self.progress(text):
            yield
        inside = sum(self.seconds.values()) - others
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started - inside, 3)

    def whole(self) -> dict[str, float]:
        """Return the seconds by step, with what no step has and their sum."""
        total = round(time.perf_counter() - self.started, 3)
        return {**self.seconds, "other": round(total - sum(self.seconds.values()), 3), "total": total}
