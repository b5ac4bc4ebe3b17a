"""The report before it becomes a page: groups, shares and plots, drawn from the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from mobilevit_tools.profiling.kinds import Share, by_kind
from mobilevit_tools.reporting import plots, tradeoff_plots
from mobilevit_tools.reporting.against import SideBySide, side_by_side
from mobilevit_tools.reporting.delegation_graph import graph_plot
from mobilevit_tools.reporting.evidence import Artifact, Evidence
from mobilevit_tools.reporting.groups import (
    Measurement,
    PlaceGroup,
    PublishedTradeoff,
    Tradeoff,
    group_by_place,
    published_tradeoffs,
    tradeoffs,
)
from mobilevit_tools.reporting.stages import by_stage, largest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mobilevit_tools.verification.parity import InputResult

MAX_GRAPHS = 24
"""A report draws the delegation of its first artifacts up to here; its table lists all."""


@dataclass(frozen=True)
class Plot:
    """A plot and its words.

    Attributes:
        name: What no other plot of the report is called; its file's name, too.
        title: What it shows.
        caption: How to read it.
        figure: The figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Measured:
    """A place with its plots."""

    group: PlaceGroup
    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class DrawnTradeoff:
    """A tradeoff with its plot."""

    tradeoff: Tradeoff
    plot: Plot


@dataclass(frozen=True)
class PublishedElsewhere:
    """Published figures with their plot."""

    tradeoff: PublishedTradeoff
    plot: Plot


@dataclass(frozen=True)
class Timed:
    """Where the time of one measurement goes.

    Attributes:
        measurement: The measurement.
        place: Where it was taken.
        kinds: Time by operator type.
        stages: Time by stage; None where the runtime's names do not tell.
        plots: Their plots.
    """

    measurement: Measurement
    place: str
    kinds: tuple[Share, ...]
    stages: tuple[Share, ...] | None
    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class Versions:
    """Tools of one set of versions, and the artifacts that they made."""

    tools: Mapping[str, str]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """All that a page shows."""

    evidence: Evidence
    compared: SideBySide | None
    parity_plot: Plot | None
    size_plot: Plot | None
    measured: tuple[Measured, ...]
    tradeoffs: tuple[DrawnTradeoff, ...]
    published: tuple[PublishedElsewhere, ...]
    timed: tuple[Timed, ...]
    delegated: tuple[Artifact, ...]
    delegation_plot: Plot | None
    graphs: tuple[Plot, ...]
    versions: tuple[Versions, ...]

    @property
    def all_plots(self) -> tuple[Plot, ...]:
        """Every plot, in the order of the page."""
        single = (self.parity_plot, self.size_plot, self.delegation_plot)
        return (
            *(plot for plot in single if plot is not None),
            *(plot for each in self.measured for plot in each.plots),
            *(each.plot for each in self.tradeoffs),
            *(each.plot for each in self.published),
            *(plot for each in self.timed for plot in each.plots),
            *self.graphs,
        )


def contents(evidence: Evidence, before: Evidence | None = None) -> Contents:
    """Group the evidence and draw its plots; call it inside :func:`mobilevit_tools.reporting.figures.styled`.

    Args:
        evidence: What the page is about.
        before: An earlier run to compare it with; None for none.
    """
    artifacts = evidence.artifacts
    groups = group_by_place(artifacts)
    timed = tuple(_timed(number, each, group) for number, (each, group) in enumerate(_with_operators(groups), 1))
    return Contents(
        evidence=evidence,
        compared=None if before is None else side_by_side(before.artifacts, artifacts),
        parity_plot=_parity(artifacts),
        size_plot=_size(artifacts),
        measured=tuple(Measured(group, _measured_plots(number, group)) for number, group in enumerate(groups, 1)),
        tradeoffs=tuple(
            DrawnTradeoff(tradeoff, _tradeoff(number, tradeoff)) for number, tradeoff in enumerate(tradeoffs(groups), 1)
        ),
        published=tuple(
            PublishedElsewhere(tradeoff, _published(number, tradeoff))
            for number, tradeoff in enumerate(published_tradeoffs(each.model for each in artifacts), 1)
        ),
        timed=timed,
        delegated=tuple(each for each in artifacts if each.delegation is not None),
        delegation_plot=_delegation(timed),
        graphs=tuple(_graphs(artifacts)),
        versions=_versions(artifacts),
    )


def _with_operators(groups: Iterable[PlaceGroup]) -> list[tuple[Measurement, PlaceGroup]]:
    return [(each, group) for group in groups for each in group.measurements if each.profile.per_op]


