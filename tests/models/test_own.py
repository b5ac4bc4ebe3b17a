"""Models that people bring: two architectures that the project does not have, written as strangers write them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import mobilevit_tools
from mobilevit_tools.errors import BadInputError, MvtError, UsageError
from mobilevit_tools.models.factory import create_model, load_model
from mobilevit_tools.models.references import folder_name, is_file_reference, short_name
from mobilevit_tools.runtimes.registry import load_session

SHUFFLE_NET = '''
"""A small net with channel shuffles."""
from dataclasses import dataclass

import torch
import torch.nn as nn

from blocks import SqueezeExcite


@dataclass
class Config:
    width: int = 16
    num_classes: int = 10


class Unit(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.pw = nn.Conv2d(c, c, 1, groups=2, bias=False)
        self.bn = nn.BatchNorm2d(c)
        self.dw = nn.Conv2d(c, c, 3, padding=1, groups=c)
        self.se = SqueezeExcite(c)

    def forward(self, x):
        b, c, h, w = x.shape
        y = torch.relu(self.bn(self.pw(x)))
        y = y.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return x + self.se(self.dw(y))


class ShuffleNet(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.stem = nn.Conv2d(3, cfg.width, 3, stride=4, padding=1)
        self.units = nn.Sequential(Unit(cfg.width), Unit(cfg.width))
        self.fc = nn.Linear(cfg.width, cfg.num_classes)

    def forward(self, x):
        return self.fc(self.units(self.stem(x)).mean((2, 3)))


def build(num_classes=10, width=16):
    return ShuffleNet(Config(width, num_classes))


def ten():
    return build(num_classes=10)


def maps():
    net = build()
    return nn.Sequential(net.stem, Listed())


class Listed(nn.Module):
    def forward(self, x):
        return [x, x[..., ::2, ::2]]


def broken():
    raise RuntimeError("out of cheese\\nredo from start")


def crooked():
    return build(), {"input_sise": (32, 32)}


def wrong_type():
    return build(), {"input_size": "large"}


def not_a_model():
    return "a string"


CONSTANT = 3
'''

BLOCKS = """
import torch.nn as nn


class SqueezeExcite(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.down, self.up = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1)

    def forward(self, x):
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
"""

MIXER = """
import torch
from torch import nn


