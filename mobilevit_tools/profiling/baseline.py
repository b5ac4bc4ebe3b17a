"""Is an artifact slower than it was? Today's measurement against a stored one, of the same place and model."""

from __future__ import annotations

from pathlib import Path

from mobilevit_tools.documents import read_document, typed
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.profiling.place import Place, place_of
from mobilevit_tools.profiling.result import ProfileResult, Regression


def read_profile(path: Path) -> ProfileResult:
    """Read what ``mvt profile --json`` printed.

    Raises:
        BadInputError: The file is missing, holds something else, or a figure that no measurement has.
    """
    raw = read_document(path)
    if not isinstance(raw, dict) or raw.get("command") != "profile" or not isinstance(raw.get("result"), dict):
        raise BadInputError(
            f"{path} is not a measurement.", hint="Create one with: mvt profile ARTIFACT --json", code="bad_run"
        )
    profile = typed(ProfileResult, raw["result"], str(path))
    interval = profile.latency_ms.interval if profile.latency_ms is not None else None
    figures = (profile.threads, profile.instructions, *(interval or ()))
    if any(figure is not None and figure <= 0 for figure in figures):
        raise BadInputError(f"{path} has a figure that must be above zero.", code="bad_run")
    return profile


def compare_with_baseline(result: ProfileResult, baseline: ProfileResult, max_regress: float) -> Regression:
    """Tell whether ``result`` is certainly slower than ``baseline`` by more than the share ``max_regress``.

    Instructions are compared exactly. Latencies are compared by their intervals: only what both intervals leave no
    doubt of counts as slower.

    Raises:
        UsageError: The two were measured in different places, or have nothing in common to compare.
        BadInputError: The baseline is of another target or another model.
    """
    here, there = place_of(result), place_of(baseline)
    if here != there:
        raise UsageError(
            f"The baseline was taken on {_in_full(there)}, this on {_in_full(here)}: they cannot be compared.",
            hint="Measure both on the same device, or compare instruction counts with --device count.",
            code="other_device",
        )
    _check_model(result, baseline)
    if result.instructions is not None and baseline.instructions is not None:
        ratio, exact = result.instructions / baseline.instructions, True
    else:
        (low, _), (_, high) = _interval(result), _interval(baseline)
        ratio, exact = low / high, False
    return Regression(ratio=ratio, allowed=1 + max_regress, exact=exact, regressed=ratio > 1 + max_regress)


def _interval(profile: ProfileResult) -> tuple[float, float]:
    if profile.latency_ms is None or profile.latency_ms.interval is None:
        raise UsageError(
            "The measurements have neither instruction counts nor latency intervals in common.", code="other_device"
        )
    return profile.latency_ms.interval


def _in_full(place: Place) -> str:
    return f"{place.title}, {place.cores} cores, {place.system}" if place.system else place.title


def _check_model(result: ProfileResult, baseline: ProfileResult) -> None:
    for name, is_now, was in (
        ("target", result.target, baseline.target),
        ("parameters", result.params, baseline.params),
        ("MACs", result.macs, baseline.macs),
    ):
        # Without a manifest nothing says what model it is.
        if is_now is not None and was is not None and is_now != was:
            raise BadInputError(
                f"The baseline is of another model: {name} was {was}, now {is_now}.",
                hint="Pass --against a measurement of the same model and target.",
                code="other_baseline",
            )
