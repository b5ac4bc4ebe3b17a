"""Runs to report on, written as `mvt` writes them, with figures that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobilevit_tools.artifacts.files import ArtifactFile
from mobilevit_tools.artifacts.manifest import Manifest, ModelRecord
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.exporters._base import Delegation, ExportSpec
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.models.provenance import Weights
from mobilevit_tools.profiling.environment import HostInfo
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.profiling.statistics import summarize
from mobilevit_tools.runtimes.pieces import Piece
from mobilevit_tools.verification.evaluations import EvalResult
from mobilevit_tools.verification.metrics import Distance
from mobilevit_tools.verification.parity import InputResult, Parity
from tests.found import judged

HOST = HostInfo("Some CPU", 2, "Linux", 0.1, 0.2, 0.0, "performance", {"numpy": "2.4.0"})
NAMES = {"onnx": "model.onnx", "executorch": "model.pte", "coreml": "model.mlpackage"}
SHA256 = "ab" * 32
SAMPLES = tuple(10 + 0.01 * (number % 17) for number in range(60))


def parity(snr_db: float = 120.0, status: str = "passed", reason: str | None = None) -> Parity:
    results = tuple(
        InputResult(name, kind, Distance(1e-6, snr_db + more, 1.0, finite=True), same_top1=True, near_tie=False)
        for name, kind, more in (("a.jpg", "photo", 0.0), ("noise", "noise", 3.0), ("black", "stress", 9.0))
    )
    return Parity(status, 1e-6, snr_db, 1.0, 1.0, 3, reason=reason, results=results)  # type: ignore[arg-type]


def manifest(
    model: str = "care_s0.imagenette",
    target: str = "onnx",
    precision: str = "fp32",
    *,
    size_bytes: int = 1000,
    labels: Sequence[str] = ("cat", "dog"),
    judged: Parity | None = None,
    source: str | None = "care_s0.imagenette",
    outside: dict[str, int] | None = None,
    pieces: tuple[Piece, ...] = (),
) -> Manifest:
    return Manifest(
        artifact=ArtifactFile(NAMES[target], SHA256, size_bytes),
        model=ModelRecord(model, len(labels), {}, 5_000_000, 700_000_000, Weights(source, None, ema=None), None),
        spec=ExportSpec(target, precision=precision),
        contract=Contract(model=model, preprocessing=Preprocessing(input_size=(160, 160)), labels=tuple(labels)),
        parity=judged or parity(),
        rewrite_difference=0.0,
        rewrites=(),
        quantization=None,
        fp16_keep=(),
        delegation=Delegation(2, outside or {}, pieces=pieces) if target == "executorch" else None,
        tools={"torch": "2.13.0"},
        request=ExportRequest(model, target, precision),
    )


def profile(
    artifact: str | Path,
    *,
    device: str = "host",
    host: HostInfo | None = HOST,
    size_bytes: int = 1000,
    samples: Sequence[float] = SAMPLES,
    instructions: int | None = None,
    per_op: tuple[OperatorTime, ...] | None = None,
    target: str = "onnx",
    sha256: str | None = None,
) -> ProfileResult:
    return ProfileResult(
        device=device,
        artifact=Path(artifact),
        target=target,
        threads=1,
        rigor="quick",
        latency_ms=summarize(samples) if samples else None,
        load_ms=5.0 if samples else None,
        first_ms=11.0 if samples else None,
        warmup_calls=20 if samples else None,
        samples_ms=tuple(samples),
        instructions=instructions,
        peak_memory_bytes=None,
        baseline_memory_bytes=None,
        cores_used=None,
        params=None,
        macs=None,
        size_bytes=size_bytes,
        flags=(),
        host=host,
        per_op=per_op,
        sha256=sha256,
    )


def evaluation(artifact: str | Path, top1: float = 0.8, **more: Any) -> EvalResult:
    return judged(artifact=Path(artifact), top1=top1, interval=(top1 - 0.05, top1 + 0.05), **more)


class Desk:
    """A folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[Path] = []

    def export(self, made: Manifest, place: str = "out") -> Path:
        """Write a manifest where `mvt export` would, and return its artifact's path."""
        folder = self.folder / place / "model" / made.spec.variant
        folder.mkdir(parents=True)
        made.write(folder)
        (folder / made.artifact.file).write_bytes(bytes(made.artifact.size_bytes))
        if self.folder / place not in self.runs:
            self.runs.append(self.folder / place)
        return folder / made.artifact.file

    def envelope(self, command: str, result: object, **more: object) -> Path:
        """Write what a verb prints with --json."""
        path = self.folder / f"{command}-{len(self.runs)}.json"
        path.write_text(
            json.dumps({"schema": 1, "command": command, "status": "ok", "result": jsonable(result), **more})
        )
        self.runs.append(path)
        return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">$\\frac{$"


def furnish(desk: Desk) -> Desk:
    """Two targets measured in three places and evaluated, one failed gate, and operator times."""
    operators = (
        OperatorTime("Conv #1", "Convolution", 4.0, delegate=True),
        OperatorTime("aten::elu.out", "aten::elu", 1.0),
        OperatorTime("Linear #1", "Fully Connected", 3.0, delegate=True),
    )
    onnx = desk.export(manifest(size_bytes=3_000_000))
    program = desk.export(
        manifest(target="executorch", size_bytes=2_000_000, judged=parity(95.0), outside={"aten::elu.out": 1})
    )
    desk.export(manifest(precision="fp16", size_bytes=1_500_000, judged=parity(20.0, "failed", "SNR too low")))
    desk.envelope("profile", profile(onnx, size_bytes=3_000_000))
    slower = [2 * sample for sample in SAMPLES]
    desk.envelope(
        "profile", profile(program, size_bytes=2_000_000, samples=slower, per_op=operators, target="executorch")
    )
    desk.envelope(
        "profile", profile(onnx, device="count", host=None, samples=(), instructions=123_456_789, size_bytes=3_000_000)
    )
    phone = profile(program, device="Phone (adb:X)", host=None, size_bytes=2_000_000, target="executorch")
    desk.envelope("profile", replace(phone, samples_ms=(3.25,) * 30, latency_ms=summarize((3.25,) * 30)))
    desk.envelope("eval", evaluation(onnx))
    desk.envelope("eval", evaluation(program, 0.75))
    return desk


@pytest.fixture
def full(desk: Desk) -> Desk:
    return furnish(desk)


def draw(*runs: Path, before: Sequence[Path] = ()) -> str:
    """Return the page of some runs."""
    from mobilevit_tools.reporting.contents import contents
    from mobilevit_tools.reporting.figures import styled
    from mobilevit_tools.reporting.intake import read_runs
    from mobilevit_tools.reporting.page import render

    with styled():
        return render(contents(read_runs(runs), read_runs(before) if before else None))


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of everything that `furnish` writes."""
    return draw(*furnish(Desk(tmp_path_factory.mktemp("full"))).runs)
