"""A team's gates can only be stricter than mvt's own."""

from __future__ import annotations

import pytest

from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.verification.tolerances import FIGURES, GATES, tightened


def test_the_strictest_of_several_holds_and_those_of_other_precisions_do_not() -> None:
    found = tightened("fp16", ["fp16:snr=50", "fp16:snr=60", "fp16:max-abs=0.01", "int8:snr=99"])
    assert (found.snr_db, found.max_abs_rel, found.cosine) == (60.0, 0.01, GATES["fp16"].cosine)
    assert tightened("fp32", ["fp16:snr=50"]) == GATES["fp32"]
    assert tightened("int8", ["int8:max-abs=0.2"]).max_abs_rel == 0.2  # which is not judged otherwise


@pytest.mark.parametrize("precision", GATES)
@pytest.mark.parametrize("figure", FIGURES)
def test_a_looser_gate_is_refused_and_mvts_own_is_not(precision: str, figure: str) -> None:
    field, more = FIGURES[figure]
    own = getattr(GATES[precision], field)
    if own is None:
        return
    assert tightened(precision, [f"{precision}:{figure}={own!r}"]) == GATES[precision]
    with pytest.raises(UsageError, match="looser than mvt's own") as caught:
        tightened("fp32", [f"{precision}:{figure}={own * (0.99 if more else 1.01)!r}"])
    assert caught.value.error_code == "loose_gate"


@pytest.mark.parametrize(
    "gate",
    [
        "snr=90",
        "fp32:snr",
        "fp32:snr=",
        "fp32:snr=nan",
        "fp32:snr=inf",
        "fp64:snr=90",
        "fp32:psnr=9",
        "fp16:cosine=1.1",
    ],
)
def test_what_is_no_gate_is_refused(gate: str) -> None:
    with pytest.raises(UsageError):
        tightened("fp32", [gate])


def test_a_request_keeps_and_repeats_its_own_gates() -> None:
    request = ExportRequest("care_s0", "onnx", "fp16", gates=("fp16:snr=50", "int8:snr=20"))
    assert request.gates == ("fp16:snr=50",)
    assert "--gate fp16:snr=50" in request.command
