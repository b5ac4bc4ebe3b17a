"""Try people's models out: what they return, and whether that is determined by weights and input alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mobilevit_tools.blame import line_now
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.guard import guarded
from mobilevit_tools.models.outputs import only_tensors, read_outputs, tensors_in

REPEATS = 3
"""How often a model whose forward pass draws random numbers is run: dropout of little may drop the same twice."""
SAME = 1e-5
"""Largest difference of two runs of one model, relative to the largest output; on a CPU there is hardly any."""
ALIKE = 5e-2
"""Largest difference of an image alone and in a batch, which other kernels compute: some models amplify rounding."""


@dataclass(frozen=True)
class Trial:
    """What a model returned.

    Attributes:
        classes: Its class count; 0 where it returns anything else than logits.
        outputs: How many tensors it returns.
        names: Their names, where they are the model's own; see :class:`~mobilevit_tools.models.outputs.Outputs`.
    """

    classes: int
    outputs: int
    names: tuple[str, ...] = ()


def try_out(
    name: str,
    module: nn.Module,
    size: tuple[int, int],
    surroundings: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Trial:
    """Run a model on one image, and again, and see that both are the same.

    A model that changes its input in place is given a copy of it from then on, and one that returns something else
    than a tensor or a list of tensors returns a tuple of those that are in it.

    Args:
        name: The model's name, for errors.
        module: The model in evaluation mode, with its weights.
        size: Height and width.
        surroundings: What its forward pass needs around it.

    Raises:
        BadInputError: It fails, returns what cannot be exported, or something else each time.
    """
    _check_inputs(name, module)
    image = sample(1, size)
    with surroundings(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        given = image.clone()
        with _Randomness() as randomness:
            outputs = read_outputs(name, run_on(name, module, given))
        if not outputs.plain:
            only_tensors(module)
        changed = bool(given._version) or not torch.equal(given, image)
        if changed:
            module.register_forward_pre_hook(_copying_input)
        for number in range(REPEATS if randomness.line else 1):
            with _Randomness(redraw=number):  # whatever the forward pass seeds its generator with
                again = run_on(name, module, image.clone())
            if difference(outputs.tensors, again) > SAME:
                raise _random(name, randomness.line)
    return Trial(outputs.classes, len(outputs.tensors), outputs.names)


def check_batches(
    name: str,
    module: nn.Module,
    size: tuple[int, int],
    surroundings: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Refuse a model that takes one image only, or whose answer for an image depends on the others beside it.

    The arguments are those of :func:`try_out`.

    Raises:
        BadInputError: It is such a model.
    """
    images = sample(2, size)
    with surroundings(), torch.no_grad():
        alone = [as_tensors(run_on(name, module, images[index : index + 1].clone())) for index in range(2)]
        hint = "Take the batch size from x.shape[0] and flatten with x.flatten(1), or export with a batch of 1."
        together = guarded(f"{name} supports only a batch of 1: a batch of two", lambda: module(images), hint=hint)
    expected = [torch.cat(pair) for pair in zip(*alone, strict=True)]
    given = as_tensors(together)
    if [each.shape for each in given] != [each.shape for each in expected]:
        shown = ", ".join("x".join(map(str, each.shape)) for each in given)
        raise BadInputError(
            f"{name} supports only a batch of 1: for a batch of two it returns {shown}.", hint=hint, code="fixed_batch"
        )
    if difference(expected, given) > ALIKE:
        raise BadInputError(
            f"{name} mixes the images of a batch.",
            hint="Remove computations across the batch (such as a mean over dim 0), or export with a batch of 1.",
            code="depends_on_batch",
        )


def run_on(name: str, module: nn.Module, images: Tensor) -> object:
    """Run people's model; what it raises becomes one sentence."""
    size = "x".join(map(str, images.shape))
    hint = "The model runs in float32 on the CPU; create tensors with the dtype and device of the input."
    return guarded(f"{name} on a {size} input", lambda: module(images), hint=hint)


def sample(count: int, size: tuple[int, int]) -> Tensor:
    """Return seeded noise (count, 3, H, W) as images."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0))


def as_tensors(outputs: object) -> list[Tensor]:
    """Return the tensors that a model returned as a list."""
    return list(tensors_in(outputs))


def difference(expected: object, actual: object) -> float:
    """Return the largest difference of what two runs returned, relative to the largest value of its tensor."""
    worst = 0.0
    pairs = as_tensors(expected), as_tensors(actual)
    if len(pairs[0]) != len(pairs[1]):
        return float("inf")
    for left, right in zip(*pairs, strict=True):
        if left.shape != right.shape:
            return float("inf")
        left, right = left.double(), right.double()  # noqa: PLW2901
        apart = torch.where(left == right, 0.0, left - right).nan_to_num(nan=0.0).abs().max()
        largest = left.where(left.isfinite(), 0.0).abs().max().clamp_min(torch.finfo(left.dtype).tiny)
        worst = max(worst, float(apart / largest))
    return worst


def _copying_input(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].clone(), *inputs[1:])


def _random(name: str, line: str | None) -> BadInputError:
    if line is None:
        return BadInputError(
            f"{name} is not deterministic: a second run on the same input differs.",
            hint="The forward pass must depend only on weights and input: no mutable state, no random numbers "
            "from NumPy or Python.",
            code="random_forward",
        )
    return BadInputError(
        f"{name} is not deterministic: it draws random numbers ({line}).",
        hint="Draw them only in training: F.dropout(x, p, self.training) instead of F.dropout(x, p). Register "
        "values that are drawn once as buffers.",
        code="random_forward",
    )


class _Randomness(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves this class unannotated
    """Notes the line that first draws random numbers; with ``redraw`` others are drawn than the model's seed gives."""

    def __init__(self, redraw: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.line: str | None = None
        self.redraw = redraw

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        del types
        given = dict(kwargs or {})
        may_draw = torch.Tag.nondeterministic_seeded in func.tags
        # Attention could drop out; where it does, dropout's own operator runs inside of it.
        if may_draw and self.line is None and "attention" not in func._schema.name:
            self.line = line_now() or "in a library"
        if not may_draw or self.redraw is None:
            return func(*args, **given)
        if "generator" in given:
            given["generator"] = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.redraw)
            return func(*args, **given)


def _check_inputs(name: str, module: nn.Module) -> None:
    """Refuse a model that wants more than an image; what has a default is left at it."""
    try:
        parameters = list(signature(module.forward).parameters.values())
    except (TypeError, ValueError):  # a forward of C, or one that hides its signature
        return
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    further = [each.name for each in named[1:] if each.default is each.empty]
    if further:
        raise BadInputError(
            f"{name} needs more than one input: its forward pass requires {', '.join(further)} as well.",
            hint="Give these defaults, or wrap the model in a module that takes only an image.",
            code="own_model",
        )
