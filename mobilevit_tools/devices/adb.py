"""`adb[:SERIAL]`: an Android phone, without an NDK: the runner brings its own C library and loader along."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.devices import process, toolchain
from mobilevit_tools.devices._base import Readiness
from mobilevit_tools.devices.remote import RemoteDevice
from mobilevit_tools.errors import DeviceError, MissingDependencyError, UsageError

_ABI = "arm64-v8a"
_LIST_TIMEOUT_S = 30.0
_COPY_TIMEOUT_S = 600.0
_STATUS = "mvt-status:"
_GONE = re.compile(r"device (?:'.*' )?(?:not found|offline|unauthorized|still \w+)|no devices/emulators|error: closed")
_THERMAL = re.compile(r"^\s*Thermal Status: (\d+)$", re.MULTILINE)

_AUTHORIZE = ("has not authorized this computer", "Unlock the phone and accept the dialog about USB debugging.")

# what adb calls a device's state: what that means, and what to do
_STATES = {
    "unauthorized": _AUTHORIZE,
    "authorizing": _AUTHORIZE,
    "offline": ("is offline", "Reconnect it, or type: adb reconnect offline"),
    "recovery": ("is in recovery mode", "Restart it: adb reboot"),
    "sideload": ("is in sideload mode", "Restart it: adb reboot"),
    "bootloader": ("is in its boot loader", "Restart it: fastboot reboot"),
}


@dataclass(frozen=True)
class Attached:
    """A line of ``adb devices``.

    Attributes:
        serial: What adb calls the device.
        state: ``device`` where it can be used.
    """

    serial: str
    state: str

    def failure(self) -> DeviceError | None:
        """Why this device cannot be used, or None."""
        if self.state == "device":
            return None
        if self.state.startswith("no permissions"):
            reason, hint = "is not accessible to this user", "Add udev rules for the phone, or the user to plugdev."
        else:
            reason, hint = _STATES.get(self.state, (f"is {self.state}", "Reconnect it."))
        code = "device_unauthorized" if (reason, hint) == _AUTHORIZE else "device_not_ready"
        return DeviceError(f"{self.serial} {reason}.", hint=hint, code=code)


def find_adb() -> Path:
    """Return the adb program: on PATH, or in the Android SDK that ``ANDROID_HOME`` names.

    Raises:
        MissingDependencyError: There is none.
    """
    sdk = os.environ.get("ANDROID_HOME")
    bundled = Path(sdk, "platform-tools", "adb") if sdk else None
    if shutil.which("adb") is None and bundled is not None and bundled.is_file():
        return bundled
    return toolchain.find_program("adb", "adb")


def attached() -> tuple[Attached, ...]:
    """Return the devices that adb knows, in any state.

    Raises:
        MissingDependencyError: adb is not installed.
        DeviceError: adb's server does not answer.
    """
    done = process.run([find_adb(), "devices"], timeout_s=_LIST_TIMEOUT_S)
    if done.code != 0:
        raise DeviceError(f"adb does not answer: {done.last_words}.", hint="Restart its server: adb kill-server")
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return tuple(Attached(words[0], words[1].strip()) for words in lines if len(words) == 2)


def choose(serial: str | None) -> Attached:
    """Return the device with this serial, or the only one.

    Raises:
        MissingDependencyError: adb is not installed.
        DeviceError: There is no such device, none at all, more than one, or it cannot be used.
    """
    devices = attached()
    listed = ", ".join(device.serial for device in devices)
    matching = [device for device in devices if serial in {None, device.serial}]
    if not devices:
        raise DeviceError(
            "No Android device is attached.", hint="Attach one with USB debugging on, or type: adb connect HOST:PORT"
        )
    if not matching:
        raise DeviceError(f"No attached device has the serial {serial!r}.", hint=f"Attached: {listed}.")
    if len(matching) > 1:
        raise DeviceError(
            f"{len(matching)} devices are attached: {listed}.",
            hint=f"Choose one, for example --device adb:{devices[0].serial}",
        )
    failure = matching[0].failure()
    if failure is not None:
        raise failure
    return matching[0]


class AdbDevice(RemoteDevice):
    """A phone, driven by the adb program: it speaks to every server and every transport."""

    folder = "/data/local/tmp/mvt"

    def __init__(self, serial: str | None) -> None:
        super().__init__(f"adb:{serial}" if serial else "adb")
        self._asked_for = serial
        self._serial = serial or ""
        self._description = ""

    @property
    def label(self) -> str:
        """The phone's model, Android release and serial."""
        return f"{self._description} (adb:{self._serial})"

    def arch(self) -> str:
        """Phones are aarch64; `connect` refuses others."""
        return "aarch64"

    def connect(self) -> None:
        """Find the phone and check that it is a 64-bit ARM one."""
        self._serial = choose(self._asked_for).serial
        self.name = f"adb:{self._serial}"
        script = "getprop ro.product.cpu.abilist64; getprop ro.product.model; getprop ro.build.version.release"
        abis, model, release, *_ = [
            *self.check(self.shell(script), "does not report its properties").split("\n"),
            "",
            "",
            "",
        ]
        if _ABI not in abis.strip().split(","):
            raise DeviceError(
                f"{self.name} runs {abis.strip() or 'no 64-bit programs'}, not {_ABI}.",
                hint="Use a 64-bit ARM phone.",
                code="wrong_architecture",
            )
        self._description = f"{model.strip()}, Android {release.strip()}"

    def disconnect(self) -> None:
        """Nothing was opened: adb's server goes on for others."""

    def shell(self, script: str, timeout_s: float = _LIST_TIMEOUT_S) -> process.Finished:
        """Run a script with ``adb shell``, whose own exit status is 0 also when the connection breaks."""
        done = self._adb(["shell", f"({script}\n); printf '\\n{_STATUS}%d\\n' $?"], timeout_s)
        if done.code is None:
            return done
        printed, found, status = done.stdout.replace("\r\n", "\n").rpartition(f"\n{_STATUS}")
        if not found or not status.strip().isdecimal():
            raise self._disconnected()
        return process.Finished(int(status), printed, done.stderr)

    def upload(self, path: Path, name: str) -> process.Finished:
        """Copy with ``adb push``."""
        return self._adb(["push", path.absolute(), f"{self.folder}/{name}"], _COPY_TIMEOUT_S)

    def download(self, name: str, path: Path) -> process.Finished:
        """Copy with ``adb pull``."""
        return self._adb(["pull", f"{self.folder}/{name}", path.absolute()], _COPY_TIMEOUT_S)

    def conditions(self) -> tuple[str, ...]:
        """Also ``throttled``, where Android reports any thermal status but "none"."""
        status = _THERMAL.search(self.shell("dumpsys thermalservice").stdout)
        throttled = status is not None and int(status.group(1)) > 0
        return super().conditions() + (("throttled",) if throttled else ())

    def _adb(self, words: list[str | Path], timeout_s: float) -> process.Finished:
        done = process.run([find_adb(), "-s", self._serial, *words], timeout_s=timeout_s)
        if done.code not in {0, None} and (_GONE.search(done.stderr) or not self._is_there()):
            raise self._disconnected()
        return done

    def _disconnected(self) -> DeviceError:
        return DeviceError(
            f"{self.name} was disconnected.",
            hint="Reconnect it; leftover files are removed on the next run.",
            code="device_disconnected",
        )

    def _is_there(self) -> bool:
        return Attached(self._serial, "device") in attached()

    def probe(self) -> Readiness:
        """Ready where this phone, or the only one, can be used."""
        try:
            found = choose(self._asked_for)
        except (DeviceError, MissingDependencyError) as error:
            return Readiness(self.name, ready=False, detail=error.message, remedy=error.hint)
        return Readiness(f"adb:{found.serial}", ready=True, detail="A connected Android device.")


def open_device(argument: str | None) -> AdbDevice:
    """Return the phone with this serial, or the only one.

    Raises:
        UsageError: The serial has control characters in it.
    """
    if argument is not None and not argument.isprintable():
        raise UsageError(f"{argument!r} is not a device serial.", hint="Phones that are connected: adb devices.")
    return AdbDevice(argument)


def probe() -> tuple[Readiness, ...]:
    """Tell of each attached phone whether it can be used, or why there is none."""
    try:
        serials = [device.serial for device in attached()]
    except (DeviceError, MissingDependencyError) as error:
        return (Readiness("adb", ready=False, detail=error.message, remedy=error.hint),)
    return tuple(AdbDevice(serial).probe() for serial in serials) or (AdbDevice(None).probe(),)
