"""Runs an artifact with the runtime that a Mac's Python has, where the native runner cannot be built for it.

It is pushed to the Mac and started there, so it imports nothing but the standard library, NumPy and that runtime, and
runs on Python 3.9, which Apple's own is.
The command line, the tensor files, the exit codes and the line of JSON are those of runner.hpp.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import resource
import shutil
import sys
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

PROFILED_RUNS = 10
BAD_FILE, NOT_LOADED, INPUT_REFUSED, RUN_FAILED = 2, 3, 4, 5


class RunnerError(Exception):
    """Ends the program with an exit code and a sentence."""

    def __init__(self, code: int, sentence: object) -> None:
        super().__init__(" ".join(str(sentence).split()))
        self.code = code


class Engine(ABC):
    """A loaded model with one input and one output.

    Attributes:
        dtype: The input's type, as NumPy names it.
        shape: The input's sizes; None where any is taken.
    """

    dtype: str
    shape: list[int | None]

    @abstractmethod
    def bind(self, array: Any) -> Callable[[], Any]:
        """Return a call that runs on ``array`` and gives the output."""

    @abstractmethod
    def end_profile(self) -> None:
        """Write the profile that was asked for."""


class OnnxEngine(Engine):
    """An ONNX model in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path, threads: int, profile: Path | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = f"{profile}.part"
        self._profile = profile
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = self._session.get_inputs()
        check_one(len(inputs), len(self._session.get_outputs()))
        self._name = inputs[0].name
        names = {"float": "float32", "double": "float64"}
        written = inputs[0].type[len("tensor(") : -1]
        self.dtype = names.get(written, written)
        self.shape = [size if isinstance(size, int) else None for size in inputs[0].shape]

    def bind(self, array: Any) -> Callable[[], Any]:
        """Bind an input."""
        feeds = {self._name: array}
        return lambda: self._session.run(None, feeds)[0]

    def end_profile(self) -> None:
        """Write the profile."""
        Path(self._session.end_profiling()).rename(str(self._profile))


class ExecutorchEngine(Engine):
    """An ExecuTorch program in the wheel's own runtime."""

    def __init__(self, path: Path, threads: int, profile: Path | None = None) -> None:
        import torch
        from executorch.extension.pybindings import _C

        names = {"Float": "float32", "Half": "float16", "Double": "float64", "Long": "int64", "Int": "int32"}
        names |= {"Byte": "uint8", "Char": "int8"}
        self._tensor = torch.from_numpy
        self._profile = profile
        _C._unsafe_reset_threadpool(threads)
        self._module = _C._load_for_executorch(str(path), enable_etdump=profile is not None)
        meta = self._module.method_meta("forward")
        check_one(meta.num_inputs(), meta.num_outputs())
        first = meta.input_tensor_meta(0)
        # The type is an integer of the C++ enum, named only in the representation.
        self.dtype = names.get(repr(first).partition("dtype=")[2].partition(",")[0], "an unknown type")
        self.shape = list(first.sizes())

    def bind(self, array: Any) -> Callable[[], Any]:
        """Bind an input."""
        tensors = (self._tensor(array),)
        run = self._module.run_method
        return lambda: run("forward", tensors, clone_outputs=False)[0]

    def end_profile(self) -> None:
        """Write the profile."""
        self._module.write_etdump_result_to_file(str(self._profile))


class CoreMLEngine(Engine):
    """A Core ML package on Core ML itself, on whatever compute units it chooses."""

    def __init__(self, path: Path, threads: int, profile: Path | None = None) -> None:
        from coremltools.models import MLModel

        if threads != 1:  # it would be reported, and nobody would have used it
            raise RunnerError(NOT_LOADED, f"Core ML has threads of its own: it takes no {threads}")
        if profile is not None:
            raise RunnerError(NOT_LOADED, "Core ML tells no times per operator over ssh; run mvt on the Mac itself")
        package = path.with_suffix("")
        shutil.rmtree(package, ignore_errors=True)  # of an artifact that ran here before
        unpack(path, package)
        self._model = MLModel(str(package))
        description = self._model.get_spec().description
        check_one(len(description.input), len(description.output))
        self._input, self._output = description.input[0].name, description.output[0].name
        if description.input[0].type.WhichOneof("Type") != "multiArrayType":
            raise RunnerError(NOT_LOADED, "it takes an image and not a tensor; export it with --tensor-io")
        array = description.input[0].type.multiArrayType
        types = {"FLOAT32": "float32", "FLOAT16": "float16", "DOUBLE": "float64", "INT32": "int32"}
        name = array.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number[array.dataType].name
        self.dtype = types.get(name, name)
        self.shape = list(array.shape)

    def bind(self, array: Any) -> Callable[[], Any]:
        """Bind an input."""
        feeds = {self._input: array}
        return lambda: self._model.predict(feeds)[self._output]

    def end_profile(self) -> None:
        """Never called: a profile is refused."""


ENGINES: dict[str, tuple[str, Callable[..., Engine]]] = {
    ".onnx": ("onnxruntime", OnnxEngine),
    ".pte": ("executorch.extension.pybindings._C", ExecutorchEngine),
    ".tar": ("coremltools", CoreMLEngine),
}


def check_one(inputs: int, outputs: int) -> None:
    """Refuse a model that does not have one input and one output."""
    if (inputs, outputs) != (1, 1):
        raise RunnerError(NOT_LOADED, "the model does not have one input and one output")


def open_engine(path: Path, threads: int, profile: Path | None = None) -> Engine:
    """Load a model; whatever the runtime raises becomes a `RunnerError`."""
    try:
        return ENGINES[path.suffix][1](path, threads, profile)
    except RunnerError:
        raise
    except Exception as error:
        raise RunnerError(NOT_LOADED, f"the model cannot be loaded: {error}") from error


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive into a folder.

    Raises:
        RunnerError: A part of it is no plain file or folder there, and this Python's tarfile has no filters.
    """
    with tarfile.open(path) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
            return
        for part in archive:
            inside = (folder / part.name).resolve().is_relative_to(folder.resolve())
            if not inside or not (part.isfile() or part.isdir()):
                raise RunnerError(NOT_LOADED, f"{part.name} of the package is no plain file inside it")
        archive.extractall(folder)  # noqa: S202 - its parts were looked at


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
    raise RunnerError(BAD_FILE, f"{path} is not a tensor file, or not whole")


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

    runtime = ENGINES[arguments.model.suffix][0]
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
