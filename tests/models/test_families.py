"""What holds for every architecture that is registered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mobilevit_tools.errors import UsageError
from mobilevit_tools.models.cards import ModelCard
from mobilevit_tools.models.factory import create_model
from mobilevit_tools.models.registry import FAMILIES
from tests.cards import CARDS, SMALLEST
from tests.rewrites.families import FAMILIES as SMALL_MODELS


def small_input(card: ModelCard) -> Tensor:
    """Return an input that is not square, so that height and width cannot be mixed up unseen."""
    side = max(2 * card.size_multiple, 32)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, side, side + card.size_multiple, generator=generator)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_parameters_and_macs_are_those_that_were_counted_by_hand(card: ModelCard) -> None:
    params, gmacs = card.counted.params_m, card.counted.gmacs
    # A figure with two decimals may have been cut off or rounded.
    assert card.params / 1e6 == pytest.approx(params, abs=0.006 if params > 10 else 0.0006)
    if gmacs is not None:
        assert card.macs == pytest.approx(gmacs * 1e9, rel=0.01)


def test_every_family_has_a_smallest_and_a_small_model_for_rewrites() -> None:
    assert {card.family for card in SMALLEST} == set(FAMILIES) == set(SMALL_MODELS)


@pytest.mark.parametrize("card", SMALLEST, ids=lambda card: card.name)
def test_features_are_the_maps_that_the_model_declares(card: ModelCard) -> None:
    x = small_input(card)
    model = create_model(card.name, random_weights=True, img_size=tuple(x.shape[-2:]), features_only=True)
    maps = model(x)
    assert len(maps) == len(model.feature_channels) == len(model.feature_strides)
    for found, channels, stride in zip(maps, model.feature_channels, model.feature_strides, strict=True):
        assert tuple(found.shape) == (2, channels, x.shape[2] // stride, x.shape[3] // stride)


@pytest.mark.parametrize("card", SMALLEST, ids=lambda card: card.name)
def test_nothing_is_kept_of_the_weights_that_a_model_was_first_run_with(card: ModelCard) -> None:
    x = small_input(card)
    given = {"random_weights": True, "num_classes": 7, "img_size": tuple(x.shape[-2:])}
    model, fresh = create_model(card.name, **given), create_model(card.name, **given)
    model(x)
    weights = {key: each * 1.25 if each.is_floating_point() else each for key, each in model.state_dict().items()}
    for each in (model, fresh):
        each.load_state_dict(weights)
    assert torch.equal(model(x), fresh(x))


@pytest.mark.parametrize("card", SMALLEST, ids=lambda card: card.name)
def test_a_batch_is_as_its_images_one_by_one(card: ModelCard) -> None:
    x = small_input(card)
    model = create_model(card.name, random_weights=True, num_classes=7, img_size=tuple(x.shape[-2:]))
    together, apart = model(x), torch.cat([model(x[:1]), model(x[1:])])
    assert together.shape == (2, 7)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3 * together.abs().max()


@pytest.mark.parametrize("card", SMALLEST, ids=lambda card: card.name)
def test_an_option_that_it_does_not_take_is_refused(card: ModelCard) -> None:
    with pytest.raises(UsageError, match="depht"):
        create_model(card.name, random_weights=True, depht=3)


def test_reconstructions_say_so() -> None:
    said = {card.family: card.reconstruction for card in CARDS if card.reconstruction is not None}
    assert {"lavit", "armour"} <= said.keys()
    assert [family for family, text in said.items() if not text.startswith("This project's reconstruction")] == []
    unpublished = [card.published for card in CARDS if card.family == "armour"]
    assert {(each.top1, each.params_m, each.gmacs) for each in unpublished} == {(None, None, None)}
