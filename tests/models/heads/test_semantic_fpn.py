"""The semantic head computes what MMSegmentation computes under the names of its checkpoints, on every target."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import mobilevit_tools as mvt
from mobilevit_tools.analysis.macs import count_macs
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.heads.registry import HEADS
from mobilevit_tools.models.heads.semantic_fpn import SemanticFPN
from mobilevit_tools.targets.registry import STANDARD
from tests.models.heads.nets import CARD, PYRAMIDS, small_backbone
from tests.rewrites.seeded import seeded
from tests.tiers import thorough

WIDTHS = (32, 64, 128, 1024)
"""Of CARE-S0's maps."""


def as_written(weights: dict[str, Tensor], maps: list[Tensor]) -> Tensor:
    """Compute the scores from a checkpoint's tensors by their names there."""

    def conv(x: Tensor, name: str, **how: int) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **how)

    def larger(x: Tensor, mode: str) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode=mode, align_corners=False if mode == "bilinear" else None)

    laterals = [conv(x, f"neck.lateral_convs.{i}.conv") for i, x in enumerate(maps)]
    for i in (3, 2, 1):
        laterals[i - 1] = laterals[i - 1] + larger(laterals[i], "nearest")
    total = torch.zeros(())
    for i, places in enumerate([(0,), (0,), (0, 2), (0, 2, 4)]):
        x = conv(laterals[i], f"neck.fpn_convs.{i}.conv", padding=1)
        for place in places:
            unit = f"decode_head.scale_heads.{i}.{place}"
            mean, var, scale, shift = (
                weights[f"{unit}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
            )
            x = F.relu(F.batch_norm(conv(x, f"{unit}.conv", padding=1), mean, var, scale, shift))
            x = larger(x, "bilinear") if i else x
        total = total + x
    return conv(total, "decode_head.conv_seg")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    model = seeded(mvt.create_model("care_s0", random_weights=True, head="semantic_fpn", num_classes=7))
    return dict(model.float().state_dict())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Tensor]) -> Path:
    """A checkpoint as a training run of MMEngine leaves it, of a backbone that kept its classifier."""
    path = tmp_path_factory.mktemp("weights") / "iter_80000.pth"
    kept = {"backbone.head.fc.weight": torch.zeros(1000, 1024), "backbone.dist_head.norm.bias": torch.zeros(1024)}
    torch.save({"meta": {"seed": 0}, "state_dict": weights | kept, "message_hub": {"log_scalars": {}}}, path)
    return path


def test_a_checkpoint_loads_strictly_and_computes_what_it_did(saved: Path, weights: dict[str, Tensor]) -> None:
    loaded = load_model("care_s0", checkpoint=saved, input_size=(64, 96), options={"head": "semantic_fpn"})
    assert (loaded.num_classes, loaded.card.task, loaded.preprocessing.crop_fraction) == (7, "segment", None)
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = loaded.module(images)
        maps = loaded.module.backbone(images)
    assert [each.shape[1] for each in maps] == list(WIDTHS)
    assert scores.shape == (2, 7, 16, 24)
    torch.testing.assert_close(scores, as_written(weights, maps), rtol=1e-4, atol=1e-4 * float(scores.abs().max()))
    assert scores.std() > 0


def test_what_does_not_fit_is_refused(saved: Path, weights: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="7 classes, not 9"):
        load_model("care_s0", checkpoint=saved, options={"head": "semantic_fpn", "num_classes": 9})
    torch.save({key: each for key, each in weights.items() if "fpn_convs.2" not in key}, tmp_path / "less.pth")
    with pytest.raises(BadInputError, match=r"neck\.fpn_convs\.2\.conv\.weight is missing"):
        load_model("care_s0", checkpoint=tmp_path / "less.pth", options={"head": "semantic_fpn"})


