"""What training wraps around a model, or around a part of it, comes off; what cannot is refused by its name."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.unwrapping import is_lazy, plain_module


class Net(nn.Module):
    """A backbone and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


class Decorated(Net):
    """Compiled where it is defined, as people do who never want it otherwise."""

    forward = torch.compile(Net.forward)


def in_part(wrap: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def wrapped(net: nn.Module) -> nn.Module:
        net.backbone = wrap(net.backbone)
        net.backbone_again = net.backbone
        del net.backbone_again
        return net

    return wrapped


def compiled_in_place(net: nn.Module) -> nn.Module:
    net.compile()
    return net


@pytest.mark.parametrize(
    "wrap",
    [
        torch.compile,
        in_part(torch.compile),
        compiled_in_place,
        nn.DataParallel,
        in_part(nn.DataParallel),
        AveragedModel,
        lambda net: torch.compile(nn.DataParallel(in_part(torch.compile)(net))),
        lambda _: Decorated(),
    ],
)
def test_wrappers_come_off_and_names_are_the_models_own(wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    net = Net()
    state, image = copy.deepcopy(net.state_dict()), torch.randn(1, 3, 8, 8)
    plain = plain_module("net.py:build", wrap(net))
    assert plain.state_dict().keys() == state.keys()
    plain.load_state_dict(state)
    # Compiled code would not trace here: torch.export sees the model's own operators.
    program = torch.export.export(copy.deepcopy(plain).eval(), (image,))
    expected = Net()
    expected.load_state_dict(state)
    assert torch.equal(program.module()(image), expected(image))
    assert not any("_orig_mod" in name for name, _ in plain.named_modules())
    assert all(module._compiled_call_impl is None for module in plain.modules())
    assert not hasattr(plain.forward, "_torchdynamo_orig_callable")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_become_float32_of_the_same_value(dtype: torch.dtype) -> None:
    net = Net().to(dtype)
    value = net.head.weight[0, 0].item()
    plain = plain_module("net.py:build", net)
    assert {tensor.dtype for tensor in plain.parameters()} == {torch.float32}
    assert plain.head.weight[0, 0].item() == pytest.approx(value, abs=0 if dtype != torch.float64 else 1e-7)


class Sharded(Tensor):
    """A tensor that keeps its values in another one, as distributed and quantized weights do."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Sharded:
        return Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: object) -> Sharded:
        return Sharded(inner["inner"])

    @classmethod
    def __torch_dispatch__(
        cls, func: Callable[..., object], types: object, args: tuple[object, ...], kwargs: dict[str, object] | None
    ) -> object:
        return func(*(each.inner if isinstance(each, Sharded) else each for each in args), **(kwargs or {}))


def sharded() -> nn.Module:
    net = Net()
    net.head.register_buffer("table", Sharded(torch.ones(3)))
    return net


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Net()


def scripted_in_part() -> nn.Module:
    net = Net()
    net.head = torch.jit.trace(net.head, torch.zeros(1, 4))
    return net


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: torch.jit.script(Net()), r"net\.py:build is a TorchScript module"),
        (scripted_in_part, r"net\.py:build \(head\) is a TorchScript module"),
        (lambda: torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear}), r"\(head\) is already quantized"),
        (sharded, r"\(head\) stores its weights as Sharded, not as plain tensors"),
        (on_meta, r"\(backbone\.0\) is on the meta device"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_what_to_return(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as refusal:
        plain_module("net.py:build", build())
    assert refusal.value.hint


def test_lazy_layers_are_known() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(4, 3))
    assert is_lazy(plain_module("net.py:build", lazy))
    lazy(torch.zeros(1, 3, 8, 8))
    assert not is_lazy(lazy)
