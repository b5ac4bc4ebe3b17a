"""timm's models by name: their card, their weights from the Hub's cache or a file, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

import mobilevit_tools
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.sources.registry import listed_models
from mobilevit_tools.models.sources.torchvision import make_importable

NAME, TAG = "test_efficientnet", "r160_in1k"
TAGGED = f"timm:{NAME}.{TAG}"
Put = Callable[[str, Mapping[str, bytes]], None]


def _timm_model(name: str = NAME, **options: object) -> torch.nn.Module:
    make_importable()
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(5)
        return timm.create_model(name, **options).eval()


def test_the_card_is_timms_own(tmp_path: Path) -> None:
    loaded = load_model(f"timm:{NAME}", random_weights=True)
    cfg = _timm_model().pretrained_cfg
    assert loaded.name == f"timm:{NAME}"
    assert (loaded.num_classes, loaded.returns, loaded.labels) == (1000, "logits", None)
    recipe = loaded.preprocessing
    assert recipe.input_size == tuple(cfg["input_size"][1:])
    assert (recipe.mean, recipe.std) == (tuple(cfg["mean"]), tuple(cfg["std"]))
    assert (recipe.crop_fraction, recipe.interpolation) == (cfg["crop_pct"], cfg["interpolation"])
    assert cfg["license"] in loaded.license


def test_weights_come_from_the_hubs_cache_with_their_labels(hub_cache: Put) -> None:
    theirs = _timm_model()
    hub_cache(f"timm/{NAME}.{TAG}", {"model.safetensors": save(theirs.state_dict())})
    loaded = load_model(TAGGED)
    assert loaded.weights.source == f"hf://timm/{NAME}.{TAG}/model.safetensors"
    assert loaded.weights.sha256
    assert loaded.labels is not None
    assert loaded.labels[0].startswith("tench")
    image = torch.randn(1, 3, *loaded.preprocessing.input_size)
    torch.testing.assert_close(loaded.module(image), theirs(image))
    # What the manifest says is enough to load them again.
    again = load_model(TAGGED, checkpoint=loaded.weights.source)
    assert again.weights == loaded.weights


def test_an_offline_hub_is_one_sentence_with_what_to_do(hub_cache: Put) -> None:
    with pytest.raises(BadInputError, match=r"cannot be downloaded: the Hub is not reachable") as refusal:
        load_model(TAGGED)
    assert "--checkpoint" in str(refusal.value.hint)


def test_a_checkpoint_says_the_class_count_and_must_fit(tmp_path: Path) -> None:
    theirs = _timm_model(num_classes=7)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "w.pth")
    loaded = load_model(f"timm:{NAME}", checkpoint=tmp_path / "w.pth")
    assert loaded.license == "not stated"  # timm's is that of its own weights
    assert (loaded.num_classes, loaded.labels) == (7, None)
    image = torch.randn(1, 3, *loaded.preprocessing.input_size)
    torch.testing.assert_close(loaded.module(image), theirs(image))
    weights = {key: tensor for key, tensor in theirs.state_dict().items() if not key.startswith("conv_stem")}
    torch.save(weights, tmp_path / "partial.pth")
    with pytest.raises(BadInputError, match=r"conv_stem\.weight is missing"):
        load_model(f"timm:{NAME}", checkpoint=tmp_path / "partial.pth")
    with pytest.raises(BadInputError, match="does not fit"):
        load_model("timm:test_vit", checkpoint=tmp_path / "w.pth")


def test_tables_of_another_size_are_resized_as_timm_does(tmp_path: Path) -> None:
    theirs = _timm_model("test_vit")
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    loaded = load_model("timm:test_vit", checkpoint=tmp_path / "w.pth", input_size=(64, 64))
    assert loaded.module.pos_embed.shape != theirs.pos_embed.shape
    assert torch.equal(loaded.module.head.weight, theirs.head.weight)
    assert tuple(loaded.module(torch.zeros(1, 3, 64, 64)).shape) == (1, 1000)


def test_maps_take_the_weights_of_the_classifier(tmp_path: Path) -> None:
    theirs = _timm_model()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    loaded = load_model(
        f"timm:{NAME}", checkpoint=tmp_path / "w.pth", input_size=(32, 32), options={"features_only": True}
    )
    assert (loaded.returns, loaded.num_classes) == ("features", 0)
    assert torch.equal(loaded.module.conv_stem.weight, theirs.conv_stem.weight)


def test_branches_of_training_are_fused_and_proved() -> None:
    loaded = load_model("timm:mobileone_s0", random_weights=True, input_size=(32, 32))
    assert loaded.fused is not None
    assert loaded.fused.left is None
    assert loaded.fused.places > 20
    assert loaded.card.params == sum(parameter.numel() for parameter in loaded.module.parameters())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("timm:mobilevitv2_05", "timm:mobilevitv2_050"),
        (f"timm:{NAME}.r160", TAG),
        ("timm:resnet_18", "timm:resnet18"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        load_model(name, random_weights=True)
    assert refusal.value.error_code == "unknown_model"
    assert hint in str(refusal.value.hint)


def test_an_option_that_timm_does_not_take_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="depht"):
        load_model(f"timm:{NAME}", random_weights=True, options={"depht": 3})


def test_models_are_listed_without_their_weights() -> None:
    listed = {model.name: model for model in listed_models("timm", "test_efficientnet*")}
    assert listed[TAGGED].weights == f"hf://timm/{NAME}.{TAG}"
    assert listed[TAGGED].input_size == (160, 160)
    assert listed[TAGGED].params == sum(parameter.numel() for parameter in _timm_model().parameters())
    assert listed[TAGGED].name in mobilevit_tools.list_models("timm:test_efficientnet*")
    many = listed_models("timm", "*")
    assert len(many) > 1000
    assert all(model.params is None for model in many)


def test_a_model_is_exported_and_verified_by_its_manifest(tmp_path: Path) -> None:
    (artifact,) = mobilevit_tools.export(
        f"timm:{NAME}", targets="onnx", random_weights=True, input_size=(32, 32), output=tmp_path
    ).artifacts
    assert artifact.path.parent.parent.name == f"timm_{NAME}"
    assert artifact.parity.status == "passed"
    assert mobilevit_tools.verify(artifact.path).parity.status == "passed"
