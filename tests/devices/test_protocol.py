from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mobilevit_tools.devices import executorch, onnx, process, protocol
from mobilevit_tools.errors import DeviceError


@pytest.mark.parametrize("dtype", protocol.DTYPES)
def test_tensors_survive_the_file(tmp_path: Path, dtype: str) -> None:
    values = (np.arange(24).reshape(2, 3, 4) * 5 - 9).astype(dtype).transpose(2, 0, 1)
    protocol.write_tensor(tmp_path / "t", values)
    read = protocol.read_tensor(tmp_path / "t")
    assert read.dtype.name == dtype
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"mvt1 float32 2 2\n" + bytes(15),
        b"mvt1 float32 2 2\n" + bytes(17),
        b"mvt1 object 1\n" + bytes(8),
        b"mvt1 float32 -1 -4\n" + bytes(16),
        b"mvt1 float32\n" + bytes(4),
        b"mvt1 float32 99999999999 99999999999\n",
        b"\xff\xfe" * 600,
    ],
)
def test_a_file_that_is_no_complete_tensor_is_the_devices_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(DeviceError):
        protocol.read_tensor(tmp_path / "t")


def test_a_report_is_read_to_the_last_sample() -> None:
    line = {"load_ms": 1.5, "warmup_ms": [9.0], "samples_ms": [2.0, 3.0], "planned_bytes": None, "maxrss_kb": 7}
    report = protocol.parse_report("loading\n" + json.dumps(line | {"threads": 2}) + "\n", warmup=1, iterations=2)
    assert report.timing.samples_ms == (2.0, 3.0)
    assert report.timing.warmup_ms == (9.0,)
    assert report.planned_bytes is None
    assert report.maxrss_bytes == 7168
    assert report.threads == 2
    with pytest.raises(DeviceError):
        protocol.parse_report(json.dumps(line), warmup=1, iterations=2)


def test_where_seconds_or_settling_decide_there_may_be_more_times_and_never_fewer() -> None:
    line = {"load_ms": 1.5, "warmup_ms": [9.0] * 3, "samples_ms": [2.0] * 3, "planned_bytes": None, "maxrss_kb": 7}
    text = json.dumps(line | {"threads": 1})
    assert protocol.parse_report(text, warmup=2, iterations=2, at_least=True).timing.samples_ms == (2.0, 2.0, 2.0)
    for warmup, iterations in ((4, 2), (2, 4)):
        with pytest.raises(DeviceError):
            protocol.parse_report(text, warmup=warmup, iterations=iterations, at_least=True)
    with pytest.raises(DeviceError):
        protocol.parse_report(text, warmup=2, iterations=2)


@pytest.mark.parametrize("text", ["", "hello", "[]", "3", '{"load_ms": "fast"}', "[" * 100_000])
def test_other_output_is_no_report(text: str) -> None:
    with pytest.raises(DeviceError):
        protocol.parse_report(text, warmup=1, iterations=2)


@pytest.mark.parametrize(
    "changed",
    [
        {"samples_ms": []},
        {"samples_ms": [2.0]},
        {"samples_ms": [2.0, 3.0, 4.0]},
        {"samples_ms": [2.0, math.nan]},
        {"samples_ms": [2.0, math.inf]},
        {"samples_ms": [2.0, 0.0]},
        {"samples_ms": [2.0, -1.0]},
        {"warmup_ms": []},
        {"warmup_ms": [math.nan]},
        {"load_ms": math.inf},
        {"load_ms": -1.0},
        {"maxrss_kb": math.inf},
        {"planned_bytes": math.nan},
        {"load_ms": 10**400},
    ],
)
def test_times_that_cannot_have_been_measured_are_no_report(changed: dict[str, object]) -> None:
    line = {
        "load_ms": 1.5,
        "warmup_ms": [9.0],
        "samples_ms": [2.0, 3.0],
        "planned_bytes": 5,
        "maxrss_kb": 7,
        "threads": 1,
    }
    protocol.parse_report(json.dumps(line), warmup=1, iterations=2)
    with pytest.raises(DeviceError, match="did not report its measurements"):
        protocol.parse_report(json.dumps(line | changed), warmup=1, iterations=2)


