from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml.ops.image import sample_points
from tests.runtimes.coreml.building import PROPERTY, computed, mb, noise, saved_cases

X = noise(2, 3, 5, 6)
GRID = np.clip(noise(2, 3, 4, 2), -1.5, 1.5)
MATRIX = np.array([[0.8, 0.1, 0.2, -0.1, 1.1, -0.3]], np.float32)
MODE = {"sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": 0.0}

BUILDS: dict[str, Any] = {
    "nearest": lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
    "nearest_size": lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=7, target_size_width=4),
    "bilinear": lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False),
    "bilinear_corners": lambda x: mb.upsample_bilinear(x=x, scale_factor_height=1.6, scale_factor_width=1.5),
    "resize": lambda x: mb.resize_bilinear(
        x=x, target_size_height=3, target_size_width=11, sampling_mode="UNALIGN_CORNERS"
    ),
    "resize_corners": lambda x: mb.resize_bilinear(
        x=x, target_size_height=8, target_size_width=4, sampling_mode="STRICT_ALIGN_CORNERS"
    ),
    "resize_any": lambda x: mb.resize(
        x=x, shape=[0, 9], resized_dims=np.uint32(2), interpolation_mode="LINEAR", sampling_mode="UNALIGN_CORNERS"
    ),
    "resample": lambda x: mb.resample(
        x=x, coordinates=GRID, coordinates_mode="normalized_minus_one_to_one", align_corners=False, **MODE
    ),
    "resample_pixels": lambda x: mb.resample(
        x=x,
        coordinates=np.array([[[[0, 1], [5, 4], [2.5, 1.5]]]] * 2, np.float32),
        sampling_mode="bilinear",
        padding_mode="border",
        padding_value=0.0,
        coordinates_mode="unnormalized",
        align_corners=True,
    ),
    "affine": lambda x: mb.affine(
        x=x,
        transform_matrix=MATRIX,
        output_height=4,
        output_width=7,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=True,
        **MODE,
    ),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return saved_cases(BUILDS, X.shape, tmp_path_factory.mktemp("image") / "a.mlpackage").run({"x": X})


def test_saved_resizes_match_torch(outputs: dict[str, Any]) -> None:
    x = torch.from_numpy(X)
    matrix = torch.from_numpy(MATRIX).reshape(1, 2, 3).expand(2, 2, 3)
    grid = F.affine_grid(matrix, [2, 3, 4, 7], align_corners=True)
    expected = {
        "nearest": F.interpolate(x, scale_factor=(2, 3)),
        "nearest_size": F.interpolate(x, (7, 4), mode="nearest-exact"),
        "bilinear": F.interpolate(x, scale_factor=2, mode="bilinear"),
        "bilinear_corners": F.interpolate(x, (8, 9), mode="bilinear", align_corners=True),
        "resize": F.interpolate(x, (3, 11), mode="bilinear"),
        "resize_corners": F.interpolate(x, (8, 4), mode="bilinear", align_corners=True),
        "resize_any": F.interpolate(x, (5, 9), mode="bilinear"),
        "resample": F.grid_sample(x, torch.from_numpy(GRID), align_corners=False),
        "affine": F.grid_sample(x, grid, align_corners=True),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    between = X[:, :, 1:3, 2:4].mean((2, 3))
    picked = np.stack([X[:, :, 1, 0], X[:, :, 4, 5], between], -1)[:, :, None]
    np.testing.assert_allclose(outputs["resample_pixels"], picked, rtol=1e-4, atol=1e-5)


@PROPERTY
@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    targets=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    corners=st.booleans(),
)
def test_resizing_to_any_size_is_torchs(sizes: Any, targets: Any, corners: bool) -> None:
    x = noise(1, 2, *sizes)
    mode = "STRICT_ALIGN_CORNERS" if corners else "UNALIGN_CORNERS"
    theirs = F.interpolate(torch.from_numpy(x), targets, mode="bilinear", align_corners=corners)
    arguments = {"target_size_height": targets[0], "target_size_width": targets[1]}
    ours = computed("resize_bilinear", x=x, sampling_mode=mode, **arguments)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    nearest = F.interpolate(torch.from_numpy(x), targets, mode="nearest-exact")
    np.testing.assert_array_equal(computed("resize_nearest_neighbor", x=x, **arguments), nearest)
    any_rank = computed("resize", x=x, shape=targets, resized_dims=2, interpolation_mode="NEAREST_NEIGHBOR")
    np.testing.assert_array_equal(any_rank, nearest)


def test_nearest_neighbours_lie_at_centres_of_a_size_and_at_starts_of_a_factor() -> None:
    x = np.array([1.5, -2.5, 3.5], np.float32).reshape(1, 1, 1, 3)
    # The values that coremltools' own tests of Core ML expect.
    scaled = computed("upsample_nearest_neighbor", x=x, scale_factor_height=1.0, scale_factor_width=0.67)
    np.testing.assert_array_equal(scaled.ravel(), [1.5, -2.5])
    pair = x[..., :2]
    sized = computed("resize", x=pair, shape=(1, 3), resized_dims=2, interpolation_mode="NEAREST_NEIGHBOR")
    np.testing.assert_array_equal(sized.ravel(), [1.5, -2.5, -2.5])
    upscaled = computed("upsample_nearest_neighbor", x=pair, scale_factor_height=1.0, scale_factor_width=1.5)
    np.testing.assert_array_equal(upscaled.ravel(), [1.5, 1.5, -2.5])


