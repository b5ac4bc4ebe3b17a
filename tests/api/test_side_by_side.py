"""What converts side by side, and what stays in one process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import mobilevit_tools
from mobilevit_tools.api.side_by_side import SideBySide
from mobilevit_tools.progress import Progress
from tests.conftest import SMALL


class Watched(SideBySide):
    """Counts processes in place of starting them."""

    counts: ClassVar[list[int]] = []

    def __init__(self, targets: Sequence[str], processes: int, progress: Progress) -> None:
        self.counts.append(processes)
        super().__init__(targets, 1, progress)

    def make_all(self, *_: object, **__: object) -> None:
        """Make nothing."""


def test_what_has_no_name_to_load_it_by_stays_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilevit_tools.api.export.SideBySide", Watched)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8), torch.nn.Flatten())
    mobilevit_tools.export(net, name="net", input_size=(8, 8), targets=("onnx", "coreml"), output=tmp_path, jobs=2)
    mobilevit_tools.export(SMALL, random_weights=True, targets=("onnx", "coreml"), output=tmp_path, jobs=2)
    assert Watched.counts == [1, 2]
