"""Tell what is installed, what is missing, and which versions are known to go together, without importing any of it."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from mobilevit_tools.defaults import Default
from mobilevit_tools.devices.page_size import Library, check_libraries
from mobilevit_tools.devices.registry import DEVICES
from mobilevit_tools.errors import BadInputError, MissingDependencyError
from mobilevit_tools.process_state import restoring
from mobilevit_tools.result import Result
from mobilevit_tools.targets._base import Package, Target, load
from mobilevit_tools.targets.registry import TARGETS

Status = Literal["ok", "untested", "bad", "missing"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: A package, a target with its backend, a pair of packages, or a device.
        purpose: What needs it.
        status: ``ok``, ``untested`` (a version that mvt was not tested with), ``bad`` (known not to work) or
            ``missing``.
        version: The version found; None where there is none.
        detail: What is wrong; None where nothing is.
        remedy: What to type; None where nothing is wrong.
    """

    name: str
    purpose: str
    status: Status
    version: str | None = None
    detail: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, repr=False)
class DoctorResult(Result, command="doctor"):
    """The state of this installation.

    Attributes:
        python: The Python version.
        system: The operating system and architecture.
        healthy: Whether every target can be exported to and run.
        broken: Names of the checks that stand against it.
        checks: Everything that was looked at.
        defaults: Shared defaults of the command line, in the order in which they are applied.
        libraries: The Android libraries that were checked for pages of 16 KB.
    """

    python: str
    system: str
    healthy: bool
    broken: tuple[str, ...]
    checks: tuple[Check, ...]
    defaults: tuple[Default, ...] = ()
    libraries: tuple[Library, ...] = ()


_DEVICES: tuple[Package, ...] = tuple(load(kind.package) for kind in DEVICES.values() if kind.package is not None)
PACKAGES = (
    Package("torch", "every model and every export", ("2.13.",)),
    Package("numpy", "everything", ("2.",)),
    *(package for target in TARGETS.values() for package in target.packages),
    Package("safetensors", "reading weights", ("0.",)),
    Package("huggingface_hub", "hf:// checkpoints", ("1.", "2."), extra="hub"),
    Package("timm", "timm:NAME", ("1.",), extra="timm"),
    Package("transformers", "hf:OWNER/NAME", ("5.",), extra="transformers"),
    Package("pycocotools", "measuring detectors", ("2.0.",), extra="detect"),
    Package("ray", "sweeps on many machines", ("2.",), extra="ray"),
    *_DEVICES,
)

PAIRS = tuple(pair for target in TARGETS.values() for pair in target.pairs)
"""Packages that must go together: tested where both are of a tested series."""

BAD_PAIRS = tuple(pair for target in TARGETS.values() for pair in target.bad_pairs)


@restoring
def doctor(*, defaults: tuple[Default, ...] = (), libraries: Sequence[str | Path] = ()) -> DoctorResult:
    """Look at the installation; no backend is imported, so it takes well under a second.

    Args:
        defaults: Shared defaults of the command line, which become part of the result.
        libraries: Android libraries, APKs, AARs, AABs or folders of them, to check for pages of 16 KB.

    Raises:
        BadInputError: One of the libraries cannot be read, or does not load where pages have 16 KB; then ``result``
            holds the :class:`DoctorResult`.

    Example:
        >>> mvt.doctor().checks[0].name
        'torch'
    """
    found = {name: _version(name) for name in _names()}
    checks = [_check_package(package, found[package.name]) for package in PACKAGES]
    states = {check.name: check.status for check in checks}
    checks += [_check_target(option, target, purpose, checks) for option, target, purpose in _choices()]
    checks += [_check_pair(pair, states) for pair in PAIRS if "missing" not in (states[pair[0]], states[pair[1]])]
    checks += [
        Check(f"{pair.first[0]} + {pair.second[0]}", _TOGETHER, "bad", None, pair.symptom, pair.remedy)
        for pair in BAD_PAIRS
        if all(
            (known := found[name]) is not None and known.startswith(prefix)
            for name, prefix in (pair.first, pair.second)
        )
    ]
    checks += [_check_device(f"--device {name}", purpose, finders) for name, (purpose, finders) in _devices().items()]
    required = {package.name for package in PACKAGES if package.extra is None}
    broken = tuple(
        check.name
        for check in checks
        if check.status == "bad" or (check.status == "missing" and check.name in required)
    )
    result = DoctorResult(
        python=platform.python_version(),
        system=f"{sys.platform} {platform.machine()}",
        healthy=not broken,
        broken=broken,
        checks=tuple(checks),
        defaults=defaults,
        libraries=tuple(library for each in libraries for library in check_libraries(Path(each))),
    )
    refused = [library for library in result.libraries if library.problem is not None]
    if refused:
        raise BadInputError(
            f"{len(refused)} of {len(result.libraries)} libraries do not load on phones with pages of 16 KB.",
            hint="Build them with NDK r28 or later, or link with -Wl,-z,max-page-size=16384, and align the APK with "
            "zipalign -P 16 4.",
            code="page_size",
            result=result,
        )
    return result


