from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import mobilevit_tools
from mobilevit_tools.api.profile import compare
from mobilevit_tools.devices import RunRequest, open_device, remote, runner, ssh
from mobilevit_tools.errors import DeviceError, MissingDependencyError, UsageError
from mobilevit_tools.profiling import host
from mobilevit_tools.profiling.protocol import LatencySpec
from tests.devices.conftest import CRASHES, HANGS, Artifacts, relative_error

# Ends its grandparent, which is the sshd that serves this connection.
UNPLUGS = """
#include <signal.h>
#include <unistd.h>
#include <fstream>
#include <string>
int main() {
  std::ifstream status("/proc/" + std::to_string(getppid()) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("PPid:", 0) == 0) kill(std::stoi(line.substr(5)), SIGKILL);
  sleep(15);
}
"""


@dataclass(frozen=True)
class Board:
    """A real sshd on loopback; see board/board.sh."""

    folder: Path
    user: str
    port: int

    @property
    def spec(self) -> str:
        return f"ssh:{self.user}@127.0.0.1:{self.port}"

    def shell(self, script: str) -> str:
        words = ["ssh", "-F", str(self.folder / "ssh_config"), "-p", str(self.port), f"{self.user}@127.0.0.1", script]
        return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60).stdout.strip()

    def files(self) -> str:
        return self.shell("ls -A")


