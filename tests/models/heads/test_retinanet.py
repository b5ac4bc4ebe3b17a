"""RetinaNet computes what MMDetection computes under the names of its checkpoints, on every target."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import mobilevit_tools as mvt
from mobilevit_tools.analysis.macs import count_macs
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.heads.retinanet import RetinaNet
from mobilevit_tools.targets.registry import STANDARD
from tests.models.heads.nets import CARD, PYRAMIDS, small_backbone
from tests.rewrites.seeded import seeded
from tests.tiers import thorough

SIZE = (64, 96)
WIDTHS = (64, 128, 1024)
"""Of CARE-S0's maps of strides 8 to 32."""
CLASSES = 3


def trained() -> dict[str, Tensor]:
    """Return weights whose boxes go beyond the edges of the image, and some of which do not."""
    model = seeded(mvt.create_model("care_s0", random_weights=True, head="retinanet", num_classes=CLASSES, img_size=64))
    weights = dict(model.float().state_dict())
    weights["bbox_head.retina_reg.weight"] *= 0.3
    return weights


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return trained()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Tensor]) -> Path:
    path = tmp_path_factory.mktemp("weights") / "epoch_12.pth"
    torch.save({"meta": {"CLASSES": ("a", "b", "c")}, "state_dict": weights, "message_hub": {}}, path)
    return path


def as_written(weights: dict[str, Tensor], maps: list[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Compute boxes and scores from a checkpoint's tensors by their names there, anchor by anchor."""

    def conv(x: Tensor, name: str, **how: int) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **how)

    laterals = [conv(x, f"neck.lateral_convs.{i}.conv") for i, x in enumerate(maps[1:])]
    for i in (2, 1):
        laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], scale_factor=2, mode="nearest")
    levels = [conv(x, f"neck.fpn_convs.{i}.conv", padding=1) for i, x in enumerate(laterals)]
    levels.append(conv(maps[-1], "neck.fpn_convs.3.conv", padding=1, stride=2))
    levels.append(conv(levels[-1], "neck.fpn_convs.4.conv", padding=1, stride=2))
    boxes, scores = [], []
    for level, stride in zip(levels, (8, 16, 32, 64, 128), strict=True):
        scored = moved = level
        for i in range(4):
            scored = F.relu(conv(scored, f"bbox_head.cls_convs.{i}.conv", padding=1))
            moved = F.relu(conv(moved, f"bbox_head.reg_convs.{i}.conv", padding=1))
        logits = conv(scored, "bbox_head.retina_cls", padding=1)[0]
        moves = conv(moved, "bbox_head.retina_reg", padding=1)[0]
        for row in range(level.shape[2]):
            for column in range(level.shape[3]):
                for anchor in range(9):
                    ratio, third = (0.5, 1.0, 2.0)[anchor // 3], anchor % 3
                    side = stride * 4 * 2 ** (third / 3)
                    width, height = side / math.sqrt(ratio), side * math.sqrt(ratio)
                    dx, dy, dw, dh = moves[4 * anchor : 4 * anchor + 4, row, column].tolist()
                    bound = abs(math.log(0.016))
                    x, y = column * stride + dx * width, row * stride + dy * height
                    width *= math.exp(min(max(dw, -bound), bound))
                    height *= math.exp(min(max(dh, -bound), bound))
                    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                    boxes.append([min(max(c, 0), SIZE[1 - i % 2]) for i, c in enumerate(corners)])
                    own = logits[CLASSES * anchor : CLASSES * (anchor + 1), row, column]
                    scores.append(own.sigmoid().tolist())
    return np.array(boxes), np.array(scores)


def test_a_checkpoint_loads_strictly_and_computes_what_it_did(saved: Path, weights: dict[str, Tensor]) -> None:
    loaded = load_model("care_s0", checkpoint=saved, input_size=SIZE, options={"head": "retinanet"})
    assert (loaded.num_classes, loaded.card.task) == (CLASSES, "detect")
    assert set(loaded.module.state_dict()) == set(weights)
    images = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        boxes, scores = loaded.module(images)
        wanted_boxes, wanted_scores = as_written(weights, loaded.module.backbone(images))
    assert boxes.shape == (1, 9 * (8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1), 4)
    assert np.abs(boxes[0].numpy() - wanted_boxes).max() < 0.02
    assert np.abs(scores[0].numpy() - wanted_scores).max() < 1e-3
    assert wanted_scores.std() > 0.01
    assert 0.05 < ((wanted_boxes > 0) & (wanted_boxes < 64)).mean() < 0.95


def test_rows_that_are_no_nine_anchors_are_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    broken = {**weights, "bbox_head.retina_cls.weight": torch.zeros(28, 256, 3, 3)}
    torch.save(broken, tmp_path / "w.pth")
    with pytest.raises(BadInputError, match="28 rows"):
        load_model("care_s0", checkpoint=tmp_path / "w.pth", options={"head": "retinanet"})


def test_it_takes_the_size_that_it_was_built_for() -> None:
    model = load_model("care_s0", random_weights=True, input_size=(64, 64), options={"head": "retinanet"}).module
    with pytest.raises(BadInputError, match="built for 64x64"):
        model(torch.zeros(1, 3, 64, 96))


def test_macs_are_those_that_were_counted_by_hand() -> None:
    model = load_model("care_s0", random_weights=True, input_size=(64, 64), options={"head": "retinanet"}).module
    own = count_macs(model.backbone, (1, 3, 64, 64))
    counted = count_macs(model, (1, 3, 64, 64))
    places = [64, 16, 4, 1, 1]
    neck = sum(count * (width * 256 + 9 * 256 * 256) for count, width in zip(places, WIDTHS, strict=False))
    neck += 9 * 256 * (1024 + 256)
    head = sum(places) * 9 * 256 * (2 * 4 * 256 + 9 * 80 + 9 * 4)
    assert counted.total - own.total == neck + head
    assert not counted.uncounted


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("care", ("onnx",)),
        thorough("care", STANDARD),
        *(pytest.param(family, STANDARD, marks=pytest.mark.slow) for family in PYRAMIDS if family != "care"),
    ],
)
def test_every_family_exports_to_every_target(family: str, targets: tuple[str, ...], tmp_path: Path) -> None:
    model = seeded(RetinaNet(small_backbone(family), num_classes=CLASSES, img_size=(64, 64))).float()
    made = mvt.export(model, name="net", card=CARD, targets=targets, output=tmp_path, task="detect")
    assert {(artifact.parity.status, artifact.parity.box_agreement) for artifact in made.artifacts} == {("passed", 1)}
    assert len(made.artifacts) == len(targets)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_care_exports_at_full_size(precision: str, tmp_path: Path) -> None:
    made = mvt.export(
        "care_s0", options={"head": "retinanet"}, random_weights=True, targets="all", output=tmp_path,
        precision=precision,
    )  # fmt: skip
    assert {artifact.parity.status for artifact in made.artifacts} <= {"passed", "not_verified"}
