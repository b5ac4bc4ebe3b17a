"""A custom model is filled before it is run, and answers as one does that never had other weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import mobilevit_tools
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.factory import create_model, load_model

SOURCE = '''
"""Nets that keep what they computed once."""
import torch
from torch import nn


class Cached(nn.Module):
    """Looks its bias up in a table on the first call, and keeps it."""

    def __init__(self, resets=False):
        super().__init__()
        self.stem, self.table = nn.Conv2d(3, 4, 4, 4), nn.Parameter(torch.randn(4))
        self.resets, self.kept = resets, {}

    def train(self, mode=True):
        super().train(mode)
        if mode and self.resets:
            self.kept = {}
        return self

    def forward(self, x):
        if "bias" not in self.kept:
            self.kept["bias"] = self.table.detach().flip(0) * 10
        return self.stem(x).mean((2, 3)) + self.kept["bias"]


class Merging(nn.Linear):
    """Adds a low-rank update to its weight for evaluation, as LoRA layers do."""

    def __init__(self, i, o):
        super().__init__(i, o)
        self.update, self.merged = nn.Parameter(torch.randn(o, i)), False

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.weight.data += self.update.data * (-1 if mode else 1)
            self.merged = not mode
        return self


class Noisy(nn.Module):
    """Keeps a random tensor where no checkpoint finds it."""

    def __init__(self, drawn):
        super().__init__()
        self.stem, self.drawn = nn.Conv2d(3, 4, 4, 4), drawn

    def forward(self, x):
        return self.stem(x).mean((2, 3)) * self.drawn


CARD = {"input_size": (8, 8)}


def late():
    return Cached(), CARD


def early(resets=False):
    net = Cached(resets).eval()
    net(torch.zeros(1, 3, 8, 8))  # to see whether it runs
    return net, CARD


def seeded():
    torch.manual_seed(3)
    return early()


def merging():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Merging(3, 2)).eval(), CARD


def noisy():
    return Noisy(torch.rand(4)), CARD


def constant():
    return Noisy(torch.rand(4, generator=torch.Generator().manual_seed(0))), CARD


def lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2)), CARD


class InPlace(Noisy):
    def forward(self, x):
        return super().forward(x.mul_(0.5).add_(0.25))


def in_place():
    return InPlace(2.0), CARD


def two():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 4, 4)

        def forward(self, x):
            x = self.stem(x).mean((2, 3))
            return [x[:, :3], x]

    return Two(), CARD


def labelled():
    return two()[0], {**CARD, "labels": ["a", "b"]}
'''

IMAGE = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return path


def trained(net: Path, function: str, tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """Save weights that no builder draws."""
    weights = {
        key: torch.full_like(tensor, 0.25) + torch.arange(float(tensor.numel())).reshape(tensor.shape) / 100
        for key, tensor in create_model(f"{net}:{function}", random_weights=True).state_dict().items()
    }
    path = tmp_path / "trained.pth"
    torch.save(weights, path)
    return path, weights


def expected(weights: dict[str, Tensor]) -> Tensor:
    stem = torch.nn.functional.conv2d(IMAGE, weights["stem.weight"], weights["stem.bias"], stride=4)
    return stem.mean((2, 3)) + weights["table"].flip(0) * 10


def test_what_a_model_keeps_of_its_first_call_is_of_its_checkpoint(net: Path, tmp_path: Path) -> None:
    path, weights = trained(net, "late", tmp_path)
    module = create_model(f"{net}:late", checkpoint=path)
    torch.testing.assert_close(module(IMAGE), expected(weights))


def test_a_cache_of_a_call_while_building_is_dropped_where_training_mode_drops_it(net: Path, tmp_path: Path) -> None:
    path, weights = trained(net, "late", tmp_path)
    module = create_model(f"{net}:early", checkpoint=path, resets=True)
    torch.testing.assert_close(module(IMAGE), expected(weights))


@pytest.mark.parametrize("function", ["early", "seeded", "noisy"])
def test_a_model_that_keeps_something_of_random_weights_is_refused(net: Path, tmp_path: Path, function: str) -> None:
    path, _ = trained(net, function if function == "noisy" else "late", tmp_path)
    with pytest.raises(BadInputError, match=rf"net\.py:{function} is not determined by its checkpoint") as refusal:
        create_model(f"{net}:{function}", checkpoint=path)
    assert refusal.value.error_code == "not_determined"


def test_constants_that_are_the_same_every_time_are_no_reason_to_refuse(net: Path, tmp_path: Path) -> None:
    path, _ = trained(net, "constant", tmp_path)
    create_model(f"{net}:constant", checkpoint=path)
    create_model(f"{net}:noisy", random_weights=True)


def test_layers_that_merge_for_evaluation_merge_the_checkpoints_weights(net: Path, tmp_path: Path) -> None:
    weights = {"2.weight": torch.ones(2, 3), "2.update": torch.full((2, 3), 4.0), "2.bias": torch.zeros(2)}
    torch.save(weights, tmp_path / "lora.pth")
    module = create_model(f"{net}:merging", checkpoint=tmp_path / "lora.pth")
    torch.testing.assert_close(module(torch.ones(1, 3, 8, 8)), torch.full((1, 2), 15.0))


def test_lazy_layers_are_built_by_a_first_call(net: Path, tmp_path: Path) -> None:
    path, weights = trained(net, "lazy", tmp_path)
    assert torch.equal(create_model(f"{net}:lazy", checkpoint=path)[2].bias, weights["2.bias"])


def test_generators_of_others_are_left_alone(net: Path) -> None:
    import random

    import numpy as np

    random.seed(5)
    np.random.seed(5)
    wanted = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    create_model(f"{net}:late", random_weights=True)
    assert (random.random(), np.random.rand()) == wanted


@pytest.mark.parametrize(("target", "batch"), [("onnx", 1), ("onnx", 2), ("coreml", 1), ("executorch", 2)])
def test_a_model_that_changes_its_input_is_exported_right(net: Path, tmp_path: Path, target: str, batch: int) -> None:
    (artifact,) = mobilevit_tools.export(
        f"{net}:in_place", targets=target, batch=batch, random_weights=True, output=tmp_path / "out"
    ).artifacts
    assert artifact.parity.status == "passed"
    if artifact.delegation is not None:
        assert not [name for name in artifact.delegation.outside if "clone" in name]


def test_labels_of_a_model_with_two_outputs_are_refused_by_their_number(net: Path, tmp_path: Path) -> None:
    loaded = load_model(f"{net}:two", random_weights=True)
    assert (loaded.outputs, loaded.num_classes, loaded.returns) == (2, 0, "features")
    with pytest.raises(BadInputError, match=r"net\.py:two has 2 outputs, not one of logits"):
        mobilevit_tools.export(
            f"{net}:two", targets="onnx", random_weights=True, labels=["a", "b", "c"], output=tmp_path / "out"
        )
    with pytest.raises(BadInputError, match=r"net\.py:labelled has 2 outputs"):
        load_model(f"{net}:labelled", random_weights=True)
