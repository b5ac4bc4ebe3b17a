from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchao.quantization.pt2e import qat_utils

from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.executorch import lower
from mobilevit_tools.models.clustr import ClusTR
from mobilevit_tools.quantization._base import plan_quantization
from mobilevit_tools.quantization.executorch import CONVOLUTIONS, LINEAR, asked_to_stay, quantize, read_layers
from mobilevit_tools.rewrites._base import apply
from mobilevit_tools.runtimes.registry import load_session
from tests.quantization.tiny import CONTRACT, RECIPE, SIDE, WIDTH, Tied, calibration, fresh_inputs, snr_db, tiny
from tests.tiers import thorough

INPUTS = fresh_inputs()
EXAMPLE = torch.zeros(1, 3, SIDE, SIDE)


def _expected() -> np.ndarray:
    with torch.no_grad():
        return tiny()(torch.from_numpy(INPUTS)).numpy()


def _quantized(precision: str, **options: object) -> torch.fx.GraphModule:
    photos = calibration() if precision == "int8" else None
    plan = plan_quantization("executorch", precision, photos, **options)  # type: ignore[arg-type]
    assert plan is not None
    module = quantize(tiny(), EXAMPLE, plan)
    assert isinstance(module, torch.fx.GraphModule)
    return module


def _run(module: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return np.concatenate([module(torch.from_numpy(image[None])).numpy() for image in INPUTS])


def _eight_bit_weights(module: nn.Module) -> list[Tensor]:
    return [each for each in module.buffers() if each.dtype == torch.int8 and each.dim() > 1]


@pytest.mark.parametrize("method", ["histogram", "min-max"])
def test_int8_computes_the_model_with_a_scale_per_channel(method: str) -> None:
    module = _quantized("int8", method=method)
    assert snr_db(_expected(), _run(module)) > 30  # per tensor, the depthwise convolution costs 15 dB
    assert len(_eight_bit_weights(module)) == 6


def test_the_artifact_is_small_loads_runs_and_computes_the_model(tmp_path: Path) -> None:
    plan = plan_quantization("executorch", "int8", calibration())
    path = tmp_path / "model.pte"
    lower(tiny(), ExportSpec("executorch", precision="int8"), CONTRACT, path, plan)
    with load_session(path) as session:
        got = np.concatenate([session.run(image[None])[0] for image in INPUTS])
    assert snr_db(_expected(), got) > 30


def test_no_pattern_of_training_is_traced_for_a_norm_that_follows_no_convolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)).eval()
    plan = plan_quantization("executorch", "int8", calibration())
    assert plan is not None
    traced: list[object] = []
    monkeypatch.setattr(qat_utils, "_get_aten_graph_module_for_pattern", lambda *given, **_: traced.append(given))
    module = quantize(net, EXAMPLE, plan)
    assert traced == []
    assert [node for node in module.graph.nodes if node.target is torch.ops.aten.batch_norm.default]
    assert snr_db(net(torch.from_numpy(INPUTS)).detach().numpy(), _run(module)) > 30


def test_kept_operators_keep_their_weights() -> None:
    module = _quantized("int8", keep=("qkv.weight", "depthwise.weight"))
    shapes = [tuple(each.shape) for each in _eight_bit_weights(module)]
    assert len(shapes) == 4
    assert (WIDTH, 1, 3, 3) not in shapes
    assert (3 * WIDTH, WIDTH) not in shapes


def test_dynamic_takes_every_linear_layer_and_leaves_convolutions() -> None:
    module = _quantized("dynamic-int8")
    assert sorted(tuple(each.shape) for each in _eight_bit_weights(module)) == [(10, 32), (32, 32), (96, 32)]
    assert snr_db(_expected(), _run(module)) > 30


class Sliced(nn.Module):
    """Convolutions on slices of a convolution, and a mean as a product with a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 2, stride=2)
        self.left = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.right = nn.Conv2d(8, 8, 1)
        self.register_buffer("mean", torch.full((1, 16), 1 / 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = torch.cat([self.left(x[:, :8]), self.right(x.narrow(1, 8, 8))], dim=1)
        return nn.functional.linear(x.permute(0, 2, 3, 1), self.mean).flatten(1)


@pytest.mark.parametrize("method", ["histogram", thorough("min-max")])
def test_slices_between_quantized_operators_run_inside_the_delegate(tmp_path: Path, method: str) -> None:
    torch.manual_seed(0)
    module = Sliced().eval().requires_grad_(requires_grad=False)
    plan = plan_quantization("executorch", "int8", calibration(), method)
    path = tmp_path / "model.pte"
    lowering = lower(module, ExportSpec("executorch", precision="int8"), CONTRACT, path, plan)
    image = torch.from_numpy(RECIPE.normalize(calibration(1).pixels))
    with load_session(path) as session:
        (got,) = session.run(image.numpy())
    assert snr_db(module(image).numpy(), got) > 25
    assert lowering.delegation is not None
    assert lowering.delegation.calls == 1
    assert not lowering.delegation.outside


def test_products_with_constants_stay_in_floating_point() -> None:
    module = Sliced().eval().requires_grad_(requires_grad=False)
    plan = plan_quantization("executorch", "int8", calibration())
    assert plan is not None
    assert len(_eight_bit_weights(quantize(module, EXAMPLE, plan))) == 2


class Joined(nn.Module):
    """A concatenation of products that a product reads, and one with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)
        self.last = nn.Conv2d(16, 8, 1)
        self.residual = nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(torch.cat([self.left(x), torch.relu(self.right(x))], dim=1))
        return self.residual(torch.cat([y / 2, y], dim=1))


