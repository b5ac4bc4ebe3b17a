from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobilevit_tools.errors import BadInputError, GateError, UsageError
from mobilevit_tools.models.care import care_s0
from mobilevit_tools.rewrites import batch_norm_backward, batch_norm_forward
from mobilevit_tools.rewrites._base import apply
from mobilevit_tools.rewrites.registry import REWRITES, default_rewrites
from mobilevit_tools.targets.registry import DEPLOYMENTS
from tests.rewrites.seeded import image, seeded, small_care


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
@pytest.mark.parametrize("features_only", [False, True])
def test_default_set_computes_the_model(deployment, features_only):
    model = small_care(features_only=features_only)
    result = apply(model, image(), deployment=deployment)
    assert result.difference < 1e-12
    assert {rewrite.name for rewrite in result.applied} <= set(default_rewrites(deployment, "fp32"))
    assert result.module.feature_channels == model.feature_channels


def test_given_model_stays_as_it_is():
    model = small_care().float()
    before = copy.deepcopy(model.state_dict())
    result = apply(model, image().float(), deployment="executorch-xnnpack")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())
    assert {tensor.dtype for tensor in result.module.state_dict().values()} == {torch.float32}
    expected, actual = model(image().float()), result.module(image().float())
    assert float((actual - expected).abs().max() / expected.abs().max()) < 1e-5


def test_each_rewrite_alone_and_all_together():
    for names in [*([name] for name in REWRITES), list(REWRITES)]:
        assert apply(small_care(), image(), deployment="onnx", names=names).difference < 1e-12


def test_no_rewrites_leave_the_model():
    assert apply(small_care(), image(), deployment="onnx", names=[]).applied == ()


def test_parameters_of_s0():
    model = seeded(care_s0()).float()
    result = apply(model, image(64, 64, batch=1).float(), deployment="executorch-xnnpack")
    assert sum(parameter.numel() for parameter in result.module.parameters()) <= 6_310_000
    saved = {rewrite.name: rewrite.saved_params for rewrite in result.applied}
    assert saved["merged_heads"] > 1_000_000
    assert saved["batch_norm_forward"] > 0


def test_wrong_rewrite_is_refused(monkeypatch):
    monkeypatch.setattr(batch_norm_forward, "by_input", lambda values, conv: 1.000001 * torch.ones(1))
    with pytest.raises(GateError, match="differs from the original"):
        apply(small_care(), image(), deployment="onnx")


def test_non_finite_result_is_refused(monkeypatch):
    monkeypatch.setattr(batch_norm_forward, "by_input", lambda values, conv: torch.full((1,), float("nan")))
    with pytest.raises(GateError):
        apply(small_care(), image(), deployment="onnx")


class Maps(nn.Module):
    """Two maps, the second after a convolution and a norm."""

    def __init__(self, first: float):
        super().__init__()
        self.first = first
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def forward(self, x):
        return [self.first * x, self.layers(x)]


def test_a_result_of_zeros_is_no_mismatch():
    assert apply(seeded(Maps(0.0)), image(), deployment="onnx").difference < 1e-12


def test_non_finite_later_result_is_refused(monkeypatch):
    monkeypatch.setattr(batch_norm_backward, "frozen", lambda tensor: nn.Parameter(tensor * float("nan")))
    with pytest.raises(GateError):
        apply(seeded(Maps(1.0)), image(), deployment="onnx")


def test_a_model_whose_own_output_is_not_finite_is_to_blame_itself():
    with pytest.raises(BadInputError, match="model's own output is not finite"):
        apply(seeded(Maps(float("nan"))), image(), deployment="onnx")


class Single(nn.Module):
    """Makes a tensor of its own in float32, and keeps one, which float64 cannot be multiplied with."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.kept = torch.rand(8, 8)

    def forward(self, x):
        return torch.eye(x.shape[-2]) @ self.conv(x) @ self.kept


def test_constants_of_float32_are_no_obstacle():
    model = Single().eval()
    x = torch.rand(1, 3, 8, 8)
    result = apply(model, x, deployment="onnx")
    assert torch.allclose(result.module(x), model(x), atol=1e-5)
    assert result.module.kept.dtype == torch.float32


class SingleAlone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError(f"images are float32, not {x.dtype}")
        return self.conv(x)


def test_a_model_that_has_no_float64_is_exported_without_rewrites():
    model = SingleAlone().eval()
    with pytest.raises(BadInputError, match="does not run in float64") as error:
        apply(model, image().float(), deployment="onnx")
    assert "--no-rewrites" in str(error.value.hint)
    result = apply(model, image().float(), deployment="onnx", names=())
    assert torch.equal(result.module(image().float()), model(image().float()))


class Upcasting(nn.Module):
    """Computes norms and softmaxes in float32, whatever its own type, in every spelling."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.fc = nn.Linear(3, 4)

    def forward(self, x):
        x = self.fc(x.flatten(2).transpose(1, 2))
        wide = x.to(torch.float32)
        x = (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)
        x = self.norm(x) + F.layer_norm(x.float(), (4,)).type_as(x)
        return x + (F.elu(x.float()) + 1) + torch.softmax(x, dim=1, dtype=torch.float32) + x.type(torch.float32)