def test_tables_of_another_input_size_are_resized_behind_their_prefix(tmp_path: Path) -> None:
    options = {"head": "semantic_fpn", "num_classes": 3}
    small = load_model("lavit_t", random_weights=True, input_size=(64, 64), options=options).module
    torch.save(small.state_dict(), tmp_path / "w.pth")
    larger = load_model("lavit_t", checkpoint=tmp_path / "w.pth", input_size=(64, 96), options=options).module
    plain = {key.removeprefix("backbone."): each for key, each in small.state_dict().items() if "backbone" in key}
    torch.save(plain, tmp_path / "backbone.pth")
    maps = {"features_only": True}
    alone = load_model("lavit_t", checkpoint=tmp_path / "backbone.pth", input_size=(64, 96), options=maps).module
    for key, each in alone.state_dict().items():
        assert torch.equal(larger.state_dict()[f"backbone.{key}"], each)


def test_macs_are_those_that_were_counted_by_hand() -> None:
    counted = count_macs(load_model("care_s0", random_weights=True, input_size=(64, 64),
                                    options={"head": "semantic_fpn"}).module, (1, 3, 64, 64))  # fmt: skip
    own = count_macs(load_model("care_s0", random_weights=True, input_size=(64, 64),
                                options={"features_only": True}).module, (1, 3, 64, 64))  # fmt: skip
    places = [16 * 16, 8 * 8, 4 * 4, 2 * 2]
    neck = sum(count * (width * 256 + 9 * 256 * 256) for count, width in zip(places, WIDTHS, strict=True))
    first = sum(places) * 9 * 256 * 128
    further = (places[1] + places[2] + places[1]) * 9 * 128 * 128  # of level 2 at 8x8, of level 3 at 4x4 and 8x8
    assert counted.total - own.total == neck + first + further + places[0] * 128 * 150
    assert not counted.uncounted


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("care_s0", {"head": "semantic_fnp"}, "Did you mean semantic_fpn"),
        ("care_s0", {"head": "semantic_fpn", "features_only": True}, "exclude each other"),
        ("care_s0", {"head": "semantic_fpn", "depth": 3}, "features_only"),
        ("care_s0", {"head": "semantic_fpn", "num_classes": "many"}, "'many'"),
        ("care_s0", {"head": "semantic_fpn", "num_classes": 0}, "at least one class"),
        ("deit_t", {"head": "semantic_fpn"}, "strides 4, 8, 16 and 32"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as failure:
        load_model(name, random_weights=True, options=options)
    assert said in f"{failure.value.message} {failure.value.hint}"


def test_weights_of_a_classifier_are_no_segmenters() -> None:
    with pytest.raises(UsageError, match="for a classifier"):
        load_model("care_s0.imagenette", options={"head": "semantic_fpn"})
    with pytest.raises(UsageError, match="given twice: 3 and 4"):
        load_model("care_s0", random_weights=True, num_classes=3, options={"num_classes": 4})


@pytest.mark.parametrize("name", HEADS)
def test_a_heads_card_says_what_it_builds(name: str) -> None:
    card = HEADS[name]
    with torch.device("meta"):
        model = card.build(small_backbone("care"), card.num_classes, (64, 64))
    assert model.get_submodule(card.classifier).weight.shape[0] == card.rows * card.num_classes


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("care", ("onnx",)),
        thorough("care", STANDARD),
        *(pytest.param(family, STANDARD, marks=pytest.mark.slow) for family in PYRAMIDS if family != "care"),
    ],
)
def test_every_family_exports_to_every_target(family: str, targets: tuple[str, ...], tmp_path: Path) -> None:
    model = seeded(SemanticFPN(small_backbone(family), num_classes=5))
    made = mvt.export(model, name="net", card=CARD, targets=targets, output=tmp_path, task="segment", upsample=True)
    assert {artifact.parity.status for artifact in made.artifacts} == {"passed"}
    assert len(made.artifacts) == len(targets)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_care_exports_at_full_size(precision: str, tmp_path: Path) -> None:
    made = mvt.export(
        "care_s0", options={"head": "semantic_fpn"}, random_weights=True, targets="all", output=tmp_path,
        precision=precision, class_map=True,
    )  # fmt: skip
    assert {artifact.parity.status for artifact in made.artifacts} <= {"passed", "not_verified"}
