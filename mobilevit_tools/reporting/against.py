"""Two runs side by side: what became of each artifact, and which of its figures changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mobilevit_tools.comparison.facts import diff_manifests
from mobilevit_tools.comparison.latency import LatencyDiff, diff_latency
from mobilevit_tools.profiling.place import place_of
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.reporting.evidence import Artifact
from mobilevit_tools.verification.evaluations import Score
from mobilevit_tools.verification.parity import Parity

Mark = Literal["", "changed", "better", "worse"]

LEAST_DB = 1.0
"""A smaller difference of the SNR is marked as one, and not as better or worse."""
MOST_FIELDS = 12
"""How many changed fields of its manifest an artifact lists."""


@dataclass(frozen=True)
class Change:
    """One figure before and now.

    Attributes:
        before: What it was, for people; empty where nothing says.
        now: What it is.
        mark: What became of it; empty where it is the same, or where the difference may be chance.
        detail: How much that is, and how sure.
    """

    before: str
    now: str
    mark: Mark = ""
    detail: str = ""


@dataclass(frozen=True)
class Pair:
    """One artifact in both runs.

    Attributes:
        label: Its label in the run of now.
        gate: The verdict of its numeric gate.
        size: Its size.
        snr: Its signal-to-noise ratio.
        calls: Calls into its backend.
        outside: Operators outside its backend.
        costs: Latency or instructions, a place each.
        scores: Its accuracy, the same photos each.
        fields: Other fields of its manifest that changed; how many more there are is the last.
    """

    label: str
    gate: Change
    size: Change
    snr: Change
    calls: Change
    outside: Change
    costs: tuple[Change, ...]
    scores: tuple[Change, ...]
    fields: tuple[str, ...]

    @property
    def marks(self) -> frozenset[Mark]:
        """What became of any of its figures."""
        return frozenset(
            each.mark for each in (self.gate, self.size, self.snr, self.calls, self.outside, *self.costs, *self.scores)
        )


@dataclass(frozen=True)
class SideBySide:
    """Two runs side by side.

    Attributes:
        pairs: The artifacts that both have.
        gone: Labels of those that only the earlier run has.
        new: Labels of those that only this one has.
        unclear: Labels of those of which a run has several alike, so that nothing says which belong together.
    """

    pairs: tuple[Pair, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    unclear: tuple[str, ...]

    @property
    def worse(self) -> int:
        """How many artifacts have a figure that became worse."""
        return sum("worse" in pair.marks for pair in self.pairs)


def side_by_side(before: Sequence[Artifact], now: Sequence[Artifact]) -> SideBySide:
    """Put together the artifacts of one model, target, precision and input size."""
    then = {_identity(each): each for each in before}
    several = _repeated(before) | _repeated(now)
    known = {_identity(each) for each in now}
    return SideBySide(
        pairs=tuple(_pair(then[key], each) for each in now if (key := _identity(each)) in then and key not in several),
        gone=tuple(each.label for each in before if (key := _identity(each)) not in known and key not in several),
        new=tuple(each.label for each in now if (key := _identity(each)) not in then and key not in several),
        unclear=tuple(dict.fromkeys(each.label for each in (*before, *now) if _identity(each) in several)),
    )


def _identity(artifact: Artifact) -> tuple[object, ...]:
    manifest = artifact.manifest
    size = manifest.contract.preprocessing.input_size if manifest else None
    return (artifact.model, artifact.deployment, artifact.precision, size)


def _repeated(artifacts: Iterable[Artifact]) -> set[tuple[object, ...]]:
    return {key for key, count in Counter(map(_identity, artifacts)).items() if count > 1}


def _pair(before: Artifact, now: Artifact) -> Pair:
    return Pair(
        label=now.label,
        gate=_gate(before.parity, now.parity),
        size=_smaller_is_better(before.size_bytes, now.size_bytes, lambda value: f"{value / 1e6:.2f} MB"),
        snr=_snr(_decibels(before), _decibels(now)),
        calls=_smaller_is_better(_calls(before), _calls(now), str),
        outside=_smaller_is_better(_outside(before), _outside(now), str),
        costs=tuple(_costs(before, now)),
        scores=tuple(_accuracies(before, now)),
        fields=tuple(_fields(before, now)),
    )


def _decibels(artifact: Artifact) -> float | None:
    return None if artifact.parity is None else artifact.parity.snr_db


def _calls(artifact: Artifact) -> int | None:
    return None if artifact.delegation is None else artifact.delegation.calls


def _outside(artifact: Artifact) -> int | None:
    return None if artifact.delegation is None else sum(artifact.delegation.outside.values())


def _gate(before: Parity | None, now: Parity | None) -> Change:
    was, is_now = ("unknown" if each is None else each.status.replace("_", " ") for each in (before, now))
    if was == is_now:
        return Change(was, is_now)
    return Change(was, is_now, "worse" if is_now == "failed" else "better" if was == "failed" else "changed")


def _smaller_is_better(before: int | None, now: int | None, text: Callable[[int], str]) -> Change:
    was, is_now = ("" if each is None else text(each) for each in (before, now))
    if before is None or now is None or before == now:
        return Change(was, is_now, "changed" if before != now else "")
    detail = f"{now / before - 1:+.1%}" if before else ""
    return Change(was, is_now, "better" if now < before else "worse", detail)


def _snr(before: float | None, now: float | None) -> Change:
    was, is_now = ("" if each is None else f"{each:.1f} dB" for each in (before, now))
    if before is None or now is None:
        return Change(was, is_now, "changed" if before != now else "")
    gain = now - before
    sure: Mark = "better" if gain >= LEAST_DB else "worse" if gain <= -LEAST_DB else ""
    return Change(was, is_now, sure or ("changed" if was != is_now else ""))


def _costs(before: Artifact, now: Artifact) -> Iterator[Change]:
    """Yield what one place measured of both; of several measurements there, the last of each."""
    then, today = ({place_of(each): each for each in _own(artifact)} for artifact in (before, now))
    for place in sorted(then.keys() & today.keys()):
        yield _cost(diff_latency(then[place], today[place]), place.title)


def _own(artifact: Artifact) -> Iterator[ProfileResult]:
    return (each for each in artifact.profiles if not artifact.has_other_bytes(each))


def _cost(found: LatencyDiff, place: str) -> Change:
    marks: dict[str | None, Mark] = {"faster": "better", "slower": "worse"}
    mark = marks.get(found.verdict, "")
    if found.instructions_a is not None and found.instructions_b is not None:
        ratio = f", ratio {found.instructions_b / found.instructions_a:.4f}" if found.instructions_a else ""
        return Change(f"{found.instructions_a:,}", f"{found.instructions_b:,} instructions", mark, f"{place}{ratio}")
    was, is_now = ("" if each is None else f"{each:.2f} ms" for each in (found.p50_a, found.p50_b))
    return Change(was, is_now, mark, f"{place}{_ratio(found)}. {found.reason}")


def _ratio(found: LatencyDiff) -> str:
    """Say the ratio of the medians; its interval is what both medians' intervals leave possible."""
    if not found.p50_a or not found.p50_b:
        return ""
    ratio = f", ratio {found.p50_b / found.p50_a:.3f}"
    if found.interval_a is None or found.interval_b is None or not all(found.interval_a):
        return ratio
    low, high = found.interval_b[0] / found.interval_a[1], found.interval_b[1] / found.interval_a[0]
    return f"{ratio} ({low:.3f} to {high:.3f})"


