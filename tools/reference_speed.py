"""Measure the Core ML reference against PyTorch eager, and what measuring ranges on a photo costs, in CPU seconds.

    python -m tools.reference_speed care_s0 clustr_t
    python -m tools.reference_speed care_s0 --calibration photos/

The two run alternately in one process, on one thread and on the same pixels, so their ratio depends little on what else
a machine does. To compare the cost of calibration with another commit's, run this file with its checkout:
``PYTHONPATH=other python tools/reference_speed.py care_s0 --calibration photos/ --package model.mlpackage``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not spin on shared cores

import numpy as np
import torch

import mobilevit_tools as mvt
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.models.names import has_bundled_weights
from mobilevit_tools.profiling.statistics import median_interval
from mobilevit_tools.quantization.calibration import load_calibration
from mobilevit_tools.runtimes.coreml import Program, load_program

ROUNDS = 40
PHOTOS = 20


def alternately(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of both in every round, each of them first in every other one; warm-up calls aside."""
    calls = (first, second)
    seconds: tuple[list[float], list[float]] = ([], [])
    for call in calls * 2:
        call()
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 else (1, 0):
            started = time.process_time()
            calls[which]()
            seconds[which].append(time.process_time() - started)
    return seconds


def speed(model: str, package: Path, rounds: int) -> str:
    """Return a row: PyTorch eager and the reference on the same pixels."""
    module = mvt.create_model(model, random_weights=not has_bundled_weights(model))
    program = load_program(package)
    (entry,) = program.inputs
    pixels = np.random.default_rng(0).integers(0, 256, entry.shape, dtype=np.uint8)
    tensor = torch.from_numpy(pixels) / 255

    def eager() -> None:
        with torch.inference_mode():
            module(tensor)

    taken = alternately(eager, lambda: program.run({entry.name: pixels}), rounds)
    ratios = [ours / theirs for theirs, ours in zip(*taken, strict=True)]
    bounds = median_interval(ratios)
    interval = "too few rounds" if bounds is None else f"{bounds[0]:.2f} to {bounds[1]:.2f}"
    size = "x".join(map(str, entry.shape[2:]))
    eager_ms, ours_ms = (1e3 * median(each) for each in taken)
    return f"| `{model}` | {size} | {eager_ms:.1f} ms | {ours_ms:.1f} ms | {median(ratios):.2f} ({interval}) |"


def calibration(model: str, package: Path, photos: Path, count: int) -> str:
    """Return a row: what it costs to measure the ranges of the default method, by photo."""
    from mobilevit_tools.quantization.coreml import measure_ranges

    program: Program = load_program(package)
    height, width = program.inputs[0].shape[2:]
    chosen = load_calibration(photos, Preprocessing((height, width)), count)
    started = time.process_time()
    measure_ranges(program, chosen, "percentile", takes_image=True, batch=1)
    seconds = time.process_time() - started
    return f"| `{model}` | {height}x{width} | {chosen.record.images} photos | {seconds:.1f} CPU s |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Export each model, and print a row of a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--package", type=Path, help="an exported package of the one model, instead of a new one")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--calibration", type=Path, help="measure ranges on photos of this folder instead")
    parser.add_argument("--photos", type=int, default=PHOTOS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for model in given.models:
        with TemporaryDirectory(prefix="mvt-speed-") as folder:
            package = given.package
            if package is None:
                trained = has_bundled_weights(model)
                (made,) = mvt.export(model, targets="coreml", random_weights=not trained, output=folder).artifacts
                package = made.path
            if given.calibration is None:
                row = speed(model, package, given.rounds)
            else:
                row = calibration(model, package, given.calibration, given.photos)
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
