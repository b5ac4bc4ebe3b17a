"""The registered architectures as parameters of tests: those that stand for their family, and all of them."""

from __future__ import annotations

import pytest

from mobilevit_tools.models.names import all_cards

CARDS = tuple(all_cards())
KINDS = {(card.family, card.preprocessing.input_size) for card in CARDS}
SMALLEST = tuple(
    min((card for card in CARDS if (card.family, card.preprocessing.input_size) == kind), key=lambda card: card.params)
    for kind in sorted(KINDS)
)
"""The smallest architecture of each family, and of each of its input sizes."""

ONE_OF_A_KIND = [pytest.param(card, id=card.name, marks=() if card in SMALLEST else pytest.mark.slow) for card in CARDS]
"""All architectures; those that differ from a smaller one in numbers alone are for `make test-all`."""


def stands_for_others(name: str) -> bool:
    """Tell whether a listed model, an architecture with a tag or without, is the smallest of its kind."""
    return name.partition(".")[0] in {card.name for card in SMALLEST}