def test_a_concatenation_is_in_8_bits_between_operators_in_8_bits_alone() -> None:
    torch.manual_seed(0)
    plan = plan_quantization("executorch", "int8", calibration())
    assert plan is not None
    quantized = quantize(Joined().eval().requires_grad_(requires_grad=False), EXAMPLE, plan)
    inner, outer = (node for node in quantized.graph.nodes if node.target is torch.ops.aten.cat.default)
    assert all("dequantize" in str(each.target) for each in inner.all_input_nodes)
    assert "div" in str(outer.all_input_nodes[0].target)


class Between(nn.Module):
    """Depthwise convolutions: between products, before one, behind one, and between what is in floating point."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.between, self.behind, self.alone, self.before = (nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(4))
        self.middle = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(nn.functional.hardswish(self.between(nn.functional.gelu(self.stem(x)))))
        x = self.alone(self.behind(x) / 2) / 2
        return self.last(self.before(x))


def test_a_depthwise_convolution_is_in_8_bits_between_operators_in_8_bits_alone() -> None:
    torch.manual_seed(0)
    plan = plan_quantization("executorch", "int8", calibration())
    assert plan is not None
    quantized = quantize(Between().eval().requires_grad_(requires_grad=False), EXAMPLE, plan)
    layers = read_layers(quantized)
    names = {layer.operator: layer.weight for layer in layers}
    assert {layer.weight for layer in layers if layer.quantized} == {
        "stem.weight",
        "between.weight",
        "middle.weight",
        "last.weight",
    }
    assert {names[each] for each in asked_to_stay(quantized, plan)} == {
        "behind.weight",
        "alone.weight",
        "before.weight",
    }


@pytest.mark.parametrize("arithmetic", [False, True])
def test_arithmetic_on_indices_stays_in_integers(arithmetic: bool) -> None:
    torch.manual_seed(0)
    model = ClusTR((8, 8, 8, 8), (1, 1, 1, 1), (1, 1, 1, 1), num_classes=4).eval()
    example = torch.randn(1, 3, 64, 64)
    names = ["cluster_arithmetic"] if arithmetic else []
    rewritten = apply(model, example, deployment="executorch-xnnpack", names=names).module
    plan = plan_quantization("executorch", "dynamic-int8", None)
    assert plan is not None
    quantized = quantize(rewritten, example, plan)  # runs the model on its way
    with torch.no_grad():
        assert snr_db(model(example).numpy(), quantized(example).numpy()) > 10


class Rectified(nn.Module):
    """Convolutions and linear layers whose result goes through ReLU, in every way that people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.same = nn.Conv2d(8, 8, 3, padding="same")
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.twice = nn.Conv2d(8, 8, 1)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.same(self.stem(x)))
        x = torch.relu_(self.depthwise(x))
        before = self.twice(x)
        x = torch.relu(before) + before  # the convolution has a second reader
        x = torch.relu(self.twice(x))  # and is called twice
        return torch.relu(self.head(torch.relu(self.hidden(x.mean(dim=(2, 3))))))


def test_no_operator_before_a_relu_stays_in_floating_point() -> None:
    torch.manual_seed(0)
    module = Rectified().eval().requires_grad_(requires_grad=False)
    plan = plan_quantization("executorch", "int8", calibration())
    assert plan is not None
    quantized = quantize(module, EXAMPLE, plan)
    assert isinstance(quantized, torch.fx.GraphModule)
    weighted = [node for node in quantized.graph.nodes if node.target in CONVOLUTIONS | LINEAR]
    assert len(weighted) == 7
    assert [node.name for node in weighted if node.args[1].op == "get_attr"] == []
    assert snr_db(module(torch.from_numpy(INPUTS[:1])).numpy(), quantized(torch.from_numpy(INPUTS[:1])).numpy()) > 20


