"""Apply rewrites to a copy of a model, and prove that the copy computes the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mobilevit_tools.blame import line_of
from mobilevit_tools.double import InDouble
from mobilevit_tools.errors import BadInputError, GateError, first_line
from mobilevit_tools.rewrites.applied import AppliedRewrite
from mobilevit_tools.rewrites.dataflow import Dataflow, observe
from mobilevit_tools.rewrites.functions import Function, Replaced, Replacement
from mobilevit_tools.rewrites.registry import REWRITES, default_rewrites, select_rewrites

PROOF_TOLERANCE = 1e-9
"""Largest difference that float64 may show, relative to the largest output; rounding alone leaves some 1e-14."""
_HINT = "Export with --no-rewrites or fewer --rewrites, and please report this model."


@dataclass(frozen=True)
class Rewritten:
    """A rewritten copy of a model.

    Attributes:
        module: The copy, in evaluation mode, of the example's element type.
        applied: The rewrites that changed it, in order.
        difference: Its largest difference from the original in float64, relative to the largest output.
    """

    module: nn.Module
    applied: tuple[AppliedRewrite, ...]
    difference: float


def apply(
    module: nn.Module,
    example: Tensor,
    *,
    deployment: str,
    precision: str = "fp32",
    rounded: bool = False,
    names: Sequence[str] | None = None,
) -> Rewritten:
    """Rewrite a copy of ``module``, and prove the copy on ``example``; the given one stays as it is.

    Weights are folded in float64 and rounded once, after the proof.

    Args:
        module: A model in evaluation mode.
        example: An input (B, 3, H, W) of the size and element type that will be exported.
        deployment: A member of ``targets.registry.DEPLOYMENTS``: the target, and its backend where it has several.
        precision: ``fp32`` or ``fp16``.
        rounded: Whether weights are going to be rounded, with activations or alone.
        names: The rewrites to apply; by default those of the deployment and precision.

    Raises:
        UsageError: A name is unknown.
        BadInputError: The model cannot be run in float64, or its own output is not finite.
        GateError: The copy does not compute what ``module`` computes.
    """
    defaults = default_rewrites(deployment, precision, rounded=rounded)
    chosen = defaults if names is None else select_rewrites(names)
    rewritten: nn.Module = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
    if not chosen:
        return Rewritten(rewritten, (), 0.0)
    dtype = example.dtype
    rewritten, example = rewritten.double(), example.double()
    functions: dict[str, Mapping[Function, Replacement]] = {}
    found: dict[str, tuple[int, int]] = {}
    with torch.no_grad():
        flow = _observe(rewritten, example)
        for name in chosen:
            file = import_module(REWRITES[name].module)
            if hasattr(file, "REPLACEMENTS"):
                functions[name] = file.REPLACEMENTS
                continue
            before = _count(rewritten)
            rewritten, places = file.rewrite(rewritten, flow)
            found[name] = places, before - _count(rewritten)
        if functions:
            rewritten = Replaced(rewritten, functions)
        difference = _prove(rewritten.eval(), example, flow.result, chosen)
        if isinstance(rewritten, Replaced):
            found |= {name: (places, 0) for name, places in rewritten.places.items()}
            rewritten = rewritten.pruned()
    if hasattr(module, "feature_channels"):
        rewritten.feature_channels = module.feature_channels
    applied = tuple(AppliedRewrite(name, REWRITES[name].summary, *found[name]) for name in chosen if found[name][0] > 0)
    return Rewritten(rewritten.to(dtype), applied, difference)


def _observe(module: nn.Module, example: Tensor) -> Dataflow:
    """Return which values flow where in a model in float64.

    Raises:
        BadInputError: It does not run in float64, or its output is not finite.
    """
    try:
        with InDouble():
            flow = observe(module, example)
    except Exception as error:  # what people's code raises for numbers that it did not expect
        line = line_of(error)
        raise BadInputError(
            f"The model does not run in float64, which checking rewrites requires: {first_line(error)}"
            + (f" ({line})" if line else ""),
            hint="Export with --no-rewrites, or create tensors with the dtype of the input.",
            code="no_float64",
        ) from error
    if not all(leaf.isfinite().all() for leaf in pytree.tree_leaves(flow.result)):
        raise BadInputError(
            "The model's own output is not finite, so it cannot serve as a reference.",
            hint="Check for NaN weights, divisions by zero and logarithms of zero.",
            code="non_finite_reference",
        )
    return flow


def _prove(rewritten: nn.Module, example: Tensor, expected: object, names: Sequence[str]) -> float:
    """Return how much a rewritten model in float64 differs from what is expected of it; see :class:`Rewritten`.

    Raises:
        GateError: It does not run, or differs by more than rounding.
    """
    try:
        with InDouble():
            result = rewritten(example)
    except Exception as error:  # a model may ask a layer for what its replacement does not have
        raise GateError(
            f"The rewritten model does not run (rewrites: {', '.join(names)}): {first_line(error)}", hint=_HINT
        ) from error
    difference = _difference(expected, result)
    if not difference <= PROOF_TOLERANCE:
        raise GateError(
            f"The rewritten model differs from the original by {difference:.2g} of the largest output "
            f"(rewrites: {', '.join(names)}).",
            hint=_HINT,
        )
    return difference


def _difference(expected: object, actual: object) -> float:
    """Return the largest difference of two results over the largest value of the first; NaN where they do not match."""
    lefts, rights = ([leaf.double() for leaf in pytree.tree_leaves(result)] for result in (expected, actual))
    if [left.shape for left in lefts] != [right.shape for right in rights]:
        return float("nan")
    largest = [left.abs().max().clamp_min(torch.finfo(left.dtype).tiny) for left in lefts]
    relative = [(left - right).abs().max() / scale for left, right, scale in zip(lefts, rights, largest, strict=True)]
    return float(torch.stack(relative).max())


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
