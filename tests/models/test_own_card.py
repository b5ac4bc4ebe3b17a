"""A card that no image can be prepared by is refused with what it should say."""

from __future__ import annotations

from inspect import signature

import pytest

import mobilevit_tools
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.own_card import read_card


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}, "not for pixels from 0 to 1"),
        ({"mean": (123.675, 116.28, 103.53)}, "not for pixels"),
        ({"std": (58.395, 57.12, 57.375)}, "not for pixels"),
        ({"mean": (127.5,) * 3, "std": (1.0,) * 3}, "not for pixels"),
        ({"mean": (-103.0, -116.0, -123.0), "std": (1.0,) * 3}, "not for pixels"),
        ({"std": (0.2, 0.0, 0.2)}, "standard deviation of 0.2, 0.0, 0.2, which must be finite and above 0"),
        ({"std": (0.2, -0.2, 0.2)}, "which must be finite and above 0"),
        ({"std": (0.2, float("nan"), 0.2)}, "which must be finite and above 0"),
        ({"mean": (float("inf"), 0.0, 0.0)}, "which must be finite"),
        ({"mean": (0.5,)}, "has 1 numbers in mean, not 3"),
        ({"std": [0.5, 0.5, 0.5, 0.5]}, "has 4 numbers in std, not 3"),
        ({"input_size": (3, 8, 8)}, "has 3 sides in input_size, not 2"),
        ({"mean": "0.5"}, "has a bad mean"),
        ({"crop_fraction": 87.5}, "crop fraction of 87.5, which must be above 0 and at most 1"),
        ({"crop_fraction": 0.0}, "crop fraction of 0.0, which must be above 0"),
        ({"interpolation": "lanczos"}, "has a bad interpolation"),
        ({"input_size": (0, 8)}, "0x8 pixels is not possible"),
    ],
)
def test_an_impossible_recipe_is_refused(card: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as refusal:
        read_card("net.py:build", {"input_size": (8, 8)} | card).preprocessing("net.py:build", None)
    assert "not for pixels" not in message or "255" in (refusal.value.hint or "")


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.0,) * 3, (1.0,) * 3), ((0.0,) * 3, (1 / 255,) * 3), ((0.48, 0.46, 0.41), (0.27,) * 3)],
)
def test_recipes_that_people_have_are_taken(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    recipe = read_card("net.py:build", {"mean": mean, "std": std}).preprocessing("net.py:build", (4, 6))
    assert (recipe.mean, recipe.std, recipe.input_size) == (mean, std, (4, 6))


def test_the_size_that_is_asked_for_goes_before_the_cards() -> None:
    card = read_card("net.py:build", {"input_size": (8, 8)})
    assert card.preprocessing("net.py:build", (4, 6)).input_size == (4, 6)
    with pytest.raises(UsageError, match="does not say its input size") as raised:
        read_card("net.py:build", {}).preprocessing("net.py:build", None)
    for function, parameter in ((mobilevit_tools.export, "input_size"), (mobilevit_tools.create_model, "img_size")):
        assert parameter in signature(function).parameters
        assert parameter in str(raised.value.hint)
