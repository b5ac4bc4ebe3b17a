"""A module in memory is copied, and the module itself stays exactly as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.in_memory import digest_of, load_module
from mobilevit_tools.models.provenance import IN_MEMORY

SIZE = (16, 16)


class Net(nn.Module):
    """Keeps what it computed last, as models with maps to look at do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.drop = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        self.seen: Tensor | None = None
        self.maps: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.norm(self.stem(x)).relu()
        self.maps = [self.seen * 2]
        return self.head(self.drop(self.seen.mean((2, 3))))


def everything(module: nn.Module) -> dict[str, object]:
    """All that a caller could find changed, besides values."""
    return {
        path: (
            child.training,
            {key: id(value) for key, value in vars(child).items()},
            {key: list(value) for key, value in vars(child).items() if key.endswith("hooks")},
            [(key, id(tensor), tensor.requires_grad, tensor.grad is None) for key, tensor in child.named_parameters()],
        )
        for path, child in module.named_modules()
    }


def test_the_module_stays_as_it_is() -> None:
    net = Net().train()
    net.norm.eval()
    net.stem.weight.requires_grad_(requires_grad=False)
    calls: list[str] = []
    net.head.register_full_backward_hook(lambda *_: calls.append("backward"))
    net(torch.randn(2, 3, *SIZE)).sum().backward()
    before, values = everything(net), {key: tensor.clone() for key, tensor in net.state_dict().items()}
    numbers = torch.random.get_rng_state()
    loaded = load_module(net, input_size=SIZE, labels=["a", "b", "c"])
    assert everything(net) == before
    assert all(torch.equal(tensor, values[key]) for key, tensor in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), numbers)
    assert calls == ["backward"]
    assert loaded.module is not net
    assert not any(child.training for child in loaded.module.modules())
    assert loaded.labels == ("a", "b", "c")
    assert (loaded.name, loaded.num_classes, loaded.weights.source) == ("Net", 3, IN_MEMORY)
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(loaded.module(images), net.eval()(images))


@pytest.mark.parametrize(
    "change",
    [nn.Module.half, nn.Module.double, torch.compile, nn.DataParallel],
    ids=["half", "double", "compiled", "parallel"],
)
def test_what_training_leaves_is_float32_on_the_cpu(change: Callable[[nn.Module], nn.Module]) -> None:
    loaded = load_module(change(Net()), input_size=SIZE)
    assert loaded.name == "Net"
    assert type(loaded.module) is Net
    assert {tensor.dtype for tensor in loaded.module.parameters()} == {torch.float32}


def test_parametrized_weights_and_shared_ones_are_copied() -> None:
    first = weight_norm(nn.Conv2d(3, 3, 1))
    net = nn.Sequential(first, first, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    loaded = load_module(net, name="shared", input_size=SIZE)
    assert loaded.module[0] is loaded.module[1]
    image = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(loaded.module(image), net(image))


def test_the_digest_is_of_the_values() -> None:
    net = Net()
    digest = load_module(net, input_size=SIZE).weights.sha256
    assert digest == digest_of(net.eval())
    with torch.no_grad():
        net.norm.running_mean[0] += 1e-6
    assert digest_of(net) != digest


def test_a_card_says_the_rest() -> None:
    card = {"input_size": (16, 24), "mean": (0.5, 0.5, 0.5), "labels": ["a", "b", "c"], "license": "MIT"}
    loaded = load_module(Net(), card=card)
    assert loaded.preprocessing.input_size == (16, 24)
    assert loaded.preprocessing.mean == (0.5, 0.5, 0.5)
    assert (loaded.labels, loaded.license) == (("a", "b", "c"), "MIT")
    assert load_module(Net(), card=card, input_size=SIZE).preprocessing.input_size == SIZE


def test_a_module_that_knows_its_input_is_taken_at_its_word() -> None:
    net = Net()
    net.pretrained_cfg = {
        "input_size": (3, 16, 24),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "crop_pct": 0.9,
        "interpolation": "bilinear",
        "first_conv": "stem",
    }
    said = load_module(net).preprocessing
    assert (said.input_size, said.mean, said.std) == ((16, 24), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert (said.crop_fraction, said.interpolation) == (0.9, "bilinear")
    assert load_module(net, card={"mean": (0.5, 0.5, 0.5)}).preprocessing.mean == (0.5, 0.5, 0.5)
    assert load_module(net, input_size=SIZE).preprocessing.input_size == SIZE


class Locked(Net):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("module", "given", "kind", "says"),
    [
        (Net(), {}, UsageError, "Net does not say its input size"),
        (Net(), {"name": "../up", "input_size": SIZE}, UsageError, "'../up' is not a valid model name"),
        (Net(), {"name": "care_s0", "input_size": SIZE}, UsageError, "care_s0 is the name of a bundled model"),
        (Net(), {"labels": ["a"], "input_size": SIZE}, BadInputError, "1 label"),
        (Net(), {"card": {"sizes": 3}, "input_size": SIZE}, BadInputError, "unknown fields: sizes"),
        (Locked(), {"input_size": SIZE}, BadInputError, "Copying Locked failed with TypeError: cannot pickle"),
        (nn.Linear(4, 3), {"input_size": SIZE}, BadInputError, "Linear on a 1x3x16x16 input failed"),
    ],
    ids=["size", "name", "shipped", "labels", "card", "lock", "input"],
)
def test_what_cannot_be_is_said(module: nn.Module, given: dict[str, object], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        load_module(module, **given)  # type: ignore[arg-type]
