"""The numeric gates: how far an artifact may be from the PyTorch float32 model, by precision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from mobilevit_tools.errors import UsageError
from mobilevit_tools.verification.metrics import Distance

NEAR_TIE_MARGIN = 4.0
"""A prediction may change where the reference's margin is within this many times the root mean square of the output's
difference, which is itself within the gate: what noise of that size does to two logits. (The largest difference would
excuse every change, because a prediction only changes where two logits move by the margin between them.)"""
NEAR_TIE_SHARE = 0.1
"""Of the inputs that near-ties may excuse. Noise of the size that a gate allows meets far fewer."""


@dataclass(frozen=True)
class Limits:
    """How far one output may be from its reference.

    Attributes:
        max_abs_rel: Largest allowed max-abs difference over the reference's largest value; None where it is not judged.
        snr_db: Least allowed signal-to-noise ratio in dB.
        cosine: Least allowed cosine similarity.
    """

    max_abs_rel: float | None
    snr_db: float
    cosine: float

    def met_by(self, distance: Distance) -> bool:
        """Tell whether a distance keeps every limit; one with a figure that is not a number keeps none."""
        if distance.max_abs_rel is None or distance.snr_db is None or distance.cosine is None:
            return False
        return (
            (self.max_abs_rel is None or distance.max_abs_rel <= self.max_abs_rel)
            and distance.snr_db >= self.snr_db
            and distance.cosine >= self.cosine
        )


@dataclass(frozen=True)
class Tolerance(Limits):
    """The gate of one class of artifacts.

    Attributes:
        top1_agreement: Least allowed share of images with the reference's top-1.
        near_ties: The share of the inputs on which a changed prediction is excused where the reference itself is nearly
            tied.
        judged: The kinds of inputs that are judged; of the others only that their outputs are finite.
        pixel_ties: Where no top-1 may change: the share of a class map's pixels that may within near-ties.
        ratio: What the signal-to-noise ratio is called: SQNR where the noise is that of quantization.
        own: mvt's own limits, where these are stricter: only a model that misses those in float32 is ill-conditioned.
    """

    top1_agreement: float
    near_ties: float
    judged: tuple[str, ...] = ("photo", "noise", "stress")
    ratio: str = "SNR"
    pixel_ties: float = 0.0
    own: Limits | None = None

    @property
    def conditioned(self) -> Limits:
        """What a model's own float32 has to keep, or else its artifact is judged by what float32 can give."""
        return self.own or self


_WEIGHTS_ONLY = Tolerance(
    max_abs_rel=None, snr_db=25.0, cosine=0.995, top1_agreement=0.98, near_ties=NEAR_TIE_SHARE, ratio="SQNR"
)
_INT8 = Tolerance(
    max_abs_rel=None,
    snr_db=10.0,
    cosine=0.95,
    top1_agreement=0.95,
    near_ties=NEAR_TIE_SHARE,
    judged=("photo",),
    ratio="SQNR",
)

GATES: Mapping[str, Tolerance] = MappingProxyType(
    {
        "fp32": Tolerance(
            max_abs_rel=1e-4, snr_db=80.0, cosine=0.99999, top1_agreement=1.0, near_ties=0.0, pixel_ties=1e-3
        ),
        "fp16": Tolerance(
            max_abs_rel=2e-2, snr_db=40.0, cosine=0.9995, top1_agreement=1.0, near_ties=NEAR_TIE_SHARE, pixel_ties=1e-2
        ),
        **dict.fromkeys(("int8-weight", "int4-weight", "palette8", "palette6", "palette4"), _WEIGHTS_ONLY),
        "a16w8": replace(_WEIGHTS_ONLY, judged=_INT8.judged),
        "dynamic-int8": _INT8,
        "int8": _INT8,
    }
)

FIGURES: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {
        "max-abs": ("max_abs_rel", False),
        "snr": ("snr_db", True),
        "cosine": ("cosine", True),
        "top1": ("top1_agreement", True),
    }
)
"""What a stricter gate can bound: the field of :class:`Tolerance`, and whether more of it is stricter."""


def gates_of(precision: str, gates: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``gates`` that are for ``precision``; each is ``PRECISION:FIGURE=VALUE``.

    Raises:
        UsageError: One of them is no gate, or is looser than mvt's own.
    """
    return tuple(gate for gate in gates if _parsed(gate)[0] == precision)


def tightened(precision: str, gates: Iterable[str]) -> Tolerance:
    """Return the gate of ``precision``, as strict as the strictest of ``gates`` that are for it.

    Raises:
        UsageError: One of them is no gate, or is looser than mvt's own.
    """
    found = GATES[precision]
    for gate in gates_of(precision, gates):
        _, figure, value = _parsed(gate)
        field, more = FIGURES[figure]
        known = getattr(found, field)
        if known is None or (value > known if more else value < known):
            found = replace(found, **{field: value})  # type: ignore[arg-type]  # all of these are numbers
    own = GATES[precision]
    return found if found == own else replace(found, own=Limits(own.max_abs_rel, own.snr_db, own.cosine))


def with_same_ranges(gate: Tolerance) -> Tolerance:
    """Return the gate of an artifact whose reference rounds as it does: no noise of ranges is between the two."""
    return replace(
        gate,
        snr_db=max(gate.snr_db, _WEIGHTS_ONLY.snr_db),
        cosine=max(gate.cosine, _WEIGHTS_ONLY.cosine),
        top1_agreement=max(gate.top1_agreement, _WEIGHTS_ONLY.top1_agreement),
    )


def _parsed(gate: str) -> tuple[str, str, float]:
    precision, _, bound = gate.partition(":")
    figure, _, text = bound.partition("=")
    if precision not in GATES or figure not in FIGURES:
        raise UsageError(
            f"{gate!r} is not a gate.",
            hint=f"Gates are PRECISION:FIGURE=VALUE, such as fp16:snr=50. Figures: {', '.join(FIGURES)}.",
        )
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    field, more = FIGURES[figure]
    own = getattr(GATES[precision], field)
    if not math.isfinite(value) or value < 0 or (figure in ("cosine", "top1") and value > 1):
        raise UsageError(f"{gate!r} has no usable number.", hint=f"For example {precision}:{figure}={own or 0.05:g}.")
    if own is not None and (value < own if more else value > own):
        raise UsageError(
            f"The gate {gate} is looser than mvt's own, {own:g}.",
            hint=f"Use {own:g} or {'more' if more else 'less'}: a gate can only be made stricter.",
            code="loose_gate",
        )
    return precision, figure, value
