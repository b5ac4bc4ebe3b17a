from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobilevit_tools.errors import BadInputError
from tests.runtimes.coreml.building import computed, noise

STEPS, BATCH, FEATURES, HIDDEN = 5, 2, 3, 4
X = noise(STEPS, BATCH, FEATURES)
H, C = noise(BATCH, HIDDEN, seed=1), noise(BATCH, HIDDEN, seed=2)


def _weights(layer: nn.RNNBase, order: Iterable[int], suffix: str = "") -> dict[str, np.ndarray]:
    """torch's weights of one direction with the gates in another order; ``bias`` is the sum of both."""
    order = list(order)

    def ordered(name: str) -> np.ndarray:
        value = getattr(layer, f"{name}_l0{suffix}").detach()
        return np.concatenate([value.chunk(len(order))[gate].numpy() for gate in order])

    ih, hh = ordered("bias_ih"), ordered("bias_hh")
    return {"weight_ih": ordered("weight_ih"), "weight_hh": ordered("weight_hh"), "bias": ih + hh, "ih": ih, "hh": hh}


def _given(weights: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: weights[name] for name in names}


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_rnn_is_torchs(activation: str, direction: str) -> None:
    torch.manual_seed(0)
    layer = nn.RNN(FEATURES, HIDDEN, nonlinearity=activation)
    weights = _given(_weights(layer, [0]), "weight_ih", "weight_hh", "bias")
    x = torch.from_numpy(X)
    theirs, last = layer(x.flip(0) if direction == "reverse" else x, torch.from_numpy(H)[None])
    arguments = {"x": X, "initial_h": H, **weights, "direction": direction, "activation": activation}
    whole, final = computed("rnn", **arguments, output_sequence=True)
    np.testing.assert_allclose(whole, theirs.detach(), atol=1e-6)
    np.testing.assert_allclose(final, last[0].detach(), atol=1e-6)
    alone, _ = computed("rnn", **arguments)
    np.testing.assert_array_equal(alone, whole[-1:])


def test_gru_with_the_reset_after_the_hidden_weights_is_torchs() -> None:
    torch.manual_seed(0)
    layer = nn.GRU(FEATURES, HIDDEN)
    weights = _weights(layer, [0, 2, 1])
    theirs, last = layer(torch.from_numpy(X), torch.from_numpy(H)[None])
    whole, final = computed(
        "gru",
        x=X,
        initial_h=H,
        weight_ih=weights["weight_ih"],
        weight_hh=weights["weight_hh"],
        bias=weights["hh"],
        input_bias=weights["ih"],
        reset_after=True,
        output_sequence=True,
    )
    np.testing.assert_allclose(whole, theirs.detach(), atol=1e-6)
    np.testing.assert_allclose(final, last[0].detach(), atol=1e-6)


def test_gru_resets_before_the_hidden_weights_by_default() -> None:
    weight_ih, weight_hh, bias = noise(12, FEATURES, seed=3), noise(12, HIDDEN, seed=4), noise(12, seed=5)

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    h, steps = H, []
    for x in X[::-1]:
        (w_r, w_o, w_z), (u_r, u_o, u_z) = np.split(weight_ih, 3), np.split(weight_hh, 3)
        b_r, b_o, b_z = np.split(bias, 3)
        r, z = sigmoid(x @ w_r.T + h @ u_r.T + b_r), sigmoid(x @ w_z.T + h @ u_z.T + b_z)
        h = (1 - z) * np.tanh(x @ w_o.T + (r * h) @ u_o.T + b_o) + z * h
        steps.append(h)
    arguments = {"x": X, "initial_h": H, "weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias}
    whole, final = computed("gru", **arguments, direction="reverse", output_sequence=True)
    np.testing.assert_allclose(whole, steps, atol=1e-5)
    np.testing.assert_allclose(final, h, atol=1e-5)


def _lstm(x: np.ndarray = X, **changes: Any) -> Any:
    weights = {"weight_ih": noise(16, FEATURES, seed=3), "weight_hh": noise(16, HIDDEN, seed=4)}
    return computed("lstm", **{"x": x, "initial_h": H, "initial_c": C, **weights} | changes)


def test_lstm_is_torchs() -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(FEATURES, HIDDEN)
    weights = _given(_weights(layer, [0, 1, 3, 2]), "weight_ih", "weight_hh", "bias")
    theirs, (h, c) = layer(torch.from_numpy(X), (torch.from_numpy(H)[None], torch.from_numpy(C)[None]))
    whole, final_h, final_c = _lstm(**weights, output_sequence=True)
    np.testing.assert_allclose(whole, theirs.detach(), atol=1e-6)
    np.testing.assert_allclose(final_h, h[0].detach(), atol=1e-6)
    np.testing.assert_allclose(final_c, c[0].detach(), atol=1e-6)


@pytest.mark.parametrize("whole", [True, False])
def test_a_bidirectional_lstm_is_torchs(whole: bool) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(FEATURES, HIDDEN, bidirectional=True)
    there = _given(_weights(layer, [0, 1, 3, 2]), "weight_ih", "weight_hh", "bias")
    back = _weights(layer, [0, 1, 3, 2], "_reverse")
    states = torch.from_numpy(noise(2, 2, BATCH, HIDDEN, seed=7))
    theirs, (h, _) = layer(torch.from_numpy(X), (states[0], states[1]))
    joined = [np.concatenate(list(state.numpy()), -1) for state in states]
    ours, final, _ = _lstm(
        initial_h=joined[0],
        initial_c=joined[1],
        **there,
        **{f"{name}_back": back[name] for name in there},
        direction="bidirectional",
        output_sequence=whole,
    )
    expected = theirs.detach().numpy()
    if not whole:  # the end of each direction: its last step forward, its first one backward
        expected = np.concatenate((expected[-1:, :, :HIDDEN], expected[:1, :, HIDDEN:]), -1)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    np.testing.assert_allclose(final, np.concatenate(list(h.detach().numpy()), -1), atol=1e-6)
    with pytest.raises(BadInputError, match="lacks the weights of its reverse direction"):
        _lstm(initial_h=joined[0], initial_c=joined[1], direction="bidirectional")


def test_a_reverse_lstm_returns_its_own_order() -> None:
    np.testing.assert_array_equal(
        _lstm(direction="reverse", output_sequence=True)[0], _lstm(X[::-1].copy(), output_sequence=True)[0]
    )


def test_an_lstm_clips_its_cell_and_peeps_at_it() -> None:
    clipped = _lstm(clip=0.05)[2]
    assert np.abs(clipped).max() == np.float32(0.05)
    weights = {"weight_ih": np.zeros((16, FEATURES), np.float32), "weight_hh": np.zeros((16, HIDDEN), np.float32)}
    peephole = np.repeat(np.array([1, 2, 3], np.float32), HIDDEN)
    one = X[:1]
    _, h, c = _lstm(one, **weights, peephole=peephole, cell_activation="linear")
    np.testing.assert_allclose(c, C / (1 + np.exp(-2 * C)), atol=1e-6)  # nothing new comes in: only what is kept
    np.testing.assert_allclose(h, np.tanh(c) / (1 + np.exp(-3 * c)), atol=1e-6)  # the output gate peeps at the new cell


def test_what_no_recurrent_layer_has_is_refused() -> None:
    with pytest.raises(BadInputError, match="unknown activation 'softplus'"):
        _lstm(activation="softplus")
    with pytest.raises(BadInputError, match="unknown direction 'sideways'"):
        _lstm(direction="sideways")
