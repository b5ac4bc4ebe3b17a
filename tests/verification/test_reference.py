"""The PyTorch side: inputs that it may not change, and models whose own float32 misses the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mobilevit_tools.verification.reference import torch_reference
from mobilevit_tools.verification.running import verify_session
from mobilevit_tools.verification.tolerances import GATES, tightened
from tests.verification.test_running import FunctionSession, inputs

SCALE = 3e4


class Cancelling(nn.Module):
    """Adds a number and takes it away again, which costs float32 digits where the input's first value is positive."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        large = SCALE * (x[:, :1, 0, 0] > 0).to(x.dtype)
        return (self.linear(x.flatten(1)) + large) - large


def apart(scale: float, *, on: Callable[[NDArray[Any]], bool]) -> FunctionSession:
    """Return an artifact that is off by noise of a size, in units of what float32 does to the ill-conditioned ones."""
    exact = Cancelling().double()
    step = SCALE * 2**-24

    def run(array: NDArray[Any]) -> NDArray[Any]:
        outputs = exact(torch.tensor(array).double()).detach().numpy()
        noise = scale * step * np.random.default_rng(0).standard_normal(outputs.shape)
        return outputs + noise * [[on(each)] for each in array]

    return FunctionSession(run)


def is_ill(image: NDArray[Any]) -> bool:
    return bool(image[0, 0, 0] > 0)


def test_a_model_that_is_ill_conditioned_is_judged_by_what_float32_can_give() -> None:
    given = inputs(8)
    ill = [item.name for item in given if is_ill(item.tensor[0])]
    assert 0 < len(ill) < 8
    parity = verify_session(apart(1.0, on=is_ill), torch_reference(Cancelling()), given, GATES["fp32"])
    assert parity.status == "passed"
    assert [each.name for each in parity.ill_conditioned] == ill
    assert parity.snr_db is not None
    assert parity.snr_db < 80
    assert parity.margins.snr_db is not None
    assert parity.margins.snr_db > 0
    for each in parity.ill_conditioned:
        assert each.conditioning is not None
        own = each.conditioning.float32.snr_db
        assert own is not None
        assert own < 80
        assert each.conditioning.limits.snr_db == pytest.approx(own - 12.04, abs=0.01)
        assert each.reference == "float64"


def test_far_beyond_what_float32_gives_it_fails() -> None:
    parity = verify_session(apart(40.0, on=is_ill), torch_reference(Cancelling()), inputs(8), GATES["fp32"])
    assert parity.status == "failed"
    assert parity.margins.snr_db is not None
    assert parity.margins.snr_db < 0
    assert "PyTorch float32 itself is at" in (parity.reason or "")


def test_a_stricter_gate_makes_no_model_ill_conditioned() -> None:
    well = [item for item in inputs(8) if not is_ill(item.tensor[0])]
    near = apart(1e-3, on=lambda _: True)
    for gate, status in ("fp32:snr=90", "passed"), ("fp32:snr=300", "failed"):
        parity = verify_session(near, torch_reference(Cancelling()), well, tightened("fp32", [gate]))
        assert parity.status == status
        assert parity.ill_conditioned == ()


def test_where_float32_itself_is_noise_nothing_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.verification.test_reference.SCALE", 3e6)
    parity = verify_session(apart(1.0, on=is_ill), torch_reference(Cancelling()), inputs(8), GATES["fp32"])
    assert parity.snr_db is not None
    assert parity.snr_db < 20
    assert parity.status == "failed"


@pytest.mark.parametrize(
    ("stressed", "scale", "status"), [(1, 1.0, "passed"), (1, 0.0, "passed"), (2, 1.0, "failed"), (0, 1.0, "failed")]
)
def test_a_tenth_of_the_inputs_may_be_stress_on_which_float32_is_noise(
    monkeypatch: pytest.MonkeyPatch, stressed: int, scale: float, status: str
) -> None:
    monkeypatch.setattr("tests.verification.test_reference.SCALE", 3e7)
    well, ill = ([item for item in inputs(40) if is_ill(item.tensor[0]) is kind] for kind in (False, True))
    given = [*well[: 12 - max(stressed, 1)], *ill[: max(stressed, 1)]]
    given[-stressed or len(given) :] = [replace(item, kind="stress") for item in given[-stressed or len(given) :]]
    parity = verify_session(apart(scale, on=is_ill), torch_reference(Cancelling()), given, GATES["fp32"])
    assert parity.status == status, parity.reason
    assert parity.inputs == 12
    if status == "passed":
        assert parity.snr_db is not None
        assert parity.snr_db > 80


def test_elsewhere_the_gate_holds_as_ever() -> None:
    session = apart(1.0, on=lambda image: not is_ill(image))
    parity = verify_session(session, torch_reference(Cancelling()), inputs(8), GATES["fp32"])
    assert parity.status == "failed"


def test_an_artifact_nearer_to_float64_than_pytorch_is_right() -> None:
    parity = verify_session(apart(0.0, on=is_ill), torch_reference(Cancelling()), inputs(8), GATES["fp32"])
    assert (parity.status, parity.ill_conditioned) == ("passed", ())
    assert {each.reference for each in parity.results} == {"float32", "float64"}


def test_a_model_without_float64_is_judged_by_its_float32() -> None:
    class Single(Cancelling):
        def forward(self, x: Tensor) -> Tensor:
            if x.dtype != torch.float32:
                raise TypeError("float32 alone")
            return super().forward(x)

    parity = verify_session(apart(1.0, on=is_ill), torch_reference(Single()), inputs(8), GATES["fp32"])
    assert (parity.status, parity.ill_conditioned) == ("failed", ())


def test_float64_is_asked_only_where_the_gate_would_fail() -> None:
    asked = []

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            asked.append(x.dtype)
            return x.flatten(1)

    session = FunctionSession(lambda x: x.reshape(len(x), -1))
    assert verify_session(session, torch_reference(Watched()), inputs(), GATES["fp32"]).status == "passed"
    assert set(asked) == {torch.float32}


def test_a_model_that_changes_its_input_does_not_change_what_is_compared() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2).flatten(1)

    given = inputs()
    before = [item.tensor.copy() for item in given]
    session = FunctionSession(lambda x: 2 * x.reshape(len(x), -1), batch=3)
    assert verify_session(session, torch_reference(InPlace()), given, GATES["fp32"]).status == "passed"
    for item, tensor in zip(given, before, strict=True):
        np.testing.assert_array_equal(item.tensor, tensor)


def test_an_artifact_that_changes_its_input_does_not_change_what_is_compared() -> None:
    def in_place(array: NDArray[Any]) -> NDArray[Any]:
        array *= 2
        return array.reshape(len(array), -1)

    session = FunctionSession(in_place, batch=3)
    parity = verify_session(session, lambda x: [2 * x.reshape(len(x), -1)], inputs(), GATES["fp32"])
    assert parity.status == "passed"
