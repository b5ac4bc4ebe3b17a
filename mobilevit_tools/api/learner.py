"""A quantized model that learns from its own float model: prepared, trained, and compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.api.artifact import rewritten_for
from mobilevit_tools.api.description import contract_of
from mobilevit_tools.api.finetune_state import STATE_SUFFIX, resume, run_saving
from mobilevit_tools.progress import Progress
from mobilevit_tools.quantization._base import plan_quantization
from mobilevit_tools.quantization.calibration import Calibration
from mobilevit_tools.quantization.nearness import Nearness
from mobilevit_tools.targets.registry import find_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from mobilevit_tools.exporters._base import ExportSpec
    from mobilevit_tools.models.factory import LoadedModel
    from mobilevit_tools.quantization.distillation import Distillation

BATCH = 8
"""Photos of one step."""
_TICKS = 1000


@dataclass(frozen=True)
class Learner:
    """A quantized model that learns.

    Attributes:
        distillation: The run.
        module: The rewritten float module that it started from.
        stored: What rounds weights before they are stored, by their names.
        judged: Photos on which it is compared with the float model.
    """

    distillation: Distillation
    module: nn.Module
    stored: Mapping[str, nn.Module]
    judged: Sequence[NDArray[np.uint8]]

    def nearness(self) -> Nearness:
        """Compare the quantized model with the float model, on photos that were held out where there are any."""
        return self.distillation.near(self.judged)

    def weights(self) -> dict[str, Tensor]:
        """Return the rewritten module's real numbers, with what was learnt in the places of its own."""
        places = (*self.module.named_parameters(), *self.module.named_buffers())
        learnt = self.distillation.learnt()
        return {
            name: self.stored[name](value).detach() if name in self.stored else value
            for name, value in ((name, learnt.get(name, tensor.detach())) for name, tensor in places)
            if value.is_floating_point()
        }


def prepare(
    loaded: LoadedModel, spec: ExportSpec, photos: Calibration, method: str | None, *, seed: int, device: str
) -> Learner:
    """Rewrite the model for its target, measure its ranges, and quantize it."""
    import torch

    from mobilevit_tools.quantization.distillation import Distillation

    plan = plan_quantization(spec.target, spec.precision, photos, method)
    if plan is None:
        raise AssertionError("a quantized precision has a plan")
    target = find_target(spec.target)
    batch = min(BATCH, len(photos.pixels))
    module = rewritten_for(loaded, spec, contract_of(loaded, spec), plan, batch).module
    example = torch.from_numpy(next(photos.batches(batch)))
    start = copy.deepcopy(module)
    student = target.load(target.student or "")(start, example, plan)
    run = Distillation(
        module,
        start,
        student.graph,
        example=example,
        pixels=photos.pixels,
        preprocessing=loaded.preprocessing,
        seed=seed,
        device=device,
        scores=loaded.returns == "logits",
    )
    return Learner(run, start, student.stored, list(photos.held_out.values()) or list(photos.pixels))


def learn(
    learner: Learner,
    final: Path,
    said: Mapping[str, str],
    variant: str,
    *,
    steps: int,
    minutes: float,
    progress: Progress,
) -> tuple[Nearness, Nearness]:
    """Take the steps, from an earlier run's state where there is one; return how near it was, and how near it is."""
    state = final.with_name(final.name + STATE_SUFFIX)
    with progress("Comparing the quantized model with the float model"):
        before = learner.nearness()
    resume(learner.distillation, state, said)
    with _ticking(progress, f"Fine-tuning for {variant}") as tick:
        run_saving(learner.distillation, state, said, steps=steps, minutes=minutes, tick=tick)
    with progress("Comparing again"):
        after = learner.nearness()
    state.unlink(missing_ok=True)
    return before, after


@contextmanager
def _ticking(progress: Progress, step: str) -> Iterator[Callable[[float], None]]:
    """Turn the share of a run that is over into parts of a step."""
    with progress(step, _TICKS) as advance:
        told = 0

        def tick(share: float) -> None:
            nonlocal told
            while told < min(1.0, share) * _TICKS:
                advance()
                told += 1

        yield tick
