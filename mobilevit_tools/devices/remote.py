"""Devices behind a shell: an Android phone over adb, a board over ssh."""

from __future__ import annotations

import fcntl
import hashlib
import shlex
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mobilevit_tools.devices import process, runner, toolchain
from mobilevit_tools.devices.native import NativeDevice
from mobilevit_tools.errors import DeviceError

_SHORT_S = 60.0  # for everything but the measurement itself
_SPARE_BYTES = 4 << 20  # for the outputs
_PID = "pid"
_FREQUENCIES = (
    "for core in /sys/devices/system/cpu/cpu[0-9]*; do"
    ' [ -r "$core/cpufreq/cpuinfo_max_freq" ] && echo "${core##*cpu} $(cat "$core/cpufreq/cpuinfo_max_freq")";'
    " done; command -v taskset >/dev/null && echo taskset"
)


class RemoteDevice(NativeDevice):
    """A device behind a POSIX shell. A link says how to reach the shell, and how files travel.

    Everything lives in one folder of the device, which no two users of this machine use at once.

    Attributes:
        folder: The device's folder, as the shell sees it: plain letters only.
        is_runner: What the shell says to tell, in the folder, whether ``$pid`` is still the runner's: a number may by
            now belong to another program.
    """

    folder: str
    is_runner = '[ "$(readlink /proc/$pid/cwd)" = "$(pwd -P)" ]'

    def __init__(self, name: str) -> None:
        self.name = name
        self._resources: ExitStack | None = None
        self._cores: str | None = None

    @property
    def identity(self) -> str:
        """The same for every name of one device, once it is connected; what its users wait for."""
        return self.name

    @abstractmethod
    def connect(self) -> None:
        """Make sure that the device answers, and find out what it is; change nothing there.

        Raises:
            DeviceError: It does not answer, or the runner cannot run on it.
            MissingDependencyError: The program that reaches it is not installed.
        """

    @abstractmethod
    def disconnect(self) -> None:
        """Close what `connect` opened."""

    @abstractmethod
    def shell(self, script: str, timeout_s: float = _SHORT_S) -> process.Finished:
        """Run a script in the device's shell.

        Raises:
            DeviceError: The device is gone. A script that fails raises nothing.
        """

    @abstractmethod
    def upload(self, path: Path, name: str) -> process.Finished:
        """Copy a file into the device's folder; raises as `shell` does."""

    @abstractmethod
    def download(self, name: str, path: Path) -> process.Finished:
        """Copy a file out of the device's folder; raises as `shell` does."""

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            resources.callback(self.disconnect)
            self.connect()  # only reads, and tells which device it is, whatever it was called
            resources.enter_context(_Lock(self.identity))
            resources.callback(self._clean_quietly)
            self._stop()
            self.check(self.shell(f"mkdir -p {self.folder}"), "cannot create its folder")
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._resources is not None:
            self._resources.close()
            self._resources = None

    def check(self, done: process.Finished, failure: str) -> str:
        """Return what a command printed.

        Raises:
            DeviceError: The command failed; no space is told apart.
        """
        if done.code == 0:
            return done.stdout
        if "No space left on device" in done.stderr + done.stdout:
            raise self._no_space(done.last_words)
        reason = "no answer in time" if done.code is None else done.last_words or f"status {done.code}"
        raise DeviceError(f"{self.name} {failure}: {reason}.", hint="Run it again; see `mvt devices`.")

    def push(self, files: Mapping[str, Path]) -> None:
        """Copy what the device does not have yet, by SHA-256, after a look at its free space."""
        if self._resources is None:
            raise DeviceError(f"{self.name} is not in use.", hint="Open the device in a `with` block.")
        names = " ".join(shlex.quote(name) for name in files)
        digest = "$(command -v sha256sum || echo shasum -a 256)"  # a Mac has the second
        script = f"cd {self.folder} && df -Pk . && {digest} {names} 2>/dev/null; true"
        answer = self.check(self.shell(script), "cannot list its files").splitlines()
        there = {tuple(line.split(maxsplit=1)) for line in answer}
        digests = {name: _sha256(path) for name, path in files.items()}
        missing = {name: path for name, path in files.items() if (digests[name], name) not in there}
        needed = sum(path.stat().st_size for path in missing.values()) + _SPARE_BYTES
        free = _free_bytes(answer)
        if free is not None and needed > free:
            raise self._no_space(f"{needed >> 20} MB are needed and {free >> 20} MB are free")
        for name, path in missing.items():
            self.check(self.upload(path, name), f"does not take {name}")
        programs = [name for name in (runner.RUNNER, *runner.LOADERS.values()) if name in missing]
        if programs:
            self.check(self.shell(f"cd {self.folder} && chmod 755 {' '.join(programs)}"), "cannot start programs")

    def run(self, program: runner.Program, arguments: Sequence[str], timeout_s: float) -> process.Finished:
        """Start the runner through its own loader, on the biggest cores; stop it where the time limit does not."""
        threads = int(arguments[arguments.index("--threads") + 1])
        pin = self._pinning(threads)
        words = shlex.join([*pin, *program.command("."), *arguments])
        done = self.shell(
            f"cd {self.folder} && {{ {words} & echo $! > {_PID}; wait $!; code=$?; rm {_PID}; exit $code; }}", timeout_s
        )
        if done.code is None:
            self._stop()
        return done

    def _stop(self) -> None:
        """End a runner that was left behind."""
        self.shell(f"cd {self.folder} && pid=$(cat {_PID}) && {self.is_runner} && kill -9 $pid")

    def pull(self, name: str, path: Path) -> None:
        """Copy a file from the device."""
        self.check(self.download(name, path), f"did not return {name}")
        if not path.exists():
            raise DeviceError(f"{self.name} did not return {name}.", hint="Run it again.", code="bad_answer")

    def clean(self) -> None:
        """Remove the device's folder, and a runner that the connection was lost to."""
        self._stop()
        self.check(self.shell(f"rm -rf {self.folder}"), "cannot remove its folder")

    def conditions(self) -> tuple[str, ...]:
        """``not_pinned`` where the runner may move between cores of different speeds."""
        return () if self._pinning(1) else ("not_pinned",)

    def _pinning(self, threads: int) -> list[str]:
        """The words before a command that keep it on the fastest cores, at least ``threads`` of them."""
        if self._cores is None:
            self._cores = self.shell(_FREQUENCIES).stdout
        return ["taskset", mask] if (mask := core_mask(self._cores, threads)) else []

    def _clean_quietly(self) -> None:
        with suppress(DeviceError):  # the device may be gone; then what went wrong before is what people should hear
            self.clean()

    def _no_space(self, reason: str) -> DeviceError:
        return DeviceError(
            f"{self.name} has no free space: {reason}.", hint="Free some of its storage.", code="no_space"
        )


