"""What measuring needs of ONNX Runtime: its headers, and how it writes operator times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilevit_tools.devices import toolchain
from mobilevit_tools.devices._base import OperatorTime
from mobilevit_tools.devices.operator_times import mean_times
from mobilevit_tools.errors import MissingDependencyError


def headers() -> list[Path]:
    """Return the folder that holds ``onnxruntime_c_api.h``, as a list.

    The C interface is versioned: a library serves every older header.

    Raises:
        MissingDependencyError: The header is not installed.
    """
    for usr in (toolchain.toolchain_root() / "onnxruntime" / "usr", Path("/usr"), Path("/usr/local")):
        folder = usr / "include" / "onnxruntime"
        if folder.joinpath("onnxruntime_c_api.h").exists():
            return [folder]
    raise MissingDependencyError("ONNX Runtime's C header is not installed.", hint=toolchain.remedy("count"))


def read_profile(path: Path) -> tuple[OperatorTime, ...]:
    """Read ONNX Runtime's profile, a list of Chrome trace events: the mean time of each node.

    Raises:
        DeviceError: The profile is not readable, or holds no whole run.
    """
    return mean_times(path.read_bytes(), _runs)


def _runs(events: Any) -> list[list[OperatorTime]]:
    suffix = "_kernel_time"
    runs: list[list[OperatorTime]] = []
    current: list[OperatorTime] = []
    for event in events:
        if event["cat"] == "Session" and event["name"] == "model_run":  # comes after the run's nodes
            runs.append(current)
            current = []
        elif event["cat"] == "Node" and event["name"].endswith(suffix):
            name = event["name"].removesuffix(suffix)
            current.append(OperatorTime(name, event["args"]["op_name"], event["dur"] / 1e3))
    return runs
