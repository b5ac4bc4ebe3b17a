"""The plots of a report, each a figure of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from mobilevit_tools.profiling.kinds import Share
from mobilevit_tools.reporting.evidence import Artifact
from mobilevit_tools.reporting.figures import PALETTE, SERIES
from mobilevit_tools.reporting.groups import Measurement
from mobilevit_tools.targets.registry import DEPLOYMENTS
from mobilevit_tools.verification.tolerances import GATES
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

WIDTH = 5.0
MAX_ROWS = 40
"""A plot shows the first of its rows up to here; tables show all."""

_LABEL_CHARACTERS = 44
_TICKS = 1500
_LOGARITHMIC_FROM = 12.0
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h", "p", "<")
_INPUT_MARKERS = {"photo": "o", "noise": "s", "stress": "^"}


def colour(deployment: str) -> str:
    """Return the colour of a target with its backend, the same in every plot."""
    return PALETTE[SERIES[_index(deployment) % len(SERIES)]]


def marker(deployment: str) -> str:
    """Return the marker of a target with its backend: colour is never the only difference."""
    return _MARKERS[_index(deployment) % len(_MARKERS)]


def _index(deployment: str) -> int:
    return DEPLOYMENTS.index(deployment) if deployment in DEPLOYMENTS else len(DEPLOYMENTS)


def short(label: str, characters: int = _LABEL_CHARACTERS) -> str:
    """Shorten a label in its middle."""
    half = characters // 2
    label = " ".join(label.split())
    return label if len(label) <= characters else f"{label[: half - 1]}\N{HORIZONTAL ELLIPSIS}{label[-half:]}"


def latency_plot(measurements: Sequence[Measurement]) -> Figure:
    """Draw every sample of each measurement: a tick, their histogram above, the median and its interval below."""
    shown = [each for each in measurements if each.profile.samples_ms][:MAX_ROWS]
    figure, axes = _rows([each.label for each in shown], 0.66)
    samples = [np.asarray(each.profile.samples_ms) for each in shown]
    low, high = min(each.min() for each in samples), max(each.max() for each in samples)
    _scale(axes, low, high)
    for row, (each, values) in enumerate(zip(shown, samples, strict=True)):
        base, paint = -row, colour(each.artifact.deployment)
        counts, edges = np.histogram(values, bins=_bins(values))
        heights = base - 0.2 + 0.4 * counts / counts.max()
        axes.stairs(heights, edges, baseline=base - 0.2, fill=True, color=paint, alpha=0.45, linewidth=0)
        ticks = _apart(values, low, high)
        xs = np.repeat(ticks, 3)
        ys = np.tile([base - 0.28, base - 0.22, np.nan], len(ticks))
        axes.plot(xs, ys, color=paint, linewidth=0.7, solid_capstyle="butt")
        latency = each.profile.latency_ms
        if latency is None:
            continue
        if latency.interval is not None:
            axes.plot(latency.interval, [base - 0.38] * 2, color=PALETTE["ink"], linewidth=2.2, solid_capstyle="butt")
        axes.plot([latency.p50], [base - 0.38], marker="|", markersize=7, color=PALETTE["ink"], markeredgewidth=1.6)
        _value(axes, row, f"{latency.p50:.2f} ms")
    axes.set_xlabel("ms for one inference")
    return figure


def _bins(values: NDArray[np.float64]) -> int:
    spread = float(np.subtract(*np.percentile(values, (75, 25))))
    width = 2 * spread / len(values) ** (1 / 3)  # Freedman and Diaconis
    span = float(values.max() - values.min())
    return int(np.clip(np.ceil(span / width) if width else 8, 8, 200))


def _apart(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Drop ticks that would fall on the same spot of the drawing."""
    places = np.round((values - low) / ((high - low) or 1) * _TICKS)
    return np.asarray(values[np.unique(places, return_index=True)[1]])


def parity_plot(artifacts: Sequence[Artifact]) -> Figure:
    """Draw the signal-to-noise ratio of every verified input, and the gate of the artifact's precision."""
    shown = [each for each in artifacts if each.parity is not None and each.parity.results][:MAX_ROWS]
    figure, axes = _rows([each.label for each in shown], 0.5)
    for row, each in enumerate(shown):
        results = each.parity.results if each.parity else ()
        axes.plot([0, 1], [-row] * 2, transform=axes.get_yaxis_transform(), color=PALETTE["line"], linewidth=0.6)
        for kind, shape in _INPUT_MARKERS.items():
            ratios = [
                result.distance.snr_db
                for result in results
                if result.kind == kind and result.distance.snr_db is not None
            ]
            axes.plot(
                ratios, [-row] * len(ratios), shape, color=colour(each.deployment), alpha=0.6, markersize=5, mew=0
            )
        if each.precision in GATES:
            gate = GATES[each.precision].snr_db
            axes.plot([gate] * 2, [-row - 0.3, -row + 0.2], color=PALETTE["bad"], linewidth=1.6)
        if each.parity and each.parity.snr_db is not None:
            _value(axes, row, f"{each.parity.snr_db:.1f} dB")
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.set_xlabel("SNR in dB")
    return figure


