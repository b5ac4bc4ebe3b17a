"""Figures that no measurement has: a file that holds one was not written by `mvt`, or was changed since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.verification.evaluations import EvalResult, Evaluated


def check_profile(profile: ProfileResult, source: str) -> None:
    """Refuse a measurement with a negative figure, or with an inference that took no time.

    Raises:
        BadInputError: It has one.
    """
    latency = () if profile.latency_ms is None else astuple(profile.latency_ms)[:-1]  # all but the interval
    figures = (*latency, profile.load_ms, profile.first_ms, profile.instructions, profile.peak_memory_bytes)
    check_size(profile.size_bytes, source)
    _check((*figures, *(operator.ms for operator in profile.per_op or ())), source)
    if any(sample <= 0 for sample in profile.samples_ms):
        raise BadInputError(f"{source} has an inference time of zero.", code="bad_run")


def check_evaluation(evaluation: Evaluated, source: str) -> None:
    """Refuse an accuracy that is no share.

    Raises:
        BadInputError: It has one.
    """
    score = evaluation.score
    shares = (score.value, *(score.interval or ()), score.agreement, score.reference)
    if isinstance(evaluation, EvalResult):
        shares = (*shares, evaluation.top5)
    _check((evaluation.images,), source)
    if any(share is not None and not 0 <= share <= 1 for share in shares):
        raise BadInputError(f"{source} has a share that is not between 0 and 1.", code="bad_run")


def check_size(size_bytes: int, source: str) -> None:
    """Refuse a negative size.

    Raises:
        BadInputError: It is one.
    """
    _check((size_bytes,), source)


def _check(figures: Iterable[float | None], source: str) -> None:
    if any(figure is not None and figure < 0 for figure in figures):
        raise BadInputError(f"{source} has a negative figure that cannot be negative.", code="bad_run")
