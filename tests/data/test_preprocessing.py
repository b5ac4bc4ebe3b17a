"""One recipe, the same bits wherever it is followed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.exporters.coreml import ImageModel

RECIPE = Preprocessing((1, 256))
EVERY_VALUE = np.broadcast_to(np.arange(256, dtype=np.uint8), (1, 3, 1, 256))


def test_pixels_get_zero_mean_and_unit_variance() -> None:
    mean, std = (np.asarray(values)[:, None, None] for values in (RECIPE.mean, RECIPE.std))
    normalized = RECIPE.normalize(EVERY_VALUE)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized, (EVERY_VALUE / 255.0 - mean) / std, rtol=0, atol=5e-7)


def test_an_artifact_that_normalises_by_itself_gives_the_same_bits() -> None:
    inside = ImageModel(nn.Identity(), Contract("m", RECIPE, input="image"))
    pixels = torch.from_numpy(EVERY_VALUE.astype(np.float32))
    np.testing.assert_array_equal(inside(pixels).numpy(), RECIPE.normalize(EVERY_VALUE))


@pytest.mark.parametrize("size", [(440, 440), (440, 613), (613, 440)])
def test_a_crop_as_large_as_the_photo_stays_inside_of_it(size: tuple[int, int]) -> None:
    assert Preprocessing((224, 224), crop_fraction=1.0).pixels(Image.new("RGB", size)).shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"input_size": (0, 8)}, "sides of 0 x 8 pixels"),
        ({"input_size": (8, 60_000)}, "between 1 and 8192"),
        ({"crop_fraction": 0.0}, "crop fraction of 0.0"),
        ({"crop_fraction": 2.0}, "at most 1"),
        ({"crop_fraction": math.nan}, "crop fraction of nan"),
        ({"mean": (0.5, math.inf, 0.5)}, "mean of 0.5, inf, 0.5"),
        ({"std": (0.5, 0.0, 0.5)}, "deviation of 0.5, 0.0, 0.5"),
        ({"std": (0.5, 0.5, math.nan)}, "finite and above 0"),
    ],
)
def test_a_recipe_that_no_image_can_follow_is_refused_wherever_it_comes_from(
    recipe: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        replace(RECIPE, **recipe)
    written = json.loads(Contract("m", RECIPE).to_json())
    written["preprocessing"] |= recipe
    stored = json.dumps(written)
    with pytest.raises(
        BadInputError, match="not a finite number" if "NaN" in stored or "Infinity" in stored else message
    ):
        Contract.from_json(stored)
