from __future__ import annotations

import pytest

from tests.rewrites.graphs import kind, traced
from tests.rewrites.seeded import assert_same, image, rewritten, small_care


@pytest.mark.parametrize("others", [[], ["batch_norm_forward"], ["linear_attention", "split_slices"]])
def test_every_block_but_the_last(others):
    assert_same(small_care(), ["layer_scale", *others], image(), places=7)


def test_only_the_residual_is_multiplied():
    def scaled(module):
        """Return what makes the maps that a layer scale multiplies."""
        return [kind(node.args[1]) for node in traced(module, image()) if kind(node) == "mul"]

    assert scaled(small_care()) == ["add"] * 7  # the residual and the projection's result
    model, _ = rewritten(small_care(), ["layer_scale"], image())
    assert scaled(model) == ["cat"] * 7