def _accuracies(before: Artifact, now: Artifact) -> Iterator[Change]:
    then, today = (
        {(str(each.data), each.images, each.score.name): each.score for each in artifact.own_evaluations}
        for artifact in (before, now)
    )
    for photos in sorted(then.keys() & today.keys()):
        yield _accuracy(then[photos], today[photos], f"{photos[2]}, {photos[1]:,} photos of {photos[0]}")


def _accuracy(before: Score, now: Score, photos: str) -> Change:
    apart: Mark = ""
    if before.interval is not None and now.interval is not None:
        if now.interval[0] > before.interval[1]:
            apart = "better"
        elif now.interval[1] < before.interval[0]:
            apart = "worse"
    return Change(f"{before.value:.1%}", f"{now.value:.1%}", apart, photos)


def _fields(before: Artifact, now: Artifact) -> Iterator[str]:
    if before.manifest is None or now.manifest is None:
        return
    changed = [
        f"{section} {change.field}".rstrip()
        for section, changes in diff_manifests(before.manifest, now.manifest).items()
        if section not in ("parity", "delegation")  # those have columns of their own
        for change in changes
    ]
    yield from changed[:MOST_FIELDS]
    if len(changed) > MOST_FIELDS:
        yield f"and {len(changed) - MOST_FIELDS} more"
