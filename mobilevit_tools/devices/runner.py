"""Build the native runner of a runtime for an architecture, once, and gather all that it needs to start anywhere.

A Mac, which nothing here can build for, gets the same protocol in Python instead, for the runtimes that it has itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import MappingProxyType
from typing import Protocol

from mobilevit_tools.devices import process, toolchain
from mobilevit_tools.errors import BadInputError, DeviceError
from mobilevit_tools.targets._base import NativeRunner
from mobilevit_tools.targets.registry import TARGETS, find_target

SOURCES = Path(__file__).parent / "native"
RUNNER = "runner"
SCRIPT = "runner.py"
LOADERS: Mapping[str, str] = MappingProxyType(
    {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"},
)
_SYSTEM_LIBRARIES = (
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
)


class Program(Protocol):
    """A runner that can be put on a device and started there."""

    @property
    def arch(self) -> str:
        """The architecture that it runs on."""

    @property
    def files(self) -> Mapping[str, Path]:
        """Every file, by the name that it must have beside the others."""

    def command(self, folder: str) -> list[str]:
        """The words that start the runner from ``folder``."""


@dataclass(frozen=True)
class Bundle:
    """A runner with every library that it needs, the C library and its loader included, in one folder.

    Attributes:
        folder: Holds the runner and links to the libraries, under the names that the loader looks for.
        arch: The architecture that it runs on.
    """

    folder: Path
    arch: str

    @property
    def files(self) -> dict[str, Path]:
        """Every file, by the name that it must have beside the others."""
        return {path.name: path.resolve() for path in sorted(self.folder.iterdir())}

    def command(self, folder: str) -> list[str]:
        """The words that start the runner from ``folder`` with none of that machine's own libraries."""
        return [f"{folder}/{LOADERS[self.arch]}", "--library-path", folder, f"{folder}/{RUNNER}"]


@dataclass(frozen=True)
class Script:
    """The runner in Python.

    Attributes:
        python: The interpreter there; it has the artifact's runtime.
        arch: The architecture that it runs on.
        target: The artifact's target.
    """

    python: str
    arch: str
    target: str

    @property
    def files(self) -> dict[str, Path]:
        """The runner, and the engine of the target."""
        engine = SOURCES / f"{self.target}_engine.py"
        return {SCRIPT: SOURCES / SCRIPT, "engine.py": SOURCES / "engine.py", "target_engine.py": engine}

    def command(self, folder: str) -> list[str]:
        """The words that start the runner from ``folder``."""
        return [self.python, f"{folder}/{SCRIPT}"]


def build(target: str, arch: str) -> Bundle:
    """Return the runner for an export target's artifacts on ``arch``; it is built if the cache does not hold it.

    Raises:
        BadInputError: No native runner runs artifacts of this target.
        MissingDependencyError: A compiler, a header or a library is not installed.
        DeviceError: The compiler fails.
    """
    recipe = find_target(target).native_runner
    if recipe is None:
        runnable = " and ".join(name for name, each in TARGETS.items() if each.native_runner)
        raise BadInputError(
            f"The native runner runs {runnable} artifacts, not {target}.",
            hint="Export the model to one of these targets.",
            code="no_runner",
        )
    compiler = toolchain.find_compiler(arch)
    libraries = _runtime_libraries(recipe, arch) | _system_libraries(compiler, arch)
    command = _compile_command(recipe, compiler, libraries)
    folder = toolchain.cache_root() / "runners" / _digest(recipe, command, libraries)
    if not folder.is_dir():
        _compile(command, libraries, folder)
    return Bundle(folder, arch)


def _runtime_libraries(recipe: NativeRunner, arch: str) -> dict[str, Path]:
    folder = toolchain.library_folder(recipe, arch)
    found = {}
    for name in recipe.libraries:
        path = folder / name
        if not path.exists():  # the ONNX Runtime wheel keeps only the file with the full version
            path = next(iter(sorted(folder.glob(f"{name}.*")) or sorted(folder.glob(f"{Path(name).stem}.*"))), path)
        found[name] = path
    return found


@cache
def _system_libraries(compiler: Path, arch: str) -> dict[str, Path]:
    found = {}
    for name in (*_SYSTEM_LIBRARIES, LOADERS[arch]):
        answer = process.run([compiler, f"-print-file-name={name}"], timeout_s=60).stdout.strip()
        path = Path(answer)
        if not path.is_absolute():
            raise DeviceError(f"{compiler.name} knows no {name} for {arch}.", hint=toolchain.remedy("arm64"))
        found[name] = path.resolve()
    return found


def _compile_command(recipe: NativeRunner, compiler: Path, libraries: Mapping[str, Path]) -> list[str | Path]:
    return [
        compiler,
        "-std=c++17",
        "-O2",
        *(f"-D{define}" for define in recipe.defines),
        *(f"-isystem{folder}" for folder in toolchain.header_folders(recipe)),
        SOURCES / recipe.source,
        "-Wl,--no-as-needed",  # the backends and kernels register themselves when they are loaded
        *(libraries[name] for name in recipe.libraries),
        "-Wl,--disable-new-dtags,-rpath,$ORIGIN",
        "-Wl,--allow-shlib-undefined",
    ]


def _digest(recipe: NativeRunner, command: list[str | Path], libraries: Mapping[str, Path]) -> str:
    """Hash everything that decides what the runner is: sources, command, compiler, runtime and libraries."""
    digest = hashlib.sha256()
    compiler = process.run([command[0], "--version"], timeout_s=60).stdout
    words = [*(os.fspath(word) for word in command), compiler, toolchain.package_version(recipe.package)]
    for name, path in sorted(libraries.items()):
        status = path.stat()
        words += [name, os.fspath(path), str(status.st_size), str(status.st_mtime_ns)]
    for source in (recipe.source, "runner.hpp"):
        words.append((SOURCES / source).read_text(encoding="utf-8"))
    for word in words:
        digest.update(word.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def _compile(command: list[str | Path], libraries: Mapping[str, Path], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        done = process.run([*command, "-o", work / RUNNER], timeout_s=300)
        if done.code != 0:
            errors = [line for line in done.stderr.splitlines() if "error" in line or "undefined" in line]
            raise DeviceError(
                f"The native runner does not compile: {errors[0] if errors else done.last_words}",
                hint=f"{Path(command[0]).name} must support C++17 and match the installed runtime.",
                code="build_failed",
            )
        for name, path in libraries.items():
            work.joinpath(name).symlink_to(path)
        try:
            work.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process has just built the same
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
