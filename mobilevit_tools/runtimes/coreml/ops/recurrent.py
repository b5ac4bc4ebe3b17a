"""Recurrent layers: RNN, GRU and LSTM over (sequence, batch, features)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mobilevit_tools.errors import BadInputError

from .registry import operator

Activation = Callable[[Tensor], Tensor]


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


_ACTIVATIONS: Mapping[str, Activation] = {
    "hard_sigmoid": _hard_sigmoid,
    "linear": lambda x: x,
    "relu": F.relu,
    "scaled_tanh": torch.tanh,  # both of its scales are 1 where the format has no place for them
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": torch.tanh,
}


def _activation(name: str) -> Activation:
    """The function of that name.

    Raises:
        BadInputError: It is none.
    """
    if name.lower() not in _ACTIVATIONS:
        raise BadInputError(f"A recurrent operator has the unknown activation {name!r}.")
    return _ACTIVATIONS[name.lower()]


def _ordered(x: Tensor, direction: str) -> Tensor:
    """The sequence in the order of processing, in which a single reverse layer also returns it."""
    if direction not in {"forward", "reverse"}:
        raise BadInputError(f"A recurrent operator has the unknown direction {direction!r}.")
    return x.flip(0) if direction == "reverse" else x


def _returned(steps: list[Tensor], *, whole: bool) -> Tensor:
    return torch.stack(steps) if whole else steps[-1][None]


@operator("rnn")
def _rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    *,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    function, h, steps = _activation(activation), initial_h, []
    for entry in F.linear(_ordered(x, direction), weight_ih, bias):
        h = function(entry + h @ weight_hh.T)
        steps.append(h)
    return _returned(steps, whole=output_sequence), h


@operator("gru")
def _gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    *,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gates in the order reset, output, update. The reset gate acts before the hidden weights unless ``reset_after``.

    So it is in coremltools' tests of Core ML, whose documentation has it after them; PyTorch has it after them, too.
    """
    gate, function = _activation(recurrent_activation), _activation(activation)
    hidden_r, hidden_o, hidden_z = weight_hh.chunk(3)
    bias_r, bias_o, bias_z = (torch.zeros(len(weight_hh)) if bias is None else bias).chunk(3)
    h, steps = initial_h, []
    for entry in F.linear(_ordered(x, direction), weight_ih, input_bias):
        r, o, z = entry.chunk(3, -1)
        reset = gate(r + F.linear(h, hidden_r, bias_r))
        update = gate(z + F.linear(h, hidden_z, bias_z))
        candidate = reset * F.linear(h, hidden_o, bias_o) if reset_after else F.linear(reset * h, hidden_o, bias_o)
        h = (1 - update) * function(o + candidate) + update * h
        steps.append(h)
    return _returned(steps, whole=output_sequence), h


@dataclass(frozen=True)
class _Direction:
    """One direction of an LSTM: its weights, with gates in the order input, forget, output, cell."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None
    peephole: Tensor | None

    def run(
        self, x: Tensor, h: Tensor, c: Tensor, functions: tuple[Activation, Activation, Activation], clip: float | None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        gate, cell, outer = functions
        peep_i, peep_f, peep_o = (torch.zeros(3) if self.peephole is None else self.peephole).chunk(3)
        steps = []
        for entry in F.linear(x, self.weight_ih, self.bias):
            i, f, o, z = (entry + h @ self.weight_hh.T).chunk(4, -1)
            c = gate(f + peep_f * c) * c + gate(i + peep_i * c) * cell(z)
            c = c if clip is None else c.clamp(-clip, clip)
            h = gate(o + peep_o * c) * outer(c)
            steps.append(h)
        return steps, h, c


@operator("lstm")
def _lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    *,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """A bidirectional layer returns its reverse half in the order of the input, a single reverse one in its own."""
    functions = (_activation(recurrent_activation), _activation(cell_activation), _activation(activation))
    first = _Direction(weight_ih, weight_hh, bias, peephole)
    if direction != "bidirectional":
        steps, h, c = first.run(_ordered(x, direction), initial_h, initial_c, functions, clip)
        return _returned(steps, whole=output_sequence), h, c
    if weight_ih_back is None or weight_hh_back is None:
        raise BadInputError("A bidirectional lstm operator lacks the weights of its reverse direction.")
    second = _Direction(weight_ih_back, weight_hh_back, bias_back, peephole_back)
    (h_there, h_back), (c_there, c_back) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    there, h_there, c_there = first.run(x, h_there, c_there, functions, clip)
    back, h_back, c_back = second.run(x.flip(0), h_back, c_back, functions, clip)
    order = reversed(back) if output_sequence else back[-1:]
    halves = (_returned(there, whole=output_sequence), torch.stack(list(order)))
    return torch.cat(halves, -1), torch.cat((h_there, h_back), -1), torch.cat((c_there, c_back), -1)
