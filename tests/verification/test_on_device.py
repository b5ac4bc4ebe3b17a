"""The verdict on a device, with devices that are wrong in one known way each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mobilevit_tools.verification import on_device
from mobilevit_tools.verification.on_device import DeviceVerification, verify_on_device
from mobilevit_tools.verification.tolerances import GATES
from tests.verification.test_running import MIXED, FunctionSession, inputs, model, reference

Function = Callable[[NDArray[Any]], NDArray[Any]]


def verified(monkeypatch: pytest.MonkeyPatch, there: Function, here: Function, batch: int | None) -> DeviceVerification:
    def measure(request: Any) -> SimpleNamespace:
        parts = np.split(request.inputs, len(request.inputs) // (batch or 1))
        return SimpleNamespace(device="toy", outputs=np.concatenate([there(part) for part in parts]), partitioning=None)

    monkeypatch.setattr(on_device, "open_device", lambda _: nullcontext(SimpleNamespace(measure=measure)))
    return verify_on_device(
        "toy",
        Path("model.onnx"),
        FunctionSession(here, batch=batch),
        reference=reference,
        inputs=inputs(5),
        tolerance=GATES["fp32"],
    )


@pytest.mark.parametrize("batch", [1, 2, 4, None])
def test_outputs_come_back_to_their_inputs(monkeypatch: pytest.MonkeyPatch, batch: int | None) -> None:
    found = verified(monkeypatch, model, model, batch)
    assert found.parity.status == "passed"
    assert found.parity.inputs == 5
    assert found.difference is not None
    assert found.difference.max_abs_rel == 0


@pytest.mark.parametrize("batch", [2, 4])
@pytest.mark.parametrize("wrong", ["broadcast", "shifted", "mixed"])
def test_images_of_a_batch_that_meet_each_other_there_fail(
    monkeypatch: pytest.MonkeyPatch, wrong: str, batch: int
) -> None:
    found = verified(monkeypatch, MIXED[wrong], model, batch)
    assert found.parity.status == "failed"
    assert found.difference is not None
    assert (found.difference.max_abs_rel or 0) > 1e-4


def test_a_free_batch_is_run_here_as_there() -> None:
    # Devices run one image at a time where the batch is free; what is measured over a batch differs with the batch.
    def ranged(array: NDArray[Any]) -> NDArray[Any]:
        step = np.abs(array).max() / 127
        return model(np.round(array / step) * step)

    with pytest.MonkeyPatch.context() as patched:
        found = verified(patched, ranged, ranged, None)
    assert found.difference is not None
    assert found.difference.max_abs_rel == 0
