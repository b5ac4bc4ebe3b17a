"""What a verification found: the figures of every input, the margin to each gate, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mobilevit_tools.result import Shown
from mobilevit_tools.verification.metrics import Distance
from mobilevit_tools.verification.tolerances import Limits

Status = Literal["passed", "failed", "not_verified"]


@dataclass(frozen=True)
class Conditioning:
    """An input on which the model is ill-conditioned: its own float32 misses the gate from its float64.

    There the artifact is compared with float64, and may be as far from it as PyTorch's float32 is, with a margin.

    Attributes:
        float32: How far PyTorch's float32 is from its float64, the worst of several ways to compute it.
        limits: What the artifact is held against in place of the gate.
    """

    float32: Distance
    limits: Limits

    @property
    def is_noise(self) -> bool:
        """Whether float32 is so far off that its answer has no meaning, and no artifact's can be right."""
        return not self.limits.met_by(self.float32)


@dataclass(frozen=True)
class PixelAgreement:
    """How far a class map is the model's, as shares of its pixels.

    Attributes:
        same: Pixels of the model's own class.
        near_ties: Pixels of another class whose score the model puts as high, but for noise that the gate allows.
        beyond: Pixels of another class that no near-tie excuses.
        constant: Pixels of the class that most pixels of the model's map have: what a map of one class would get.
    """

    same: float
    near_ties: float
    beyond: float
    constant: float


@dataclass(frozen=True)
class BoxAgreement:
    """How far a detector's detections are the model's, and the model's are the detector's.

    Attributes:
        same: The share of them that are where the other side's are, with its score, as near as the gate asks.
        least_overlap: The least intersection over union of two that belong together.
        score_difference: The largest difference of their scores.
    """

    same: float
    least_overlap: float
    score_difference: float


@dataclass(frozen=True)
class InputResult:
    """One input's figures.

    Attributes:
        name: The input's name.
        kind: ``photo``, ``noise``, ``stress``, or ``held-out`` for a photo that calibration left out.
        distance: How far the outputs are apart; the worst output where there are several, and the worst row where the
            input was part of several batches.
        same_top1: Whether both sides predict the same class; None where the outputs are no logits of several classes.
        near_tie: Whether the reference's margin is too small for a changed prediction to count, the outputs being as
            near as they have to be.
        reference: The PyTorch model's arithmetic that it is compared with: float64 where the artifact misses the gate
            from float32, and the model in float64 runs and explains it.
        conditioning: Where the model is ill-conditioned: what it is held against; None elsewhere.
        pixels: Of a class map, how far it is the model's; None of any other output.
        boxes: Of a detector, how far its detections are the model's; None of any other output.
    """

    name: str
    kind: str
    distance: Distance
    same_top1: bool | None
    near_tie: bool
    reference: Literal["float32", "float64"] = "float32"
    conditioning: Conditioning | None = None
    pixels: PixelAgreement | None = None
    boxes: BoxAgreement | None = None


@dataclass(frozen=True)
class Margins:
    """How far the worst of each figure is within its limit, negative where it misses it; None where it is not judged.

    Attributes:
        max_abs_rel: The limit less the figure.
        snr_db: Decibels above the limit.
        cosine: The figure less the limit.
        top1_agreement: The share of equal predictions, with what near-ties excuse, less the limit.
        pixel_agreement: The share of a map's pixels with the model's class, less the least that is asked for.
    """

    max_abs_rel: float | None = None
    snr_db: float | None = None
    cosine: float | None = None
    top1_agreement: float | None = None
    pixel_agreement: float | None = None


@dataclass(frozen=True)
class Drift:
    """The first operator of the exported program that a target computes otherwise than PyTorch.

    Attributes:
        operator: Its type, such as ``aten.gelu.default``.
        name: Its name in the exported program.
        module: The module that calls it, by its dotted name; empty for the model itself.
        source: File name, line and text of the model's source that it comes from; None where the model's own source
            does not call it.
        snr_db: How near its result is; None where it is not finite.
        inputs_snr_db: How near what it reads is, the worst of it; None where it reads the model's input alone.
        input: The verification input on which it was found.
    """

    operator: str
    name: str
    module: str
    source: str | None
    snr_db: float | None
    inputs_snr_db: float | None
    input: str


@dataclass(frozen=True)
class Float32Check:
    """The same conversion in float32, which is judged before a reduced precision is.

    Attributes:
        status: The verdict by the gate of float32.
        max_abs_rel: The worst input's.
        snr_db: The worst input's.
        cosine: The worst input's.
        reason: Why it did not pass; None where it did.
        margins: How far the worst of each figure is within the gate of float32.
        drift: Where it failed, the first operator that drifts; None where none was found.
    """

    status: Status
    max_abs_rel: float | None = None
    snr_db: float | None = None
    cosine: float | None = None
    reason: str | None = None
    margins: Margins = Margins()
    drift: Drift | None = None


@dataclass(frozen=True, repr=False)
class Parity(Shown):
    """What a verification found.

    Attributes:
        status: The verdict.
        max_abs_rel: The worst judged input's; None where nothing was run.
        snr_db: The worst judged input's.
        cosine: The worst judged input's.
        top1_agreement: Share of inputs with the same top-1, near-ties as they fell: of the photos held out of
            calibration where there are any, else of the judged inputs; None without logits.
        inputs: How many inputs were run.
        held_out: How many of them are photos that were held out of calibration.
        reason: Why it did not pass; None where it did.
        margins: How far the worst of each figure is within its limit.
        changed_decisions: Where it failed and the model decides something discrete (clusters): decisions of the
            artifact's runtime that differ from PyTorch's, over all inputs. The verdict is on the outputs alone.
        arithmetic: The modelled arithmetic in which it was worst; None where the runtime itself ran.
        near_ties: Names of the inputs whose prediction changed within a near-tie, and that are excused for it.
        float32: The same conversion in float32, where the artifact is of another precision; None where it was not made.
        drift: Where an artifact in float32 failed, the first operator that drifts; None where none was found.
        results: Each input's figures.
        pixel_agreement: Share of pixels of the model's own class in class maps, or in those that maps of scores give,
            over the inputs that ``top1_agreement`` is about; None of any other output.
        box_agreement: Share of a detector's detections that are the model's, over the same inputs; None of any other
            output.
        constant_model: Whether the model gives the same outputs for all inputs, so that agreement proves little.
    """

    status: Status
    max_abs_rel: float | None = None
    snr_db: float | None = None
    cosine: float | None = None
    top1_agreement: float | None = None
    inputs: int = 0
    held_out: int = 0
    reason: str | None = None
    margins: Margins = Margins()
    arithmetic: str | None = None
    changed_decisions: int | None = None
    near_ties: tuple[str, ...] = ()
    float32: Float32Check | None = None
    drift: Drift | None = None
    results: tuple[InputResult, ...] = ()
    pixel_agreement: float | None = None
    box_agreement: float | None = None
    constant_model: bool = False

    @property
    def ill_conditioned(self) -> tuple[InputResult, ...]:
        """The inputs on which the model's own float32 misses the gate."""
        return tuple(result for result in self.results if result.conditioning is not None)