class MixerLayer(nn.Module):
    def __init__(self, tokens, dim):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.token = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.SiLU(), nn.Linear(2 * tokens, tokens))
        self.attn = nn.MultiheadAttention(dim, 2, batch_first=True)

    def forward(self, x):
        x = x + self.token(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        y = self.norms[1](x)
        return x + self.attn(y, y, y, need_weights=False)[0]


class Mixer(nn.Module):
    def __init__(self, img_size, depth):
        super().__init__()
        tokens = (img_size[0] // 8) * (img_size[1] // 8)
        self.embed = nn.Conv2d(3, 24, 8, 8)
        self.layers = nn.ModuleList([MixerLayer(tokens, 24) for _ in range(depth)])
        self.head = nn.Linear(24, 3)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def mixer(img_size=(32, 32), depth=2):
    card = {
        "title": "A mixer", "license": "MIT", "input_size": img_size, "crop_fraction": 0.9,
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "labels": ["cat", "dog", "fox"],
    }
    return Mixer(img_size, depth), card
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    folder = tmp_path / "their project"
    folder.mkdir()
    (folder / "blocks.py").write_text(BLOCKS)
    path = folder / "net.py"
    path.write_text(SHUFFLE_NET)
    yield path
    sys.modules.pop("blocks", None)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    site = tmp_path / "site"
    (site / "their_models-1.0.dist-info").mkdir(parents=True)
    (site / "their_models.py").write_text(MIXER)
    (site / "their_models-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-models\nVersion: 1.0\n"
    )
    (site / "their_models-1.0.dist-info" / "entry_points.txt").write_text(
        "[mobilevit_tools.models]\ntheir_mixer = their_models:mixer\ncare_s0 = their_models:mixer\n"
        "their_ghost = their_models:ghost\n"
    )
    monkeypatch.syspath_prepend(site)
    yield "their_mixer"
    sys.modules.pop("their_models", None)


def test_a_function_in_a_file_is_a_model_with_its_checkpoint(net: Path, tmp_path: Path) -> None:
    random = load_model(f"{net}:build", random_weights=True, input_size=(64, 96), num_classes=4)
    weights = tmp_path / "w.pth"
    torch.save(
        {"state_dict": {f"module.{key}": value + 1 for key, value in random.module.state_dict().items()}}, weights
    )
    loaded = load_model(f"{net}:build", checkpoint=weights, input_size=(64, 96), num_classes=4)
    assert loaded.name == "net.py:build"  # no path of this machine
    assert (loaded.num_classes, loaded.labels, loaded.returns) == (4, None, "logits")
    assert loaded.preprocessing.input_size == (64, 96)
    assert loaded.card.params == sum(p.numel() for p in random.module.parameters())
    assert loaded.card.macs is None
    assert loaded.weights.source == str(weights)
    assert random.weights.random
    assert not loaded.module.training
    assert torch.equal(loaded.module.fc.weight, random.module.fc.weight + 1)
    assert [entry for entry in sys.path if "their project" in entry] == []


def test_options_reach_the_function(net: Path) -> None:
    wide = load_model(f"{net}:build", random_weights=True, input_size=(32, 32), options={"width": 32})
    assert wide.module.fc.in_features == 32
    with pytest.raises(UsageError, match="depth") as refusal:
        load_model(f"{net}:build", random_weights=True, input_size=(32, 32), options={"depth": 32})
    assert refusal.value.hint == "It takes these options: num_classes, width."


def test_a_package_registers_a_model_with_a_card(package: str) -> None:
    loaded = load_model(package, random_weights=True)
    assert loaded.name == "their_mixer"
    assert (loaded.num_classes, loaded.labels) == (3, ("cat", "dog", "fox"))
    assert loaded.license == loaded.card.license == "MIT"
    assert loaded.card.title == "A mixer"
    assert loaded.preprocessing.input_size == (32, 32)
    assert loaded.preprocessing.mean == (0.5, 0.5, 0.5)
    assert loaded.preprocessing.crop_fraction == 0.9
    other = load_model(package, random_weights=True, input_size=(64, 32))
    assert other.preprocessing.input_size == (64, 32)
    assert other.module.layers[0].token[0].in_features == 32


def test_a_package_cannot_take_the_place_of_a_shipped_model(package: str) -> None:
    assert load_model("care_s0", random_weights=True).card.family == "care"


def test_maps_in_place_of_logits_are_features(net: Path) -> None:
    loaded = load_model(f"{net}:maps", random_weights=True, input_size=(32, 32))
    assert loaded.returns == "features"
    assert loaded.num_classes == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "net.py:broken failed with RuntimeError: out of cheese"),
        ("crooked", "The card of net.py:crooked has unknown fields: input_sise."),
        ("wrong_type", "The card of net.py:wrong_type has a bad input_size"),
        ("not_a_model", "net.py:not_a_model returns a str, not a torch.nn.Module."),
        ("CONSTANT", "net.py:CONSTANT is a int, not a function."),
        ("biuld", "has no function named 'biuld'."),
        ("Unit", "net.py:Unit cannot be called with these options"),
    ],
)
def test_what_is_no_model_is_refused_in_one_sentence(net: Path, function: str, message: str) -> None:
    with pytest.raises(MvtError, match=message) as refusal:
        load_model(f"{net}:{function}", random_weights=True, input_size=(32, 32))
    assert "\n" not in refusal.value.message


def test_a_torchvision_of_another_torch_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "try:\n    raise RuntimeError('operator torchvision::nms does not exist')\n"
        "except RuntimeError as error:\n    raise ModuleNotFoundError('Could not import module Net') from error\n"
    )
    with pytest.raises(BadInputError, match="Could not import module Net") as refusal:
        load_model(f"{tmp_path}/theirs.py:build", random_weights=True)
    assert "torchvision==" in (refusal.value.hint or "")


