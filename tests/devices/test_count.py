from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mobilevit_tools.devices import RunRequest, open_device, toolchain
from mobilevit_tools.devices import count as count_module
from mobilevit_tools.errors import BadInputError, UsageError
from tests.devices.conftest import SETTLINGS, Artifacts, relative_error


def count(request: RunRequest) -> int:
    with open_device("count") as device:
        result = device.measure(request)
    assert result.instructions is not None
    assert result.device.startswith("count:")
    assert result.timing is None
    assert result.maxrss_bytes is None
    return result.instructions


def test_the_count_repeats_exactly_and_is_of_one_inference(artifacts: Artifacts) -> None:
    request = RunRequest(artifacts.fp32, artifacts.inputs[:1])
    first = count(request)
    assert count(request) == first
    # Neither loading, nor how many runs and inputs there are, is part of it.
    assert count(replace(request, iterations=7, warmup=3, inputs=artifacts.inputs)) == first
    assert count(replace(request, seconds=5.0, warmup_s=5.0, settling=SETTLINGS[2])) == first
    assert 20_000 < first < 5_000_000
    assert count(replace(request, artifact=artifacts.int8)) != first


@pytest.mark.thorough(twin="test_the_count_repeats_exactly_and_is_of_one_inference")
def test_onnxruntime_is_counted_and_right(artifacts: Artifacts) -> None:
    with open_device("count") as device:
        result = device.measure(RunRequest(artifacts.onnx, artifacts.inputs))
    assert result.instructions is not None
    assert result.instructions > 20_000
    assert relative_error(result.outputs, artifacts.reference) < 1e-5


def test_the_runners_own_reason_is_told_and_not_valgrinds_last_word(artifacts: Artifacts) -> None:
    with open_device("count") as device, pytest.raises(BadInputError) as caught:
        device.measure(RunRequest(artifacts.fp32, artifacts.inputs[..., :16]))
    assert caught.value.message.endswith("[1, 3, 32, 32] and the input is float32 [3, 3, 32, 16].")


@pytest.mark.parametrize(
    ("arch", "cpuinfo", "label"),
    [
        ("x86_64", "model name : A\nflags\t\t: fpu avx avx2 avx512f\n", "count:x86_64-avx2"),
        ("x86_64", "model name : B\nflags\t\t: fpu avx\nflags : avx2\n", "count:x86_64-avx"),
        ("x86_64", "flags : fpu sse4_2\n", "count:x86_64-sse"),
        (
            "aarch64",
            "CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n",
            "count:aarch64-0x41:0xd0b,0x41:0xd0c",
        ),
    ],
)
def test_the_label_says_what_decides_the_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str, cpuinfo: str, label: str
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(count_module, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(count_module.toolchain, "host_arch", lambda: arch)
    device = count_module.open_device(None)
    assert (device.name, device.label) == ("count", label)


def test_times_and_threads_are_refused(artifacts: Artifacts) -> None:
    request = RunRequest(artifacts.fp32, artifacts.inputs)
    with open_device("count") as device:
        with pytest.raises(UsageError, match="one thread"):
            device.measure(replace(request, threads=2))
        with pytest.raises(UsageError, match="no operator times"):
            device.measure(replace(request, per_op=True))


def test_the_prepared_valgrind_goes_before_one_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = open_device("count")
    prepared = toolchain.toolchain_root() / "valgrind" / "usr"
    assert toolchain.find_valgrind() == prepared / "bin" / "valgrind"
    assert device.variables == {"VALGRIND_LIB": str(prepared / "libexec" / "valgrind")}

    other = tmp_path / "bin" / "valgrind"  # which knows where its tools are
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.setattr(toolchain, "toolchain_root", lambda: tmp_path / "nothing")
    assert toolchain.find_valgrind() == other
    assert device.variables == {}


def test_without_valgrind_it_is_not_ready(empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "toolchain_root", lambda: tmp_path / "nothing")
    readiness = open_device("count").probe()
    assert not readiness.ready
    assert readiness.detail == "valgrind is not installed."
    assert readiness.remedy is not None
    assert readiness.remedy.endswith("-m mobilevit_tools.devices.prepare count")
