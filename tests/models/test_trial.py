"""What a model returns is looked at before anything is made of it, and whether it returns the same again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.trial import Trial, check_batches, try_out

SIZE = (8, 12)


class Does(nn.Module):
    """Pools an image to its three channels and gives ``then`` the result, and the image."""

    def __init__(self, then: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.then = then
        self.calls = 0

    def forward(self, x: Tensor) -> object:
        self.calls += 1
        return self.then(x.mean((2, 3)), x)


def tried(then: Callable[[Tensor, Tensor], object]) -> Trial:
    return try_out("net.py:build", Does(then).eval(), SIZE)


def test_logits_and_lists_of_tensors_are_told_apart() -> None:
    assert tried(lambda y, _: y) == Trial(classes=3, outputs=1)
    assert tried(lambda y, x: [y, x]) == Trial(classes=0, outputs=2)
    assert tried(lambda y, _: (y,)) == Trial(classes=0, outputs=1)
    assert tried(lambda y, x: (y, x.argmax(1))) == Trial(classes=0, outputs=2)


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (lambda y, _: [y, y[:, :0]], r"Output 2 of net\.py:build is empty \(1x0\)\."),
        (lambda y, _: y[:, :0], r"The output of net\.py:build is empty \(1x0\)\."),
        (lambda y, _: [y, "text"], r"Output 2 of net\.py:build is a str, not a tensor\."),
        (lambda y, _: {"a": [y, y > 0]}, r"Output a\.1 of net\.py:build is of type bool\."),
        (lambda y, _: [y > 0], r"Output 1 of net\.py:build is of type bool\."),
        (lambda y, _: y.bfloat16(), r"The output of net\.py:build is of type bfloat16\."),
        (lambda y, _: [y, y.to_sparse()], r"Output 2 of net\.py:build is a sparse tensor\."),
        (lambda y, _: torch.fft.fft(y), r"The output of net\.py:build is of type complex64\."),
        (lambda y, _: y.flatten(), r"has the shape 3 for one image"),
        (lambda y, _: y.sum(), r"has the shape a scalar for one image"),
        (lambda _, x: [x[0]], r"has the shape 3x8x12 for one image"),
        (lambda *_: None, r"returns None, and no tensor"),
        (lambda *_: [], r"returns an empty list, and no tensor"),
        (lambda *_: {"loss": None}, r"returns a dict, and no tensor"),
        (lambda *_: 3, r"The output of net\.py:build is an int, not a tensor\."),
        (lambda y, _: y.reshape(2, 5), r"on a 1x3x8x12 input failed with RuntimeError: shape .* \(test_trial\.py, "),
    ],
)
def test_what_cannot_be_exported_is_refused_by_what_it_is(
    then: Callable[[Tensor, Tensor], object], message: str
) -> None:
    with pytest.raises(BadInputError, match=message) as refusal:
        tried(then)
    assert refusal.value.hint


@pytest.mark.parametrize(
    "then",
    [
        lambda y, _: F.dropout(y, 0.3),
        lambda y, _: y + torch.rand(3),
        lambda y, _: [y, y * torch.randn_like(y)],
        lambda y, _: torch.bernoulli(y.sigmoid()),
        lambda y, _: y[:, torch.randperm(3)],
        lambda y, _: y * torch.randn(3, generator=torch.manual_seed(0)),  # the same each time, and no part of a graph
        lambda y, _: y * torch.randn(3, generator=torch.Generator().manual_seed(0)),
    ],
)
def test_a_forward_pass_that_draws_random_numbers_is_refused_with_its_line(
    then: Callable[[Tensor, Tensor], object],
) -> None:
    state = torch.get_rng_state()
    with pytest.raises(BadInputError, match=r"draws random numbers \(test_trial\.py, line \d+: lambda y, _") as refusal:
        tried(then)
    assert refusal.value.error_code == "random_forward"
    assert torch.equal(torch.get_rng_state(), state)


def test_randomness_of_others_and_changing_state_are_refused() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(BadInputError, match="a second run on the same input differs"):
        tried(lambda y, _: y * generator.random())
    counting = Does(lambda y, _: y)
    counting.then = lambda y, _: y * counting.calls
    with pytest.raises(BadInputError, match="a second run on the same input differs"):
        try_out("net.py:build", counting, SIZE)


def test_random_numbers_without_an_effect_and_attention_are_nothing_to_refuse() -> None:
    assert tried(lambda y, _: y + 0 * torch.rand(3)).classes == 3
    assert tried(lambda y, _: F.scaled_dot_product_attention(y[:, None], y[:, None], y[:, None])[:, 0]).classes == 3
    assert tried(lambda y, _: F.dropout(y, 0.5, training=False)).classes == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.mul_(0.5),
        lambda x: F.relu(x, inplace=True),
        lambda x: x[:, 0].add_(1),
        lambda x: x.clamp_(-1e9, 1e9),  # changes nothing here, and stays an operator that writes its input
        lambda x: x.data.mul_(2),
    ],
)
def test_a_model_that_changes_its_input_gets_a_copy_of_it(change: Callable[[Tensor], object]) -> None:
    module = Does(lambda _, x: (change(x), x.sum((2, 3)))[1]).eval()
    image = torch.randn(2, 3, *SIZE)
    expected = module(image.clone())
    try_out("net.py:build", module, SIZE)
    given = image.clone()
    assert torch.equal(module(given), expected)
    assert torch.equal(given, image)
    assert given._version == 0


def test_a_model_that_leaves_its_input_alone_gets_the_input() -> None:
    seen: list[Tensor] = []
    module = Does(lambda y, x: (seen.append(x), y)[1])
    try_out("net.py:build", module, SIZE)
    image = torch.zeros(1, 3, *SIZE)
    module(image)
    assert seen[-1] is image


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (lambda y, _: y.view(1, -1), "supports only a batch of 1: for a batch of two it returns 1x6"),
        (lambda y, _: y.view(1, 3), "supports only a batch of 1: a batch of two failed with RuntimeError"),
        (lambda y, _: y[:1], "supports only a batch of 1: for a batch of two it returns 1x3"),
        (lambda y, _: y - y.mean(0, keepdim=True), "mixes the images of a batch"),
    ],
)
def test_a_model_of_one_image_is_refused_for_more(then: Callable[[Tensor, Tensor], object], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as refusal:
        check_batches("net.py:build", Does(then), SIZE)
    assert refusal.value.hint


def test_a_model_of_any_batch_passes() -> None:
    check_batches("net.py:build", Does(lambda y, x: [y, x]), SIZE)
    check_batches("net.py:build", Does(lambda y, _: torch.stack([each.flatten() for each in y])), SIZE)
