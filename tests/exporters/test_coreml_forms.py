"""What coremltools drops or lacks comes out as torch computes it; what it cannot convert is named with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.coreml import lower
from mobilevit_tools.exporters.refusals import naming_refusals
from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.targets.coreml import CoremlOptions

SIDE = 16
RECIPE = Preprocessing(input_size=(SIDE, SIDE))
MAPS = Contract(model="maps", preprocessing=RECIPE, output="features")
FLOOR_DB = 100
INSTANCE = nn.InstanceNorm2d(3, affine=True, track_running_stats=True).eval()
TABLE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def _swapped(x: Tensor) -> Tensor:
    x[:, [0, 2]] = x[:, [2, 0]]
    return x


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    # Dropped in silence by coremltools 9.0, with what came out in decibels.
    "tanh gelu, 74": lambda x: F.gelu(x, approximate="tanh"),
    "alpha of add, 10": lambda x: torch.add(x, x.relu(), alpha=2),
    "alpha of sub, 1": lambda x: torch.sub(x, x.relu(), alpha=3),
    "alpha of rsub, 2": lambda x: torch.rsub(x, x.relu(), alpha=3),
    "threshold of softplus, 24": lambda x: F.softplus(x, beta=2, threshold=1),
    "running statistics, 5": INSTANCE,
    "std, 64": lambda x: x.std() * x,
    "var, 58": lambda x: x.var() * x,
    "small divisors, -10": lambda x: 1 / (x * 1e-3),
    "antialiasing, -3": lambda x: F.interpolate(x, size=(7, 9), mode="bilinear", antialias=True),
    "nearest, 7": lambda x: F.interpolate(x, scale_factor=1.7, mode="nearest"),
    "ceil, 13": lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "ceil and padding, 18": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "ceil in 1-D, 42": lambda x: F.avg_pool1d(x.flatten(2), 5, 4, ceil_mode=True),
    # Refused by it.
    "argmax of all": lambda x: x + x.argmax(),
    "addcmul": lambda x: torch.addcmul(x, x.relu(), x, value=0.3),
    "addcdiv": lambda x: torch.addcdiv(x, x.relu(), x.abs() + 1, value=0.3),
    "celu": lambda x: F.celu(x, 0.7),
    "log sigmoid": lambda x: F.logsigmoid(x * 20),
    "var_mean": lambda x: torch.var_mean(x, 1)[0],
    "bicubic": lambda x: F.interpolate(x, size=(23, 29), mode="bicubic"),
    "table": lambda x: x + F.interpolate(TABLE, size=(SIDE, SIDE), mode="bicubic"),
    "bilinear by 1.7": lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "divisor": lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=4),
    "dilated": lambda x: F.max_pool2d(x, 3, 2, 1, dilation=2),
    "dilated in 1-D": lambda x: F.max_pool1d(x.flatten(2), 3, 2, 1, dilation=2),
    "integer bounds": lambda x: F.hardtanh(3 * x, -1, 2),
    "swapped": lambda x: _swapped(x.clone()),
    "circular": lambda x: F.pad(x, (1, 2, 3, 4), mode="circular"),
    "reflect": lambda x: F.pad(x[None], (1, 2, 3, 4, 1, 1), mode="reflect")[0],
    "replicate": lambda x: F.pad(x[None], (1, 2, 3, 4, 1, 1), mode="replicate")[0],
    "crop": lambda x: F.pad(x, (-1, 2, 3, -1), value=0.5),
    "ellipsis": lambda x: torch.einsum("...ij,...kj->...ik", x, x),
    "rms norm": lambda x: F.rms_norm(x, (SIDE,)),
    "six axes": lambda x: x.reshape(1, 3, 4, 4, 4, 4).mean((3, 5)) + x.reshape(1, 3, 4, 4, 4, 4).amax((-1, -3)),
    "seven axes": lambda x: x.reshape(1, 3, 4, 2, 2, 4, 4).sum((3, 6), keepdim=True).flatten(2),
    "vector": lambda x: F.linear(x, x[0, 0, 0], x.mean()) + F.linear(x, TABLE[0, 0, 0, :1].expand(SIDE)),
    "windows of windows": lambda x: (
        x.reshape(3, 4, 4, 4, 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(24, 2, 2, 2, 4).permute(0, 2, 1, 3, 4)
    ),
    "parts of six axes": lambda x: x.reshape(4, 4, 2, 3, 2, 4).permute(3, 0, 4, 2, 1, 5).unbind(0)[1],
    "cosine": lambda x: F.cosine_similarity(x, x.flip(2)),
    "lists": lambda x: x[:, [0, 2], :, [3, -1]],
    "gather": lambda x: x.gather(1, torch.zeros(1, 1, SIDE, SIDE, dtype=torch.long)),
    "hard shrink": F.hardshrink,
    # Refused by it where torch leaves out an argument.
    "side by side": lambda x: F.max_pool2d(x, 2),
    "side by side in 1-D": lambda x: F.max_pool1d(x.flatten(2), 3),
    "side by side in 3-D": lambda x: F.max_pool3d(x[None], (1, 2, 4))[0],
    "with places": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "rolled flat": lambda x: x.roll(5),
    # One value by several names.
    "once": torch.sigmoid,
    "twice": torch.sigmoid,
}


class Calls(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what every call gives, the input, and one value three times."""
        exponential = x.exp()
        return [*(call(x) for call in CALLS.values()), x, exponential, exponential.clone(), exponential]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tensor, np.ndarray]]:
    """Every output of one package beside torch's in float64."""
    torch.manual_seed(0)
    INSTANCE.running_mean.uniform_(-1, 1)
    INSTANCE.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    path = tmp_path_factory.mktemp("calls") / "model.mlpackage"
    lower(Calls().eval(), ExportSpec("coreml", options=CoremlOptions(True, "iOS17")), MAPS, path)
    with torch.no_grad(), open_session(path) as session:
        expected, got = Calls()(x), session.run(x.numpy())
    names = [*CALLS, "input", "first name", "copy", "second name"]
    return dict(zip(names, zip(expected, got, strict=True), strict=True))


