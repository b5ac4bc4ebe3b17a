from __future__ import annotations

import pytest
import torch

from mobilevit_tools.forms.products import spelt_out, stacked
from tests.forms.same import example, operators

_aten = torch.ops.aten
FORMS = {_aten.matmul.default: stacked, _aten.einsum.default: spelt_out}


@pytest.mark.parametrize("other", [(2, 3, 5, 4), (1, 3, 5, 4), (3, 5, 4), (1, 5, 4), (6, 2, 3, 5, 4)])
def test_stacked_matrices_have_one_batch_dimension(other: tuple[int, ...]) -> None:
    right = example(*other)
    found = operators(FORMS, lambda x: x @ right, example(2, 3, 7, 5))
    assert found.count("aten.bmm.default") == 1


def test_a_single_matrix_and_vectors_stay() -> None:
    found = operators(FORMS, lambda x: (x @ x[0, 0].transpose(0, 1), x @ x[0, 0, 0]), example(2, 3, 7, 5))
    assert found.count("aten.matmul.default") == 2


@pytest.mark.parametrize(
    ("equation", "shape"),
    [("bhnd,bhmd->bhnm", (2, 3, 4, 5)), ("bhnd,bhnm->bhdm", (2, 3, 7, 4)), ("abcd,abed->ace", (2, 3, 4, 5))],
)
def test_einsums_of_two_are_products(equation: str, shape: tuple[int, ...]) -> None:
    other = example(*shape)
    found = operators(FORMS, lambda x: torch.einsum(equation, x, other), example(2, 3, 7, 5))
    assert "aten.einsum.default" not in found


@pytest.mark.parametrize("equation", ["bhnd->bhdn", "bhnd,bhnd->bn", "bhnd,bhnd", "...nd,...md->...nm"])
def test_other_einsums_stay(equation: str) -> None:
    found = operators(FORMS, lambda x: torch.einsum(equation, *[x] * (1 + equation.count(","))), example(2, 3, 7, 5))
    assert ("aten.einsum.default" in found) == (equation != "bhnd,bhnd->bn")