def _parity(artifacts: Iterable[Artifact]) -> Plot | None:
    judged = [each for each in artifacts if each.parity is not None]
    # Class maps and detections have no distance to draw.
    shown = [each for each in judged if each.parity and any(_has_distance(result) for result in each.parity.results)]
    if not shown:
        return None
    caption = (
        "Every verified input (circles: photos, squares: noise, triangles: stress); higher is closer to PyTorch. "
        "The red bar is the gate of the precision."
    )
    return Plot("parity", "Parity of each artifact with PyTorch float32", caption, plots.parity_plot(shown))


def _has_distance(result: InputResult) -> bool:
    return result.distance.snr_db is not None


def _size(artifacts: Iterable[Artifact]) -> Plot | None:
    shown = [each for each in artifacts if each.size_bytes is not None]
    if not shown:
        return None
    return Plot("size", "Size of each artifact", "The whole file or package.", plots.size_plot(shown))


def _measured_plots(number: int, group: PlaceGroup) -> tuple[Plot, ...]:
    found = []
    if any(each.profile.samples_ms for each in group.measurements):
        caption = "Every run is a tick below its histogram; none is omitted. Below: the median and its 95 % interval."
        figure = plots.latency_plot(group.measurements)
        found.append(Plot(f"latency-{number}", f"Latency on {group.place.title}", caption, figure))
    if any(each.profile.instructions is not None for each in group.measurements):
        caption = "An exact count, unaffected by noise. It is not a latency."
        figure = plots.instruction_plot(group.measurements)
        found.append(Plot(f"instructions-{number}", f"Instructions on {group.place.title}", caption, figure))
    return tuple(found)


def _tradeoff(number: int, tradeoff: Tradeoff) -> Plot:
    caption = (
        "Area: size of the artifact. Filled: nothing measured here is at least as accurate, fast and small. Bars: "
        "95 % intervals; where they overlap, the order is not certain. Of many points only the filled have a number."
    )
    what = "instructions" if tradeoff.place.emulated else "latency"
    title = f"Accuracy, {what} and size on {tradeoff.place.title}"
    return Plot(f"tradeoff-{number}", title, caption, tradeoff_plots.tradeoff_plot(tradeoff))


def _published(number: int, tradeoff: PublishedTradeoff) -> Plot:
    caption = (
        "Published by others, on a device and on photos that are not those of this report: the numbers cannot be "
        f"compared with the measured ones. Area: parameters. Source: {tradeoff.source}."
    )
    title = f"Published, another device: {tradeoff.device}"
    return Plot(f"published-{number}", title, caption, tradeoff_plots.published_plot(tradeoff))


def _timed(number: int, measurement: Measurement, group: PlaceGroup) -> Timed:
    artifact, profile = measurement.artifact, measurement.profile
    kinds = by_kind(profile.per_op or ())
    stages = by_stage(profile, artifact.path, artifact.size_bytes)
    caption = (
        "Operators are timed in separate runs: their sum exceeds the latency of an inference without operator timing."
    )
    figure = plots.share_plot(largest(kinds), artifact.deployment)
    found = [Plot(f"operators-{number}", f"Time by operator type: {measurement.label}", caption, figure)]
    if stages is not None:
        caption = (
            "In order of execution. Operators without weights are attributed to the stage of the preceding operator."
        )
        figure = plots.share_plot(stages[: plots.MAX_ROWS], artifact.deployment)
        found.append(Plot(f"stages-{number}", f"Time by stage: {measurement.label}", caption, figure))
    return Timed(measurement, group.place.title, kinds, stages, tuple(found))


def _delegation(timed: Iterable[Timed]) -> Plot | None:
    shown = [each.measurement for each in timed if each.measurement.artifact.delegation is not None]
    if not shown:
        return None
    caption = "One inference from left to right, by measured time: filled: delegated, hatched: not delegated."
    return Plot("delegation", "Delegation", caption, plots.delegation_plot(shown))


def _graphs(artifacts: Iterable[Artifact]) -> Iterator[Plot]:
    caption = (
        "From top to bottom in order of execution. Filled: a call into the backend; hatched: left to the target's own "
        "kernels. Lines at the side: values that pass other parts by."
    )
    drawn = ((each, each.delegation.pieces) for each in artifacts if each.delegation and each.delegation.pieces)
    for number, (each, pieces) in enumerate(islice(drawn, MAX_GRAPHS), 1):
        title = f"Delegation graph: {each.label}"
        yield Plot(f"graph-{number}", title, caption, graph_plot(pieces, each.deployment))


def _versions(artifacts: Iterable[Artifact]) -> tuple[Versions, ...]:
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for each in artifacts:
        if each.manifest is not None:
            found.setdefault(tuple(sorted(each.manifest.tools.items())), []).append(each.label)
    return tuple(Versions(dict(tools), tuple(labels)) for tools, labels in found.items())