def test_a_model_that_asks_for_float32_by_name_is_proved():
    model = seeded(Upcasting()).float()
    result = apply(model, image(4, 4).float(), deployment="executorch-xnnpack")
    assert result.difference < 1e-12
    assert {"elu_plus_one", "layer_norm_products", "token_means"} <= {rewrite.name for rewrite in result.applied}
    expected, actual = model(image(4, 4).float()), result.module(image(4, 4).float())
    assert actual.dtype == torch.float32
    assert float((actual - expected).abs().max() / expected.abs().max()) < 1e-5


def test_a_rewritten_model_that_does_not_run_is_refused(monkeypatch):
    monkeypatch.setattr(batch_norm_backward, "rewrite", lambda module, flow: (nn.Linear(7, 7), 1))
    with pytest.raises(GateError, match=r"does not run .*batch_norm_backward") as error:
        apply(small_care(), image(), deployment="onnx")
    assert "--no-rewrites" in str(error.value.hint)


class Scalars(nn.Module):
    """Calls what rewrites replace on tensors without axes."""

    def forward(self, x):
        total = x.sum()
        return x + total.squeeze(0) + total.mean(-1) + total.softmax(-1) + total.unsqueeze(0).squeeze(-1)


def test_tensors_without_axes():
    assert apply(Scalars(), image(4, 4), deployment="executorch-xnnpack").difference < 1e-12


@pytest.mark.parametrize("name", ["token_means", "plain_views", "split_slices", "flat_matmul", "layer_norm_products"])
def test_rewrites_of_functions_leave_the_batch_free(name):
    class Tokens(nn.Module):
        def forward(self, x):
            t = x.flatten(2).transpose(1, 2)
            t = F.layer_norm(t, (3,)) + (t @ t.transpose(1, 2)) @ t
            first, second = t.split([1, 2], dim=2)
            return t.mean(dim=1) + first.mean(dim=1) + second.unsqueeze(0).squeeze(0).mean(dim=-1).mean(dim=-1)[:, None]

    result = apply(Tokens(), image(4, 4), deployment="onnx", names=[name])
    assert [rewrite.name for rewrite in result.applied] == [name]
    free = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(result.module, (image(4, 4),), dynamic_shapes={"x": free}, strict=False)
    other = image(4, 4, batch=5)
    assert torch.allclose(program.module()(other), Tokens()(other))


def test_a_model_without_parameters():
    assert apply(nn.Softmax(dim=1), image().float(), deployment="executorch-xnnpack").difference < 1e-12


class Ordinary(nn.Module):
    """Calls the functions that rewrites replace in every other way that torch takes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        x = self.conv(x)
        x = F.elu(x) + x
        x = x + 2 * (F.elu(x) + 0.5)
        x = torch.softmax(x, dim=1, dtype=torch.float64) + torch.softmax(input=x, dim=2)
        means = x.mean(axis=1), x.mean(1, dtype=torch.float64), x.mean(), torch.mean(input=x, dim=(1, 2))
        pooled = x.mean(dim=(2, 3), keepdim=True).squeeze((2, 3))
        wide = pooled[:, :, None, None].expand(size=x.shape) + x.expand(x.shape)
        first, *_ = x.split(split_size=2, dim=1)
        picked = x[..., 0], x[:, 0], x[:, True], x[:, torch.tensor([0, 2])], x[x[:, 0, 0, 0] > -1]
        product = torch.matmul(input=x, other=x.transpose(2, 3))
        return [*means, wide, first, *picked, product, F.layer_norm(x, normalized_shape=x.shape[1:])]


def test_ordinary_calls_of_what_is_replaced():
    model = Ordinary().double().eval()
    assert apply(model, image(8, 8), deployment="executorch-xnnpack").difference < 1e-12


def test_misspelt_name_is_refused_with_the_nearest():
    with pytest.raises(UsageError) as error:
        apply(small_care(), image(), deployment="onnx", names=["linear_atention"])
    assert "linear_attention" in str(error.value.hint)
