"""Programs fall into calls and what runs between them."""

from __future__ import annotations

import pytest

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.pieces import Piece, Step, pieces_of


def step(name: str, reads: str = "", writes: str = "", *, delegated: bool = False, macs: int | None = 1) -> Step:
    return Step(delegated, {name: 1}, macs, frozenset(reads), frozenset(writes))


def test_operators_between_calls_are_one_piece_and_calls_are_not() -> None:
    pieces = pieces_of(
        [
            step("conv", "x", "a", delegated=True),
            step("elu", "a", "b"),
            step("topk", "b", "c"),
            step("elu", "c", "d", macs=None),
            step("linear", "d", "e", delegated=True, macs=5),
            step("linear", "ae", "f", delegated=True),
        ]
    )
    assert pieces == (
        Piece(True, {"conv": 1}, 1, ()),
        Piece(False, {"elu": 2, "topk": 1}, None, (0,)),
        Piece(True, {"linear": 1}, 5, (1,)),
        Piece(True, {"linear": 1}, 1, (0, 2)),
    )


@pytest.mark.parametrize("wrong", [{"macs": -1}, {"macs": 10**400}, {"operators": {"elu": -1}}, {"reads": (-1,)}])
def test_impossible_numbers_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match="negative or too large"):
        Piece(True, **wrong)  # type: ignore[arg-type]
