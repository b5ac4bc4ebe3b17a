"""``mvt info`` shows what is known, and nothing of what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mobilevit_tools.cli.info import _figures
from mobilevit_tools.models.cards import Published
from tests.cli.conftest import Ran


@pytest.mark.parametrize(
    ("published", "words"),
    [
        (Published("a paper"), ""),
        (Published("a paper", params_m=5.0, top1=72.2), "5.0 M parameters, top-1 72.2 %"),
        (Published("a paper", gmacs=0.0), "0.0 GMACs"),
    ],
)
def test_only_figures_that_are_published_are_shown(published: Published, words: str) -> None:
    assert _figures(published) == words


def test_the_class_count_can_be_chosen(mvt: Callable[..., Ran]) -> None:
    ran = mvt("info", "couplformer_kct2", "--num-classes", "7", "--json")
    assert ran.code == 0, ran.err
    assert ran.envelope["result"]["num_classes"] == 7