_TOGETHER = "working together"


def _names() -> set[str]:
    return {package.name for package in PACKAGES} | {
        name for pair in BAD_PAIRS for name, _ in (pair.first, pair.second)
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


_BY_EXTRA = {
    package.name: package.install
    for package in (*(each for target in TARGETS.values() for each in target.packages), *_DEVICES)
    if package.extra is not None
}
"""Packages that go together in exactly one version each, which their extra states."""


def _check_package(package: Package, found: str | None) -> Check:
    install = _BY_EXTRA.get(package.name) or f"pip install '{_requirement(package.name)}'"
    if found is None:
        return Check(package.name, package.purpose, "missing", remedy=install)
    if not found.startswith(package.tested):
        tested = " or ".join(f"{prefix}*" for prefix in package.tested)
        return Check(package.name, package.purpose, "untested", found, f"mvt is tested with {tested}")
    return Check(package.name, package.purpose, "ok", found)


def _choices() -> Iterator[tuple[str, Target, str]]:
    """Yield each target, or where it has several backends each of them, as it is asked for, and what it can do."""
    for target in TARGETS.values():
        if target.summary:
            yield f"--target {target.name}", target, target.summary
        yield from ((f"--backend {backend.name}", target, backend.summary) for backend in target.backends)


def _check_target(option: str, target: Target, purpose: str, packages: Sequence[Check]) -> Check:
    modules = {package.name: package.module or package.name for package in PACKAGES}
    needed = {"torch", *target.exporting, target.running}
    for check in packages:
        if modules.get(check.name) in needed and check.status in {"missing", "bad"}:
            return Check(option, purpose, "missing", None, f"it needs {check.name}", check.remedy)
    return Check(option, purpose, "ok")


def _requirement(name: str) -> str:
    """Return a package with the versions that mvt asks for, or else a target's package, which brings it."""
    for owner in ("mobilevit-tools", *(target.running for target in TARGETS.values())):
        for requirement in (requires(owner) if _version(owner) else None) or ():
            wanted = requirement.partition(";")[0].strip()
            if re.split(r"[^\w.-]", wanted, maxsplit=1)[0] == name:
                return wanted
    return name


def _check_pair(pair: tuple[str, str], states: Mapping[str, Status]) -> Check:
    name = " + ".join(pair)
    if all(states[each] == "ok" for each in pair):
        return Check(name, _TOGETHER, "ok")
    strange = " and ".join(each for each in pair if states[each] != "ok")
    return Check(name, _TOGETHER, "untested", None, f"{strange} is outside the tested release series")


def _devices() -> dict[str, tuple[str, tuple[Callable[[], object], ...]]]:
    """Return what each device needs on this machine, as functions that find it; none of them starts a device."""
    from mobilevit_tools.devices import toolchain
    from mobilevit_tools.devices.adb import find_adb
    from mobilevit_tools.devices.browser import find_chromium, find_library
    from mobilevit_tools.devices.htp import find_simulator

    def cross() -> object:
        return toolchain.find_compiler("aarch64")

    def runtimes(arch: str) -> Callable[[], object]:
        return partial(toolchain.find_runtimes, arch)

    def native() -> object:
        return toolchain.find_compiler(toolchain.host_arch())

    aarch64 = (runtimes("aarch64"), cross)
    ssh = partial(toolchain.find_program, "ssh", "ssh")
    return {
        "count": ("exact instruction counts", (toolchain.find_valgrind, native, runtimes(toolchain.host_arch()))),
        "arm64": ("numerics on emulated aarch64", (toolchain.find_qemu, *aarch64)),
        "adb": ("Android phones", (find_adb, *aarch64)),
        "ssh": ("Linux boards", (ssh, *aarch64)),
        "browser": ("the browser", (find_chromium, find_library)),
        "htp": ("Qualcomm's NPU, simulated", (find_simulator,)),
    }


def _check_device(name: str, purpose: str, finders: tuple[Callable[[], object], ...]) -> Check:
    try:
        for find in finders:
            find()
    except MissingDependencyError as error:
        return Check(name, purpose, "missing", None, error.message.rstrip("."), error.hint)
    return Check(name, purpose, "ok")
