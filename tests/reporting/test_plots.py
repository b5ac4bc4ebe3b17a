from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.profiling.kinds import Share
from mobilevit_tools.reporting import plots, tradeoff_plots
from mobilevit_tools.reporting.figures import PALETTE, styled
from mobilevit_tools.reporting.groups import group_by_place, published_tradeoffs, tradeoffs
from mobilevit_tools.reporting.intake import read_runs
from mobilevit_tools.targets.registry import DEPLOYMENTS
from tests.reporting.conftest import SAMPLES, Desk, evaluation, manifest, parity, profile


def texts(figure: object) -> list[str]:
    from matplotlib.text import Text

    return [each.get_text() for each in figure.findobj(Text) if each.get_text()]  # type: ignore[attr-defined]


def test_every_sample_is_a_tick_outliers_too(desk: Desk) -> None:
    samples = [*np.linspace(10, 11, 50), 300.0]
    artifact = desk.export(manifest())
    desk.envelope("profile", profile(artifact, samples=samples))
    (group,) = group_by_place(read_runs(desk.runs).artifacts)
    with styled():
        figure = plots.latency_plot(group.measurements)
    (axes,) = figure.axes
    rug = next(line for line in axes.lines if line.get_linewidth() == 0.7)
    drawn = np.unique(np.asarray(rug.get_xdata(), float))
    assert drawn.max() == 300
    assert len(drawn) >= 5
    assert axes.get_xlim()[1] >= 300
    assert axes.get_xscale() == "log"
    assert "10.51 ms" in texts(figure)


def test_latencies_of_a_kind_are_drawn_to_scale(full: Desk) -> None:
    group = next(each for each in group_by_place(read_runs(full.runs).artifacts) if each.place.device == "host")
    with styled():
        figure = plots.latency_plot(group.measurements)
    (axes,) = figure.axes
    assert axes.get_xscale() == "linear"
    intervals = [line for line in axes.lines if line.get_linewidth() == 2.2]
    expected = [each.profile.latency_ms.interval for each in group.measurements if each.profile.latency_ms]
    assert [tuple(line.get_xdata()) for line in intervals] == expected


def test_parity_shows_every_input_and_the_gate(desk: Desk) -> None:
    desk.export(manifest(judged=parity(95.0)))
    with styled():
        figure = plots.parity_plot(read_runs(desk.runs).artifacts)
    (axes,) = figure.axes
    gate = next(line for line in axes.lines if line.get_color() == PALETTE["bad"])
    assert list(gate.get_xdata()) == [80.0, 80.0]
    dots = [x for line in axes.lines if line.get_marker() in "os^" for x in np.atleast_1d(line.get_xdata())]
    assert dots == [95.0, 98.0, 104.0]


def test_time_outside_the_delegate_is_hatched() -> None:
    shares = [Share("Conv", 3.0, 2, delegate=True), Share("elu", 1.0, 4, delegate=False)]
    with styled():
        figure = plots.share_plot(shares, "executorch-xnnpack")
    (axes,) = figure.axes
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [False, True]
    assert {"elu × 4, outside", "1.00 ms  25%"} <= set(texts(figure))
    with styled():
        figure = plots.share_plot([Share("Conv", 3.0, 2, delegate=False)], "onnx")
    assert not any(bar.get_hatch() for bar in figure.axes[0].patches)


def test_the_delegation_map_joins_neighbours(desk: Desk) -> None:
    operators = tuple(OperatorTime("x", "x", 1.0, delegate=inside) for inside in (True, True, False, True))
    artifact = desk.export(manifest(target="executorch", outside={"elu": 1}))
    desk.envelope("profile", profile(artifact, per_op=operators, target="executorch"))
    (group,) = group_by_place(read_runs(desk.runs).artifacts)
    with styled():
        figure = plots.delegation_plot(group.measurements)
    bars = [(bar.get_x(), bar.get_width(), bool(bar.get_hatch())) for bar in figure.axes[0].patches]
    assert bars == [(0.0, 2.0, False), (2.0, 1.0, True), (3.0, 1.0, False)]
    assert "2 calls, 1 outside" in texts(figure)


def test_plots_of_many_artifacts_stay_bounded(desk: Desk) -> None:
    for number in range(plots.MAX_ROWS + 5):
        desk.export(manifest(f"m{number}"), f"place{number}")
    with styled():
        figure = plots.size_plot(read_runs(desk.runs).artifacts)
    assert len(figure.axes[0].patches) == plots.MAX_ROWS


def test_colours_and_markers_belong_to_targets() -> None:
    deployments = (*DEPLOYMENTS, "something else")
    for of in (plots.colour, plots.marker):
        assert len({of(each) for each in deployments}) == len(deployments)


@pytest.mark.parametrize("label", ["short", "x" * 44])
def test_short_labels_are_left_alone(label: str) -> None:
    assert plots.short(label) == label


def test_long_labels_keep_both_ends() -> None:
    label = plots.short("begin" + "x" * 500 + "the end")
    assert len(label) <= 44
    assert label.startswith("begin")
    assert label.endswith("the end")
    assert plots.short("a\nb") == "a b"


def test_a_trade_names_its_place_and_its_points(full: Desk) -> None:
    tradeoff = next(
        each for each in tradeoffs(group_by_place(read_runs(full.runs).artifacts)) if each.place.device == "host"
    )
    with styled():
        figure = tradeoff_plots.tradeoff_plot(tradeoff)
    (axes,) = figure.axes
    medians = {f"{point.cost:.2f} ms" for point in tradeoff.points}
    assert axes.get_xlabel() == "median ms for one inference, host, Some CPU, 1 thread"
    assert {"1  executorch-xnnpack fp32", "2  onnx fp32", *medians} <= set(texts(figure))


def test_of_many_points_the_best_are_named(desk: Desk) -> None:
    for number in range(20):
        artifact = desk.export(manifest(f"m{number:02}"), f"place{number}")
        desk.envelope("profile", profile(artifact, samples=[sample + number for sample in SAMPLES]))
        desk.envelope("eval", evaluation(artifact, 0.9 if number in (4, 7) else 0.5))
    (tradeoff,) = tradeoffs(group_by_place(read_runs(desk.runs).artifacts))
    with styled():
        figure = tradeoff_plots.tradeoff_plot(tradeoff)
    assert [text for text in texts(figure) if "onnx fp32" in text] == ["1  m00 onnx fp32", "2  m04 onnx fp32"]


def test_published_figures_say_so_on_axes_of_their_own() -> None:
    for tradeoff in published_tradeoffs(["care_s0"]):
        with styled():
            figure = tradeoff_plots.published_plot(tradeoff)
        (axes,) = figure.axes
        assert axes.get_xlabel() == f"published ms on {tradeoff.device}"
        assert axes.get_ylabel() == "published top-1 in %, ImageNet-1K"
        assert "PUBLISHED, not measured here" in texts(figure)
        assert all(line.get_markerfacecolor() == "none" for line in axes.lines)
