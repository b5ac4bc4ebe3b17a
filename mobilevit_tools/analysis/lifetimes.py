"""Peak memory of activations, from the lifetimes of values: what an ideal allocator needs.

A value lives from the operator that makes it to the last one that reads it; results live to the end. What a runtime
takes beyond that (workspaces, padding, fragmentation), and what it saves by fusing operators, is the runtime's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LiveTensor:
    """A tensor that is alive at the peak.

    Attributes:
        operator: What made it; ``input`` for an input.
        where: Where in the model: the dotted path of a module, or the name of an operation.
        shape: Its shape.
        size_bytes: The bytes of its storage.
    """

    operator: str
    where: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class ActivationPeak:
    """The moment of an inference at which activations take most memory.

    Attributes:
        peak_bytes: The bytes alive at that moment.
        operator: The operator that runs then, the first one where several tie.
        where: Where in the model it is.
        live: The tensors alive then, largest first; they add up to ``peak_bytes``.
    """

    peak_bytes: int
    operator: str
    where: str
    live: tuple[LiveTensor, ...]


@dataclass(frozen=True)
class Step:
    """One operator of a program, or an input.

    Attributes:
        operator: Its type.
        where: Where in the model it is.
        made: The storages that it makes, with the tensor in each; views make none.
        read: The storages that it reads.
    """

    operator: str
    where: str
    made: Mapping[Hashable, LiveTensor]
    read: Collection[Hashable]


def find_peak(steps: Sequence[Step], kept: Collection[Hashable]) -> ActivationPeak:
    """Find the peak of a program's memory.

    Args:
        steps: Inputs and operators, in order of execution.
        kept: The storages that live to the end.
    """
    tensors: dict[Hashable, LiveTensor] = {}
    made: dict[Hashable, int] = {}
    last: dict[Hashable, int] = {}
    for place, step in enumerate(steps):
        for storage, tensor in step.made.items():
            tensors[storage], made[storage], last[storage] = tensor, place, place
        last.update((storage, place) for storage in step.read if storage in made)
    last.update((storage, len(steps)) for storage in kept if storage in made)

    change: defaultdict[int, int] = defaultdict(int)
    for storage, tensor in tensors.items():
        change[made[storage]] += tensor.size_bytes
        change[last[storage] + 1] -= tensor.size_bytes
    alive = peak = peak_place = 0
    for place in range(len(steps)):
        alive += change[place]
        if alive > peak:
            peak, peak_place = alive, place
    live = [tensor for storage, tensor in tensors.items() if made[storage] <= peak_place <= last[storage]]
    at = steps[peak_place]
    return ActivationPeak(
        peak, at.operator, at.where, live=tuple(sorted(live, key=lambda tensor: tensor.size_bytes, reverse=True))
    )
