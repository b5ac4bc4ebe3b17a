"""One recipe, the same bits wherever it is followed."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
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
