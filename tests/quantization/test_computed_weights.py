from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from mobilevit_tools.errors import MvtError
from mobilevit_tools.quantization import computed_weights
from mobilevit_tools.quantization.computed_weights import store_computed_weights


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5), self.bias, self.stride)


class Net(nn.Module):
    """Computes three of its weights and a bias; one of the layers is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Standardised(3, 8, 4, 4)
        self.normed = weight_norm(nn.Conv2d(8, 8, 1))
        self.gain = nn.Parameter(torch.rand(8) + 0.5)
        self.hidden = nn.Linear(8, 8)
        self.plain = nn.Linear(8, 4)
        self.register_buffer("mean", torch.full((4, 4), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.normed(torch.relu(self.normed(self.stem(x)))))
        x = F.linear(x.mean((2, 3)), self.hidden.weight * self.gain, self.hidden.bias * 2)
        return self.plain(torch.tanh(x)) @ (self.mean + 1)


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("free_batch", [False, True])
def test_computed_weights_become_parameters_of_their_layers(free_batch: bool) -> None:
    module, example = net(), torch.randn(2, 3, 16, 16)
    stored, applied = store_computed_weights(module, example, free_batch=free_batch)
    assert applied is not None
    assert applied.places == 3
    names = dict(stored.named_parameters())
    layers = {f"{layer}.{role}" for layer in ("stem", "normed", "plain") for role in ("weight", "bias")}
    assert names.keys() == layers | {"weight", "bias"}  # the model itself calls the hidden layer's function
    assert len(list(stored.buffers())) == 1  # what is computed of no parameter is none
    torch.testing.assert_close(names["weight"], module.hidden.weight * module.gain, rtol=0, atol=0)
    torch.testing.assert_close(names["normed.weight"], module.normed.weight, rtol=1e-6, atol=1e-7)
    x = torch.randn(5 if free_batch else 2, 3, 16, 16)
    torch.testing.assert_close(stored(x), module(x))


def test_what_computes_no_weight_stays_what_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4, 2)).eval()
    assert store_computed_weights(module, torch.randn(1, 3, 2, 2)) == (module, None)


def test_a_wrong_weight_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(program: torch.export.ExportedProgram) -> int:
        count = honest(program)
        name = next(name for name in program.constants if name.endswith("_folded"))
        program.constants[name] = program.constants[name] * (1 + 1e-7)
        return count

    honest = computed_weights.fold_constants
    monkeypatch.setattr(computed_weights, "fold_constants", wrong)
    with pytest.raises(MvtError, match="output 1 of the program differs"):
        store_computed_weights(net(), torch.randn(1, 3, 16, 16))
