"""Two calls are measured in turns, each first in every other round, after calls that do not count."""

from __future__ import annotations

import pytest

from tools import reference_speed


def test_both_are_called_in_turns_and_each_keeps_its_own_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], []
    monkeypatch.setattr(reference_speed.time, "process_time", lambda: now[0])

    def take(seconds: float) -> None:
        said.append(seconds)
        now[0] += seconds

    first, second = reference_speed.alternately(lambda: take(1.0), lambda: take(3.0), 3)
    assert (first, second) == ([1.0] * 3, [3.0] * 3)
    assert said[4:] == [3, 1, 1, 3, 3, 1]
