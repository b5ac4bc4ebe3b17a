"""The child process in which an artifact is measured: requests on stdin, replies on stdout, one JSON object a line.

It starts fresh for every artifact, so that neither memory nor threads of anything else are measured with it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from mobilevit_tools.errors import BadInputError, DeviceError, MvtError, told
from mobilevit_tools.profiling import resident
from mobilevit_tools.profiling.protocol import LatencySpec, sample, warm_up
from mobilevit_tools.runtimes._base import only_input, seeded_noise
from mobilevit_tools.runtimes.registry import load_session, runnable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.runtimes._base import Session

ALIVE_SECONDS = 1.0
IMAGE_CHANNELS = 3


class Worker:
    """Holds the loaded artifact between requests; ``alive`` is called between calls of it."""

    def __init__(self, alive: Callable[[], None]) -> None:
        self._alive = alive
        self._session: Session | None = None
        self._run: Callable[[], object] | None = None

    def load(self, path: str, threads: int) -> dict[str, object]:
        """Import the runtime, then load the artifact; only the second is timed, and counted in memory."""
        if self._session is not None:
            self._run = None
            self._session.close()
        artifact = Path(path)
        target = runnable(artifact)
        target.load(target.runtime)
        reference = None
        if target.host_systems:  # a model of a runtime has no latency of its own, nor is it part of the other's
            reference = load_session(artifact, threads=threads)
            import_module(target.running)
        resident.reset_peak()
        baseline = resident.current_bytes()
        started = time.perf_counter()
        native = None if reference is None else reference.native()
        self._session = native or reference or load_session(artifact, threads=threads)
        load_ms = (time.perf_counter() - started) * 1e3
        self._run = self._session.prepare(example_array(self._session))
        return {"load_ms": load_ms, "baseline_memory_bytes": baseline, "versions": _versions(target.running)}

    def warm_up(self, spec: dict[str, Any]) -> dict[str, object]:
        """Follow the protocol up to sampling."""
        warm = asdict(warm_up(self._loaded(), LatencySpec(**spec), after_call=self._alive))
        return {**warm, "process_seconds": time.process_time()}

    def sample(self, runs: int, seconds: float) -> dict[str, object]:
        """Take samples."""
        cpu, wall = time.process_time(), time.perf_counter()
        samples = sample(self._loaded(), runs=runs, seconds=seconds, after_call=self._alive)
        return {
            "samples_ms": samples,
            "cpu_seconds": time.process_time() - cpu,
            "process_seconds": time.process_time(),
            "wall_seconds": time.perf_counter() - wall,
            "peak_memory_bytes": resident.peak_bytes(),
        }

    def _loaded(self) -> Callable[[], object]:
        if self._run is None:
            raise RuntimeError("nothing is loaded")
        return self._run


def example_array(session: Session) -> NDArray[Any]:
    """Return seeded noise that fits the artifact's input; free sizes are 1 image of the contract's size.

    Raises:
        BadInputError: The artifact's input has a free height or width and no contract, or holds no numbers, or there
            is not one input.
    """
    info = only_input(session)
    if len(info.shape) != 4:
        free: tuple[int | None, ...] = (1,) * len(info.shape)
    elif session.contract is None:
        free = (1, IMAGE_CHANNELS, None, None)
    else:
        free = (1, IMAGE_CHANNELS, *session.contract.preprocessing.input_size)
    sizes = [known if known is not None else size for known, size in zip(info.shape, free, strict=True)]
    shape = [size for size in sizes if size is not None]
    if shape != sizes:
        raise BadInputError(
            f"The artifact's input {info.name} has flexible height and width, and no default size.",
            hint="Use an artifact from `mvt export`, or one of fixed size.",
            code="free_input_size",
        )
    return seeded_noise(info, shape, np.random.default_rng(0))


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until there are no more; every one gets a ``result`` or an ``error``."""
    last = time.monotonic()

    def send(message: dict[str, object]) -> None:
        nonlocal last
        last = time.monotonic()
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    def alive() -> None:
        if time.monotonic() - last >= ALIVE_SECONDS:
            send({"alive": True})

    worker = Worker(alive)
    operations: dict[str, Callable[..., dict[str, object]]] = {
        "load": worker.load,
        "warm_up": worker.warm_up,
        "sample": worker.sample,
    }
    for line in requests:
        request = json.loads(line)
        try:
            send({"result": operations[request["operation"]](**request["arguments"])})
        except MvtError as error:
            send({"error": told(error)})
        except Exception as error:  # a runtime may raise anything, and the parent is to hear of it
            said = " ".join(f"{type(error).__name__}: {error}".split())
            failure = DeviceError(f"The artifact failed during measurement: {said}", code="run_failed")
            send({"error": told(failure)})


def _versions(package: str) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("mobilevit-tools", "numpy", package):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def main() -> None:
    """Serve on the process's own stdin and stdout, which nothing else can then reach."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # Whatever a library prints, from Python or from C++, ends up with the complaints.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
