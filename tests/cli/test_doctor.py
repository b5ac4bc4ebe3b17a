"""``mvt doctor`` sees what is broken, without importing it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mobilevit_tools.api import doctor
from mobilevit_tools.devices.page_size import PAGE
from mobilevit_tools.devices.prepare import PARTS
from mobilevit_tools.targets.registry import TARGETS
from tests.cli.conftest import Ran
from tests.devices.test_page_size import library

Mvt = Callable[..., Ran]


def versions(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None]) -> None:
    honest = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: changes[name] if name in changes else honest(name))


def test_this_installation_is_healthy(mvt: Mvt) -> None:
    ran = mvt("doctor", "--json")
    assert ran.code == 0
    checks = {check["name"]: check for check in ran.envelope["result"]["checks"]}
    assert checks["torch"]["status"] == "ok"
    assert checks["torch"]["version"].startswith("2.13.0")
    assert ran.envelope["result"]["healthy"] is True


BACKENDS = {
    "torch": "2.13",
    "onnx": "1.19",
    "onnxscript": "0.5.6",
    "onnxruntime": "1.23",
    "coremltools": "9.0",
    "executorch": "1.5.1",
    "torchao": "",
    "safetensors": "0.5",
}


@pytest.mark.parametrize("name", BACKENDS)
def test_a_missing_backend_has_a_remedy_and_exit_code_5(mvt: Mvt, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    versions(monkeypatch, {name: None})
    ran = mvt("doctor", "--json")
    assert ran.code == 5
    assert (ran.envelope["status"], ran.envelope["error"]["code"]) == ("error", "unhealthy")
    assert name in ran.envelope["error"]["message"]
    result = ran.envelope["result"]
    (check,) = [check for check in result["checks"] if check["name"] == name]
    assert (check["status"], check["version"], result["healthy"]) == ("missing", None, False)
    found = re.fullmatch(rf"pip install '{name}([^\w'][^']*)'", check["remedy"])
    assert found
    assert BACKENDS[name] in found[1]
    assert not [check for check in result["checks"] if name in check["name"].split(" + ") and "+" in check["name"]]
    assert check["remedy"] in mvt("doctor").out


def test_every_backend_is_there_and_says_what_it_lacks(mvt: Mvt, monkeypatch: pytest.MonkeyPatch) -> None:
    backends = {
        f"--backend {backend.name}" if backend else f"--target {target.name}"
        for target in TARGETS.values()
        if target.extra is None
        for backend in target.backends or (None,)
    }
    checks = {check["name"]: check for check in mvt("doctor", "--json").envelope["result"]["checks"]}
    assert {checks[name]["status"] for name in backends} == {"ok"}
    versions(monkeypatch, {"executorch": None, "onnxruntime": None})
    checks = {check["name"]: check for check in mvt("doctor", "--json").envelope["result"]["checks"]}
    lacking = {name for name in backends if checks[name]["status"] == "missing"}
    assert lacking == backends - {"--target coreml"}
    assert "pip install 'executorch" in checks["--backend vulkan"]["remedy"]
    assert "pip install 'onnxruntime" in checks["--target onnx"]["remedy"]


@pytest.mark.parametrize(("name", "remedy"), [("ray", "ray<3,>=2.50"), ("huggingface_hub", "huggingface_hub<3,>=1.0")])
def test_an_optional_package_may_be_missing(mvt: Mvt, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str) -> None:
    versions(monkeypatch, {name: None})
    ran = mvt("doctor", "--json")
    assert (ran.code, ran.envelope["result"]["healthy"]) == (0, True)
    (check,) = [check for check in ran.envelope["result"]["checks"] if check["name"] == name]
    assert (check["status"], check["remedy"]) == ("missing", f"pip install '{remedy}'")


def test_a_bare_machine_is_told_what_each_device_needs(
    mvt: Mvt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    ran = mvt("doctor", "--json")
    assert ran.code == 0, "devices are no part of what must work"
    devices = {
        check["name"]: check for check in ran.envelope["result"]["checks"] if check["name"].startswith("--device")
    }
    assert set(devices) == {f"--device {name}" for name in ("count", "arm64", "adb", "ssh", "browser", "htp")}
    simulator = devices.pop("--device htp")  # a package, which no PATH hides
    assert simulator["remedy"] == (None if simulator["status"] == "ok" else "pip install 'mobilevit-tools[qnn]'")
    for check in devices.values():
        assert check["status"] == "missing"
        assert check["detail"]
        *command, part = check["remedy"].rsplit(" ", 3)
        assert command[1:] == ["-m", "mobilevit_tools.devices.prepare"]
        assert part in PARTS


def test_versions_known_to_go_together(mvt: Mvt, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {check["name"]: check for check in mvt("doctor", "--json").envelope["result"]["checks"]}
    assert pairs["torch + executorch"]["status"] == "ok"
    versions(monkeypatch, {"torch": "2.99.0"})
    ran = mvt("doctor", "--json")
    pairs = {check["name"]: check for check in ran.envelope["result"]["checks"]}
    assert pairs["torch + executorch"]["status"] == "untested"
    assert pairs["torch + executorch"]["detail"].startswith("torch is outside the tested")
    assert pairs["onnx + onnxruntime"]["status"] == "ok"
    assert ran.code == 0


def test_executorch_1_4_is_flagged(mvt: Mvt, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {"executorch": "1.4.1"})
    ran = mvt("doctor")
    assert ran.code == 5
    assert "ETDump" in ran.out
    assert "pip install 'executorch>=1.5.1,<1.6'" in ran.out


def test_a_torchvision_of_cuda_is_no_fault(mvt: Mvt, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {"torch": "2.13.0+cpu", "torchvision": "0.28.0"})  # sources make it importable
    assert mvt("doctor").code == 0


def test_packages_of_sources_may_be_missing_and_have_a_remedy(mvt: Mvt, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {"timm": None, "transformers": None})
    ran = mvt("doctor")
    assert ran.code == 0
    assert "pip install 'timm" in ran.out
    assert "pip install 'transformers" in ran.out


def test_an_untested_version_is_said_so_and_does_not_fail(mvt: Mvt, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {"onnxruntime": "1.99.0"})
    ran = mvt("doctor", "--json")
    assert ran.code == 0
    (check,) = [check for check in ran.envelope["result"]["checks"] if check["name"] == "onnxruntime"]
    assert check["status"] == "untested"


def test_it_imports_no_backend() -> None:
    program = (
        "import sys; from mobilevit_tools.cli import main; main(['doctor']); "
        "names = ('torch', 'onnx', 'onnxruntime', 'coremltools', 'executorch', 'numpy', 'ray'); "
        "print([name for name in names if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_android_libraries_for_small_pages_are_named(mvt: Mvt, tmp_path: Path) -> None:
    good, bad = tmp_path / "libgood.so", tmp_path / "libbad.so"
    good.write_bytes(library(PAGE))
    assert mvt("doctor", "--android", good).code == 0
    bad.write_bytes(library(4096))
    ran = mvt("doctor", "--android", tmp_path)
    assert ran.code == 3
    assert "1 of 2 libraries do not load on phones with pages of 16 KB" in ran.err
    assert f"{good}: ok" in ran.out
    assert f"{bad}: bad: its segments are aligned to 4 KB" in ran.out