def test_a_file_that_does_not_import_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import a_package_that_is_not_there\n")
    with pytest.raises(
        BadInputError, match="ModuleNotFoundError: No module named 'a_package_that_is_not_there'"
    ) as refusal:
        load_model(f"{tmp_path}/bad.py:build", random_weights=True)
    assert refusal.value.hint == f"Install a_package_that_is_not_there in the environment of mvt: {sys.prefix}"
    (tmp_path / "quits.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(BadInputError, match="SystemExit"):
        load_model(f"{tmp_path}/quits.py:build", random_weights=True)
    with pytest.raises(BadInputError, match="no file at"):
        load_model(f"{tmp_path}/none.py:build", random_weights=True)


def test_an_entry_point_without_a_function_is_refused(package: str) -> None:
    with pytest.raises(BadInputError, match="their_ghost"):
        load_model("their_ghost", random_weights=True)


def test_what_is_missing_or_contradicts_itself_is_asked_for(net: Path) -> None:
    name = f"{net}:build"
    with pytest.raises(UsageError, match="has no weights"):
        load_model(name, input_size=(32, 32))
    with pytest.raises(UsageError, match="does not say its input size"):
        load_model(name, random_weights=True)
    with pytest.raises(BadInputError, match="has 10 classes, not 3"):
        load_model(f"{net}:ten", random_weights=True, input_size=(32, 32), num_classes=3)
    with pytest.raises(BadInputError, match="0x2 pixels is not possible"):
        load_model(name, random_weights=True, input_size=(0, 2))


def test_names() -> None:
    assert is_file_reference("a/b.py:build")
    assert is_file_reference("b.py:Net")
    others = ("care_s0", "care_s0.imagenette", "b.py", "b.py:", "b.txt:build", "b.py:a-b")
    assert not any(map(is_file_reference, others))
    assert short_name("/home/me/b.py:build") == "b.py:build"
    assert short_name("care_s0.imagenette") == folder_name("care_s0.imagenette") == "care_s0.imagenette"
    assert folder_name("/home/me/my net!.py:build") == "my_net__build"


def test_own_models_are_exported_and_verified_as_any_other(net: Path, package: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    exported = mobilevit_tools.export(
        f"{net}:build", targets="onnx", random_weights=True, input_size=(64, 64), output=output
    )
    (artifact,) = exported.artifacts
    assert artifact.parity.status == "passed"
    assert artifact.path.parent.parent == output / "net_build"
    with pytest.raises(UsageError, match="only runs when you name it"):
        mobilevit_tools.verify(artifact.path)
    assert mobilevit_tools.verify(artifact.path, model=f"{net}:build").parity.status == "passed"

    (artifact,) = mobilevit_tools.export(package, targets="onnx", random_weights=True, output=output).artifacts
    assert artifact.parity.status == "passed"
    assert mobilevit_tools.verify(artifact.path).parity.status == "passed"


@pytest.mark.parametrize("target", ["onnx", "coreml", "executorch"])
def test_maps_of_an_own_model_go_to_every_target(net: Path, tmp_path: Path, target: str) -> None:
    (artifact,) = mobilevit_tools.export(
        f"{net}:maps", targets=target, random_weights=True, input_size=(32, 32), output=tmp_path / "out"
    ).artifacts
    assert artifact.parity.status == "passed"
    with load_session(artifact.path) as session:
        names = [output.name for output in session.outputs]
    assert len(names) == 2
    assert target == "executorch" or names == ["stage1", "stage2"]  # a program's outputs have no names


KEPT_UNDER_MODEL = """
from torch import nn


class Wrap(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 2))

    def forward(self, x):
        return self.model(x)


def build():
    return Wrap(), {"input_size": (32, 32)}
"""


def test_a_checkpoint_of_a_net_that_keeps_everything_under_model_loads(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(KEPT_UNDER_MODEL)
    name, weights = f"{tmp_path / 'net.py'}:build", tmp_path / "w.pth"
    trained = {key: value + 1 for key, value in create_model(name, random_weights=True).state_dict().items()}
    torch.save(trained, weights)
    assert torch.equal(create_model(name, checkpoint=weights).model[0].weight, trained["model.0.weight"])


BUFFERS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, mask, mean, weight):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.bn = nn.BatchNorm1d(2)
        causal = torch.full((2, 2), float("-inf")).triu(1)
        self.register_buffer("mask", causal if mask is None else torch.tensor([mask]))
        self.bn.running_mean.fill_(mean)
        nn.init.constant_(self.fc.weight, weight)

    def forward(self, x):
        return self.bn(self.fc(x.mean((2, 3))))


def build(mask=None, mean=0.0, weight=1.0):
    return Net(mask, mean, weight), {"input_size": (8, 8)}
"""


def test_an_infinite_mask_is_no_broken_weight(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(BUFFERS)
    name = f"{tmp_path / 'net.py'}:build"
    assert create_model(name, random_weights=True).mask[0, 1] == -torch.inf
    for broken in ({"mask": torch.nan}, {"mean": torch.inf}, {"mean": torch.nan}, {"weight": -torch.inf}):
        with pytest.raises(BadInputError, match=r"The weights of net\.py:build contain NaN or infinity") as caught:
            create_model(name, random_weights=True, **broken)
        assert caught.value.error_code == "non_finite_weights"
