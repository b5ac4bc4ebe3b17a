from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.onnx import lower
from mobilevit_tools.quantization.onnx import weighted_nodes
from mobilevit_tools.quantization.sensitivity import rank_operators, round_input, round_weight
from tests.quantization.tiny import CONTRACT, MIXED_WEIGHTS, RECIPE, WIDTH, mixed, smooth_pixels, tiny


def test_rounding_a_weight_follows_its_channels() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.25], [1e-3, -1e-3, 4e-4]])
    rounded = round_weight(weight, 8)
    assert (rounded - weight).abs().amax(dim=1).tolist() == pytest.approx([0, 0], abs=1 / 254)
    assert float((rounded - weight)[1].abs().max()) <= 1e-3 / 254
    assert len(round_weight(torch.linspace(-1, 1, 100).view(1, -1), 4).unique()) == 15


def test_rounding_an_input_keeps_zero_and_clips() -> None:
    x = torch.tensor([-3.0, -1.0, 0.0, 0.7, 2.0, 9.0])
    rounded = round_input(x, -1.0, 2.0)
    assert float(rounded[2]) == 0.0
    assert rounded.tolist() == pytest.approx([-1, -1, 0, 0.7, 2, 2], abs=1.5 / 255)


def test_the_operator_with_an_outlier_ranks_first_and_every_one_is_there() -> None:
    net = tiny()
    net.head.weight[:, 0] = 50 * net.head.weight.abs().max()  # one weight takes each row's whole range
    inputs = list(RECIPE.normalize(smooth_pixels(2, seed=1))[:, None])
    ranking = rank_operators(net, inputs, "int8")
    assert {each.weight for each in ranking} == {
        f"{name}.weight" for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    assert [each.error for each in ranking] == sorted((each.error for each in ranking), reverse=True)
    weights_only = rank_operators(net, inputs, "palette4")
    assert weights_only[0].weight == "head.weight"


def test_activations_count_only_where_they_are_quantized() -> None:
    net = tiny()
    inputs = list(RECIPE.normalize(smooth_pixels(2, seed=1))[:, None])
    inputs[0][0, 0, 0, 0] = np.float32(500.0)  # an outlier spreads the levels of the stem's input
    static = {each.weight: each.error for each in rank_operators(net, inputs, "int8")}
    weights = {each.weight: each.error for each in rank_operators(net, inputs, "int8-weight")}
    assert static["stem.weight"] > 20 * weights["stem.weight"]


def test_what_is_quantized_is_ranked_in_whatever_form_it_is_written(tmp_path: Path) -> None:
    net = mixed()
    inputs = list(RECIPE.normalize(smooth_pixels(2, seed=1))[:, None])
    ranking = rank_operators(net, inputs, "int8")
    assert {each.weight for each in ranking} == set(MIXED_WEIGHTS)
    assert all(each.error > 0 for each in ranking)
    lower(net, ExportSpec("onnx"), CONTRACT, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert {weight for _, weight in weighted_nodes(model, net)} == set(MIXED_WEIGHTS)


def test_convolutions_are_not_ranked_where_only_products_are_quantized() -> None:
    inputs = list(RECIPE.normalize(smooth_pixels(2, seed=1))[:, None])
    ranked = {each.weight for each in rank_operators(mixed(), inputs, "dynamic-int8")}
    assert ranked == {weight for weight in MIXED_WEIGHTS if weight.split(".")[0] not in {"stem", "scaled", "along"}}


def test_a_weight_that_two_operators_share_is_ranked_once() -> None:
    net = tiny()
    net.out = nn.Linear(WIDTH, WIDTH).requires_grad_(requires_grad=False)
    net.more = nn.Linear(WIDTH, WIDTH).requires_grad_(requires_grad=False)
    net.more.weight = net.out.weight
    net.head = nn.Sequential(net.more, net.head)
    inputs = list(RECIPE.normalize(smooth_pixels(2, seed=1))[:, None])
    names = [each.weight for each in rank_operators(net, inputs, "int8")]
    assert names.count("out.weight") == 1
    assert set(names) <= dict(net.named_parameters()).keys()