@pytest.mark.parametrize(
    ("mode", "target", "expected"),
    [
        ("UNALIGN_CORNERS", 5, [0, 0.1, 0.5, 0.9, 1]),
        ("STRICT_ALIGN_CORNERS", 5, [0, 0.25, 0.5, 0.75, 1]),
        ("ALIGN_CORNERS", 5, [0, 0.25, 0.5, 0.75, 1]),
        ("DEFAULT", 5, [0, 0.4, 0.8, 1, 1]),
        ("OFFSET_CORNERS", 5, [0.1, 0.3, 0.5, 0.7, 0.9]),
        ("DEFAULT", 6, [0, 1 / 3, 2 / 3, 1, 1, 1]),
        ("STRICT_ALIGN_CORNERS", 1, [0]),
        ("ALIGN_CORNERS", 1, [0.5]),
    ],
)
def test_sampling_modes_place_their_points_as_documented(mode: str, target: int, expected: list[float]) -> None:
    np.testing.assert_allclose(sample_points(2, target, mode), expected)


@pytest.mark.parametrize("coordinates_mode", ["normalized_minus_one_to_one", "normalized_zero_to_one", "unnormalized"])
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("padding", ["reflection", "symmetric", "border", "constant"])
def test_resampling_beyond_the_edges(padding: str, corners: bool, coordinates_mode: str) -> None:
    x = np.arange(1.0, 4.0, dtype=np.float32).reshape(1, 1, 1, 3)
    positions = np.arange(-3, 6)
    if padding == "constant":
        expected = np.pad(x[0, 0, 0], 3, constant_values=1e6)  # far from the values, which keep their digits
    else:
        numpy_mode = {"reflection": "reflect", "symmetric": "symmetric", "border": "edge"}[padding]
        expected = np.pad(x[0, 0, 0], 3, numpy_mode)
    normal = 2 * positions / 2 - 1 if corners else (2 * positions + 1) / 3 - 1
    middle = 0.0
    if coordinates_mode == "normalized_zero_to_one":
        normal, middle = (normal + 1) / 2, 0.5
    elif coordinates_mode == "unnormalized":
        normal = positions
    coordinates = np.stack([normal, np.full(9, middle)], -1).reshape(1, 1, 9, 2).astype(np.float32)
    ours = computed(
        "resample",
        x=x,
        coordinates=coordinates,
        sampling_mode="nearest" if padding == "constant" else "bilinear",
        padding_mode=padding,
        padding_value=1e6 if padding == "constant" else 0.0,
        coordinates_mode=coordinates_mode,
        align_corners=corners,
    )
    np.testing.assert_allclose(ours[0, 0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("factor", [0.7, 1.1, 1.3, 2.3])
@pytest.mark.parametrize("arithmetic", ["fp32", "half"])
def test_a_factor_gives_the_size_that_the_program_declares(factor: float, arithmetic: Any, tmp_path: Path) -> None:
    builds = {
        "nearest": lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=factor, scale_factor_width=factor),
        "linear": lambda x: mb.upsample_bilinear(x=x, scale_factor_height=factor, scale_factor_width=factor),
    }
    program = saved_cases(builds, (1, 1, 10, 10), tmp_path / "factors.mlpackage")
    x = noise(1, 1, 10, 10)
    results = program.run({"x": x}, arithmetic)
    size = round(10 * factor)
    aligned = F.interpolate(torch.from_numpy(x).double(), (size, size), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(results["linear"], aligned, atol=5e-3 if arithmetic == "half" else 1e-5)
    starts = (np.arange(size) * 10) // size
    rounded = x.astype(np.float16) if arithmetic == "half" else x
    np.testing.assert_array_equal(results["nearest"], rounded[:, :, starts][..., starts])


def test_what_the_format_leaves_open_is_refused() -> None:
    with pytest.raises(BadInputError, match="sampling mode 'CUBIC'"):
        sample_points(2, 3, "CUBIC")
    with pytest.raises(BadInputError, match="half pixels"):
        computed("upsample_bilinear", x=X, align_corners=True, half_pixel_centers=True)
    with pytest.raises(BadInputError, match="mixes"):
        computed(
            "resize",
            x=X,
            shape=(9, 9),
            resized_dims=2,
            interpolation_mode="NEAREST_NEIGHBOR",
            sampling_mode="ALIGN_CORNERS",
        )
    with pytest.raises(BadInputError, match="too large"):
        computed("resize_bilinear", x=X, target_size_height=1 << 20, target_size_width=1 << 20)
