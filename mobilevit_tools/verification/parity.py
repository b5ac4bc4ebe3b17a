"""The verdict: an artifact against the PyTorch float32 model on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes._base import Session, UnsupportedOperatorError, only_input
from mobilevit_tools.verification.batches import FREE_BATCH, batches
from mobilevit_tools.verification.metrics import Distance, distance, softmax, worst
from mobilevit_tools.verification.tolerances import NEAR_TIE_MARGIN, Tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from mobilevit_tools.verification.inputs import VerificationInput

SOFTMAX_TOLERANCE = 5e-2
"""Of a row's largest probability. Logits rounded to half precision move one by less, a wrong axis by far more."""

Status = Literal["passed", "failed", "not_verified"]
Reference = Callable[["NDArray[np.float32]"], "list[NDArray[Any]]"]


@dataclass(frozen=True)
class InputResult:
    """One input's figures.

    Attributes:
        name: The input's name.
        kind: ``photo``, ``noise`` or ``stress``.
        distance: How far the outputs are apart; the worst output where there are several, and the worst row where the
            input was part of several batches.
        same_top1: Whether both sides predict the same class; None where the outputs are no logits.
        near_tie: Whether the reference's margin is too small for a changed prediction to count.
    """

    name: str
    kind: str
    distance: Distance
    same_top1: bool | None
    near_tie: bool


@dataclass(frozen=True)
class Parity:
    """What a verification found.

    Attributes:
        status: The verdict.
        max_abs_rel: The worst judged input's; None where nothing was run.
        snr_db: The worst judged input's.
        cosine: The worst judged input's.
        top1_agreement: Share of judged inputs with the same top-1, near-ties as they fell; None without logits.
        inputs: How many inputs were run.
        reason: Why it did not pass; None where it did.
        flips: Where it failed and the model decides something discrete (clusters): decisions of the artifact's runtime
            that differ from PyTorch's, over all inputs. The verdict is on the outputs alone.
        arithmetic: The modelled arithmetic in which it was worst; None where the runtime itself ran.
        near_ties: Names of the inputs whose prediction changed within a near-tie.
        results: Each input's figures.
    """

    status: Status
    max_abs_rel: float | None = None
    snr_db: float | None = None
    cosine: float | None = None
    top1_agreement: float | None = None
    inputs: int = 0
    reason: str | None = None
    arithmetic: str | None = None
    flips: int | None = None
    near_ties: tuple[str, ...] = ()
    results: tuple[InputResult, ...] = ()


def torch_reference(module: nn.Module) -> Reference:
    """Return a function that runs a module on a float32 input and gives all its outputs as arrays."""
    import torch

    def run(tensor: NDArray[np.float32]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            outputs = module(torch.from_numpy(tensor))
        return [output.numpy() for output in ([outputs] if isinstance(outputs, torch.Tensor) else outputs)]

    return run


def verify_session(
    session: Session, reference: Reference, inputs: Sequence[VerificationInput], tolerance: Tolerance
) -> Parity:
    """Run every input through both sides and judge the artifact by ``tolerance``.

    An artifact that the runtime cannot run, or whose numbers mean nothing, is not verified; one that gives a non-finite
    output fails. Where the session models its runtime, the artifact is judged in each of its arithmetics, and the worst
    verdict counts.

    Raises:
        BadInputError: The reference's own output is not finite, or the artifact takes something else than one input.
    """
    if session.unverifiable is not None:
        return Parity(status="not_verified", reason=session.unverifiable)
    if not session.arithmetics:
        return _verify_once(session, reference, inputs, tolerance)
    verdicts = []
    for arithmetic in session.arithmetics:
        session.use(arithmetic)
        verdict = _verify_once(session, reference, inputs, tolerance)
        reason = verdict.reason and f"in {arithmetic} arithmetic: {verdict.reason}"
        verdicts.append(replace(verdict, arithmetic=arithmetic, reason=reason))
    session.use(session.arithmetics[0])
    return min(verdicts, key=_standing)


def _standing(parity: Parity) -> tuple[int, float]:
    """Order verdicts from worst to best."""
    order: tuple[Status, ...] = ("failed", "not_verified", "passed")
    return order.index(parity.status), float("-inf") if parity.snr_db is None else parity.snr_db


def _verify_once(
    session: Session, reference: Reference, inputs: Sequence[VerificationInput], tolerance: Tolerance
) -> Parity:
    info = only_input(session)
    has_logits = session.contract is None or session.contract.output != "features"
    has_probabilities = session.contract is not None and session.contract.output == "probabilities"

    @lru_cache(maxsize=info.shape[0] or FREE_BATCH)  # inputs are in neighbouring batches
    def expect(index: int) -> list[NDArray[Any]]:
        return _expected(reference, inputs[index])

    found: dict[int, list[InputResult]] = {}
    for batch in batches(info, inputs):
        expected = [expect(index) for index in batch.rows]
        try:
            outputs = session.run(batch.array)
        except UnsupportedOperatorError as error:
            return Parity(status="not_verified", reason=error.message)
        probabilities = None
        if has_probabilities and len(outputs) > 1:
            outputs, probabilities = outputs[:1], outputs[1]
        elif has_probabilities:  # the runtime cannot reach the logits
            expected = [[softmax(wanted[0])] for wanted in expected]
        if wrong := _misfit(expected, outputs):
            return Parity(status="failed", reason=wrong)
        if probabilities is not None and np.isfinite(outputs[0]).all() and not _is_softmax(probabilities, outputs[0]):
            names = ", ".join(dict.fromkeys(inputs[index].name for index in batch.rows))
            return Parity(status="failed", reason=f"The probabilities on {names} are no softmax of the logits.")
        for row, (index, wanted) in enumerate(zip(batch.rows, expected, strict=True)):
            pairs = [(each[0], np.asarray(got[row], np.float64)) for each, got in zip(wanted, outputs, strict=True)]
            found.setdefault(index, []).append(_judge_row(inputs[index], pairs, has_logits=has_logits))
    return _verdict([_together(results) for _, results in sorted(found.items())], tolerance)


def _expected(reference: Reference, item: VerificationInput) -> list[NDArray[Any]]:
    outputs = reference(item.tensor)
    if not all(np.isfinite(output).all() for output in outputs):
        raise BadInputError(
            "The model's own output is not finite: nothing can be compared with it.",
            hint="Check the checkpoint; give another with --checkpoint.",
            code="non_finite_reference",
        )
    return outputs


def _misfit(expected: Sequence[list[NDArray[Any]]], outputs: Sequence[NDArray[Any]]) -> str | None:
    """Say how outputs for a batch differ in number or shape from what the reference gives for each of its images."""
    if len(outputs) != len(expected[0]):
        return f"The artifact has {len(outputs)} outputs, not {len(expected[0])}."
    for wanted, got in zip(expected[0], outputs, strict=True):
        if got.shape[1:] != wanted.shape[1:]:
            return f"An output of the artifact has shape {got.shape[1:]}, not {wanted.shape[1:]}."
        rows = got.shape[0] if got.ndim else 0
        if rows != len(expected):
            return f"An output of the artifact has a batch of {rows}, not {len(expected)}."
    return None


def _is_softmax(probabilities: NDArray[Any], logits: NDArray[Any]) -> bool:
    expected = softmax(logits)
    if expected.shape != probabilities.shape:
        return False
    allowed = SOFTMAX_TOLERANCE * expected.max(axis=-1, keepdims=True)
    return bool((np.abs(expected - probabilities) <= allowed).all())


def _judge_row(
    item: VerificationInput, pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]], *, has_logits: bool
) -> InputResult:
    """Judge what an artifact gives for one image of a batch, in pairs of reference and output."""
    apart = worst([distance(wanted, got) for wanted, got in pairs])
    if not has_logits or pairs[0][0].ndim != 1:  # without a contract, outputs may as well be maps
        return InputResult(item.name, item.kind, apart, same_top1=None, near_tie=False)
    wanted, got = pairs[0][0].astype(np.float64), pairs[0][1]
    second, first = np.sort(wanted)[-2:] if wanted.size > 1 else (-np.inf, wanted[0])
    error = float(np.sqrt(np.mean((got - wanted) ** 2)))
    return InputResult(
        item.name,
        item.kind,
        apart,
        same_top1=int(got.argmax()) == int(wanted.argmax()),
        near_tie=bool(first - second <= NEAR_TIE_MARGIN * error),
    )


