from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiers import thorough
from tools.conformance import operators
from tools.conformance.operators import OPERATORS, Case, run


def test_every_operator_is_in_torchs_database() -> None:
    from torch.testing._internal.common_methods_invocations import op_db

    assert set(OPERATORS) <= {entry.name for entry in op_db}
    assert len(OPERATORS) == len(set(OPERATORS))
    assert len(OPERATORS) * len(operators.TARGETS) * 2 >= 600


@pytest.mark.parametrize("targets", [("onnx",), thorough(("onnx", "coreml"))])
def test_sample_inputs_become_artifacts_that_compute_them(targets: tuple[str, ...]) -> None:
    cases = run(1, ("nn.functional.gelu", "cat"), targets)
    assert {(case.operator, case.target) for case in cases} == {
        (name, target) for name in ("nn.functional.gelu", "cat") for target in targets
    }
    assert [case for case in cases if case.verdict != "passed"] == []


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([1.0, 2.0, np.nan], "passed"),  # where the reference itself is not finite nothing can be said
        ([1.0, 2.0003, 0.0], "wrong"),
        ([1.0, 2.0], "wrong"),
    ],
)
def test_values_are_held_to_the_gate_of_float32(found: list[float], verdict: str) -> None:
    exact = np.array([1.0, 2.0, np.inf])
    assert operators._compared(np.array(found), exact, exact)[0] == verdict


def test_what_float32_cannot_give_is_not_asked_for() -> None:
    exact, near = np.array([1.0, 2.0]), np.array([1.0, 2.001])
    assert operators._compared(np.array([1.0, 2.002]), exact, near)[0] == "passed"
    assert operators._compared(np.array([1.0, 2.01]), exact, near)[0] == "wrong"


def test_a_process_that_dies_is_a_crash_of_its_case(monkeypatch: pytest.MonkeyPatch) -> None:
    class Died:
        returncode = -11
        stdout = "start abs onnx\n"
        stderr = ""

    class Ended(Died):
        returncode = 0
        stdout = 'start cat onnx\n{"operator": "cat", "target": "onnx", "verdict": "passed", "why": ""}\n'

    answers = iter([Died(), Ended()])
    monkeypatch.setattr(operators.subprocess, "run", lambda *_, **__: next(answers))
    cases = run(1, ("abs", "cat"), ("onnx",))
    assert cases == [
        Case("abs", "onnx", "crash", "the process ended with -11"),
        Case("cat", "onnx", "passed", ""),
    ]


def test_a_sample_scales_its_first_tensor_by_the_image() -> None:
    from torch.testing._internal.common_methods_invocations import op_db

    entries = [entry for entry in op_db if entry.name == "mul"]
    module, size = next(iter(operators._modules(entries, 1)))
    (still,), (scaled,) = module(torch.zeros(1, 3, *size)), module(torch.ones(1, 3, *size))
    torch.testing.assert_close(scaled, still * 1.01)
