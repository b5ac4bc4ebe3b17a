"""Devices that are this machine: as it is, under callgrind, or under an emulator."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from mobilevit_tools.devices import process, runner
from mobilevit_tools.devices.native import NativeDevice
from mobilevit_tools.errors import DeviceError

# A runner sees the same few variables everywhere, so that two runs of one program take the same steps.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


class LocalDevice(NativeDevice):
    """The runner in a temporary folder of this machine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._scratch: TemporaryDirectory[str] | None = None

    @property
    def label(self) -> str:
        """The device's name: there is only one of its kind."""
        return self.name

    @property
    def folder(self) -> Path:
        """The device's folder, while the device is in use."""
        if self._scratch is None:
            raise DeviceError(f"{self.name} is not in use.", hint="Open the device in a `with` block.")
        return Path(self._scratch.name)

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables that the starting program needs beside those that the runner sees everywhere."""
        return {}

    @abstractmethod
    def start(self, program: runner.Program) -> Sequence[str | Path]:
        """The words that start the runner; its arguments follow them."""

    def push(self, files: Mapping[str, Path]) -> None:
        """Link to the files where they are."""
        for name, path in files.items():
            link = self.folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(path)

    def run(self, program: runner.Program, arguments: Sequence[str], timeout_s: float) -> process.Finished:
        """Run it in the folder."""
        command = [*self.start(program), *arguments]
        return process.run(command, timeout_s=timeout_s, cwd=self.folder, env={**_ENVIRONMENT, **self.variables})

    def pull(self, name: str, path: Path) -> None:
        """Move the file."""
        self.folder.joinpath(name).replace(path)

    def clean(self) -> None:
        """Remove the folder."""
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def __enter__(self) -> Self:
        self._scratch = TemporaryDirectory(prefix="mvt-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.clean()
