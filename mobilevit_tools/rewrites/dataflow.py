"""Which layer feeds which, seen by watching one forward pass."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

_ASKS_ONLY = frozenset({"size", "dim", "numel", "stride", "is_floating_point"})


First = TypeVar("First", bound=nn.Module)
Second = TypeVar("Second", bound=nn.Module)


@dataclass(frozen=True)
class Pair(Generic[First, Second]):
    """Two layers, where all that the first computes goes into the second and nowhere else.

    Attributes:
        first_name: Name of the first layer.
        first: The first layer.
        second_name: Name of the second layer.
        second: The second layer.
    """

    first_name: str
    first: First
    second_name: str
    second: Second


class _Watch(TorchFunctionMode):
    """Notes which calls take which tensors; keeps the tensors alive so that their identities stay unique."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.readers = Counter[int]()
        self.alive: list[object] = []
        self.running: list[nn.Module] = []
        self.opened: set[nn.Module] = set()
        self._owners: defaultdict[int, set[nn.Module]] = defaultdict(set)
        for layer in module.modules():
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
                self._owners[id(tensor)].add(layer)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        for leaf in pytree.tree_leaves((args, kwargs)):
            owners = self._owners.get(id(leaf), set()) if isinstance(leaf, Tensor) else set()
            if owners.isdisjoint(self.running):
                self.opened |= owners
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        # An attribute may be a shape, which tells nothing of the values, or the values transposed.
        if name not in _ASKS_ONLY and (name != "__get__" or isinstance(result, Tensor)):
            self.read((args, kwargs))
        return result

    def read(self, values: object) -> None:
        for leaf in pytree.tree_leaves(values):
            if isinstance(leaf, Tensor):
                self.readers[id(leaf)] += 1
                self.alive.append(leaf)


@dataclass(frozen=True)
class Dataflow:
    """What one forward pass shows.

    Attributes:
        result: What the module returned.
        readers: For every layer that is called exactly once and whose output is read by one layer alone, that layer.
        opened: Modules whose weights somebody else looks at, and be it for their type.
    """

    result: object
    readers: Mapping[nn.Module, nn.Module]
    opened: AbstractSet[nn.Module]

    def layers(self, module: nn.Module, kind: type[First]) -> list[tuple[str, First]]:
        """Return name and module of all layers of a kind that another may stand for.

        A subclass may compute something else, as may a layer with hooks; a layer of several names would be replaced
        under one of them only, and one that is opened has to keep what is looked for there.
        """
        names = Counter(layer for _, layer in module.named_modules(remove_duplicate=False))
        return [
            (name, layer)
            for name, layer in module.named_modules()
            if type(layer) is kind and names[layer] == 1 and self.opened.isdisjoint(parts := [*layer.modules()])
            if not any(part._forward_hooks or part._forward_pre_hooks for part in parts)
        ]

    def adjacent(self, module: nn.Module, first: type[First], second: type[Second]) -> list[Pair[First, Second]]:
        """Return the pairs of a ``first`` and a ``second`` layer, both still in ``module``, that are adjacent.

        Both layers are called exactly once, and the output of the first is read by the second alone. What no layer's
        call shows (functions applied to a tensor, residuals, results that the model returns) counts as another reader.
        """
        seconds = {layer: name for name, layer in self.layers(module, second)}
        return [
            Pair(name, layer, seconds[reader], reader)
            for name, layer in self.layers(module, first)
            if isinstance(reader := self.readers.get(layer), second) and reader in seconds
        ]


def observe(module: nn.Module, example: Tensor) -> Dataflow:
    """Run ``module`` on ``example`` and note which layer feeds which. Layers are what holds tensors and no modules."""
    watch = _Watch(module)
    inputs: dict[nn.Module, int] = {}
    outputs: dict[int, nn.Module] = {}
    calls = Counter[nn.Module]()

    def enter(layer: nn.Module, _: object) -> None:
        watch.running.append(layer)

    def leave(*_: object) -> None:
        watch.running.pop()

    def note(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        calls[layer] += 1
        if args:  # a layer may hold a table that it returns, or take its input by name
            inputs[layer] = id(args[0])
        outputs[id(output)] = layer
        watch.alive.append((args, output))

    handles = [
        layer.register_forward_hook(note)
        for layer in module.modules()
        if not [*layer.children()] and [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    ]
    for each in module.modules():
        handles += [each.register_forward_pre_hook(enter), each.register_forward_hook(leave)]
    try:
        with torch.no_grad(), watch:
            result = module(example)
    finally:
        for handle in handles:
            handle.remove()
    watch.read(result)
    return Dataflow(
        result,
        {
            source: layer
            for layer, tensor in inputs.items()
            if calls[layer] == 1
            and (source := outputs.get(tensor)) is not None
            and calls[source] == 1
            and watch.readers[tensor] == 1
        },
        watch.opened,
    )
