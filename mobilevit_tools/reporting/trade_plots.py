"""Accuracy against latency and size: what was measured, and, on axes of their own, what others published."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

from mobilevit_tools.reporting.figures import PALETTE
from mobilevit_tools.reporting.groups import PublishedTrade, Trade, TradePoint
from mobilevit_tools.reporting.plots import WIDTH, colour, marker, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 3.6
_LARGEST = 17.0
_SMALLEST = 5.0
_OFFSETS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


def trade_plot(trade: Trade) -> Figure:
    """Draw accuracy against latency (or instructions), sizes as areas, the best ones joined by a line."""
    figure, axes = _axes()
    largest = max(point.size_bytes for point in trade.points)
    best = sorted((point for point in trade.points if point.optimal), key=lambda point: point.cost)
    axes.plot(
        [point.cost for point in best],
        [100 * point.evaluation.top1 for point in best],
        color=PALETTE["muted"],
        linewidth=1,
        linestyle=(0, (4, 3)),
        zorder=1,
    )
    for point in trade.points:
        _draw(axes, point, _diameter(point.size_bytes, largest))
    axes.margins(0.16, 0.18)
    unit = "million instructions" if trade.place.emulated else "median ms"
    axes.set_xlabel(f"{unit} for one inference, {short(trade.place.title)}")
    axes.set_ylabel("top-1 in %")
    _name(
        axes,
        [(point.cost, 100 * point.evaluation.top1) for point in trade.points],
        [point.label for point in trade.points],
    )
    return figure


def _draw(axes: Axes, point: TradePoint, diameter: float) -> None:
    paint = colour(point.artifact.deployment)
    low, high = point.evaluation.interval
    top1 = point.evaluation.top1
    spread = point.cost_interval or (point.cost, point.cost)
    axes.errorbar(
        [point.cost],
        [100 * top1],
        xerr=[[max(0.0, point.cost - spread[0])], [max(0.0, spread[1] - point.cost)]],
        yerr=[[max(0.0, 100 * (top1 - low))], [max(0.0, 100 * (high - top1))]],
        color=paint,
        linewidth=1,
        zorder=2,
    )
    axes.plot(
        [point.cost],
        [100 * top1],
        marker(point.artifact.deployment),
        markersize=diameter,
        markerfacecolor=paint if point.optimal else PALETTE["surface"],
        markeredgecolor=paint,
        markeredgewidth=1.6,
        alpha=0.9,
        zorder=3,
    )


def published_plot(trade: PublishedTrade) -> Figure:
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
    largest = max(card.published.params_m or 0.0 for card in trade.cards) or 1.0
    places = [(card.published.latency_ms[trade.device], card.published.top1 or 0.0) for card in trade.cards]
    for card, (latency, top1) in zip(trade.cards, places, strict=True):
        axes.plot(
            [latency],
            [top1],
            "D",
            markersize=_diameter(card.published.params_m or 0.0, largest),
            markerfacecolor="none",
            markeredgecolor=PALETTE["ink"] if card.name in trade.ours else PALETTE["muted"],
            markeredgewidth=2 if card.name in trade.ours else 1.2,
        )
    axes.margins(0.2, 0.24)
    axes.text(
        0.02, 0.97, "PUBLISHED, not measured here", transform=axes.transAxes, va="top", weight="bold", fontsize=9.5
    )
    axes.set_xlabel(f"published ms on {short(trade.device)}")
    axes.set_ylabel("published top-1 in %, ImageNet-1K")
    _name(axes, places, [card.name for card in trade.cards])
    return figure


def _axes() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, _HEIGHT))
    axes = figure.add_axes((0.11, 0.14, 0.87, 0.83))
    axes.grid()
    axes.tick_params(length=0)
    return figure, axes


def _diameter(amount: float, largest: float) -> float:
    """Return a marker's diameter whose area follows the amount."""
    return max(_SMALLEST, _LARGEST * sqrt(amount / largest))


def _name(axes: Axes, places: Sequence[tuple[float, float]], labels: Sequence[str]) -> None:
    """Write each label beside its point, where it covers no other label and no other point if there is such a place."""
    from matplotlib.transforms import Bbox

    frame = axes.get_window_extent()
    points = [axes.transData.transform(place) for place in places]
    gap = axes.figure.dpi * _LARGEST / 2 / 72
    taken = [Bbox.from_bounds(x - gap / 2, y - gap / 2, gap, gap) for x, y in points]
    for place, label in zip(places, labels, strict=True):
        best = None
        for right, up in _OFFSETS:
            text = axes.annotate(
                short(label),
                place,
                xytext=(right * (_LARGEST / 2 + 2), up * (_LARGEST / 2 + 2)),
                textcoords="offset points",
                ha={1: "left", 0: "center", -1: "right"}[right],
                va={1: "bottom", 0: "center", -1: "top"}[up],
                fontsize=9,
                zorder=4,
            )
            box = text.get_window_extent()
            outside = not (frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)
            clashes = sum(box.overlaps(other) for other in taken) + 4 * outside
            if best is None or clashes < best[0]:
                if best is not None:
                    best[1].remove()
                best = (clashes, text, box)
            else:
                text.remove()
        if best is not None:
            taken.append(best[2])