def _together(results: Sequence[InputResult]) -> InputResult:
    """Return the worst of what was found of one input in several batches."""
    return replace(
        results[0],
        distance=worst([result.distance for result in results]),
        same_top1=None if results[0].same_top1 is None else all(result.same_top1 for result in results),
        near_tie=any(result.near_tie for result in results),
    )


def _verdict(results: Sequence[InputResult], tolerance: Tolerance) -> Parity:
    if not results:
        return Parity(status="not_verified", reason="No input could be run.")
    judged = [result for result in results if result.kind in tolerance.judged]
    if not judged:
        return Parity(status="not_verified", reason=f"No input is a {' or '.join(tolerance.judged)}.")
    apart = worst([result.distance for result in judged])
    classified = [result for result in judged if result.same_top1 is not None]
    changed = [result for result in classified if not result.same_top1]
    excused = [result for result in changed if tolerance.near_ties and result.near_tie]
    agreement = 1 - len(changed) / len(classified) if classified else None
    strict_agreement = 1 - (len(changed) - len(excused)) / len(classified) if classified else 1.0

    failures = []
    if broken := [result.name for result in results if not result.distance.finite]:
        failures.append(f"non-finite output on {', '.join(broken)}")
    elif apart.max_abs_rel is None or apart.snr_db is None or apart.cosine is None:
        failures.append("the reference is zero where the artifact is not")
    else:
        if tolerance.max_abs_rel is not None and apart.max_abs_rel > tolerance.max_abs_rel:
            failures.append(
                f"max-abs {apart.max_abs_rel:.2e} above {tolerance.max_abs_rel:.0e} of the reference's maximum"
            )
        if apart.snr_db < tolerance.snr_db:
            failures.append(f"SNR {apart.snr_db:.1f} dB below {tolerance.snr_db:.0f} dB")
        if apart.cosine < tolerance.cosine:
            failures.append(f"cosine {apart.cosine:.6f} below {tolerance.cosine}")
        if failures:
            failures[-1] += f", worst on {min(judged, key=_snr).name}"
    if strict_agreement < tolerance.top1_agreement:
        names = ", ".join(result.name for result in changed if result not in excused)
        failures.append(f"top-1 changed on {names}")
    return Parity(
        status="failed" if failures else "passed",
        max_abs_rel=apart.max_abs_rel,
        snr_db=apart.snr_db,
        cosine=apart.cosine,
        top1_agreement=agreement,
        inputs=len(results),
        reason="; ".join(failures) or None,
        near_ties=tuple(result.name for result in excused),
        results=tuple(results),
    )


def _snr(result: InputResult) -> float:
    return float("-inf") if result.distance.snr_db is None else result.distance.snr_db
