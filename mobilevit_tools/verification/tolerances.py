"""The numeric gates: how far an artifact may be from the PyTorch float32 model, by precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NEAR_TIE_MARGIN = 4.0
"""A prediction may change where the reference's margin is within this many times the root mean square of the output's
difference: what noise of that size does to two logits. (The largest difference would excuse every change, because a
prediction only changes where two logits move by the margin between them.)"""


@dataclass(frozen=True)
class Tolerance:
    """The gate of one class of artifacts.

    Attributes:
        max_abs_rel: Largest allowed max-abs difference over the reference's largest value; None where it is not judged.
        snr_db: Least allowed signal-to-noise ratio in dB.
        cosine: Least allowed cosine similarity.
        top1_agreement: Least allowed share of images with the reference's top-1.
        near_ties: Whether a changed prediction is excused where the reference itself is nearly tied.
        judged: The kinds of inputs that are judged; of the others only that their outputs are finite.
    """

    max_abs_rel: float | None
    snr_db: float
    cosine: float
    top1_agreement: float
    near_ties: bool
    judged: tuple[str, ...] = ("photo", "noise", "stress")


_WEIGHTS_ONLY = Tolerance(max_abs_rel=None, snr_db=25.0, cosine=0.995, top1_agreement=0.98, near_ties=True)
_INT8 = Tolerance(max_abs_rel=None, snr_db=10.0, cosine=0.95, top1_agreement=0.97, near_ties=True, judged=("photo",))

GATES: Mapping[str, Tolerance] = MappingProxyType(
    {
        "fp32": Tolerance(max_abs_rel=1e-4, snr_db=80.0, cosine=0.99999, top1_agreement=1.0, near_ties=False),
        "fp16": Tolerance(max_abs_rel=2e-2, snr_db=40.0, cosine=0.9995, top1_agreement=1.0, near_ties=True),
        **dict.fromkeys(("int8-weight", "int4-weight", "palette8", "palette6", "palette4"), _WEIGHTS_ONLY),
        "dynamic-int8": _INT8,
        "int8": _INT8,
    }
)
