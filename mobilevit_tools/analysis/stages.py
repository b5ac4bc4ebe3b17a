"""A model's stages: parameters, MACs and output shape of each, adding up to the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from mobilevit_tools.analysis.graph import evaluating, example_input
from mobilevit_tools.analysis.macs import MacCount, count_macs

REST = "(other)"


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    Attributes:
        name: Dotted path of the module, or ``(other)`` for what belongs to no stage.
        params: Parameters; those shared between stages are counted in the first one.
        macs: Multiply-accumulates.
        output_shape: Shape of its (first) output, batch included; None where it has none of its own.
    """

    name: str
    params: int
    macs: int
    output_shape: tuple[int, ...] | None


def stage_table(module: nn.Module, input_shape: tuple[int, ...], count: MacCount | None = None) -> tuple[Stage, ...]:
    """Tell parameters and MACs by stage: the model's children, numbered lists of stages opened by one level.

    Args:
        module: Any module that takes one tensor.
        input_shape: Shape of the input, batch included.
        count: The module's count at this shape, where it is already known.

    Raises:
        BadInputError: ``torch.export`` cannot trace the module at this size.
    """
    count = count or count_macs(module, input_shape)
    stages = dict(_stages(module))
    shapes = _output_shapes(module, stages, input_shape)
    seen: set[int] = set()
    rows = [
        Stage(path, _unseen_params(stage, seen), count.under(path), shapes.get(path)) for path, stage in stages.items()
    ]
    rest = Stage(REST, _unseen_params(module, seen), count.total - sum(row.macs for row in rows), None)
    if rest.params or rest.macs:
        rows.append(rest)
    return tuple(rows)


def _stages(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if _is_list_of_stages(child):
            yield from ((f"{name}.{index}", stage) for index, stage in child.named_children())
        else:
            yield name, child


def _is_list_of_stages(module: nn.Module) -> bool:
    if isinstance(module, nn.ModuleList):
        return True
    children = list(module.children())
    kinds = {type(child) for child in children}
    composite = all(any(True for _ in child.children()) for child in children)
    return isinstance(module, nn.Sequential) and len(children) > 1 and len(kinds) == 1 and composite


def _unseen_params(module: nn.Module, seen: set[int]) -> int:
    new = [parameter for parameter in module.parameters() if id(parameter) not in seen]
    seen.update(id(parameter) for parameter in new)
    return sum(parameter.numel() for parameter in new)


def _output_shapes(
    module: nn.Module, stages: dict[str, nn.Module], input_shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def record(path: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(first, Tensor):
                shapes[path] = tuple(first.shape)

        return hook

    handles = [stage.register_forward_hook(record(path)) for path, stage in stages.items()]
    try:
        with evaluating(module):
            module(example_input(module, input_shape))
    finally:
        for handle in handles:
            handle.remove()
    return shapes