def test_a_kept_operator_before_a_relu_stays_in_floating_point() -> None:
    module = Rectified().eval().requires_grad_(requires_grad=False)
    plan = plan_quantization("executorch", "int8", calibration(), keep=("hidden.weight", "same.weight"))
    assert plan is not None
    shapes = [tuple(each.shape) for each in _eight_bit_weights(quantize(module, EXAMPLE, plan))]
    assert set(shapes) == {(8, 3, 2, 2), (8, 8, 1, 1), (8, 8)}  # the depthwise one reads what a kept one leaves
    assert shapes.count((8, 8)) == 1


class Along(nn.Module):
    """Convolutions of one dimension, and biases that are computed from weights and from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, stride=2)
        self.along = nn.Conv1d(8, 8, 3, padding=1)
        self.same = nn.Conv1d(8, 8, 3, padding="same", bias=False)
        self.up = nn.ConvTranspose1d(8, 8, 2, stride=2)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.same(torch.relu(self.along(self.stem(x).flatten(2))))).mean(-1)
        x = nn.functional.linear(x, self.hidden.weight, self.hidden.bias * 2)
        return nn.functional.linear(x, self.head.weight, x[0, :4])


def test_layers_are_told_with_what_is_quantized_of_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Along().eval().requires_grad_(requires_grad=False)
    plan = plan_quantization("executorch", "int8", calibration(), keep=("stem.weight",))
    path = tmp_path / "model.pte"
    lowering = lower(module, ExportSpec("executorch", precision="int8"), CONTRACT, path, plan)
    done = {layer.weight: layer.quantized and layer.integer for layer in lowering.layers}
    assert done == {
        "stem.weight": False,
        "along.weight": True,
        "same.weight": True,
        "up.weight": False,
        "hidden.weight": False,  # XNNPACK takes no bias that is computed
        "head.weight": False,
    }
    (kept,) = (layer for layer in lowering.layers if layer.operator in lowering.asked)
    assert (kept.weight, kept.values, kept.macs) == ("stem.weight", 96, 96 * (SIDE // 2) ** 2)
    image = torch.from_numpy(RECIPE.normalize(calibration(1).pixels))
    with load_session(path) as session:
        (got,) = session.run(image.numpy())
    assert snr_db(module(image).numpy(), got) > 20


class Gated(nn.Module):
    """Activations, padding, and gates that multiply a quantized value with one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, stride=2)
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(4))
        self.squeeze = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.stem(x))
        x = nn.functional.silu(self.layers[0](x))
        x = nn.functional.max_pool2d(nn.functional.pad(self.layers[1](x), (1, 1, 1, 1)), 2)
        x = x * nn.functional.hardsigmoid(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))
        x = nn.functional.relu(self.layers[2](nn.functional.pad(x, (1, 0, 1, 0))))
        x = self.layers[3](x * torch.sigmoid(x))
        return x.flatten(1)


def test_products_of_quantized_and_other_values_run(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Gated().eval().requires_grad_(requires_grad=False)
    plan = plan_quantization("executorch", "int8", calibration())
    path = tmp_path / "model.pte"
    lower(module, ExportSpec("executorch", precision="int8"), CONTRACT, path, plan)
    image = torch.from_numpy(RECIPE.normalize(calibration(1).pixels))
    with load_session(path) as session:
        (got,) = session.run(image.numpy())
    assert snr_db(module(image).numpy(), got) > 20


@pytest.mark.parametrize(("keep", "done"), [((), [True] * 4), (("first.weight", "hidden.weight"), [False] * 4)])
def test_layers_that_share_a_weight_are_quantized_or_kept_together(keep: tuple[str, ...], done: list[bool]) -> None:
    torch.manual_seed(0)
    plan = plan_quantization("executorch", "int8", calibration(2), keep=keep)
    assert plan is not None
    module = quantize(Tied().eval(), EXAMPLE, plan)
    layers = read_layers(module)
    assert [layer.weight for layer in layers] == ["first.weight"] * 2 + ["hidden.weight"] * 2
    assert [layer.quantized and layer.integer for layer in layers] == done
    assert len(asked_to_stay(module, plan)) == done.count(False)


class Stacked(nn.Module):
    """A matrix of its own for each token, which no layer is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, SIDE // 2, SIDE // 2)
        self.stacks = nn.Parameter(torch.randn(4, 4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bcn,nco->bno", self.stem(x).flatten(2), self.stacks).mean(1)


def test_products_with_weights_that_are_not_quantized_are_told() -> None:
    plan = plan_quantization("executorch", "int8", calibration(2))
    assert plan is not None
    module = quantize(Stacked().eval(), EXAMPLE, plan)
    stem, stacks = read_layers(module)
    assert (stem.weight, stem.quantized) == ("stem.weight", True)
    assert (stacks.weight, stacks.values, stacks.macs, stacks.quantized) == ("stacks", 80, 80, False)
    assert asked_to_stay(module, plan) == ()
