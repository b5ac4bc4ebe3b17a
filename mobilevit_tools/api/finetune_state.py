"""How long a fine-tuning run is, and its state on disk, which it has in common with the run that goes on from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.learnt import weights_digest
from mobilevit_tools.quantization.calibration import Calibration
from mobilevit_tools.writing import write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from mobilevit_tools.exporters._base import ExportSpec
    from mobilevit_tools.models.factory import LoadedModel
    from mobilevit_tools.quantization.distillation import Distillation

DEFAULT_MINUTES = 20.0
DEFAULT_STEPS = 600
SAVE_EVERY = 60.0
"""Seconds between two states on disk."""
STATE_SUFFIX = ".state"
_STATE_KEY = "mobilevit_tools.finetune"


def fingerprint(loaded: LoadedModel, spec: ExportSpec, photos: Calibration, *, seed: int, steps: int) -> dict[str, str]:
    """Return what a run must have in common with the one that it goes on from."""
    return {
        "model": loaded.name,
        "deployment": spec.deployment,
        "precision": spec.precision,
        "weights": weights_digest(loaded.module),
        "photos": photos.record.sha256,
        "seed": str(seed),
        "steps": str(steps),
    }


def resume(distillation: Distillation, state: Path, said: Mapping[str, str]) -> None:
    """Go on from a state, where there is one.

    Raises:
        BadInputError: It is damaged, or another run's.
    """
    if not state.exists():
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(state), framework="pt") as file:
            found = json.loads((file.metadata() or {}).get(_STATE_KEY, "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        different = [key for key in said if found.get(key) != said[key]]
        if not different:
            distillation.resume(tensors)
            return
        problem = f"is of another run: its {' and '.join(different)} differ"
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        problem = f"cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    raise BadInputError(
        f"{state} {problem}.", hint="Remove it to start anew, or choose another --output.", code="bad_state"
    )


def run_saving(
    distillation: Distillation,
    state: Path,
    said: Mapping[str, str],
    *,
    steps: int,
    minutes: float,
    tick: Callable[[float], None],
) -> None:
    """Take the steps that are left, and keep the state on disk while they are taken."""
    from safetensors.torch import save

    from mobilevit_tools.quantization.distillation import run

    def keep(tensors: Mapping[str, Tensor]) -> None:
        write_whole(state, save(dict(tensors), {_STATE_KEY: json.dumps(said)}))

    run(distillation, steps=steps, seconds=60 * minutes, tick=tick, save=keep, every=SAVE_EVERY)
