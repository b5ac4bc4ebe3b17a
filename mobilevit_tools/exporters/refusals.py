"""Errors of converters as sentences: the operator or line of people's source that is to blame, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilevit_tools.blame import OperatorError, line_in, line_of, reason_and_remedy
from mobilevit_tools.errors import BadInputError, MvtError
from mobilevit_tools.exporters.io_names import example_input

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.exporters._base import ExportSpec

_OPERATOR = re.compile(
    r"\b(?:aten|torchvision|prims)(?:\.|::)(?P<aten>\w+)"  # torch's own way
    r"|\bfx node (?P<node>\w+)|\bnode (?P<other>\w+) \("  # as coremltools names them
    r"|[`'](?P<quoted>\w+)[`'] op\b|\bop [`'](?P<op>\w+)[`']"
)
_DATA_DEPENDENT = frozenset({"item", "local_scalar_dense", "nonzero", "unique2", "masked_select"})
"""Operators whose results make a graph depend on the data, as :func:`_base` names them."""
_SPECIALISED = ("Constraints violated", "inconsistencies were found", "specialized")
_HINT = "Replace that operation, or use another target or precision; -vv shows the converter's traceback."


@contextmanager
def naming_refusals(contract: Contract, spec: ExportSpec, module: nn.Module) -> Iterator[None]:
    """Run a converter; whatever it raises becomes one sentence that names the model, the target and people's line.

    Args:
        contract: The artifact's contract.
        spec: What is exported.
        module: What is converted; it is traced again where the error names an operator and no line.

    Raises:
        BadInputError: The converter does not take the model.
    """
    try:
        yield
    except (MvtError, OSError, MemoryError):
        raise
    except Exception as error:  # converters raise many unrelated types for what users' models do
        reason, remedy = reason_and_remedy(error)
        if spec.options.free_batch and any(each in reason for each in _SPECIALISED):
            raise fixed_batch(contract.model) from error
        known = error.line if isinstance(error, OperatorError) else line_of(error)
        line = known or _line_of_operator(reason, contract, spec, module)
        if line is None and (suspect := _unfamiliar(contract, spec, module)) is not None:
            reason, line = f"{reason}; its operator {suspect.name} is not one of torch's core operators", suspect.line
        raise BadInputError(
            f"{contract.model} cannot be converted to {spec.variant}: {reason}" + (f" ({line})" if line else ""),
            hint=remedy or _HINT,
            code="not_convertible",
        ) from error


def fixed_batch(model: str) -> BadInputError:
    """Return what people are told of a model that is traced for one batch only."""
    return BadInputError(
        f"{model} has a fixed batch size, so --dynamic-batch is not possible.",
        hint="Keep the batch size symbolic: y.flatten(1) or y.reshape(x.shape[0], -1), without int() "
        "and without a loop over the images; or use --batch N instead.",
        code="fixed_batch",
    )


def _line_of_operator(reason: str, contract: Contract, spec: ExportSpec, module: nn.Module) -> str | None:
    """Return the line that an operator comes from which an error names."""
    named = {_base(word) for match in _OPERATOR.finditer(reason) for word in match.groups() if word}
    if "data-dependent" in reason:
        named |= _DATA_DEPENDENT
    if not named:
        return None
    with suppress(Exception):  # there is an error to tell of already
        for traced in _traces(contract, spec, module):
            for node in traced.graph.nodes:
                if node.op == "call_function" and _base(node.name) in named:
                    return line_in(node.meta.get("stack_trace") or "")
    return None


@dataclass(frozen=True)
class _Suspect:
    name: str
    line: str | None


def _unfamiliar(contract: Contract, spec: ExportSpec, module: nn.Module) -> _Suspect | None:
    """Return the first operator that torch cannot write in its core ones, which are all that converters promise."""
    import torch

    with suppress(Exception):  # there is an error to tell of already
        *_, decomposed = _traces(contract, spec, module)
        for node in decomposed.graph.nodes:
            if node.users and isinstance(node.target, torch._ops.OpOverload) and torch.Tag.core not in node.target.tags:
                return _Suspect(str(node.target), line_in(node.meta.get("stack_trace") or ""))
    return None


def _traces(contract: Contract, spec: ExportSpec, module: nn.Module) -> Iterator[ExportedProgram]:
    """Yield the model as torch traces it, and then in torch's core operators."""
    import torch

    program = torch.export.export(module, (example_input(contract, spec.batch),), strict=False)
    yield program
    yield program.run_decompositions()


def _base(name: str) -> str:
    """Return an operator's name without the number that tells its nodes apart, and what torch puts around it."""
    return re.sub(r"(_default)?(_\d+)?$", "", name).strip("_").removesuffix("_ex")
