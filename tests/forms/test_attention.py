from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.forms.attention import flat_softmax, hides_rows, scaled_products, unmasked_products
from tests.forms.same import example, operators

_aten = torch.ops.aten
SDPA = {_aten.scaled_dot_product_attention.default: scaled_products}


@pytest.mark.parametrize(
    ("shape", "dim", "written"),
    [
        ((2, 3, 4, 5), -1, True),
        ((2, 3, 4, 5), 3, True),
        ((2, 3, 4, 5), 1, True),
        ((4, 5), 0, True),
        ((3, 4, 5), -1, False),
    ],
)
def test_a_softmax_over_the_last_of_four_axes_is_written_flat_and_over_another_as_over_the_last(
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


MASKS = {
    "causal": {"is_causal": True},
    "numbers": {"attn_mask": example(7, 7)},
    "heads": {"attn_mask": example(1, 3, 7, 7)},
    "images": {"attn_mask": example(2, 1, 7, 7)},
    "keys": {"attn_mask": example(2, 1, 1, 7)},
    "whole": {"attn_mask": example(2, 3, 7, 7)},
    "truth": {"attn_mask": torch.ones(7, 7, dtype=torch.bool).tril(2)},
    "infinite": {"attn_mask": torch.full((7, 7), -torch.inf, dtype=torch.float64).triu(1)},
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_are_added_between_the_products(kind: str) -> None:
    found = operators(SDPA, lambda x: F.scaled_dot_product_attention(x, 2 * x, x, **MASKS[kind]), example(2, 3, 7, 4))
    assert found.count("aten.bmm.default") == 2
    assert "aten.scaled_dot_product_attention.default" not in found


@pytest.mark.parametrize("kind", MASKS)
def test_heads_that_share_keys_are_rows_of_one_product(kind: str) -> None:
    def shared(x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x[:, :1], 2 * x[:, :1], **MASKS[kind])

    found = operators(SDPA, shared, example(2, 3, 7, 4))
    assert found.count("aten.bmm.default") == 2
    assert not any("expand" in name for name in found)


@pytest.mark.parametrize("causal", [False, True])
def test_groups_of_heads_share_keys(causal: bool) -> None:
    def shared(x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x[:, :2], 2 * x[:, 1:3], is_causal=causal, enable_gqa=True)

    found = operators(SDPA, shared, example(2, 6, 7, 4))
    assert found.count("aten.bmm.default") == 2
    assert not any("repeat" in name for name in found)


def test_heads_that_cannot_share_keys_stay() -> None:
    found = operators(SDPA, lambda x: F.scaled_dot_product_attention(x[:1], x, x), example(2, 3, 7, 4))
    assert "aten.scaled_dot_product_attention.default" in found


@pytest.mark.parametrize("kind", MASKS)
def test_attention_with_a_mask_can_be_left_as_it_is(kind: str) -> None:
    forms = {_aten.scaled_dot_product_attention.default: unmasked_products}
    found = operators(forms, lambda x: F.scaled_dot_product_attention(x, 2 * x, x, **MASKS[kind]), example(2, 3, 7, 4))
    assert ("aten.scaled_dot_product_attention.default" in found) == ("attn_mask" in MASKS[kind])


@pytest.mark.parametrize(("diagonal", "hidden"), [(0, False), (-1, True)])
def test_a_mask_hides_rows_in_which_nothing_is_seen(diagonal: int, hidden: bool) -> None:
    seen = torch.ones(2, 3, 3, dtype=torch.bool).tril(diagonal)
    assert hides_rows(seen) == hidden
    assert hides_rows(torch.zeros(2, 3, 3).masked_fill(~seen, -torch.inf)) == hidden
    assert not hides_rows(torch.full((3, 3), -1e9))
