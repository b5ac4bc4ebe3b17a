"""`ssh:USER@HOST[:PORT]`: a Linux board or a Mac, through the ssh program and its configuration, over one connection.

A board gets the native runner. A Mac gets the same runner in Python, and runs it with the runtimes that are installed
there, Core ML among them.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from tempfile import mkdtemp

from mobilevit_tools.devices import process, runner, toolchain
from mobilevit_tools.devices._base import Readiness
from mobilevit_tools.devices.remote import RemoteDevice
from mobilevit_tools.errors import DeviceError, MissingDependencyError, UsageError
from mobilevit_tools.targets.registry import find_target, targets_on

_DESTINATION = re.compile(
    r"(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*@(?:[A-Za-z0-9][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:]+\]))(?::(?P<port>\d{1,5}))?"
)
_PORT = 22
_CONNECTION_FAILED = 255
_COPY_TIMEOUT_S = 600.0
_SYNTAX = "ssh:USER@HOST[:PORT]"
_SYSTEMS = {"Linux": "Linux", "Darwin": "macOS"}
_PYTHON = ".mvt-python"


class SshDevice(RemoteDevice):
    """A board behind plain ssh: who may log in, and with what key, is for ssh's own configuration to say."""

    folder = ".mvt-device"  # in the home folder, where ssh starts

    def __init__(self, host: str, port: int | None) -> None:
        super().__init__(f"ssh:{host}:{port}" if port else f"ssh:{host}")
        self._host = host.replace("[", "").replace("]", "")
        self._port = port or _PORT
        self._port_option = ["-p", str(port)] if port else []  # else ssh's own configuration may name another
        self._control: Path | None = None
        self._command: list[str | Path] = []
        self._machine = self._system = ""

    @property
    def label(self) -> str:
        """The system, its architecture and the address."""
        return f"{_SYSTEMS[self._system]} {self._machine} ({self.name})"

    @property
    def identity(self) -> str:
        """User, host and port: the usual port may be told or left away, and hosts have no case."""
        user, _, host = self._host.partition("@")
        return f"ssh:{user}@{host.lower()}:{self._port}"

    def arch(self) -> str:
        """What `connect` found."""
        return self._machine

    def connect(self) -> None:
        """Open the connection that everything else goes through, and check what runs there."""
        program = toolchain.find_program("ssh", "ssh")
        # a socket's path must be short, and the folder nobody else's
        self._control = Path(mkdtemp(prefix="mvt-ssh-", dir="/tmp"))
        options = ["BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=10", "ControlMaster=auto"]
        options += [f"ControlPath={self._control}/master", "ControlPersist=600"]
        self._command = [program, *(f"-o{option}" for option in options), *self._port_option]
        system, _, machine = (
            self.check(self.shell("uname -sm"), "does not report its properties").strip().partition(" ")
        )
        if system not in _SYSTEMS:
            raise DeviceError(
                f"{self.name} runs {system or 'an unknown system'}, and the runner needs Linux or macOS.",
                hint="Run mvt on that machine itself, with --device host.",
                code="wrong_system",
            )
        self._system = system
        if system == "Darwin":
            self.is_runner = f"ps -o command= -p $pid | grep -q {runner.SCRIPT}"  # there is no /proc
        elif machine not in runner.LOADERS:
            raise DeviceError(
                f"{self.name} is {machine}, and the native runner is built for {' and '.join(runner.LOADERS)}.",
                hint="Use a 64-bit board.",
                code="wrong_architecture",
            )
        self._machine = machine

    def program(self, target: str) -> runner.Program:
        """The native runner; on a Mac the one in Python, which finds the target's runtime there.

        Raises:
            DeviceError: The Mac has no Python with that runtime.
        """
        if self._system != "Darwin":
            return super().program(target)
        python = self._python(target)
        if python is None:
            raise self._lacks(target)
        return runner.Script(python, self._machine, target)

    def _lacks(self, target: str) -> DeviceError:
        wheels = find_target(target).wheels
        # as here, whatever was built into the one here: 2.13.0+cpu
        pinned = " ".join(f"{wheel}=={toolchain.package_version(wheel).partition('+')[0]}" for wheel in wheels)
        return DeviceError(
            f"{self.name} has no Python with {wheels[0]}.",
            hint=f"There: python3 -m venv {_PYTHON} && {_PYTHON}/bin/pip install {pinned}",
            code="no_runtime",
        )

    def _python(self, target: str) -> str | None:
        """The Mac's interpreter that has a target's runtime."""
        # found and not imported: an import of ONNX Runtime leaves files in the home folder
        look = f"import importlib.util as u; raise SystemExit(u.find_spec('{find_target(target).wheels[0]}') is None)"
        places = f'"$HOME/{_PYTHON}/bin/python" python3'
        script = f'for each in {places}; do "$each" -c "{look}" && echo "$each" && break; done 2>/dev/null'
        return self.shell(script).stdout.strip() or None

    def disconnect(self) -> None:
        """Close the connection."""
        if self._control is not None:
            process.run([*self._command, "-Oexit", self._host], timeout_s=30)
            shutil.rmtree(self._control, ignore_errors=True)
            self._control = None

    def shell(self, script: str, timeout_s: float = 60.0) -> process.Finished:
        """Run a script in a POSIX shell, whatever the login shell is."""
        words = shlex.join(["sh", "-c", script])
        return self._check_connection(process.run([*self._command, self._host, words], timeout_s=timeout_s))

    def upload(self, path: Path, name: str) -> process.Finished:
        """Copy through the connection."""
        command = [*self._command, self._host, f"cat > {self.folder}/{name}"]
        with path.open("rb") as file:
            return self._check_connection(process.run(command, timeout_s=_COPY_TIMEOUT_S, stdin=file))

    def download(self, name: str, path: Path) -> process.Finished:
        """Copy through the connection."""
        command = [*self._command, self._host, f"cat {self.folder}/{name}"]
        with path.open("wb") as file:
            return self._check_connection(process.run(command, timeout_s=_COPY_TIMEOUT_S, stdout=file))

    def _check_connection(self, done: process.Finished) -> process.Finished:
        if done.code == _CONNECTION_FAILED:
            raise DeviceError(
                f"{self.name} cannot be reached: {done.last_words.rstrip('.') or 'the connection broke'}.",
                hint=f"Check that this works without a prompt: ssh {' '.join([*self._port_option, self._host])} true",
                code="device_disconnected",
            )
        return done

    def probe(self) -> Readiness:
        """Ready where the machine can be logged in to and can run the runner."""
        try:
            with self:
                detail = f"{self.label} answers."
                if self._system == "Darwin":
                    runnable = targets_on("ssh")
                    found = [find_target(target).wheels[0] for target in runnable if self._python(target)]
                    if not found:
                        raise self._lacks(max(runnable, key=lambda name: "darwin" in find_target(name).host_systems))
                    detail = f"{self.label} answers; its Python has {', '.join(found)}."
                return Readiness(self.name, ready=True, detail=detail)
        except (DeviceError, MissingDependencyError) as error:
            return Readiness(self.name, ready=False, detail=error.message, remedy=error.hint)


def open_device(argument: str | None) -> SshDevice:
    """Return the board at ``USER@HOST[:PORT]``.

    Raises:
        UsageError: The address is malformed. Nothing that ssh could take for an option passes.
    """
    found = _DESTINATION.fullmatch(argument or "")
    if found is None or not 0 < int(found["port"] or _PORT) < 65536:
        raise UsageError(f"{argument or ''!r} is not a USER@HOST address.", hint=f"Give {_SYNTAX}.")
    return SshDevice(found["host"], int(found["port"]) if found["port"] else None)


def probe() -> tuple[Readiness, ...]:
    """Tell whether there is an ssh; which boards there are, only people know."""
    try:
        toolchain.find_program("ssh", "ssh")
    except MissingDependencyError as error:
        return (Readiness("ssh", ready=False, detail=error.message, remedy=error.hint),)
    return (
        Readiness(
            _SYNTAX, ready=False, detail="The ssh device needs an address.", remedy=f"Name one: --device {_SYNTAX}"
        ),
    )
