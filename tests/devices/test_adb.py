from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mobilevit_tools
from mobilevit_tools.devices import RunRequest, adb, open_device, remote, runner, toolchain
from mobilevit_tools.errors import DeviceError, ExitCode, MissingDependencyError, UsageError
from tests.devices.conftest import CRASHES, HANGS, Artifacts, relative_error

SERIAL = "127.0.0.1:5600"
UNAUTHORIZED = "127.0.0.1:5601"
SILENT = "127.0.0.1:5602"

# Ends every other process of the phone, adbd too: what the computer sees when the cable is pulled.
UNPLUGS = "#include <signal.h>\n#include <unistd.h>\nint main() { kill(-1, SIGKILL); sleep(5); }\n"
TELLS_ITS_CORES = (
    "#include <sched.h>\n#include <cstdio>\n"
    "int main() { cpu_set_t s; sched_getaffinity(0, sizeof s, &s);"
    ' for (int i = 0; i < 8; ++i) if (CPU_ISSET(i, &s)) std::printf("%d ", i); }\n'
)


class Phone:
    """A real adbd in its own namespaces; see phone/host.sh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"ADB_SERVER_SOCKET": f"localfilesystem:{folder}/adb.sock"}

    def adb(self, *words: str) -> str:
        done = subprocess.run(
            ["adb", *words], check=False, env=self.environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    def shell(self, script: str) -> str:
        return self.adb("-s", SERIAL, "shell", script).strip()

    def files(self) -> str:
        return self.shell("ls -A /data/local/tmp")

    def attach(self, serial: str, state: str) -> None:
        """Connect, and wait until adb reports the state."""
        for _ in range(100):
            self.adb("connect", serial)
            if f"{serial}\t{state}" in self.adb("devices"):
                return
            time.sleep(0.1)
        pytest.fail(f"{serial} did not become {state}: {self.adb('devices')}")


@pytest.fixture(scope="module")
def started_phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    folder = tmp_path_factory.mktemp("phone")
    script = Path(__file__).parent / "phone" / "host.sh"
    settings = {
        "PHONE_FOLDER": str(folder),
        "PHONE_ADBD": str(toolchain.toolchain_root() / "adbd"),
        "PHONE_QEMU": str(toolchain.find_qemu()),
        "PHONE_STORAGE": "64m",
        "PHONE_PYTHON": sys.executable,
    }
    namespaces = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*namespaces, "bash", str(script)], env=os.environ | settings, stdout=log, stderr=log
        )
    phone = Phone(folder)
    try:
        while not (folder / "adb.sock").exists():
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield phone
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def phone(started_phone: Phone, monkeypatch: pytest.MonkeyPatch) -> Phone:
    """The phone, attached, empty and alone."""
    monkeypatch.setenv("ADB_SERVER_SOCKET", started_phone.environment["ADB_SERVER_SOCKET"])
    started_phone.adb("disconnect")
    started_phone.attach(SERIAL, "device")
    started_phone.shell("rm -rf /data/local/tmp/* /data/full /tmp/abi /tmp/thermal")
    return started_phone


@pytest.fixture
def request_(artifacts: Artifacts) -> RunRequest:
    return RunRequest(artifacts.fp32, artifacts.inputs, warmup=1, iterations=3)


@pytest.mark.thorough(twin="test_fp32_is_within_the_gate_with_operator_times")
def test_int8_is_what_x86_computes_bit_for_bit(phone: Phone, request_: RunRequest, artifacts: Artifacts) -> None:
    request = replace(request_, artifact=artifacts.int8)
    with open_device("adb") as device:
        result = device.measure(request)
    with open_device("host") as host:
        np.testing.assert_array_equal(result.outputs, host.measure(request).outputs)
    assert result.device == f"Stand-in 5, Android 14 (adb:{SERIAL})"
    assert result.timing is not None
    assert len(result.timing.samples_ms) == 3
    assert result.flags == ()
    assert phone.files() == ""


@pytest.mark.parametrize("kind", ["fp32", "onnx"])
def test_fp32_is_within_the_gate_with_operator_times(
    phone: Phone, request_: RunRequest, artifacts: Artifacts, kind: str
) -> None:
    with open_device(f"adb:{SERIAL}") as device:
        result = device.measure(replace(request_, artifact=getattr(artifacts, kind), per_op=True))
    assert relative_error(result.outputs, artifacts.reference) <= 1e-4
    assert result.per_op
    assert phone.files() == ""


def test_only_what_changed_travels(phone: Phone, request_: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    real_upload = adb.AdbDevice.upload

    def upload(self: adb.AdbDevice, path: Path, name: str) -> object:
        sent.append(name)
        return real_upload(self, path, name)

    monkeypatch.setattr(adb.AdbDevice, "upload", upload)
    with open_device("adb") as device:
        device.measure(request_)
        assert {"runner", "libc.so.6", "libexecutorch.so", "model.pte", "input.bin"} <= set(sent)
        sent.clear()
        device.measure(request_)
        assert sent == []
        phone.shell("echo damaged >> /data/local/tmp/mvt/libm.so.6")
        device.measure(replace(request_, inputs=request_.inputs[:1]))
        assert sorted(sent) == ["input.bin", "libm.so.6"]


@pytest.mark.parametrize(("threads", "cores"), [(1, "1"), (2, "0 1")])
def test_the_runner_stays_on_the_big_cores(
    phone: Phone, faulty_runner: Callable[[str], None], artifacts: Artifacts, threads: int, cores: str
) -> None:
    faulty_runner(TELLS_ITS_CORES)
    bundle = runner.build("executorch", "aarch64")
    with adb.open_device(None) as device:
        device.push(bundle.files)
        assert device.run(bundle, ["--threads", str(threads)], 60).stdout.strip() == cores


def test_a_phone_that_gets_hot_is_flagged(phone: Phone, request_: RunRequest) -> None:
    phone.shell("printf '0\\n3\\n' > /tmp/thermal")
    with open_device("adb") as device:
        assert device.measure(request_).flags == ("throttled",)


def test_a_cable_pulled_in_the_middle(
    phone: Phone, faulty_runner: Callable[[str], None], request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runner, "build", runner.build)  # so that the real one is back after this block
        faulty_runner(UNPLUGS)
        with pytest.raises(DeviceError) as caught, open_device("adb") as device:
            device.measure(request_)
    assert caught.value.message == f"adb:{SERIAL} was disconnected."
    assert caught.value.error_code == "device_disconnected"
    (phone.folder / "plug").touch()
    phone.attach(SERIAL, "device")
    assert phone.files() == "mvt"  # nobody could remove it
    with open_device("adb") as device:
        device.measure(replace(request_, inputs=request_.inputs[:1]))
    assert phone.files() == ""


@pytest.mark.parametrize(("source", "code"), [(CRASHES, "runner_crashed"), (HANGS, "device_hangs")])
def test_a_runner_that_crashes_or_hangs(
    phone: Phone, faulty_runner: Callable[[str], None], request_: RunRequest, source: str, code: str
) -> None:
    faulty_runner(source)
    with open_device("adb") as device:
        with pytest.raises(DeviceError) as caught:
            device.measure(replace(request_, timeout_s=3))
        assert "qemu" not in phone.shell("cat /proc/[0-9]*/comm")
    assert caught.value.error_code == code
    assert caught.value.exit_code is ExitCode.DEVICE_FAILED
    assert phone.files() == ""


@pytest.mark.parametrize("seen", [True, False])
def test_no_space(phone: Phone, request_: RunRequest, monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    phone.shell("dd if=/dev/zero of=/data/full bs=1M count=55")
    if not seen:  # it fills up after the look at it
        monkeypatch.setattr(remote, "_free_bytes", lambda _: None)
    with pytest.raises(DeviceError, match="no free space") as caught, open_device("adb") as device:
        device.measure(request_)
    assert caught.value.error_code == "no_space"
    assert phone.files() == ""


def test_another_architecture(phone: Phone, request_: RunRequest) -> None:
    phone.shell("echo x86_64 > /tmp/abi")
    with pytest.raises(DeviceError, match="runs x86_64, not arm64-v8a") as caught, open_device("adb"):
        pass
    assert caught.value.error_code == "wrong_architecture"
    assert phone.files() == ""


@pytest.mark.parametrize(
    ("serial", "state", "words", "code"),
    [
        (UNAUTHORIZED, "unauthorized", "has not authorized this computer", "device_unauthorized"),
        (SILENT, "offline", "is offline", "device_not_ready"),
    ],
)
def test_a_device_that_may_not_be_used(phone: Phone, serial: str, state: str, words: str, code: str) -> None:
    connecting = subprocess.Popen(["adb", "connect", serial], env=phone.environment, stdout=subprocess.DEVNULL)
    while f"{serial}\t{state}" not in phone.adb("devices"):
        time.sleep(0.1)
    connecting.kill()
    connecting.wait()
    with pytest.raises(DeviceError, match=words) as caught, open_device(f"adb:{serial}"):
        pass
    assert caught.value.error_code == code
    assert caught.value.hint is not None
    readiness = open_device(f"adb:{serial}").probe()
    assert (readiness.ready, readiness.remedy) == (False, caught.value.hint)


def test_two_devices_and_no_serial(phone: Phone) -> None:
    phone.attach(UNAUTHORIZED, "unauthorized")
    with pytest.raises(DeviceError, match="2 devices are attached") as caught, open_device("adb"):
        pass
    assert caught.value.hint == f"Choose one, for example --device adb:{SERIAL}"
    assert [(found.device, found.ready) for found in adb.probe()] == [
        (f"adb:{SERIAL}", True),
        (f"adb:{UNAUTHORIZED}", False),
    ]


def test_no_device_at_all(phone: Phone) -> None:
    phone.adb("disconnect")
    with pytest.raises(DeviceError, match="No Android device is attached"), open_device("adb"):
        pass
    assert [(found.device, found.ready) for found in adb.probe()] == [("adb", False)]


@pytest.mark.parametrize("serial", ["a b; touch pwned", "$(touch pwned)", "-s", "`touch pwned`"])
def test_a_serial_is_never_a_command(
    phone: Phone, serial: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeviceError, match="No attached device has the serial"), open_device(f"adb:{serial}"):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError):
        open_device("adb:a\nb")


def test_an_artifact_may_have_any_name(phone: Phone, request_: RunRequest, tmp_path: Path) -> None:
    strange = tmp_path / "-x $(touch pwned); `touch pwned` 'a\".pte"
    strange.write_bytes(request_.artifact.read_bytes())
    with open_device("adb") as device:
        device.measure(replace(request_, artifact=strange))
        assert "pwned" not in phone.shell("ls /data/local/tmp/mvt / /tmp")


def test_a_second_user_of_the_phone_waits(phone: Phone) -> None:
    with open_device(f"adb:{SERIAL}"):
        with pytest.raises(DeviceError, match="in use by another mvt"), open_device(f"adb:{SERIAL}"):
            pass
        assert phone.files() == "mvt"
    assert phone.files() == ""


def test_without_adb_the_remedy_is_a_command(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    with pytest.raises(MissingDependencyError, match="adb is not installed"), open_device("adb"):
        pass
    (found,) = adb.probe()
    assert not found.ready
    assert found.remedy is not None
    assert found.remedy.endswith("-m mobilevit_tools.devices.prepare adb")


def test_an_artifact_is_verified_there(phone: Phone, exported: Path) -> None:
    result = mobilevit_tools.verify(exported / "executorch-xnnpack-fp32/model.pte", device="adb")
    assert result.device is not None
    assert result.device.endswith("(adb:" + SERIAL + ")")
    assert result.parity.status == "passed"
    assert result.parity.inputs >= 11
    assert result.difference is not None
    assert result.difference.snr_db is not None
    assert result.difference.snr_db > 100
    assert phone.files() == ""
