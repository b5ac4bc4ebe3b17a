"""Where the programs, headers and libraries of the device links are, and what to do where one is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from mobilevit_tools.devices import process
from mobilevit_tools.errors import MissingDependencyError
from mobilevit_tools.targets._base import NativeRunner, load
from mobilevit_tools.targets.registry import TARGETS

MINIMUM_QEMU = 10
CROSS_COMPILER = "aarch64-linux-gnu-g++"


def cache_root() -> Path:
    """The user's cache folder for this project; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "mobilevit-tools"


def toolchain_root() -> Path:
    """Where `mobilevit_tools.devices.prepare` puts what no installed package provides."""
    return cache_root() / "toolchain"


def remedy(part: str) -> str:
    """The command that installs everything that a kind of device needs."""
    return f"{sys.executable} -m mobilevit_tools.devices.prepare {part}"


def host_arch() -> str:
    """This machine's architecture, in Linux's name for it.

    Raises:
        MissingDependencyError: This machine is not Linux on x86_64 or aarch64.
    """
    arch = platform.machine()
    if sys.platform != "linux" or arch not in {"x86_64", "aarch64"}:
        raise MissingDependencyError(
            f"The native runner is built on Linux (x86_64, aarch64), and this is {platform.system()} {arch}.",
            hint="Use --device host, or run mvt in a Linux container.",
        )
    return arch


def find_program(name: str, part: str) -> Path:
    """Return the program ``name`` from PATH.

    Raises:
        MissingDependencyError: It is not installed; the hint is the command that installs it.
    """
    found = shutil.which(name)
    if found is None:
        raise MissingDependencyError(f"{name} is not installed.", hint=remedy(part))
    return Path(found)


def find_compiler(arch: str) -> Path:
    """Return the C++ compiler that builds for ``arch`` on this machine.

    Raises:
        MissingDependencyError: There is none.
    """
    if arch == host_arch():
        return find_program("g++", "count")
    if arch == "aarch64":
        return find_program(CROSS_COMPILER, "arm64")
    raise MissingDependencyError(f"There is no compiler for {arch}.", hint=f"Run mvt on an {arch} machine.")


def find_qemu() -> Path:
    """Return a user-mode emulator of aarch64 that is new enough.

    QEMU 7.2 crashes in ONNX Runtime's kernels, so older ones than `MINIMUM_QEMU` are refused.

    Raises:
        MissingDependencyError: There is none.
    """
    prepared = toolchain_root() / "qemu" / "usr" / "bin" / "qemu-aarch64"
    installed = (shutil.which(name) for name in ("qemu-aarch64", "qemu-aarch64-static"))
    candidates = [path for path in (prepared, *(Path(found) for found in installed if found)) if path.exists()]
    for candidate in candidates:
        if _qemu_major(candidate) >= MINIMUM_QEMU:
            return candidate
    reason = f"qemu-aarch64 is older than {MINIMUM_QEMU}" if candidates else "qemu-aarch64 is not installed"
    raise MissingDependencyError(f"{reason}.", hint=remedy("arm64"))


def find_valgrind() -> Path:
    """Return valgrind, the prepared one first: 3.24 counts some twenty times as fast as Debian 12's 3.19.

    Raises:
        MissingDependencyError: There is none.
    """
    prepared = toolchain_root() / "valgrind" / "usr" / "bin" / "valgrind"
    return prepared if prepared.exists() else find_program("valgrind", "count")


@cache
def _qemu_major(program: Path) -> int:
    found = re.search(r"version (\d+)\.", process.run([program, "--version"], timeout_s=20).stdout)
    return int(found.group(1)) if found else 0


def package_folder(package: str) -> Path:
    """Return the folder of an installed package, without importing it.

    Raises:
        MissingDependencyError: It is not installed.
    """
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        return Path(folder)
    raise MissingDependencyError(f"{package} is not installed.", hint=f"pip install {package}")


def package_version(package: str) -> str:
    """Return the version of an installed package.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingDependencyError(f"{package} is not installed.", hint=f"pip install {package}") from error


def library_folder(recipe: NativeRunner, arch: str) -> Path:
    """Return the folder of a runtime's shared libraries for ``arch``: the wheel's here, a fetched wheel's elsewhere.

    Raises:
        MissingDependencyError: The wheel for ``arch`` was not fetched, or not in the version that is installed here.
    """
    package, inside = recipe.package, recipe.folder
    if arch == host_arch():
        return package_folder(package) / inside
    folder = toolchain_root() / arch / f"{package}-{package_version(package)}" / package / inside
    if not folder.is_dir():
        raise MissingDependencyError(
            f"The {arch} libraries of {package} {package_version(package)} are not here.", hint=remedy("arm64")
        )
    return folder


def header_folders(recipe: NativeRunner) -> list[Path]:
    """Return the folders of the headers that a runner's source includes.

    Raises:
        MissingDependencyError: They are not here.
    """
    found: list[Path] = [] if recipe.headers is None else load(recipe.headers)()
    return found


def native_runners() -> tuple[NativeRunner, ...]:
    """Return how each target's native runner is built, of those that have one and are not of an absent extra."""
    return tuple(
        target.native_runner
        for target in TARGETS.values()
        if target.native_runner and (target.extra is None or find_spec(target.native_runner.package) is not None)
    )


def find_runtimes(arch: str) -> None:
    """Look for the headers of every native runner, and for its libraries for ``arch``.

    Raises:
        MissingDependencyError: Some are not here.
    """
    for recipe in native_runners():
        library_folder(recipe, arch)
        header_folders(recipe)
