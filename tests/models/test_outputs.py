"""Whatever a model returns becomes tensors under the model's own names."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mobilevit_tools
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.outputs import only_tensors, read_outputs
from mobilevit_tools.models.trial import try_out
from mobilevit_tools.runtimes.registry import load_session

Pair = namedtuple("Pair", ["boxes", "scores"])


@dataclass
class Answer:
    logits: Tensor
    loss: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


VECTOR, TOKENS, MAP = torch.ones(1, 5), torch.ones(1, 4, 6), torch.ones(1, 3, 2, 2)


@pytest.mark.parametrize(
    ("value", "names", "classes"),
    [
        (VECTOR, (), 5),
        (TOKENS, ("tokens",), 0),
        (MAP, ("map",), 0),
        (VECTOR.long(), ("output",), 0),
        ([VECTOR, MAP], (), 0),
        ((VECTOR,), (), 0),
        ((VECTOR, None), (), 0),
        ({"logits": VECTOR}, ("logits",), 5),
        ({"score of classes": VECTOR}, ("score_of_classes",), 5),
        (OrderedDict(logits=VECTOR, map=MAP), ("logits", "map"), 5),
        ({"map": MAP, "logits": VECTOR}, ("map", "logits"), 0),
        ({"scores": VECTOR, "boxes": TOKENS}, ("scores", "boxes"), 0),
        ({0: MAP, 1: MAP}, ("output_0", "output_1"), 0),
        (Pair(TOKENS, VECTOR), ("boxes", "scores"), 0),
        (Answer(VECTOR), ("logits",), 5),
        (Answer(VECTOR, hidden_states=(TOKENS, MAP)), ("logits", "hidden_states_0", "hidden_states_1"), 5),
        ([{"boxes": TOKENS}, {"boxes": TOKENS}], ("output_0_boxes", "output_1_boxes"), 0),
        ({"a b": VECTOR, "a_b": MAP, "image": MAP}, ("a_b", "a_b_2", "image_2"), 0),
    ],
)
def test_names_are_the_models_own(value: object, names: tuple[str, ...], classes: int) -> None:
    found = read_outputs("net", value)
    assert (found.names, found.classes) == (names, classes)
    assert all(isinstance(tensor, Tensor) for tensor in found.tensors)


def test_a_hook_gives_exporters_tensors_alone() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Answer:
            return Answer(x.mean((2, 3)), hidden_states=(x,))

    module = Net()
    only_tensors(module)
    image = torch.randn(1, 3, 4, 4)
    logits, hidden = module(image)
    assert torch.equal(logits, image.mean((2, 3)))
    assert torch.equal(hidden, image)
    program = torch.export.export(module, (image,), strict=False)
    assert len(program.graph_signature.user_outputs) == 2


@pytest.mark.parametrize(
    "forward",
    [lambda self, x, mask: x, lambda self, x, *, mask: x, lambda self, x, mask, scale=1.0: x],
)
def test_a_model_that_needs_more_than_an_image_is_refused_by_what_it_needs(forward: Callable[..., Tensor]) -> None:
    net = type("Net", (nn.Module,), {"forward": forward})()
    with pytest.raises(BadInputError, match=r"needs more than one input: its forward pass requires mask as well\."):
        try_out("net.py:build", net, (4, 4))


def test_what_has_a_default_is_left_at_it() -> None:
    net = type("Net", (nn.Module,), {"forward": lambda self, x, mask=None, **more: x * (1 if mask is None else 0)})()
    assert try_out("net.py:build", net, (4, 4)).names == ("map",)


SOURCE = """
from dataclasses import dataclass

from torch import nn


@dataclass
class Answer:
    logits: object
    loss: object = None
    maps: object = None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 8, 8), nn.Linear(4, 6)

    def forward(self, x, labels=None):
        y = self.stem(x)
        return Answer(self.head(y.mean((2, 3))), maps={"low": [y, y.relu()], "tokens": y.flatten(2).transpose(1, 2)})


def build():
    return Net(), {"input_size": (16, 16)}
"""


def test_every_target_keeps_the_names_and_tells_the_classes(tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text(SOURCE)
    names = ("logits", "maps_low_0", "maps_low_1", "maps_tokens")
    loaded = load_model(f"{net}:build", random_weights=True)
    assert (loaded.returns, loaded.num_classes, loaded.output_names) == ("logits", 6, names)
    for target in mobilevit_tools.export(f"{net}:build", random_weights=True, output=tmp_path / "out").artifacts:
        assert target.parity.status == "passed"
        with load_session(target.path) as session:
            assert tuple(info.name for info in session.outputs) == names
            assert session.contract is not None
            assert session.contract.outputs == names
        assert len(mobilevit_tools.predict(target.path, [_photo(tmp_path)]).predictions[0].top) == 5


def _photo(folder: Path) -> Path:
    from PIL import Image

    path = folder / "photo.png"
    Image.new("RGB", (20, 30), (200, 20, 90)).save(path)
    return path
