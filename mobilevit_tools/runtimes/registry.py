"""Every runtime, as data only, by the suffix of the artifacts that it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import cast

from mobilevit_tools.errors import BadInputError, MissingDependencyError, UsageError
from mobilevit_tools.runtimes._base import Session


@dataclass(frozen=True)
class Runtime:
    """Where a runtime lives.

    Attributes:
        target: The export target whose artifacts it runs.
        module: Dotted path of a module with ``open_session(path, threads) -> Session``.
        package: The importable package that it needs.
        is_folder: Whether the artifact is a folder.
        models_system: Whether its sessions model the system's own runtime, which alone has a latency.
    """

    target: str
    module: str
    package: str
    is_folder: bool = False
    models_system: bool = False


RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        ".onnx": Runtime("onnx", "mobilevit_tools.runtimes.onnx", "onnxruntime"),
        ".pte": Runtime("executorch", "mobilevit_tools.runtimes.executorch", "executorch"),
        ".mlpackage": Runtime(
            "coreml", "mobilevit_tools.runtimes.coreml.session", "coremltools", is_folder=True, models_system=True
        ),
        ".mlmodel": Runtime("coreml", "mobilevit_tools.runtimes.coreml.session", "coremltools", models_system=True),
    }
)


def runtime_of(path: Path) -> Runtime:
    """Return the runtime for an artifact, judged by its suffix.

    Raises:
        BadInputError: There is nothing at ``path``, or it is no artifact that mvt knows.
    """
    runtime = RUNTIMES.get(path.suffix.lower())
    if runtime is None:
        raise BadInputError(
            f"{path} is not an artifact: its name ends in none of {', '.join(RUNTIMES)}.",
            hint="Give the file that `mvt export` wrote.",
            code="not_an_artifact",
        )
    if not path.exists():
        raise BadInputError(f"There is no artifact at {path}.", code="no_such_artifact")
    if not (path.is_dir() if runtime.is_folder else path.is_file()):  # a pipe would be waited for
        expected = "a folder" if runtime.is_folder else "a file"
        raise BadInputError(f"{path} is not {expected}, as {path.suffix} artifacts are.", code="not_an_artifact")
    return runtime


def check_threads(artifact: Path, threads: int) -> None:
    """Refuse a number of threads that nobody would use.

    Raises:
        UsageError: There is none, or the artifact's runtime takes no number.
    """
    if threads < 1:
        raise UsageError(f"An inference needs at least one thread, not {threads}.")
    if threads != 1 and runtime_of(artifact).target == "coreml":
        raise UsageError(
            f"Core ML has threads of its own: it takes no {threads}.", hint="Leave --threads away, or give 1."
        )


def open_session(path: Path, *, threads: int = 1) -> Session:
    """Load an artifact for running, with ``threads`` intra-operator threads.

    Raises:
        BadInputError: The artifact is missing, unreadable or of an unknown kind.
        MissingDependencyError: Its runtime is not installed.
    """
    runtime = runtime_of(path)
    if find_spec(runtime.package) is None:
        raise MissingDependencyError(
            f"Running {path.suffix} artifacts needs {runtime.package}, which is not installed.",
            hint=f"pip install {runtime.package}",
        )
    return cast("Session", import_module(runtime.module).open_session(path, threads=threads))
