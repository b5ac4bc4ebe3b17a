from __future__ import annotations

import pytest

from mobilevit_tools.quantization.share import (
    Layer,
    QuantizedShare,
    share_of,
    share_of_strangers,
    too_little,
    with_share,
)
from mobilevit_tools.verification.parity import Parity


def layer(name: str, values: int, macs: int, *, quantized: bool = True, integer: bool = True, kind: str = "") -> Layer:
    return Layer(f"node_{name}", kind or "conv", name, values, macs, quantized, integer)


MIXED = (
    layer("stem", 100, 500),
    layer("body", 600, 300, quantized=False, integer=False),
    layer("shared", 200, 100),
    layer("shared", 200, 0),
    layer("head", 100, 100, quantized=False, integer=False, kind="linear"),
)


def found(*layers: Layer, precision: str = "int8", asked: tuple[str, ...] = ()) -> QuantizedShare:
    share = share_of(layers, precision, asked)
    assert share is not None
    return share


def test_weights_count_once_and_macs_for_every_reader() -> None:
    share = found(*MIXED)
    assert (share.weights, share.macs) == (pytest.approx(0.3), pytest.approx(0.6))
    assert (share.quantized, share.layers) == (3, 5)
    assert [(each.name, each.kind, each.asked) for each in share.floating] == [
        ("body", "conv", False),
        ("head", "linear", False),
    ]
    assert share.floating[0].weights == pytest.approx(0.6)
    assert share.floating[1].macs == pytest.approx(0.1)


def test_a_rounded_weight_with_an_input_in_floating_point_is_no_quantized_work() -> None:
    half = layer("half", 100, 100, integer=False)
    assert (found(half).weights, found(half).macs) == (1.0, 0.0)
    assert (found(half, precision="int8-weight").weights, found(half, precision="int8-weight").macs) == (1.0, 1.0)


def test_too_little_names_the_largest_layers() -> None:
    said = too_little(found(*MIXED), None)
    assert said == (
        "30.0 % of its weights are quantized, below 90 %: body (conv, 60.0%), head (linear, 10.0%) stay in floating "
        "point"
    )
    many = [layer(str(number), 1, 1, quantized=False) for number in range(5)]
    assert "2 (conv, 10.0%) and 2 more stay" in str(too_little(found(layer("done", 5, 5), *many), None))


def test_either_figure_alone_can_be_too_little() -> None:
    work = found(layer("large", 1000, 10), layer("busy", 1, 990, quantized=False))
    assert "1.0 % of its multiply-accumulates are quantized, below 90 %: busy (conv, 99.0%)" in str(
        too_little(work, None)
    )
    assert too_little(found(layer("large", 95, 95), layer("rest", 5, 5, quantized=False)), None) is None


def test_macs_are_no_ground_to_fail_where_only_weights_were_to_be_quantized() -> None:
    layers = (layer("large", 1000, 10, integer=False), layer("busy", 1, 990, quantized=False, integer=False))
    share = found(*layers, precision="palette8")
    assert (share.weights_alone, share.macs) == (True, pytest.approx(0.01))
    assert too_little(share, None) is None
    assert "of its weights are quantized" in str(too_little(found(*MIXED, precision="palette8"), None))


@pytest.mark.parametrize(("least", "fails"), [(None, True), (30.1, True), (30.0, False), (0.0, False)])
def test_the_bar_is_the_users(least: float | None, fails: bool) -> None:
    assert (too_little(found(*MIXED), least) is not None) == fails


def test_what_was_asked_to_stay_counts_for_nothing() -> None:
    share = found(*MIXED, asked=("node_body", "node_head"))
    assert (share.asked_weights, share.asked_macs) == (pytest.approx(0.7), pytest.approx(0.4))
    assert too_little(share, None) is None
    assert "head (linear, 10.0%)" in str(too_little(found(*MIXED, asked=("node_body",)), None))


def test_nothing_at_all_is_too_little_even_where_all_was_asked_to_stay() -> None:
    share = found(layer("a", 10, 10, quantized=False), asked=("node_a",))
    assert "0.0 % of its weights are quantized" in str(too_little(share, None))
    assert too_little(share, 0.0) is None


def test_without_weights_there_is_nothing_to_tell() -> None:
    assert share_of([], "int8") is None
    judged = Parity(status="passed")
    assert with_share(judged, None, None) is judged


def test_the_verdict_fails_and_keeps_its_other_reasons() -> None:
    share = found(*MIXED)
    passed, failed = Parity(status="passed"), Parity(status="failed", reason="cosine 0.5 below 0.95")
    assert with_share(passed, share, None).status == "failed"
    assert str(with_share(failed, share, None).reason).startswith("cosine 0.5 below 0.95; 30.0 % of its weights")
    assert with_share(passed, share, 30.0) == passed


def test_of_others_artifacts_what_is_rounded_tells_the_precision() -> None:
    assert share_of_strangers([layer("a", 1, 1, quantized=False)]) is None
    weights = share_of_strangers([layer("a", 1, 1, integer=False), layer("b", 1, 1, quantized=False, integer=False)])
    assert weights is not None
    assert (weights.weights, weights.macs) == (0.5, 0.5)
    static = share_of_strangers([layer("a", 1, 1, integer=False), layer("b", 1, 1)])
    assert static is not None
    assert (static.weights, static.macs) == (1.0, 0.5)