@pytest.mark.parametrize("name", [*CALLS, "input", "first name", "copy", "second name"])
def test_packages_compute_what_torch_computes(results: dict[str, tuple[Tensor, np.ndarray]], name: str) -> None:
    expected, got = results[name]
    assert expected.shape == got.shape
    error = float(((expected.double() - torch.from_numpy(got).double()) ** 2).sum())
    assert 10 * np.log10(float((expected.double() ** 2).sum()) / max(error, 1e-30)) > FLOOR_DB


def test_an_image_input_costs_no_accuracy(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    contract = Contract(model="net", preprocessing=RECIPE, input="image")
    lower(net.eval(), ExportSpec("coreml"), contract, tmp_path / "net.mlpackage")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, SIDE, SIDE)).astype(np.uint8)
    with torch.no_grad(), open_session(tmp_path / "net.mlpackage") as session:
        expected = net.double()(torch.from_numpy(RECIPE.normalize(pixels)).double())
        got = torch.from_numpy(session.run(pixels)[0])
    # A batch norm with an epsilon in the place of scale and offset leaves 85 dB at best.
    assert float(10 * torch.log10((expected**2).sum() / ((expected - got) ** 2).sum())) > FLOOR_DB


def test_an_operator_without_a_form_is_named_with_its_line(tmp_path: Path) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.median(1).values

    refused = r"to coreml-fp32: .*aten\.median\.dim.*test_coreml_forms\.py, line \d+"
    spec, net = ExportSpec("coreml"), Net().eval()
    with pytest.raises(BadInputError, match=refused), naming_refusals(MAPS, spec, net):
        lower(net, spec, MAPS, tmp_path / "net.mlpackage")


def test_an_operator_on_six_axes_that_has_no_form_is_named_with_its_line(tmp_path: Path) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.reshape(1, 3, 2, -1, 2, x.shape[3] // 2)
            return torch.einsum("abcdef,abcgef->abcdgf", y.relu(), y).flatten(1)

    refused = r"at most 5 axes, and aten\.einsum\.default has 6.*test_coreml_forms\.py, line \d+: return torch\.einsum"
    spec, net = ExportSpec("coreml"), Net().eval()
    with pytest.raises(BadInputError, match=refused), naming_refusals(MAPS, spec, net):
        lower(net, spec, MAPS, tmp_path / "net.mlpackage")


def test_what_the_converter_itself_refuses_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(1).sin()

    def refuse(*_: object) -> None:
        raise ValueError("inputs have ranks that differ")

    monkeypatch.setitem(_TORCH_OPS_REGISTRY.name_to_func_mapping, "sin", refuse)
    refused = r"to coreml-fp32: Core ML does not support the operator aten\.sin.*ranks that differ.*return x\.mean"
    spec, net = ExportSpec("coreml"), Net().eval()
    with pytest.raises(BadInputError, match=refused), naming_refusals(MAPS, spec, net):
        lower(net, spec, MAPS, tmp_path / "net.mlpackage")
