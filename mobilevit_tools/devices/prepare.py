"""Install what the device links need: ``python -m mobilevit_tools.devices.prepare [PART ...]``.

Programs that every Debian release has are installed with apt. What this release lacks or has too old comes from another
Debian release, unpacked into the toolchain folder: nothing of it is installed, no script of it runs. The runtimes'
aarch64 libraries come from their own wheels, in the versions that are installed here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from mobilevit_tools.devices import debian, process, toolchain
from mobilevit_tools.devices.browser import NPM
from mobilevit_tools.errors import MissingDependencyError, MvtError

_SUITE = "trixie"  # the first Debian release with qemu 10, with ONNX Runtime's header, and with a fast valgrind


@dataclass(frozen=True)
class Part:
    """What one kind of device needs.

    Attributes:
        programs: Programs on PATH, and the Debian package that brings each.
        unpacked: Folders of the toolchain, and for each the package of `_SUITE` and the path in it that is wanted.
        wheels: Whether the runtimes' aarch64 wheels are needed.
        npm: Packages of npm to unpack, each with its version.
    """

    programs: Mapping[str, str]
    unpacked: Mapping[str, tuple[str, str]]
    wheels: bool = False
    npm: tuple[tuple[str, str], ...] = ()


_HEADERS = {each.package: each.debian for each in toolchain.native_runners() if each.debian is not None}
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64")
"""Those that the wheels name; pip takes them literally."""
_COUNTER = {"valgrind": ("valgrind", "usr")}
_EMULATOR = {"qemu": ("qemu-user", "usr/bin/qemu-aarch64")}
_CROSS = {toolchain.CROSS_COMPILER: "g++-aarch64-linux-gnu"}
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "count": Part({"g++": "g++"}, _HEADERS | _COUNTER),
        "arm64": Part(_CROSS, _HEADERS | _EMULATOR, wheels=True),
        "adb": Part(_CROSS | {"adb": "adb"}, _HEADERS, wheels=True),
        "ssh": Part(_CROSS | {"g++": "g++", "ssh": "openssh-client"}, _HEADERS, wheels=True),
        "browser": Part({"chromium": "chromium", "npm": "npm"}, {}, npm=NPM),
        "tests": Part({"sshd": "openssh-server"}, {"adbd": ("adbd", "")}),
    }
)
_DEFAULT = tuple(name for name in PARTS if name != "tests")  # nobody else needs the other ends of the links


def prepare(names: Sequence[str]) -> None:
    """Install what the named parts need; what is already here is left alone.

    Raises:
        MissingDependencyError: Something can be neither found nor installed.
    """
    parts = [PARTS[name] for name in names]
    programs = {program: package for part in parts for program, package in part.programs.items()}
    debian.install({program: package for program, package in programs.items() if shutil.which(program) is None})
    for folder, (package, keep) in sorted({pair for part in parts for pair in part.unpacked.items()}):
        debian.unpack(_SUITE, package, toolchain.toolchain_root() / folder, keep)
    if any(part.wheels for part in parts) and toolchain.host_arch() != "aarch64":
        for recipe in toolchain.native_runners():
            _fetch_libraries(recipe.package, recipe.folder)
    for package, version in sorted({pair for part in parts for pair in part.npm}):
        _fetch_from_npm(package, version)


def _fetch_from_npm(package: str, version: str) -> None:
    """Unpack a package of npm; none of its scripts run."""
    folder = toolchain.toolchain_root() / package
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as scratch:
        work = Path(scratch)
        done = process.run(["npm", "pack", "--silent", f"{package}@{version}"], timeout_s=600, cwd=work)
        archives = list(work.glob("*.tgz"))
        if done.code != 0 or len(archives) != 1:
            raise MissingDependencyError(
                f"{package} {version} cannot be downloaded: {done.last_words}",
                hint="Check that npm can reach its registry.",
            )
        with tarfile.open(archives[0]) as archive:
            archive.extractall(work, filter="data")
        work.joinpath("package").rename(folder)


def _fetch_libraries(package: str, inside: str) -> None:
    """Unpack the shared libraries of a package's aarch64 wheel."""
    version = toolchain.package_version(package)
    folder = toolchain.toolchain_root() / "aarch64" / f"{package}-{version}"
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as scratch:
        work = Path(scratch)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        platforms = [word for each in _PLATFORMS for word in ("--platform", each)]
        wanted: list[str | Path] = [*platforms, "--dest", work, f"{package}=={version}"]
        done = process.run([*pip, *wanted], timeout_s=1200)
        wheels = list(work.glob("*.whl"))
        if done.code != 0 or len(wheels) != 1:
            raise MissingDependencyError(
                f"The aarch64 wheel of {package} {version} cannot be downloaded: {done.last_words}",
                hint="Check that pip is installed and can reach its index.",
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name in wheel.namelist():
                if Path(name).parent == Path(package, inside) and ".so" in Path(name).name:
                    wheel.extract(name, work / "content")
        work.joinpath("content").rename(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m mobilevit_tools.devices.prepare", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all but tests where none is given"
    )
    names = parser.parse_args(arguments).parts or list(_DEFAULT)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    try:
        prepare(names)
    except MvtError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return int(error.exit_code)
    sys.stdout.write(f"ready: {', '.join(names)}{os.linesep}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
