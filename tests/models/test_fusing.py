"""Branches of training are fused by their authors' own call, in float64, and only where that changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.fusing import fuse_branches

SIZE = (8, 8)


class Branches(nn.Module):
    """Two convolutions side by side, as RepVGG has them, which become one in place."""

    def __init__(self, wrong: float = 0.0) -> None:
        super().__init__()
        self.wide, self.narrow, self.wrong = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1), wrong

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) if hasattr(self, "one") else self.wide(x) + self.narrow(x)

    def switch_to_deploy(self) -> None:
        self.one = nn.Conv2d(3, 3, 3, padding=1)
        self.one.weight.data = self.wide.weight + F.pad(self.narrow.weight, (1, 1, 1, 1)) + self.wrong
        self.one.bias.data = self.wide.bias + self.narrow.bias
        del self.wide, self.narrow


class Normed(nn.Sequential):
    """A convolution and its BatchNorm, as LeViT has them: the method returns what takes their place."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3))
        self[1].running_mean.copy_(torch.tensor([0.3, -0.2, 1.0]))
        self[1].running_var.copy_(torch.tensor([2.0, 0.5, 1.7]))

    def fuse(self) -> nn.Conv2d:
        conv, norm = self
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        fused = nn.Conv2d(3, 3, 1)
        fused.weight.data.copy_(conv.weight * scale[:, None, None, None])
        fused.bias.data.copy_(norm.bias - norm.running_mean * scale)
        return fused


class Unrelated(nn.Module):
    """A method of that name that needs arguments fuses something else."""

    def fuse(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(x, x)


def test_both_kinds_of_method_are_called_and_proved() -> None:
    model = nn.Sequential(Branches(), nn.Sequential(Normed(), nn.ReLU()), Unrelated()).eval()
    image = torch.randn(2, 3, *SIZE)
    expected = model(image)
    fused, told = fuse_branches(model, SIZE)
    assert told is not None
    assert (told.places, told.left) == (2, None)
    assert told.saved_params == 12 + 3  # the 1x1 convolution; of the BatchNorm's six, three became a bias
    assert 0 < told.difference < 1e-12
    assert isinstance(fused[1][0], nn.Conv2d)
    assert hasattr(fused[0], "one")
    assert hasattr(model[0], "wide")  # the given one stays
    assert {parameter.dtype for parameter in fused.parameters()} == {torch.float32}
    torch.testing.assert_close(fused(image), expected)
    assert torch.get_default_dtype() == torch.float32


def test_a_call_that_changes_the_model_is_not_taken() -> None:
    model = nn.Sequential(Branches(wrong=1e-6)).eval()
    same, told = fuse_branches(model, SIZE)
    assert same is model
    assert told is not None
    assert "differs by" in str(told.left)


def test_a_call_that_fails_leaves_the_model_as_it_is() -> None:
    class Failing(Branches):
        def switch_to_deploy(self) -> None:
            del self.narrow
            raise RuntimeError("out of cheese")

    model = nn.Sequential(Failing()).eval()
    same, told = fuse_branches(model, SIZE)
    assert same is model
    assert told is not None
    assert told.left == "RuntimeError: out of cheese"
    model(torch.zeros(1, 3, *SIZE))


def test_a_model_without_branches_is_the_same_object() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Unrelated()).eval()
    assert fuse_branches(model, SIZE) == (model, None)


@pytest.mark.parametrize("function", ["branches"])
def test_a_custom_model_is_fused_after_its_checkpoint_was_loaded(tmp_path: Path, function: str) -> None:
    (tmp_path / "net.py").write_text(
        f"from tests.models.test_fusing import Branches\nfrom torch import nn\n\n\ndef {function}():\n"
        "    return nn.Sequential(Branches(), nn.Flatten()), {'input_size': (8, 8)}\n"
    )
    weights = nn.Sequential(Branches(), nn.Flatten()).eval()
    torch.save(weights.state_dict(), tmp_path / "w.pth")
    loaded = load_model(f"{tmp_path / 'net.py'}:{function}", checkpoint=tmp_path / "w.pth")
    assert loaded.fused is not None
    assert loaded.fused.places == 1
    image = torch.randn(1, 3, *SIZE)
    torch.testing.assert_close(loaded.module(image), weights(image))