@pytest.fixture(scope="module")
def started_board() -> Iterator[Board]:
    with tempfile.TemporaryDirectory(prefix="mvt-board-") as name:
        folder = Path(name)
        for part in ("home", "client", "bin", "python", "site", "project"):
            (folder / part).mkdir()
        folder.chmod(0o755)
        for key in ("host", "client/id"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(command, check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (folder / "authorized_keys").write_text((folder / "client/id.pub").read_text())
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\n"
            f"PidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n"
            f"SetEnv PATH={folder}/bin:/usr/bin:/bin\n"
        )
        host_key = (folder / "host.pub").read_text().split()
        (folder / "client/known_hosts").write_text(f"[127.0.0.1]:{port} {host_key[0]} {host_key[1]}\n")
        (folder / "ssh_config").write_text(
            f"IdentityFile {folder}/client/id\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {folder}/client/known_hosts\nStrictHostKeyChecking yes\n"
        )
        uname = folder / "bin/uname"
        uname.write_text(f'#!/bin/sh\ncat {folder}/home/uname 2>/dev/null || /usr/bin/uname "$@"\n')
        uname.chmod(0o755)
        root = os.geteuid() == 0
        user = "board" if root else getpass.getuser()
        namespaces = ["--mount"] if root else ["--user", "--map-current-user", "--keep-caps", "--mount"]
        process = subprocess.Popen(
            ["unshare", *namespaces, "bash", str(Path(__file__).parent / "board" / "board.sh")],
            env=os.environ
            | {"BOARD_FOLDER": str(folder), "BOARD_USER": user, "PYTHON": sys.base_prefix}
            | {"SITE": sysconfig.get_path("purelib"), "PROJECT": str(Path(mobilevit_tools.__file__).parents[1])},
            stderr=(folder / "log").open("wb"),
        )
        if root:  # ssh insists that a key is its user's own
            (folder / "client").chmod(0o700)
        try:
            while b"listening" not in (folder / "log").read_bytes():
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
            if root:
                subprocess.run(["chown", "-R", "0:0", str(folder / "client")], check=True)
            yield Board(folder, user, port)
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def board(started_board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """The board, empty, and an ssh whose configuration knows it."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {started_board.folder}/ssh_config "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    started_board.shell("rm -rf uname full .mvt-device")
    return started_board


@pytest.fixture
def request_(artifacts: Artifacts) -> RunRequest:
    return RunRequest(artifacts.fp32, artifacts.inputs, warmup=1, iterations=3)


@pytest.mark.parametrize("kind", ["int8", "onnx"])
def test_the_board_computes_what_the_host_does(
    board: Board, request_: RunRequest, artifacts: Artifacts, kind: str
) -> None:
    request = replace(request_, artifact=getattr(artifacts, kind))
    with open_device(board.spec) as device:
        result = device.measure(request)
        assert board.files() == ".mvt-device"
    with open_device("host") as host:
        np.testing.assert_array_equal(result.outputs, host.measure(request).outputs)
    assert result.timing is not None
    assert len(result.timing.samples_ms) == 3
    assert result.device == f"Linux {os.uname().machine} ({board.spec})"
    assert board.files() == ""


def test_one_connection_serves_everything_and_is_closed(
    board: Board, request_: RunRequest, artifacts: Artifacts
) -> None:
    log = board.folder / "log"
    before = log.read_text().count("Accepted publickey")
    with open_device(board.spec) as device:
        first = device.measure(replace(request_, per_op=True))
        device.measure(request_)
    assert relative_error(first.outputs, artifacts.reference) <= 1e-4
    assert first.per_op
    assert log.read_text().count("Accepted publickey") == before + 1
    for _ in range(100):
        if log.read_text().count("Accepted publickey") == log.read_text().count("Disconnected from user"):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the connection stays open")
    assert not list(Path("/tmp").glob("mvt-ssh-*/master"))


@pytest.mark.thorough(twin="test_a_runner_that_crashes_or_hangs")
def test_a_connection_that_breaks_in_the_middle(
    board: Board, faulty_runner: Callable[[str], None], request_: RunRequest
) -> None:
    faulty_runner(UNPLUGS)
    with pytest.raises(DeviceError, match="cannot be reached") as caught, open_device(board.spec) as device:
        device.measure(request_)
    assert caught.value.error_code == "device_disconnected"
    assert board.files() == ""  # the board itself is still there, and so it was cleaned
    assert "mvt-device" not in board.shell("ls -l /proc/[0-9]*/cwd")


@pytest.mark.parametrize(("source", "code"), [(CRASHES, "runner_crashed"), (HANGS, "device_hangs")])
def test_a_runner_that_crashes_or_hangs(
    board: Board, faulty_runner: Callable[[str], None], request_: RunRequest, source: str, code: str
) -> None:
    faulty_runner(source)
    with open_device(board.spec) as device:
        with pytest.raises(DeviceError) as caught:
            device.measure(replace(request_, timeout_s=2))
        assert "mvt-device" not in board.shell("ls -l /proc/[0-9]*/cwd")
    assert caught.value.error_code == code
    assert board.files() == ""


@pytest.mark.parametrize("seen", [True, False])
def test_no_space(board: Board, request_: RunRequest, monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    board.shell("dd if=/dev/zero of=full bs=1M count=55")
    if not seen:
        monkeypatch.setattr(remote, "_free_bytes", lambda _: None)
    with pytest.raises(DeviceError, match="no free space"), open_device(board.spec) as device:
        device.measure(request_)
    assert board.files() == "full"


@pytest.mark.parametrize(
    ("uname", "code"), [("Linux armv7l", "wrong_architecture"), ("FreeBSD amd64", "wrong_system"), ("", "wrong_system")]
)
def test_a_machine_that_cannot_run_the_runner(board: Board, uname: str, code: str) -> None:
    board.shell(f"echo {uname} > uname")
    with pytest.raises(DeviceError) as caught, open_device(board.spec):
        pass
    assert caught.value.error_code == code
    assert caught.value.hint is not None
    assert board.files() == "uname"


# Core ML itself is on macOS only: behind coremltools' door the reference runtime computes.
CORE_ML = """
import sys
if "model.mlpackage.tar" in sys.orig_argv:
    import pathlib
    import coremltools.models

    def predict(self, data):
        from mobilevit_tools.runtimes.registry import open_session
        (array,) = data.values()
        with open_session(pathlib.Path(self.package_path), threads=1) as session:
            return {session.outputs[0].name: session.run(array)[0]}

    coremltools.models.MLModel.predict = predict
"""


@pytest.fixture
def mac(board: Board) -> Iterator[Board]:
    """The board as a Mac would show itself: its name, and a Python with the runtimes. The shell's tools are Linux's."""
    folder = board.folder
    board.shell("echo Darwin arm64 > uname")
    (folder / "mac").mkdir()
    (folder / "mac/sitecustomize.py").write_text(CORE_ML)
    python = folder / "bin/python3"
    python.write_text(
        f"#!/bin/sh\n"
        f"export PYTHONHOME={folder}/python LD_LIBRARY_PATH={folder}/python/lib\n"
        f"export PYTHONPATH={folder}/mac:{folder}/project:{folder}/site PYTHONDONTWRITEBYTECODE=1\n"
        f'exec {folder}/python/bin/python3 "$@"\n'
    )
    python.chmod(0o755)
    yield board
    python.unlink()
    shutil.rmtree(folder / "mac")


@pytest.mark.parametrize("kind", ["fp32", "int8", "onnx"])
def test_a_mac_runs_what_its_python_has(mac: Board, request_: RunRequest, artifacts: Artifacts, kind: str) -> None:
    request = replace(request_, artifact=getattr(artifacts, kind), per_op=True)
    with open_device(mac.spec) as device:
        result = device.measure(request)
    assert result.device == f"macOS arm64 ({mac.spec})"
    with open_device("host") as host:
        np.testing.assert_array_equal(result.outputs, host.measure(request_ if kind == "fp32" else request).outputs)
    assert result.timing is not None
    assert (len(result.timing.warmup_ms), len(result.timing.samples_ms)) == (1, 3)
    assert min(result.timing.samples_ms) > 0
    assert result.maxrss_bytes is not None
    assert 20 << 20 < result.maxrss_bytes < 2 << 30
    assert result.planned_bytes is None
    assert result.per_op
    assert "not_pinned" in result.flags
    assert mac.files() == "uname"


def test_core_ml_takes_no_thread_count(tmp_path: Path) -> None:
    words = [tmp_path / "model.mlpackage.tar", tmp_path / "in", tmp_path / "out", "0", "1", "--threads", "2"]
    script = runner.Script(sys.executable, "arm64", "coreml")
    for name, path in script.files.items():
        shutil.copy(path, tmp_path / name)
    command = [*script.command(str(tmp_path)), *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "runner: Core ML chooses its own thread count: 2 is not supported"


@pytest.mark.thorough(twin="test_a_mac_runs_what_its_python_has")
def test_a_core_ml_package_travels_to_a_mac_whole(mac: Board, tmp_path: Path) -> None:
    exported = mobilevit_tools.export(
        "couplformer_kct2", random_weights=True, targets=["coreml"], output=tmp_path, tensor_io=True
    )
    package = Path(exported.artifacts[0].path)
    result = mobilevit_tools.profile(package, device=mac.spec, rigor="quick")
    assert result.target == "coreml"
    assert result.latency_ms is not None
    assert result.difference is not None
    assert result.difference.snr_db is not None
    assert result.difference.snr_db > 100
    assert mac.files() == "uname"


def test_a_mac_without_the_runtime_says_how_to_get_it(mac: Board, request_: RunRequest) -> None:
    assert open_device(mac.spec).probe().detail.endswith("its Python has onnxruntime, coremltools, executorch.")
    (mac.folder / "bin/python3").write_text("#!/bin/sh\nexit 1\n")
    with open_device(mac.spec) as device, pytest.raises(DeviceError, match="has no Python with executorch") as caught:
        device.measure(request_)
    assert caught.value.error_code == "no_runtime"
    assert caught.value.hint is not None
    assert "python3 -m venv .mvt-python && .mvt-python/bin/pip install executorch==" in caught.value.hint
    found = open_device(mac.spec).probe()
    assert not found.ready
    assert "coremltools" in found.detail


@pytest.mark.parametrize("faults", [("raise SystemExit(3)", "runner_failed"), ("while True: pass", "device_hangs")])
def test_a_script_that_fails_or_hangs_on_a_mac(
    mac: Board, request_: RunRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, faults: tuple[str, str]
) -> None:
    for path in runner.Script("python3", "arm64", "executorch").files.values():
        (tmp_path / path.name).write_text(faults[0])
    monkeypatch.setattr(runner, "SOURCES", tmp_path)
    with open_device(mac.spec) as device:
        with pytest.raises(DeviceError) as caught:
            device.measure(replace(request_, timeout_s=5))
        assert "mvt-device" not in mac.shell("ls -l /proc/[0-9]*/cwd")
    assert caught.value.error_code == faults[1]
    assert mac.files() == "uname"


def test_who_cannot_log_in_is_told_ssh_s_own_reason(board: Board) -> None:
    assert open_device(board.spec).probe().ready
    stranger = open_device(f"ssh:stranger@127.0.0.1:{board.port}").probe()
    assert not stranger.ready
    assert "Permission denied" in stranger.detail
    nobody = open_device("ssh:board@127.0.0.1:1").probe()
    assert not nobody.ready
    assert "Connection refused" in nobody.detail
    assert nobody.remedy == "Check that this works without a prompt: ssh -p 1 board@127.0.0.1 true"
    (board.folder / "client/known_hosts").rename(board.folder / "client/aside")
    unknown = open_device(board.spec).probe()
    (board.folder / "client/aside").rename(board.folder / "client/known_hosts")
    assert "Host key verification failed" in unknown.detail


@pytest.mark.parametrize(
    "address",
    [
        None,
        "host",
        "-oProxyCommand=touch pwned@host",
        "user@-oProxyCommand=x",
        "user@host; touch pwned",
        "user name@host",
        "-l@host",
        "user@host:0",
        "user@host:65536",
        "user@host:22:22",
        "$(touch pwned)@host",
        "user@host\n",
    ],
)
def test_an_address_is_never_an_option_or_a_command(address: str | None) -> None:
    with pytest.raises(UsageError, match="is not a USER@HOST address"):
        ssh.open_device(address)


def test_an_ipv6_address_and_a_port_are_told_apart() -> None:
    assert ssh.open_device("pi@[fe80::1]:2222").name == "ssh:pi@[fe80::1]:2222"


def test_without_ssh_the_remedy_is_a_command(empty_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="ssh is not installed"), open_device("ssh:pi@127.0.0.1"):
        pass
    (found,) = ssh.probe()
    assert found.remedy is not None
    assert found.remedy.endswith("-m mobilevit_tools.devices.prepare ssh")


def test_an_artifact_is_verified_there(board: Board, exported: Path) -> None:
    result = mobilevit_tools.verify(exported / "onnx-fp32/model.onnx", device=board.spec)
    assert result.device is not None
    assert result.device.endswith(f"({board.spec})")
    assert result.parity.status == "passed"
    assert result.parity.inputs >= 11
    assert result.difference is not None
    assert result.difference.snr_db is not None
    assert result.difference.snr_db > 100
    assert board.files() == ""


def test_two_artifacts_are_compared_in_turns(
    board: Board, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"quick": LatencySpec(min_runs=30, min_seconds=0.05, warmup_seconds=0.01)}
    monkeypatch.setattr(host, "RIGORS", short)
    compared = compare(artifacts.fp32, artifacts.onnx, device=board.spec, rigor="quick")
    assert compared.comparison.pairs == 10
    assert compared.comparison.interval is not None
    assert compared.a.latency_ms is not None
    assert compared.b.latency_ms is not None
    expected = compared.b.latency_ms.p50 / compared.a.latency_ms.p50
    assert compared.comparison.ratio == pytest.approx(expected, rel=0.5)
    assert len(compared.a.samples_ms) == len(compared.b.samples_ms) >= 30
    assert board.files() == ""
