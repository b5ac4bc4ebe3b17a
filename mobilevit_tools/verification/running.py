"""Run an artifact beside the PyTorch float32 model on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mobilevit_tools.data.contract import DECISIONS
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.progress import Advance, Progress, silent
from mobilevit_tools.runtimes._base import Session, UnsupportedOperatorError, only_input
from mobilevit_tools.tasks.probabilities import are_probabilities, softmax
from mobilevit_tools.tasks.registry import judge_of
from mobilevit_tools.verification.batches import FREE_BATCH, batches
from mobilevit_tools.verification.judging import LEAST_RESPONSE, NEGLIGIBLE_RESPONSE
from mobilevit_tools.verification.metrics import Spread
from mobilevit_tools.verification.parity import InputResult, Parity, Status
from mobilevit_tools.verification.reference import Exact, Reference, TorchReference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import OutputKind
    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.judging import Judge
    from mobilevit_tools.verification.tolerances import Tolerance

SOFTMAX_TOLERANCE = 5e-2
"""Of a row's largest probability. Logits rounded to half precision move one by less, a wrong axis by far more."""


def verify_session(
    session: Session,
    reference: Reference,
    inputs: Sequence[VerificationInput],
    tolerance: Tolerance,
    progress: Progress = silent,
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
    with progress("Comparing outputs", len(inputs) * max(1, len(session.arithmetics))) as advance:
        if not session.arithmetics:
            return _verify_once(session, reference, inputs, tolerance, advance)
        verdicts = []
        for arithmetic in session.arithmetics:
            session.use(arithmetic)
            found = _verify_once(session, reference, inputs, tolerance, advance)
            reason = found.reason and f"in {arithmetic} arithmetic: {found.reason}"
            verdicts.append(replace(found, arithmetic=arithmetic, reason=reason))
        session.use(session.arithmetics[0])
    return min(verdicts, key=_standing)


def _standing(parity: Parity) -> tuple[int, float]:
    """Order verdicts from worst to best."""
    order: tuple[Status, ...] = ("failed", "not_verified", "passed")
    return order.index(parity.status), float("-inf") if parity.snr_db is None else parity.snr_db


def _verify_once(
    session: Session,
    reference: Reference,
    inputs: Sequence[VerificationInput],
    tolerance: Tolerance,
    advance: Advance,
) -> Parity:
    info = only_input(session)
    contract = session.contract or session.described
    holds = "logits" if contract is None else contract.output
    judge = cast("Judge", import_module(judge_of(holds)))
    lasting = lru_cache(maxsize=info.shape[0] or FREE_BATCH)  # inputs are in neighbouring batches
    expect = lasting(lambda index: _expected(reference, inputs[index]))
    exact = lasting(lambda index: _exact(reference, inputs[index]))
    found: dict[int, list[InputResult]] = {}
    response = _Response()
    for batch in batches(info, inputs):
        expected = [expect(index) for index in batch.rows]
        try:
            answer = _answer(session.run(batch.array), expected, holds, ours=session.contract is not None)
        except UnsupportedOperatorError as error:
            return Parity(status="not_verified", reason=error.message)
        if answer.softmaxed:
            expected = [_softmaxed(wanted) for wanted in expected]
        if wrong := judge.misfit(expected, answer.outputs):
            return Parity(status="failed", reason=wrong)
        if answer.contradicts_itself():
            names = ", ".join(dict.fromkeys(inputs[index].name for index in batch.rows))
            return Parity(status="failed", reason=f"the probabilities on {names} are not the softmax of the logits")
        for row, (index, wanted) in enumerate(zip(batch.rows, expected, strict=True)):
            pair = [each[0] for each in wanted], [np.asarray(each[row], np.float64) for each in answer.outputs]
            counts = inputs[index].kind in (*tolerance.judged, "held-out")
            if index not in found and counts and holds not in DECISIONS:
                response.see(*pair)
            result = judge.judge_input(
                inputs[index],
                *pair,
                tolerance,
                holds=answer.holds,
                exact=lambda index=index, answer=answer: _as_given(exact(index), answer),  # type: ignore[misc]
            )
            if index not in found:
                advance()
            found.setdefault(index, []).append(result)
    results = [judge.together(each) for _, each in sorted(found.items())]
    parity = judge.verdict(results, tolerance, unresponsive=response.is_missing())
    return replace(parity, constant_model=response.model_has_none())


@dataclass(frozen=True)
class _Answer:
    """What an artifact gives for a batch, to be held against what the model gives.

    Attributes:
        outputs: Its outputs.
        holds: What the first of them is.
        softmaxed: Whether they are the softmax of what the model gives.
        probabilities: The softmax of the first output, where the artifact gives both.
    """

    outputs: Sequence[NDArray[Any]]
    holds: OutputKind
    softmaxed: bool = False
    probabilities: NDArray[Any] | None = None

    def contradicts_itself(self) -> bool:
        if self.probabilities is None or not np.isfinite(self.outputs[0]).all():
            return False
        return not _is_softmax(self.probabilities, self.outputs[0])


def _answer(
    outputs: Sequence[NDArray[Any]], expected: Sequence[Sequence[NDArray[Any]]], holds: OutputKind, *, ours: bool
) -> _Answer:
    """Return what to compare; an artifact of others does not say whether a softmax at its end is the model's own."""
    if holds != "probabilities":
        return _Answer(outputs, holds)
    scores = outputs[-1]
    if not ours and not are_probabilities(scores):
        return _Answer([scores], "logits")
    if not ours and all(are_probabilities(wanted[0]) for wanted in expected):
        return _Answer([scores], holds)
    if len(outputs) == 1:  # the runtime cannot reach the logits
        return _Answer(outputs, holds, softmaxed=True)
    return _Answer(outputs[:1], "logits", probabilities=outputs[1])


class _Response:
    """Whether an artifact's outputs change from input to input where the reference's do."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Spread, Spread]] = []
        self._peaks: list[float] = []
        self._seen = 0

    def see(self, wanted: Sequence[NDArray[Any]], got: Sequence[NDArray[Any]]) -> None:
        if not self._pairs:
            self._pairs = [(Spread(), Spread()) for _ in wanted]
            self._peaks = [0.0 for _ in wanted]
        self._seen += 1
        for index, (spreads, each, other) in enumerate(zip(self._pairs, wanted, got, strict=True)):
            spreads[0].see(each)
            spreads[1].see(other)
            self._peaks[index] = max(self._peaks[index], float(np.abs(each).max(initial=0.0)))

    def is_missing(self) -> bool:
        return any(
            reference.rms() > NEGLIGIBLE_RESPONSE * peak and artifact.rms() < LEAST_RESPONSE * reference.rms()
            for (reference, artifact), peak in zip(self._pairs, self._peaks, strict=True)
        )

    def model_has_none(self) -> bool:
        """Whether the model's own outputs are the same for all inputs, of which there are several."""
        responses = zip(self._pairs, self._peaks, strict=True)
        return self._seen > 1 and all(model.rms() <= NEGLIGIBLE_RESPONSE * peak for (model, _), peak in responses)


def _expected(reference: Reference, item: VerificationInput) -> list[NDArray[Any]]:
    outputs = reference(item.tensor)
    if not all(np.isfinite(output).all() for output in outputs):
        raise BadInputError(
            "The model's own output is not finite, so it cannot serve as a reference.",
            hint="Check the checkpoint, or pass another with --checkpoint.",
            code="non_finite_reference",
        )
    return outputs


def _exact(reference: Reference, item: VerificationInput) -> Exact | None:
    return reference.exact(item.tensor) if isinstance(reference, TorchReference) else None


def _as_given(exact: Exact | None, answer: _Answer) -> Exact | None:
    """Return what float64 and float32 give as an artifact gives it."""
    if exact is None or not answer.softmaxed:
        return exact
    return Exact(_softmaxed(exact.float64), [_softmaxed(each) for each in exact.float32])


def _softmaxed(outputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    return [softmax(outputs[0])]


def _is_softmax(probabilities: NDArray[Any], logits: NDArray[Any]) -> bool:
    expected = softmax(logits)
    if expected.shape != probabilities.shape:
        return False
    allowed = SOFTMAX_TOLERANCE * expected.max(axis=-1, keepdims=True)
    return bool((np.abs(expected - probabilities) <= allowed).all())
