"""What may stand beside what: measurements of one place, accuracies on the same photos, published figures alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from mobilevit_tools.models.cards import ModelCard
from mobilevit_tools.models.names import all_cards
from mobilevit_tools.profiling.place import Place, place_of
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.reporting.evidence import Artifact
from mobilevit_tools.verification.evaluations import Evaluated, Score


@dataclass(frozen=True)
class Measurement:
    """One measurement of one artifact.

    Attributes:
        artifact: The artifact.
        profile: What was measured; without times where the place is emulated.
        label: The artifact's label; numbered where the place measured it more than once.
        other_bytes: Whether the artifact has other bytes now than when it was measured.
    """

    artifact: Artifact
    profile: ProfileResult
    label: str
    other_bytes: bool

    @property
    def cost(self) -> tuple[float, tuple[float, float] | None] | None:
        """The median latency in milliseconds and its interval, or millions of instructions; None without either."""
        if self.profile.latency_ms is not None:
            return self.profile.latency_ms.p50, self.profile.latency_ms.interval
        if self.profile.instructions is not None:
            return self.profile.instructions / 1e6, None
        return None


@dataclass(frozen=True)
class PlaceGroup:
    """All measurements of one place."""

    place: Place
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class TradeoffPoint:
    """An artifact that was measured and evaluated.

    Attributes:
        artifact: The artifact.
        label: Its label.
        cost: See :attr:`Measurement.cost`.
        cost_interval: The 95 % interval of ``cost``; None where there is none.
        score: Its accuracy.
        size_bytes: Its size.
        optimal: Whether no other point is at least as good in accuracy, cost and size, and better in one.
    """

    artifact: Artifact
    label: str
    cost: float
    cost_interval: tuple[float, float] | None
    score: Score
    size_bytes: int
    optimal: bool = False


@dataclass(frozen=True)
class Tradeoff:
    """Accuracy, cost and size of what one place measured and the same photos judged, by one figure."""

    place: Place
    data: str
    images: int
    figure: str
    points: tuple[TradeoffPoint, ...]


@dataclass(frozen=True)
class PublishedTradeoff:
    """What others published of a family, on a device of theirs.

    Attributes:
        device: Their device.
        source: Where it is stated, on which photos.
        cards: The architectures with a latency on this device and an accuracy.
        ours: Architectures of the report.
    """

    device: str
    source: str
    cards: tuple[ModelCard, ...]
    ours: frozenset[str]


def group_by_place(artifacts: Iterable[Artifact]) -> tuple[PlaceGroup, ...]:
    """Put together what was measured in one place."""
    found: dict[Place, list[Measurement]] = {}
    for artifact in artifacts:
        for profile in artifact.profiles:
            there = found.setdefault(place_of(profile), [])
            before = sum(each.artifact is artifact for each in there)
            label = f"{artifact.label}, run {before + 1}" if before else artifact.label
            there.append(Measurement(artifact, _honest(profile), label, artifact.has_other_bytes(profile)))
    return tuple(PlaceGroup(place, tuple(found[place])) for place in sorted(found))


def _honest(profile: ProfileResult) -> ProfileResult:
    if not place_of(profile).emulated:
        return profile
    return replace(profile, latency_ms=None, samples_ms=(), load_ms=None, first_ms=None, per_op=None)


def tradeoffs(groups: Iterable[PlaceGroup]) -> tuple[Tradeoff, ...]:
    """Return every place's measurements with accuracies on the same photos.

    What is of other bytes is left out: its artifact was made again, and the rest may be of the new one.
    """
    found = []
    for group in groups:
        points = [
            (
                evaluation,
                TradeoffPoint(each.artifact, each.label, *each.cost, evaluation.score, each.profile.size_bytes),
            )
            for each in group.measurements
            if each.cost is not None and not each.other_bytes
            for evaluation in each.artifact.own_evaluations
        ]
        for (data, images, figure), same in groupby(sorted(points, key=_photos), key=_photos):
            found.append(Tradeoff(group.place, data, images, figure, mark_optimal([point for _, point in same])))
    return tuple(found)


def _photos(entry: tuple[Evaluated, TradeoffPoint]) -> tuple[str, int, str]:
    return str(entry[0].data), entry[0].images, entry[0].score.name


def mark_optimal(points: Sequence[TradeoffPoint]) -> tuple[TradeoffPoint, ...]:
    """Mark the points that no other one dominates."""

    def beats(one: TradeoffPoint, other: TradeoffPoint) -> bool:
        pairs = [
            (one.cost, other.cost),
            (one.size_bytes, other.size_bytes),
            (other.score.value, one.score.value),
        ]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return tuple(replace(point, optimal=not any(beats(other, point) for other in points)) for point in points)


def published_tradeoffs(models: Iterable[str]) -> tuple[PublishedTradeoff, ...]:
    """Return what others published of the families of ``models``, a device each."""
    ours = frozenset(name.partition(".")[0] for name in models)
    families = {card.family for card in all_cards() if card.name in ours}
    known: Callable[[ModelCard], bool] = lambda card: card.family in families and card.published.top1 is not None  # noqa: E731
    cards = [card for card in all_cards() if known(card)]
    devices = dict.fromkeys((card.published.source, device) for card in cards for device in card.published.latency_ms)
    return tuple(
        PublishedTradeoff(
            device,
            source,
            tuple(card for card in cards if card.published.source == source and device in card.published.latency_ms),
            ours,
        )
        for source, device in devices
    )