def test_onnxruntimes_profile_leaves_the_first_run_out_and_means_the_others(tmp_path: Path) -> None:
    def node(name: str, kind: str, microseconds: int) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": {"op_name": kind}}

    end = {"cat": "Session", "name": "model_run"}
    events = [{"cat": "Session", "name": "session_initialization"}]
    for conv, gelu in ((9000, 8000), (1000, 200), (3000, 400)):
        events += [node("stem", "Conv", conv), node("act", "Gelu", gelu), end]
    (tmp_path / "p").write_text(json.dumps(events))
    times = onnx.read_profile(tmp_path / "p")
    assert [(time.name, time.kind, time.ms) for time in times] == [
        ("stem", "Conv", 2.0),
        ("act", "Gelu", pytest.approx(0.3)),
    ]


def test_runs_of_unequal_length_are_no_profile(tmp_path: Path) -> None:
    node = {"cat": "Node", "name": "a_kernel_time", "dur": 1, "args": {"op_name": "Add"}}
    end = {"cat": "Session", "name": "model_run"}
    (tmp_path / "p").write_text(json.dumps([end, node, end, node, node, end]))
    with pytest.raises(DeviceError):
        onnx.read_profile(tmp_path / "p")


NODE = {"cat": "Node", "name": "a_kernel_time", "dur": 1, "args": {"op_name": "Add"}}
RUN = {"cat": "Session", "name": "model_run"}


@pytest.mark.parametrize(
    "events",
    [[], [RUN], [NODE, RUN], [NODE, RUN, NODE], [RUN, RUN], {"events": 3}, [3], [{**NODE, "name": 5}], [[]] * 2],
)
def test_a_profile_without_a_whole_run_of_operators_is_the_devices_fault(tmp_path: Path, events: object) -> None:
    (tmp_path / "p").write_text(json.dumps(events))
    with pytest.raises(DeviceError, match="not readable") as caught:
        onnx.read_profile(tmp_path / "p")
    assert caught.value.error_code == "bad_answer"


@pytest.mark.parametrize("nested", [b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000])
def test_a_profile_that_nests_without_end_is_the_devices_fault(tmp_path: Path, nested: bytes) -> None:
    (tmp_path / "p").write_bytes(nested)
    with pytest.raises(DeviceError, match="not readable"):
        onnx.read_profile(tmp_path / "p")


EVENT = {"name": "native_call_add.out", "start_time": 1_000_000, "end_time": 3_000_000}


def decoded(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """Let the ETDump's compiler write this."""

    def run(command: Sequence[str | Path], **_: object) -> process.Finished:
        Path(command[command.index("-o") + 1], "p.json").write_bytes(text)
        return process.Finished(0, "", "")

    monkeypatch.setattr(process, "run", run)


def test_an_etdump_leaves_the_first_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [{"profile_event": EVENT}, {"allocation_event": {}}]
    dump = {"run_data": [{"name": "Load"}, *[{"name": "Execute", "events": events}] * 2]}
    decoded(monkeypatch, json.dumps(dump).encode())
    (time,) = executorch.read_profile(tmp_path / "p.bin")
    assert (time.name, time.kind, time.ms, time.delegate) == ("add.out", "add", 2.0, False)


@pytest.mark.parametrize(
    "text",
    [
        b"\xff{}",
        b"",
        b"[]",
        b"{}",
        b'{"run_data": 3}',
        b'{"run_data": [3]}',
        json.dumps({"run_data": [{"name": "Execute"}] * 2}).encode(),
        json.dumps({"run_data": [{"name": "Execute", "events": []}] * 2}).encode(),
        json.dumps({"run_data": [{"name": "Execute", "events": [{"profile_event": EVENT}]}]}).encode(),
        json.dumps(
            {"run_data": [{"name": "Execute", "events": [{"profile_event": {"name": "native_call_a"}}]}] * 2}
        ).encode(),
        json.dumps(
            {"run_data": [{"name": "Execute", "events": [{"profile_event": EVENT | {"name": 5}}]}] * 2}
        ).encode(),
        json.dumps({"run_data": [{"name": "Execute", "events": [5]}] * 2}).encode(),
        b"[" * 200_000,
    ],
)
def test_an_etdump_without_a_whole_run_of_operators_is_the_devices_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    decoded(monkeypatch, text)
    with pytest.raises(DeviceError, match="not readable") as caught:
        executorch.read_profile(tmp_path / "p.bin")
    assert caught.value.error_code == "bad_answer"


@pytest.mark.parametrize("reader", [executorch.read_profile, onnx.read_profile])
def test_an_unreadable_profile_is_the_devices_fault(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    (tmp_path / "p.bin").write_bytes(b"\x07\x00\x00\x00garbage")
    with pytest.raises(DeviceError):
        reader(tmp_path / "p.bin")