class _Lock:
    """Keeps a second process of this user away from a device."""

    def __init__(self, name: str) -> None:
        self._name = name
        folder = toolchain.cache_root() / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / hashlib.sha256(name.encode()).hexdigest()[:32]

    def __enter__(self) -> None:
        self._file = self._path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise DeviceError(
                f"{self._name} is in use by another mvt.", hint="Wait until it finishes.", code="device_busy"
            ) from error

    def __exit__(self, *_: object) -> None:
        self._file.close()


def core_mask(listing: str, threads: int) -> str | None:
    """Return the hexadecimal mask of the fastest cores, whole classes of speed until ``threads`` fit.

    Args:
        listing: ``CORE FREQUENCY`` lines, and the line ``taskset`` where that program is there.
        threads: How many cores are wanted at least.
    """
    lines = listing.split("\n")
    if "taskset" not in lines:
        return None
    pairs = [line.split() for line in lines]
    speeds = {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2 and all(map(str.isdecimal, pair))}
    chosen: set[int] = set()
    for speed in sorted(set(speeds.values()), reverse=True):
        if len(chosen) >= threads:
            break
        chosen |= {core for core, own in speeds.items() if own == speed}
    return format(sum(1 << core for core in chosen), "x") if chosen else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _free_bytes(df: Sequence[str]) -> int | None:
    """The free bytes in the last line of ``df -Pk``, which may stand among other lines."""
    for line in df:
        columns = line.split()
        if len(columns) >= 6 and columns[4].endswith("%") and columns[3].isdecimal():
            return int(columns[3]) * 1024
    return None
