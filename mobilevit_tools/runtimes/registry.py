"""Open an artifact with the runtime of its target."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import cast

from mobilevit_tools.errors import MissingDependencyError, UsageError
from mobilevit_tools.runtimes._base import Session
from mobilevit_tools.targets._base import Target
from mobilevit_tools.targets.registry import target_of


def check_threads(artifact: Path, threads: int) -> None:
    """Refuse a number of threads that nobody would use.

    Raises:
        UsageError: There is none, or the artifact's runtime takes no number.
    """
    if threads < 1:
        raise UsageError(f"An inference needs at least one thread, not {threads}.")
    target = target_of(artifact)
    if threads != 1 and target.own_threads:
        raise UsageError(
            f"{target.title} manages its own threads: {threads} is not supported.", hint="Omit --threads, or pass 1."
        )


def open_session(path: Path, *, threads: int = 1) -> Session:
    """Load an artifact that may come from anywhere, with ``threads`` intra-operator threads.

    Where its runtime is native code, that runs in a process of its own: a damaged file may end it.

    Raises:
        BadInputError: The artifact is missing, unreadable or of an unknown kind, or ends or hangs its runtime.
        MissingDependencyError: Its runtime is not installed.
    """
    target = runnable(path)
    if target.native_runtime:
        from mobilevit_tools.runtimes.isolated import IsolatedSession

        return IsolatedSession(path, threads)
    return load_session(path, threads=threads)


def load_session(path: Path, *, threads: int = 1) -> Session:
    """Load an artifact in this process: one that it has just made, or that the process is there for.

    Raises:
        BadInputError: The artifact is missing, unreadable or of an unknown kind.
        MissingDependencyError: Its runtime is not installed.
    """
    target = runnable(path)
    return cast("Session", target.load(target.runtime).open_session(path, threads=threads))


def open_made(path: Path) -> Session:
    """Load an artifact that this process has just made: here, unless its runtime may end the process even then.

    Raises:
        BadInputError: The artifact is unreadable.
        MissingDependencyError: Its runtime is not installed.
    """
    return open_session(path) if target_of(path).runs_apart else load_session(path)


def runnable(path: Path) -> Target:
    """Return the target of an artifact whose runtime is installed.

    Raises:
        BadInputError: The artifact is missing or of an unknown kind.
        MissingDependencyError: Its runtime is not installed.
    """
    target = target_of(path)
    if find_spec(target.running) is None:
        raise MissingDependencyError(
            f"Running {path.suffix} artifacts needs {target.running}, which is not installed.",
            hint=target.install(target.running),
        )
    return target
