from __future__ import annotations

import json
from pathlib import Path

import pytest

from mobilevit_tools.devices import prepare, process, runner, toolchain
from mobilevit_tools.devices.litert import read_profile
from mobilevit_tools.errors import DeviceError
from mobilevit_tools.targets.registry import find_target

RUN, OPERATOR, DELEGATE, PROFILED_DELEGATE, SETTINGS = 1, 2, 4, 8, 32


def event(tag: str, kind: int, node: int = 0, us: int = 0) -> dict[str, object]:
    return {"tag": tag, "type": kind, "node": node, "us": us}


def run(convolution: int, norm: int) -> list[dict[str, object]]:
    return [
        event("Invoke", RUN, us=99_000),
        event("Convolution (NHWC, F32) IGEMM", PROFILED_DELEGATE, 0, convolution),
        event("Static Reshape (NC)", PROFILED_DELEGATE, 3),
        event("L2_NORMALIZATION", OPERATOR, 7, norm),
        event("Convolution (NHWC, F32) IGEMM", DELEGATE, 0, 500),
        event("Fully Connected (NC, F32) GEMM", DELEGATE, 1, 250),
        event("Convolution (NHWC, F32) DWConv", DELEGATE, 0, 125),
        event("Invoke", SETTINGS, us=1 << 32),
    ]


def test_the_mean_of_each_operator_its_kind_and_the_call_that_it_ran_in(tmp_path: Path) -> None:
    (tmp_path / "p").write_text(json.dumps([run(9_000, 8_000), run(1_000, 30), run(3_000, 50)]))
    found = [(each.name, each.kind, each.ms, each.delegate, each.call) for each in read_profile(tmp_path / "p")]
    assert found == [
        ("Convolution (NHWC, F32) IGEMM #1", "Convolution", 2.0, True, 1),
        ("Static Reshape (NC) #1", "Static Reshape", 0.0, True, 1),
        ("L2_NORMALIZATION #1", "L2_NORMALIZATION", pytest.approx(0.04), False, None),
        ("Convolution (NHWC, F32) IGEMM #2", "Convolution", 0.5, True, 2),
        ("Fully Connected (NC, F32) GEMM #1", "Fully Connected", 0.25, True, 2),
        ("Convolution (NHWC, F32) DWConv #1", "Convolution", 0.125, True, 3),  # the next call, right behind
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"[3, 3]",
        json.dumps([run(1, 1)]).encode(),
        json.dumps([[], []]).encode(),
        json.dumps([run(1, 1), run(1, 1), run(1, 1)[:4]]).encode(),
        json.dumps([[{"type": OPERATOR}]] * 3).encode(),
        json.dumps([[event("ADD", OPERATOR) | {"us": None}]] * 3).encode(),
        b"[" * 200_000,
    ],
)
def test_a_profile_without_a_whole_run_of_operators_is_the_devices_fault(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "p").write_bytes(text)
    with pytest.raises(DeviceError, match="not readable"):
        read_profile(tmp_path / "p")


@pytest.mark.parametrize("installed", [True, False])
def test_a_runtime_of_an_extra_is_asked_for_only_where_the_extra_is(
    monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    find = toolchain.find_spec
    own = find_target("litert").native_runner
    assert own is not None
    monkeypatch.setattr(
        toolchain, "find_spec", lambda name: (object() if installed else None) if name == own.package else find(name)
    )
    assert (own in toolchain.native_runners()) is installed
    assert own.package not in prepare.PARTS["count"].unpacked  # it declares what it calls


def test_the_runner_compiles_without_the_runtimes_headers() -> None:
    compiler = toolchain.find_compiler(toolchain.host_arch())
    source = runner.SOURCES / "litert_runner.cpp"
    done = process.run([compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", source], timeout_s=60)
    assert done.code == 0, done.stderr
