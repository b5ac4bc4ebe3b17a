"""Runs an artifact with the runtime that a Mac's Python has, where the native runner cannot be built for it.

It is pushed to the Mac with the engine of the artifact's target and started there, so both import nothing but the
standard library, NumPy and that runtime, and run on Python 3.9, which Apple's own is.
The command line, the tensor files, the exit codes and the line of JSON are those of runner.hpp.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import target_engine  # the engine of the artifact's target, under this name beside this file
from engine import BAD_FILE, INPUT_REFUSED, NOT_LOADED, RUN_FAILED, Engine, RunnerError

PROFILED_RUNS = 10


def open_engine(path: Path, threads: int, profile: Path | None = None) -> Engine:
    """Load a model; whatever the runtime raises becomes a `RunnerError`."""
    try:
        return target_engine.ENGINE(path, threads, profile)
    except RunnerError:
        raise
    except Exception as error:
        raise RunnerError(NOT_LOADED, f"the model cannot be loaded: {error}") from error


def read_tensor(path: Path) -> Any:
    """Read a tensor file."""
    import numpy

    with path.open("rb") as file:
        words = file.readline(1024).decode("ascii", errors="replace").split()
        values = file.read()
    try:
        magic, dtype, *sizes = words
        if magic == "mvt1" and sizes:
            return numpy.frombuffer(values, numpy.dtype(dtype)).reshape([int(size) for size in sizes])
    except (ValueError, TypeError, OverflowError):
        pass
    raise RunnerError(BAD_FILE, f"{path} is not a complete tensor file")


def write_tensor(path: Path, array: Any) -> None:
    """Write a tensor file."""
    import numpy

    with path.open("wb") as file:
        file.write(f"mvt1 {array.dtype.name} {' '.join(map(str, array.shape))}\n".encode("ascii"))
        file.write(numpy.ascontiguousarray(array).data)


def parts_of(engine: Engine, array: Any) -> list[Any]:
    """Cut the input into parts of the model's batch.

    Raises:
        RunnerError: It does not fit the model.
    """
    batch = engine.shape[0] or 1
    pairs = zip(engine.shape[1:], array.shape[1:])  # noqa: B905 - Python 3.9 has no `strict`
    rest_fits = all(size in {None, given} for size, given in pairs)
    fits = array.ndim == len(engine.shape) and array.shape[0] > 0 and array.shape[0] % batch == 0 and rest_fits
    if array.dtype.name != engine.dtype or not fits:
        taken = f"the model takes {engine.dtype} {engine.shape}"
        raise RunnerError(INPUT_REFUSED, f"{taken} and the input is {array.dtype.name} {list(array.shape)}")
    return [array[start : start + batch].copy() for start in range(0, array.shape[0], batch)]


def time_run(run: Callable[[], object]) -> float:
    """Run once; return the milliseconds."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def time_runs(run: Callable[[], object], count: int, seconds: float = 0.0) -> list[float]:
    """Run ``count`` times, and for ``seconds``, at least; return the milliseconds of each run."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < count or time.perf_counter() - start < seconds:
        times.append(time_run(run))
    return times


def is_steady(times: list[float], window: int, agreement: float) -> bool:
    """Tell whether the last two windows of a warm-up agree."""
    if len(times) < 2 * window:
        return False
    earlier, later = median(times[-2 * window : -window]), median(times[-window:])
    return abs(later - earlier) <= agreement * earlier


def warm_up(run: Callable[[], object], arguments: argparse.Namespace) -> list[float]:
    """Warm up, then go on until the runs are steady, or the caps are reached; return the milliseconds of each run."""
    times = time_runs(run, arguments.warmup, arguments.warmup_seconds)
    start, most = time.perf_counter(), len(times) + arguments.settle_runs
    while arguments.window and not is_steady(times, arguments.window, arguments.agreement):
        for _ in range(arguments.window):
            if len(times) >= most or time.perf_counter() - start >= arguments.settle_seconds:
                return times
            times.append(time_run(run))
    return times


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Follow the protocol; return what is to be printed."""
    import numpy

    runtime = target_engine.RUNTIME
    try:
        import_module(runtime)  # no part of loading a model
    except ImportError as error:
        raise RunnerError(NOT_LOADED, f"{runtime} cannot be imported: {error}") from error
    start = time.perf_counter()
    engine = open_engine(arguments.model, arguments.threads)
    load_ms = (time.perf_counter() - start) * 1e3
    parts = parts_of(engine, read_tensor(arguments.input))
    try:
        if arguments.profile is not None:
            profiled = open_engine(arguments.model, arguments.threads, arguments.profile)
            time_runs(profiled.bind(parts[0]), PROFILED_RUNS)
            profiled.end_profile()
        gc.collect()
        gc.disable()
        run = engine.bind(parts[0])
        warmup = warm_up(run, arguments)
        samples = time_runs(run, arguments.iterations, arguments.seconds)
        gc.enable()
        outputs = [numpy.array(engine.bind(part)()) for part in parts]
    except RunnerError:
        raise
    except Exception as error:
        raise RunnerError(RUN_FAILED, f"the model cannot be run: {error}") from error
    write_tensor(arguments.output, numpy.concatenate(outputs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "load_ms": load_ms,
        "warmup_ms": warmup,
        "samples_ms": samples,
        "planned_bytes": None,  # no runtime tells it to Python
        "maxrss_kb": peak // 1024 if sys.platform == "darwin" else peak,
        "threads": arguments.threads,
    }


def count(text: str) -> int:
    """Read a number of runs or threads."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"not a count: {text}")
    return int(text)


def number(text: str) -> float:
    """Read a number of seconds, or a share."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"not a number: {text}")
    return value


def main() -> None:
    """Parse the command line, and end with the exit codes of runner.hpp."""
    parser = argparse.ArgumentParser(prog="runner")
    for name in ("model", "input", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("warmup", type=count)
    parser.add_argument("iterations", type=count)
    parser.add_argument("--threads", type=count, default=1)
    for name in ("--window", "--settle-runs"):
        parser.add_argument(name, type=count, default=0)
    for name in ("--warmup-seconds", "--seconds", "--agreement", "--settle-seconds"):
        parser.add_argument(name, type=number, default=0.0)
    parser.add_argument("--profile", type=Path)
    arguments = parser.parse_args()
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        sys.stdout.write(json.dumps(measure(arguments)) + "\n")
    except RunnerError as failure:
        sys.stderr.write(f"runner: {failure}\n")
        sys.exit(failure.code)


if __name__ == "__main__":
    main()
