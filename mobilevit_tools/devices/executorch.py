"""What measuring needs of ExecuTorch's runtime: its headers, and how it writes operator times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mobilevit_tools.devices import process, toolchain
from mobilevit_tools.devices._base import OperatorTime
from mobilevit_tools.devices.operator_times import mean_times, unreadable

_SCHEMAS = ("etdump_schema_flatcc.fbs", "scalar_type.fbs")


def headers() -> list[Path]:
    """Return the folders of ExecuTorch's headers, which its wheel carries.

    Raises:
        MissingDependencyError: It is not installed.
    """
    include = toolchain.package_folder("executorch") / "include"
    return [include, include / "executorch" / "runtime" / "core" / "portable_type" / "c10"]


def read_profile(path: Path) -> tuple[OperatorTime, ...]:
    """Read ExecuTorch's ETDump: the mean time of each operator, those inside delegates too.

    ETDump is a FlatBuffer; the schema and the compiler that decodes it come with the executorch wheel.

    Raises:
        DeviceError: The dump is not readable, or holds no whole run.
    """
    spec = find_spec("executorch")
    root = Path(next(iter(spec.submodule_search_locations or ()))) if spec else Path()
    with TemporaryDirectory() as folder:
        work = Path(folder)
        for name in _SCHEMAS:
            work.joinpath(name).write_bytes((root / "devtools" / "etdump" / name).read_bytes())
        flatc: list[str | Path] = [
            root / "data" / "bin" / "flatc",
            "--json",
            "--strict-json",
            "--raw-binary",
            "--size-prefixed",
        ]
        decoded = process.run([*flatc, "--allow-non-utf8", "-o", work, work / _SCHEMAS[0], "--", path], timeout_s=60)
        if decoded.code != 0:
            raise unreadable()
        return mean_times((work / f"{path.stem}.json").read_bytes(), _runs)


def _runs(dump: Any) -> list[list[OperatorTime]]:
    return [_events(run["events"]) for run in dump["run_data"] if run.get("name") == "Execute"]


def _events(events: Iterable[Mapping[str, Any]]) -> list[OperatorTime]:
    found: list[OperatorTime] = []
    calls: dict[object, int] = {}
    for event in (entry.get("profile_event") for entry in events):
        if event is None:
            continue
        milliseconds = (int(event["end_time"]) - int(event["start_time"])) / 1e6
        inside = event.get("delegate_debug_id_str")
        if inside is not None:
            instruction = event.get("instruction_id")
            call = None if instruction is None else calls.setdefault(instruction, len(calls) + 1)
            kind = inside.split(" (")[0].split(" #")[0]
            found.append(OperatorTime(inside, kind, milliseconds, delegate=True, call=call))
        elif event.get("name", "").startswith("native_call_"):
            name = event["name"].removeprefix("native_call_")
            found.append(OperatorTime(name, name.split(".")[0], milliseconds))
    return found
