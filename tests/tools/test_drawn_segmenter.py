"""Pictures follow from their seed, masks are where the shapes are, and what is trained is read back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import mobilevit_tools as mvt
from mobilevit_tools.data.masks import load_mask, pair_masks
from tools import drawn_segmenter as tool


def test_equal_seeds_give_equal_pictures() -> None:
    drawn = {seed: [tool.picture(rng) for rng in [np.random.default_rng(seed)] for _ in range(6)] for seed in (0, 1)}
    again = tool.picture(np.random.default_rng(0))
    assert [each.tobytes() for each in drawn[0][0]] == [each.tobytes() for each in again]
    assert drawn[0][0][0].tobytes() != drawn[1][0][0].tobytes()
    seen = {int(value) for pair in (*drawn[0], *drawn[1]) for value in np.unique(np.asarray(pair[1]))}
    assert seen == set(range(len(tool.LABELS)))


@pytest.mark.parametrize(
    ("name", "share"),
    [("disc", np.pi), ("square", 2.0), ("triangle", 3 * 3**0.5 / 4), ("star", 1.234), ("ring", np.pi * (1 - 0.6**2))],
)
def test_a_shape_has_its_area(name: str, share: float) -> None:
    canvas = Image.new("L", (400, 400))
    tool._shape(ImageDraw.Draw(canvas), name, (200, 200), 100, 0.3, fill=1)
    assert np.asarray(canvas).sum() / 100**2 == pytest.approx(share, rel=0.03)


def test_what_is_written_is_what_was_measured(tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    torch.set_num_threads(1)
    measured = tool.make(folder, pictures=8, held_out=4, epochs=1, batch=4, seed=3)
    pairs = pair_masks(folder / "val" / "photos", folder / "val" / "masks")
    assert len(pairs) == 4
    assert load_mask(pairs[0][1], (tool.SIZE, tool.SIZE)).size == (tool.SIZE, tool.SIZE)
    assert (folder / "labels.txt").read_text().split() == list(tool.LABELS)
    assert f"{measured:.2%}" in (folder / "README.md").read_text()
    model = mvt.create_model("care_s0", checkpoint=folder / "segmenter.safetensors", head="semantic_fpn")
    photos, masks = tool.read(folder / "val", tool.untrained(0)[1])
    assert tool.mean_iou(model, tool.features(model.get_submodule("backbone"), photos), masks) == pytest.approx(
        measured, abs=2e-3
    )
    frozen = mvt.create_model(tool.BACKBONE).state_dict()
    for name, value in model.get_submodule("backbone").state_dict().items():
        torch.testing.assert_close(value, frozen[name], rtol=1e-3, atol=1e-6)
