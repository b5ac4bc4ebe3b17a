"""Accuracy against latency and size: what was measured, and, on axes of their own, what others published."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

from mobilevit_tools.reporting.figures import PALETTE
from mobilevit_tools.reporting.groups import PublishedTradeoff, Tradeoff, TradeoffPoint
from mobilevit_tools.reporting.plots import MAX_ROWS, WIDTH, colour, marker, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 3.6
_LARGEST = 17.0
_SMALLEST = 5.0
_KEY_HEIGHT = 0.19
_FEW = 12
_CORNERS = ((1, 1), (-1, 1), (1, -1), (-1, -1))


def tradeoff_plot(tradeoff: Tradeoff) -> Figure:
    """Draw accuracy against latency (or instructions), sizes as areas, the best ones joined by a line."""
    named = _named(tradeoff.points)
    figure, axes = _axes(len(named))
    largest = max(point.size_bytes for point in tradeoff.points) or 1
    best = sorted((point for point in tradeoff.points if point.optimal), key=lambda point: point.cost)
    axes.plot(
        [point.cost for point in best],
        [100 * point.score.value for point in best],
        color=PALETTE["muted"],
        linewidth=1,
        linestyle=(0, (4, 3)),
        zorder=1,
    )
    for point in tradeoff.points:
        _draw(axes, point, _diameter(point.size_bytes, largest))
    axes.margins(0.16, 0.18)
    unit = "million instructions" if tradeoff.place.emulated else "median ms"
    axes.set_xlabel(f"{unit} for one inference, {short(tradeoff.place.title)}")
    axes.set_ylabel(f"{tradeoff.figure} in %")
    _write_key(figure, axes, named, "M" if tradeoff.place.emulated else "ms")
    return figure


def _named(points: Sequence[TradeoffPoint]) -> Sequence[TradeoffPoint]:
    """Return the points that are numbered: all of a few, of many the best ones."""
    return points if len(points) <= _FEW else [point for point in points if point.optimal][:MAX_ROWS]


def _write_key(figure: Figure, axes: Axes, points: Sequence[TradeoffPoint], unit: str) -> None:
    """Number the points, each number in another direction than the one before, and say below what they are."""
    height = figure.get_figheight()
    for number, point in enumerate(points, start=1):
        right, up = _CORNERS[number % len(_CORNERS)]
        axes.annotate(
            str(number),
            (point.cost, 100 * point.score.value),
            xytext=(right * _LARGEST / 1.7, up * _LARGEST / 1.7),
            textcoords="offset points",
            ha="center",
            va="center",
            fontweight="bold",
            zorder=4,
        )
        line = (_KEY_HEIGHT * (len(points) - number) + 0.08) / height
        figure.text(0.02, line, f"{number}  {short(point.label)}")
        figure.text(0.98, line, f"{point.cost:.2f} {unit}", ha="right", color=PALETTE["muted"])


def _draw(axes: Axes, point: TradeoffPoint, diameter: float) -> None:
    paint = colour(point.artifact.deployment)
    value = point.score.value
    low, high = point.score.interval or (value, value)
    spread = point.cost_interval or (point.cost, point.cost)
    axes.errorbar(
        [point.cost],
        [100 * value],
        xerr=[[max(0.0, point.cost - spread[0])], [max(0.0, spread[1] - point.cost)]],
        yerr=[[max(0.0, 100 * (value - low))], [max(0.0, 100 * (high - value))]],
        color=paint,
        linewidth=1,
        zorder=2,
    )
    axes.plot(
        [point.cost],
        [100 * value],
        marker(point.artifact.deployment),
        markersize=diameter,
        markerfacecolor=paint if point.optimal else PALETTE["surface"],
        markeredgecolor=paint,
        markeredgewidth=1.6,
        alpha=0.9,
        zorder=3,
    )


def published_plot(tradeoff: PublishedTradeoff) -> Figure:
    """Draw what others published, so that nobody takes it for a measurement: hatched ground, hollow marks."""
    figure, axes = _axes()
    axes.fill_between(
        [0, 1],
        [0, 0],
        [1, 1],
        transform=axes.transAxes,
        facecolor=PALETTE["tint"],
        edgecolor=PALETTE["line"],
        hatch="///",
        linewidth=0,
        zorder=0,
    )
    largest = max(card.published.params_m or 0.0 for card in tradeoff.cards) or 1.0
    places = [(card.published.latency_ms[tradeoff.device], card.published.top1 or 0.0) for card in tradeoff.cards]
    for card, (latency, top1) in zip(tradeoff.cards, places, strict=True):
        axes.plot(
            [latency],
            [top1],
            "D",
            markersize=_diameter(card.published.params_m or 0.0, largest),
            markerfacecolor="none",
            markeredgecolor=PALETTE["ink"] if card.name in tradeoff.ours else PALETTE["muted"],
            markeredgewidth=2 if card.name in tradeoff.ours else 1.2,
        )
    axes.margins(0.2, 0.24)
    axes.text(0.02, 0.97, "PUBLISHED, not measured here", transform=axes.transAxes, va="top", weight="bold")
    axes.set_xlabel(f"published ms on {short(tradeoff.device)}")
    axes.set_ylabel("published top-1 in %, ImageNet-1K")
    middle = (max(latency for latency, _ in places) + min(latency for latency, _ in places)) / 2
    for card, place in zip(tradeoff.cards, places, strict=True):
        right = 1 if place[0] <= middle else -1
        axes.annotate(
            card.name,
            place,
            xytext=(right * _LARGEST / 1.4, 0),
            textcoords="offset points",
            ha="left" if right > 0 else "right",
            va="center",
        )
    return figure


def _axes(keys: int = 0) -> tuple[Figure, Axes]:
    """Return axes with room for as many lines below them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    inches = _HEIGHT + _KEY_HEIGHT * keys
    figure = Figure(figsize=(WIDTH, inches))
    below = (0.55 + _KEY_HEIGHT * keys) / inches
    axes = figure.add_axes((0.11, below, 0.84, 1 - below - 0.1 / inches))
    axes.grid()
    axes.tick_params(length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure, axes


def _diameter(amount: float, largest: float) -> float:
    """Return a marker's diameter whose area follows the amount."""
    return max(_SMALLEST, _LARGEST * sqrt(amount / largest))