def size_plot(artifacts: Sequence[Artifact]) -> Figure:
    """Draw the size of each artifact."""
    shown = [each for each in artifacts if each.size_bytes is not None][:MAX_ROWS]
    sizes = [(each.size_bytes or 0) / 1e6 for each in shown]
    return _bars(
        [each.label for each in shown],
        sizes,
        [colour(each.deployment) for each in shown],
        lambda value: f"{value:.2f} MB",
        unit="MB (10\N{SUPERSCRIPT SIX} bytes)",
    )


def instruction_plot(measurements: Sequence[Measurement]) -> Figure:
    """Draw the instructions of one inference."""
    shown = [each for each in measurements if each.profile.instructions is not None][:MAX_ROWS]
    return _bars(
        [each.label for each in shown],
        [(each.profile.instructions or 0) / 1e6 for each in shown],
        [colour(each.artifact.deployment) for each in shown],
        lambda value: f"{value:,.1f} M",
        unit="million instructions for one inference",
    )


def share_plot(shares: Sequence[Share], deployment: str) -> Figure:
    """Draw where the time of an inference goes; what ran outside the delegate is hatched."""
    total = sum(share.ms for share in shares) or 1.0
    mixed = any(share.delegate for share in shares)
    return _bars(
        [
            f"{share.name}  \N{MULTIPLICATION SIGN} {share.operators}"
            + (", outside" if mixed and share.delegate is False else "")
            for share in shares
        ],
        [share.ms for share in shares],
        [colour(deployment)] * len(shares),
        lambda value: f"{value:.2f} ms  {value / total:.0%}",
        unit="ms of one inference",
        hatched=[mixed and share.delegate is False for share in shares],
    )


def delegation_plot(measurements: Sequence[Measurement]) -> Figure:
    """Draw one inference of each measurement from left to right: what ran inside the delegate, and what outside."""
    shown = measurements[:MAX_ROWS]
    figure, axes = _rows([each.label for each in shown], 0.42)
    for row, each in enumerate(shown):
        paint, at = colour(each.artifact.deployment), 0.0
        for inside, run in groupby(each.profile.per_op or (), lambda operator: operator.delegate):
            took = sum(operator.ms for operator in run)
            axes.barh(
                -row - 0.2,
                took,
                left=at,
                height=0.36,
                color=paint if inside else "none",
                edgecolor=paint,
                hatch=None if inside else "//////",
                linewidth=0.4,
            )
            at += took
        delegation = each.artifact.delegation
        if delegation is not None:
            _value(axes, row, f"{number_of(delegation.calls, 'calls')}, {sum(delegation.outside.values())} outside")
    axes.set_xlim(left=0)
    axes.set_xlabel("ms of one inference")
    return figure


def _bars(
    labels: Sequence[str],
    values: Sequence[float],
    colours: Sequence[str],
    text: Callable[[float], str],
    *,
    unit: str,
    hatched: Sequence[bool] = (),
) -> Figure:
    figure, axes = _rows(labels, 0.38)
    for row, (value, paint) in enumerate(zip(values, colours, strict=True)):
        empty = bool(hatched) and hatched[row]
        axes.barh(
            -row,
            value,
            height=0.3,
            color="none" if empty else paint,
            edgecolor=paint,
            hatch="////" if empty else None,
            linewidth=0.8,
        )
        _value(axes, row, text(value))
    axes.set_xlim(left=0)
    axes.set_xlabel(unit)
    return figure


def _rows(labels: Sequence[str], height: float) -> tuple[Figure, Axes]:
    """Return axes with a row of so many inches for each label, the first on top: row r lies at -r, its label above."""
    from matplotlib.figure import Figure

    inches = height * len(labels) + 0.62
    figure = Figure(figsize=(WIDTH, inches))
    axes = figure.add_axes((0.02, 0.46 / inches, 0.94, 1 - 0.54 / inches))
    axes.set_ylim(-len(labels) + 0.45, 0.62)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.tick_params(length=0)
    for row, label in enumerate(labels):
        axes.text(0, -row + 0.34, short(label), transform=axes.get_yaxis_transform(), va="center", ha="left")
    return figure, axes


def _value(axes: Axes, row: int, text: str) -> None:
    axes.text(
        1, -row + 0.34, text, transform=axes.get_yaxis_transform(), va="center", ha="right", color=PALETTE["muted"]
    )


def _scale(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if high / low < _LOGARITHMIC_FROM:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
