from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mobilevit_tools.forms.attention import flat_softmax, scaled_products
from tests.forms.same import example, operators

_aten = torch.ops.aten
SDPA = {_aten.scaled_dot_product_attention.default: scaled_products}


@pytest.mark.parametrize(
    ("shape", "dim", "written"),
    [((2, 3, 4, 5), -1, True), ((2, 3, 4, 5), 3, True), ((2, 3, 4, 5), 1, False), ((3, 4, 5), -1, False)],
)
def test_only_a_softmax_over_the_last_of_four_axes_is_written_flat(
    shape: tuple[int, ...], dim: int, written: bool
) -> None:
    found = operators({_aten.softmax.int: flat_softmax}, lambda x: x.softmax(dim), example(*shape))
    assert (len(found) > 1) == written


@pytest.mark.parametrize("shape", [(2, 3, 7, 4), (3, 7, 4), (1, 2, 2, 7, 4)])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_is_two_products(shape: tuple[int, ...], scale: float | None) -> None:
    found = operators(
        SDPA,
        lambda x: F.scaled_dot_product_attention(x, 2 * x[..., :5, :], x[..., :5, :3], scale=scale),
        example(*shape),
    )
    assert found.count("aten.bmm.default") == 2


@pytest.mark.parametrize(
    "options", [{"is_causal": True}, {"attn_mask": torch.ones(7, 7, dtype=torch.bool)}], ids=["causal", "mask"]
)
def test_masked_attention_stays(options: dict[str, object]) -> None:
    found = operators(SDPA, lambda x: F.scaled_dot_product_attention(x, x, x, **options), example(2, 3, 7, 4))
    assert "aten.scaled_dot_product_attention.default" in found
