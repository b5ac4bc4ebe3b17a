"""What ExecuTorch's quantizer meets between the layers of a traced program: vectors, aliases, gathered constants."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mobilevit_tools.exporters._base import ExportSpec, Lowering
from mobilevit_tools.exporters.executorch import lower
from mobilevit_tools.quantization._base import plan_quantization
from mobilevit_tools.runtimes.registry import load_session
from tests.quantization.tiny import CONTRACT, RECIPE, calibration, snr_db
from tests.tiers import thorough


def _lowered(module: nn.Module, path: Path) -> Lowering:
    plan = plan_quantization("executorch", "int8", calibration())
    return lower(
        module.eval().requires_grad_(requires_grad=False),
        ExportSpec("executorch", precision="int8"),
        CONTRACT,
        path,
        plan,
    )


def _decibels(module: nn.Module, path: Path) -> float:
    image = torch.from_numpy(RECIPE.normalize(calibration(1).pixels))
    with load_session(path) as session:
        (got,) = session.run(image.numpy())
    return snr_db(module(image).numpy(), got)


class Weighed(nn.Module):
    """A layer whose weight is a vector, between two whose weights are matrices."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.vector = nn.Parameter(torch.randn(8))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        return self.head(nn.functional.linear(tokens, self.vector).relu())


def test_a_layer_with_a_vector_stays_in_floating_point_and_runs(tmp_path: Path) -> None:
    module, path = Weighed(), tmp_path / "model.pte"
    made = _lowered(module, path)
    assert [layer.weight for layer in made.layers if not layer.quantized] == ["vector"]
    assert _decibels(module, path) > 20


class Whole(nn.Module):
    """Slices of whole axes, which are traced as aliases, before slices, sums and layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](self.stem(x)[:, :8])
        x = self.layers[1](torch.cat([x[:, :, :8][:, 2:6], x[:, :4]], dim=1))
        return self.layers[2](x.detach() + x).flatten(1)


def test_slices_of_whole_axes_are_nothing(tmp_path: Path) -> None:
    module, path = Whole(), tmp_path / "model.pte"
    made = _lowered(module, path)
    assert made.delegation is not None
    assert (made.delegation.calls, dict(made.delegation.outside)) == (1, {})
    assert _decibels(module, path) > 20


class Biased(nn.Module):
    """Tokens with a table of biases that is gathered in every call, between quantized layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.table = nn.Parameter(torch.randn(8, 7))
        self.register_buffer("places", torch.arange(16) % 7)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.stem(x).flatten(2) + self.table[:, self.places]).relu())


def test_what_is_computed_from_weights_alone_is_stored(tmp_path: Path) -> None:
    made = _lowered(Biased(), tmp_path / "model.pte")
    assert made.delegation is not None
    assert (made.delegation.calls, dict(made.delegation.outside)) == (1, {})
    assert all(layer.quantized for layer in made.layers)


class Dense(nn.Module):
    """As DenseNet: each layer reads all features before it, the first of a block those of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.layers = nn.ModuleList(nn.Conv2d(8 + 4 * place, 4, 3, padding=1) for place in range(7))

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x).relu()]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)).relu())
        return torch.cat(features, 1).flatten(1)


def test_the_concatenation_of_one_tensor_cuts_no_delegate(tmp_path: Path) -> None:
    module, path = Dense(), tmp_path / "model.pte"
    made = _lowered(module, path)
    assert made.delegation is not None
    assert (made.delegation.calls, dict(made.delegation.outside)) == (1, {})
    assert _decibels(module, path) > 20
    made = lower(module.eval(), ExportSpec("executorch", backend="xnnpack"), CONTRACT, tmp_path / "fp32.pte")
    assert made.delegation is not None
    assert (made.delegation.calls, dict(made.delegation.outside)) == (1, {})


class Turned(nn.Module):
    """ConvNeXt V2's block: a layer over the last axis, a norm of responses, and a residual around both."""

    def __init__(self, *, turned: bool, responses: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.turned, self.responses = turned, responses
        self.stem, self.layer, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.stem(x)
        y = self.layer(maps.permute(0, 2, 3, 1))
        if self.responses:
            norm = y.norm(dim=(1, 2), keepdim=True)
            y = y + y * (norm / (norm.mean(-1, keepdim=True) + 1e-6))
        if self.turned:
            return self.head((y.permute(0, 3, 1, 2) + maps).mean((2, 3)))
        return self.head((y + maps.permute(0, 2, 3, 1)).mean((1, 2)))


@pytest.mark.parametrize(("turned", "responses"), [(True, True), thorough(True, False), thorough(False, False)])
def test_residuals_around_layers_over_the_last_axis_run_in_one_call(
    turned: bool, responses: bool, tmp_path: Path
) -> None:
    module, path = Turned(turned=turned, responses=responses), tmp_path / "model.pte"
    made = _lowered(module, path)
    assert made.delegation is not None
    assert (made.delegation.calls, made.delegation.outside) == (1, {})
    assert _decibels(module, path) > 20


class Chosen(nn.Module):
    """A residual around what no delegate takes, which reads the map as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = x + x.flatten(2).amax(2).argmax(1).reshape(1, 1, 1, 1) * 0.01
        result: Tensor = self.head((x + y).mean((2, 3)))
        return result


def test_a_map_that_is_also_reshaped_lowers_and_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = Chosen().eval(), tmp_path / "model.pte"
    _lowered(module, path)
    assert _decibels(module, path) > 20


class Pooled(nn.Module):
    """Max pooling between layers in 8 bits, as in ResNets: the pooled values fill less of a range of their own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 5)
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        pooled = nn.functional.max_pool2d(self.stem(x).relu(), 3, 2, 1)
        return self.head((self.layers[0](pooled).relu() + self.layers[1](pooled)).mean((2, 3)))


def test_max_pooling_in_8_bits_runs(tmp_path: Path) -> None:
    module, path = Pooled(), tmp_path / "model.pte"
    made = _lowered(module, path)
    assert made.delegation is not None
    assert (made.delegation.calls, made.delegation.outside) == (1, {})
    assert _decibels(module, path) > 20
