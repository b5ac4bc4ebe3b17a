"""What is true of every device behind a shell, with shells that only listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_tools.devices import adb, open_device, process, ssh
from mobilevit_tools.errors import DeviceError


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every phone and board answer to everything; the list is what they were told."""
    said: list[str] = []

    def shell(_: object, script: str, timeout_s: float = 1.0) -> process.Finished:
        said.append(script)
        return process.Finished(0, "Linux aarch64" if "uname" in script else "arm64-v8a\nStand-in\n14\n", "")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(adb, "choose", lambda _: adb.Attached("S1", "device"))
    monkeypatch.setattr(adb.AdbDevice, "shell", shell)
    monkeypatch.setattr(ssh.SshDevice, "shell", shell)
    monkeypatch.setattr(ssh.toolchain, "find_program", lambda *_: Path("/bin/true"))
    return said


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("adb", "adb:S1"),
        ("adb:S1", "adb"),
        ("ssh:pi@board", "ssh:pi@board:22"),
        ("ssh:pi@board:22", "ssh:pi@Board"),
        ("ssh:pi@[fe80::1]:22", "ssh:pi@[fe80::1]"),
    ],
)
def test_a_second_name_of_a_device_does_not_get_past_its_user(scripts: list[str], one: str, other: str) -> None:
    with open_device(one):
        del scripts[:]
        with pytest.raises(DeviceError, match="in use by another mvt") as caught, open_device(other):
            pass
        assert caught.value.error_code == "device_busy"
        assert not [script for script in scripts if "kill" in script or "rm " in script or "mkdir" in script]
    with open_device(other):
        pass


@pytest.mark.parametrize("other", ["ssh:pi@board:2222", "ssh:root@board", "ssh:PI@board", "ssh:pi@other"])
@pytest.mark.usefixtures("scripts")
def test_another_board_is_not_kept_waiting(other: str) -> None:
    with open_device("ssh:pi@board"), open_device(other):
        pass
