from __future__ import annotations

from typing import Any

import pytest
from torch.nn import functional as F

from mobilevit_tools.exporters.coreml_forms import FORMS
from mobilevit_tools.exporters.xnnpack_forms import FORMS as XNNPACK_FORMS
from tests.forms.same import example, operators

_PRODUCTS: list[dict[str, Any]] = [
    {"mode": "bilinear", "antialias": True, "size": (3, 5)},
    {"mode": "bicubic", "antialias": True, "size": (3, 5)},
    {"mode": "bicubic", "antialias": True, "scale_factor": 0.4},
    {"mode": "bicubic", "size": (11, 17)},
    {"mode": "bicubic", "size": (11, 17), "align_corners": True},
    {"mode": "bicubic", "scale_factor": (1.7, 0.6)},
    {"mode": "bilinear", "scale_factor": 1.7},
]


@pytest.mark.parametrize("how", _PRODUCTS, ids=str)
def test_resizing_is_two_products(how: dict[str, Any]) -> None:
    found = operators(FORMS, lambda x: F.interpolate(x, **how), example(2, 3, 8, 10))
    assert found.count("aten.matmul.default") == 2


@pytest.mark.parametrize("how", [{"size": (11, 17)}, {"scale_factor": 1.7}, {"size": (3, 5)}], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_pixels_are_selected(mode: str, how: dict[str, Any]) -> None:
    found = operators(FORMS, lambda x: F.interpolate(x, mode=mode, **how), example(2, 3, 8, 10))
    assert found.count("aten.index_select.default") == 2


@pytest.mark.parametrize(
    "how",
    [
        {"mode": "bilinear", "size": (11, 17)},
        {"mode": "bilinear", "scale_factor": 2.0},
        {"mode": "nearest", "scale_factor": 2.0},
        {"mode": "nearest", "size": (16, 20)},
    ],
    ids=str,
)
def test_what_converters_take_stays(how: dict[str, Any]) -> None:
    found = operators(FORMS, lambda x: F.interpolate(x, **how), example(2, 3, 8, 10))
    assert any("upsample" in name for name in found)
    assert not any("index_select" in name or "matmul" in name for name in found)


@pytest.mark.parametrize(
    ("how", "products"),
    [({"scale_factor": (2, 3)}, 0), ({"size": (16, 30)}, 0), ({"size": (24, 13)}, 2), ({"scale_factor": 0.5}, 2)],
    ids=str,
)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_pixels_are_copied(mode: str, how: dict[str, Any], products: int) -> None:
    found = operators(XNNPACK_FORMS, lambda x: F.interpolate(x, mode=mode, **how), example(2, 3, 8, 10))
    assert found.count("aten.linear.default") == products
    of_identities = sum("upsample" in name for name in found)
    assert of_identities == products
