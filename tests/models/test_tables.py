"""Tables that are tied to the input size keep their meaning when resized."""

from __future__ import annotations

import pytest
import torch

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.tables import (
    reads_as_square,
    resize_positions,
    resize_score_bias,
    resize_score_transform,
)


def test_positions_are_interpolated_over_the_grid_and_the_class_tokens_stay() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    places = torch.stack([rows, columns], dim=-1).reshape(1, 36, 2)
    table = torch.cat([torch.full((1, 1, 2), 99.0), places], dim=1)
    resized = resize_positions(table, (12, 6), prefix=1)
    assert resized.shape == (1, 73, 2)
    assert resized[0, 0].tolist() == [99, 99]
    grid = resized[0, 1:].reshape(12, 6, 2)
    # Inside, a ramp stays a ramp: half a step a row now, and the columns as they were.
    expected_rows = (torch.arange(12.0) + 0.5) / 2 - 0.5
    torch.testing.assert_close(grid[3:9, :, 0], expected_rows[3:9, None].expand(-1, 6), atol=0.05, rtol=0)
    torch.testing.assert_close(grid[..., 1], torch.arange(6.0).expand(12, -1), atol=1e-4, rtol=0)


def test_a_table_of_no_square_grid_is_refused() -> None:
    with pytest.raises(BadInputError, match="15 tokens"):
        resize_positions(torch.zeros(1, 15, 4), (4, 4))


@pytest.mark.parametrize("grid", [(8, 8), (3, 3), (6, 10)])
def test_a_score_transform_keeps_its_row_sums(grid: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(16, 16, generator=generator)
    resized = resize_score_transform(weight, grid)
    tokens = grid[0] * grid[1]
    assert resized.shape == (tokens, tokens)
    expected = resize_score_bias(weight.sum(dim=1), grid)
    torch.testing.assert_close(resized.sum(dim=1), expected, rtol=1e-5, atol=1e-5)
    # A constant score map stays the constant map that it was turned into.
    uniform = resize_score_transform(torch.full((16, 16), 0.3), grid) @ torch.ones(tokens)
    torch.testing.assert_close(uniform, torch.full((tokens,), 4.8))


def test_a_local_score_transform_stays_local() -> None:
    resized = resize_score_transform(torch.eye(16), (8, 8)).reshape(8, 8, 8, 8)
    near, far = resized[1, 1, 1, 1], resized[1, 1, 6, 6]
    assert near > 10 * far.abs()
    assert torch.equal(resized.argmax(dim=3).amin(dim=2) <= 7, torch.ones(8, 8, dtype=torch.bool))


def test_outputs_and_inputs_are_not_mixed_up() -> None:
    weight = torch.zeros(16, 16)
    weight[0] = 1  # the first output listens to everything
    resized = resize_score_transform(weight, (8, 8))
    assert resized[0].sum() == pytest.approx(16, rel=1e-4)
    assert resized[63].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("grid", "expected"), [((14, 14), False), ((7, 28), True), ((28, 7), True), ((6, 10), False), ((1, 1), False)]
)
def test_a_grid_of_as_many_tokens_as_a_square_reads_as_one(grid: tuple[int, int], expected: bool) -> None:
    assert reads_as_square(grid) is expected
