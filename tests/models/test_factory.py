"""Models come with the weights that were asked for, or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mobilevit_tools.data.folders import list_images
from mobilevit_tools.data.images import load_image
from mobilevit_tools.errors import BadInputError, ExitCode, UsageError
from mobilevit_tools.models.factory import WEIGHTS_FOLDER, check_input_size, create_model, load_model
from mobilevit_tools.models.names import resolve

BUNDLED = WEIGHTS_FOLDER / "care_s0.imagenette.safetensors"


@pytest.fixture(scope="module")
def state_dict() -> dict[str, Tensor]:
    """Random CARE-S0 weights for seven classes."""
    return create_model("care_s0", num_classes=7, random_weights=True).state_dict()


@pytest.fixture
def saved(state_dict: dict[str, Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "care.pth"
    torch.save({"state_dict": state_dict, "arch": "CARETrans_S0"}, path)
    return path


def test_bundled_weights_come_with_labels_preprocessing_and_provenance() -> None:
    loaded = load_model("care_s0.imagenette")
    assert loaded.num_classes == 10
    assert loaded.labels is not None
    assert loaded.labels[:2] == ("tench", "English springer")
    assert loaded.preprocessing.input_size == (160, 160)
    assert loaded.weights.source == "care_s0.imagenette"
    assert loaded.weights.sha256 == hashlib.sha256(BUNDLED.read_bytes()).hexdigest()
    assert not loaded.weights.random
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    assert {tensor.dtype for tensor in loaded.module.parameters()} == {torch.float32}


@pytest.mark.thorough(twin="test_the_bundled_weights_are_the_trained_checkpoints_average_at_half_precision")
@pytest.mark.photos
def test_the_cards_top1_is_what_the_bundled_weights_reach(photos: Path) -> None:
    _, weights = resolve("care_s0.imagenette")
    assert weights is not None
    loaded = load_model("care_s0.imagenette")
    folder = list_images(photos / "val")
    assert len(folder.images) == weights.top1_images
    correct = 0
    for start in range(0, len(folder.images), 50):
        batch = slice(start, start + 50)
        pixels = np.stack([weights.preprocessing.pixels(load_image(path)) for path in folder.images[batch]])
        with torch.no_grad():
            logits = loaded.module(torch.from_numpy(weights.preprocessing.normalize(pixels)))
        correct += int((logits.argmax(1) == torch.tensor(folder.targets[batch])).sum())
    assert round(100 * correct / len(folder.images), 2) == weights.top1


@pytest.mark.photos
def test_the_bundled_weights_are_the_trained_checkpoints_average_at_half_precision(shared: Path) -> None:
    trained = load_model("care_s0", checkpoint=shared / "weights" / "care_s0_imagenette.pth")
    assert trained.weights.ema is True
    assert trained.labels is None
    assert trained.preprocessing.input_size == (224, 224)
    bundled = create_model("care_s0.imagenette").state_dict()
    for key, tensor in trained.module.state_dict().items():
        assert torch.equal(bundled[key], tensor.half().float() if tensor.is_floating_point() else tensor)


def test_the_class_count_comes_from_the_checkpoint(saved: Path, state_dict: dict[str, Tensor]) -> None:
    loaded = load_model("care_s0", checkpoint=saved)
    assert loaded.num_classes == 7
    assert loaded.labels is None
    assert loaded.weights == type(loaded.weights)(str(saved), hashlib.sha256(saved.read_bytes()).hexdigest(), None)
    assert all(torch.equal(tensor, state_dict[key]) for key, tensor in loaded.module.state_dict().items())
    assert load_model("care_s0", checkpoint=saved, num_classes=7).num_classes == 7
    with pytest.raises(BadInputError, match="7 classes, not 10") as caught:
        load_model("care_s0", checkpoint=saved, num_classes=10)
    assert caught.value.error_code == "class_count"


def test_a_feature_model_drops_the_heads_and_nothing_else(
    saved: Path, state_dict: dict[str, Tensor], tmp_path: Path
) -> None:
    loaded = load_model("care_s0", checkpoint=saved, options={"features_only": True})
    assert loaded.returns == "features"
    assert {key.split(".")[0] for key in state_dict.keys() - loaded.module.state_dict().keys()} == {"head", "dist_head"}
    assert torch.equal(loaded.module.state_dict()["stem.0.weight"], state_dict["stem.0.weight"])
    torch.save({**state_dict, "header.weight": torch.ones(1)}, tmp_path / "more.pth")
    with pytest.raises(BadInputError, match=r"header\.weight is unexpected"):
        load_model("care_s0", checkpoint=tmp_path / "more.pth", options={"features_only": True})


def test_a_checkpoint_of_another_architecture_is_refused(saved: Path) -> None:
    with pytest.raises(BadInputError, match="does not fit CARETransformer") as caught:
        load_model("care_s2", checkpoint=saved)
    assert "; and " in caught.value.message
    assert caught.value.message.endswith(" more.")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(state_dict: dict[str, Tensor], tmp_path: Path, value: float) -> None:
    poisoned = state_dict["head.fc.bias"].clone()
    poisoned[3] = value
    torch.save({**state_dict, "head.fc.bias": poisoned}, tmp_path / "care.pth")
    with pytest.raises(BadInputError, match="NaN or infinity") as caught:
        load_model("care_s0", checkpoint=tmp_path / "care.pth")
    assert caught.value.error_code == "non_finite_weights"


def test_double_precision_that_overflows_is_refused(state_dict: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({**state_dict, "head.fc.bias": torch.full((7,), 1e300, dtype=torch.float64)}, tmp_path / "care.pth")
    with pytest.raises(BadInputError, match="NaN or infinity"):
        load_model("care_s0", checkpoint=tmp_path / "care.pth")


def test_random_weights_must_be_asked_for() -> None:
    with pytest.raises(UsageError, match="has no weights") as caught:
        load_model("care_s0")
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint is not None
    assert "care_s0.imagenette" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        load_model("care_s1")
    assert caught.value.hint is not None
    assert "imagenette" not in caught.value.hint


def test_random_weights_are_always_the_same_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = load_model("couplformer_kct2", random_weights=True)
    assert torch.equal(torch.rand(3), expected)
    other = load_model("couplformer_kct2", random_weights=True).module.state_dict()
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.module.state_dict().items())
    assert one.weights.random
    assert one.weights.sha256 is None


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("care_s0.imagenette", {"random_weights": True}),
        ("care_s0.imagenette", {"checkpoint": "care.pth"}),
        ("care_s0", {"checkpoint": "care.pth", "random_weights": True}),
    ],
)
def test_two_sources_of_weights_contradict_each_other(name: str, extra: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="one source of weights"):
        load_model(name, **extra)


def test_the_class_count_can_be_chosen_for_random_weights_only() -> None:
    assert load_model("couplformer_kct2", random_weights=True).num_classes == resolve("couplformer_kct2")[0].num_classes
    assert load_model("couplformer_kct2", random_weights=True, num_classes=3).num_classes == 3
    with pytest.raises(BadInputError, match="10 classes, not 3"):
        load_model("care_s0.imagenette", num_classes=3)
    for count in (0, -1):
        with pytest.raises(UsageError, match="at least one class"):
            load_model("care_s0", random_weights=True, num_classes=count)


@pytest.mark.parametrize(
    ("size", "nearest"), [((225, 224), "224x224"), ((224, 100), "224x96"), ((0, 32), "32x32"), ((-32, 1), "32x32")]
)
def test_an_input_size_that_does_not_fit_is_refused_with_the_nearest(size: tuple[int, int], nearest: str) -> None:
    with pytest.raises(BadInputError, match=f"not {size[0]}x{size[1]}") as caught:
        load_model("care_s0", random_weights=True, input_size=size)
    assert caught.value.hint == f"Try --input-size {nearest}."
    assert caught.value.error_code == "input_size"


def test_a_suggested_size_is_always_accepted() -> None:
    card, _ = resolve("care_s0")
    for side in range(1, 300, 7):
        if side % 32:
            with pytest.raises(BadInputError) as caught:
                check_input_size(card, (side, 64))
            height, width = (caught.value.hint or "").removeprefix("Try --input-size ").rstrip(".").split("x")
            check_input_size(card, (int(height), int(width)))


def test_another_input_size_is_taken_over() -> None:
    loaded = load_model("care_s0.imagenette", input_size=(64, 96))
    assert loaded.preprocessing == replace(resolve("care_s0.imagenette")[1].preprocessing, input_size=(64, 96))
    with torch.no_grad():
        assert loaded.module(torch.zeros(2, 3, 64, 96)).shape == (2, 10)


@pytest.mark.parametrize("size", [64, (64, 64)])
def test_create_model_takes_the_input_size_as_img_size(size: int | tuple[int, int]) -> None:
    model = create_model("deit_t", random_weights=True, num_classes=3, img_size=size)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "taken"),
    [("care_s0", "features_only"), ("armour_deit_t", "attention_mode, dropout, features_only")],
)
def test_an_unknown_option_is_refused_with_those_that_there_are(name: str, taken: str) -> None:
    with pytest.raises(UsageError, match="depth_of_thought") as caught:
        load_model(name, random_weights=True, options={"depth_of_thought": 3})
    assert caught.value.error_code == "model_option"
    assert caught.value.hint == f"It takes these options: {taken}."


@pytest.mark.parametrize("name", ["deit_t", "lavit_t"])
def test_tables_of_an_impossible_shape_are_bad_input(name: str, tmp_path: Path) -> None:
    good = create_model(name, random_weights=True, num_classes=3).state_dict()
    tables = {key for key in good if "pos" in key or "score" in key}
    assert tables
    for shape in ((), (3, 5)):
        torch.save({key: torch.ones(shape) if key in tables else good[key] for key in good}, tmp_path / "bad.pth")
        with pytest.raises(BadInputError):
            load_model(name, checkpoint=tmp_path / "bad.pth")


def test_tables_are_resized_to_another_input_size(tmp_path: Path) -> None:
    trained = create_model("deit_t", random_weights=True, num_classes=3, img_size=64).state_dict()
    torch.save(trained, tmp_path / "deit.pth")
    loaded = load_model("deit_t", checkpoint=tmp_path / "deit.pth", input_size=(96, 64))
    table = loaded.module.state_dict()["pos_embed"]
    assert table.shape == (1, 1 + 6 * 4, 192)
    assert torch.equal(table[:, 0], trained["pos_embed"][:, 0])
    assert torch.equal(loaded.module.state_dict()["head.weight"], trained["head.weight"])
