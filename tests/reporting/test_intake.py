from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mobilevit_tools import documents
from mobilevit_tools.artifacts.exported import ExportResult
from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.reporting import intake
from mobilevit_tools.reporting.intake import read_runs
from mobilevit_tools.verification.result import VerifyResult
from mobilevit_tools.verification.tolerances import GATES
from tests.found import exported
from tests.reporting.conftest import Desk, draw, evaluation, manifest, parity, profile

ENTRY = exported(path=Path("out/m/onnx-fp32/model.onnx"), parity=parity())


def cell(status: str = "passed", **more: object) -> CellResult:
    fields: dict[str, object] = {
        "exit_code": 0,
        "code": None,
        "message": None,
        "hint": None,
        "command": None,
        "artifact": ENTRY,
        "profile": profile(ENTRY.path, device="count", host=None, samples=(), instructions=9),
        "evaluation": evaluation(ENTRY.path),
        "seconds": 1.0,
    }
    return CellResult(Cell("care_s0", "onnx", device="count"), "d", status, **{**fields, **more})  # type: ignore[arg-type]


def test_cells_of_a_sweep_and_of_a_smoke_test(desk: Desk) -> None:
    failed = cell("error", exit_code=-11, code="crashed", message="It crashed.", command="mvt export x", artifact=None)
    failed = replace(failed, cell=replace(failed.cell, checkpoint="bad.pth"), digest="another")
    lines = [json.dumps(jsonable(each)) for each in (cell(), failed)]
    folder = desk.folder / "sweep"
    folder.mkdir()
    (folder / "results.jsonl").write_text("\n".join(lines) + '\n{"cell": {"mod')  # killed while it wrote
    evidence = read_runs([folder])
    (artifact,) = evidence.artifacts
    assert (artifact.model, artifact.random_weights, artifact.seconds) == ("care_s0", False, {"total": 3.0})
    assert artifact.profiles[0].instructions == 9
    assert artifact.evaluations[0].top1 == 0.8
    (failure,) = evidence.failures
    assert (failure.what, failure.code, failure.command) == ("care_s0/onnx/fp32@count", "crashed", "mvt export x")
    desk.envelope("smoke", {"cells": [cell()], "passed": 1})
    assert read_runs(desk.runs).artifacts == evidence.artifacts


def test_the_last_line_of_a_cell_counts(desk: Desk) -> None:
    crashed = cell("error", exit_code=-9, code="crashed", message="It crashed.", artifact=None, profile=None)
    path = desk.folder / "results.jsonl"
    path.write_text("".join(json.dumps(jsonable(each)) + "\n" for each in (crashed, cell())))
    evidence = read_runs([path])
    assert (len(evidence.artifacts), evidence.failures) == (1, ())


def test_what_an_older_checkpoint_came_to_is_not_shown_beside_the_new_one(desk: Desk) -> None:
    thrown = replace(ENTRY, kept=False)
    crashed = cell("error", exit_code=3, code="bad_checkpoint", message="It is torn.", artifact=None, profile=None)
    counts = [profile(ENTRY.path, device="count", host=None, samples=(), instructions=count) for count in (9, 7)]
    trained = [
        cell(artifact=thrown, profile=counted, evaluation=evaluation(ENTRY.path, top1))
        for counted, top1 in zip(counts, (0.6, 0.8), strict=True)
    ]
    path = desk.folder / "results.jsonl"
    lines = [replace(each, digest=digest) for each, digest in zip((crashed, *trained), "abc", strict=True)]
    path.write_text("".join(json.dumps(jsonable(each)) + "\n" for each in lines))
    evidence = read_runs([path])
    assert evidence.failures == ()
    (artifact,) = evidence.artifacts
    assert [each.instructions for each in artifact.profiles] == [7]
    assert [each.top1 for each in artifact.evaluations] == [0.8]


def test_cells_whose_artifacts_were_thrown_away_are_kept_apart(desk: Desk) -> None:
    thrown = replace(ENTRY, path=Path("out/model/onnx-fp32/model.onnx"), kept=False)
    counted = profile(thrown.path, device="count", host=None, samples=(), instructions=9)
    cells = [
        replace(cell(artifact=thrown, profile=counted), cell=Cell("care_s0", "onnx", device=device, input_size=size))
        for size in ("160", "224")
        for device in ("count", "host")
    ]
    desk.export(manifest("care_s0"))  # has the path that the cells name, and is another file
    desk.envelope("smoke", {"cells": cells})
    found = read_runs(desk.runs).artifacts
    assert [(each.label, each.manifest is None, len(each.profiles)) for each in found] == [
        ("onnx fp32 (out/model/onnx-fp32/model.onnx)", False, 0),
        ("onnx fp32 (smoke-1.json/160)", True, 1),
        ("onnx fp32 (smoke-1.json/224)", True, 1),
    ]


def test_thrown_away_artifacts_of_cells_that_differ_in_anything_of_the_export_are_two(desk: Desk) -> None:
    thrown = replace(ENTRY, kept=False)
    base = Cell("care_s0", "onnx", "int8", device="count", calibration="photos", calibration_size=64)
    for change in (
        {"calibration_size": 128},
        {"calibration": "others"},
        {"checkpoint": "b.pth"},
        {"random_weights": True},
        {"input_size": "160"},
        {"options": ("depth=3",)},
    ):
        cells = [replace(cell(artifact=thrown), cell=each) for each in (base, replace(base, **change))]
        run = desk.envelope("smoke", {"cells": cells})
        found = read_runs([run]).artifacts
        assert [len(each.profiles) for each in found] == [1, 1], change
        if "calibration_size" in change:
            assert [each.label for each in found] == ["onnx fp32 (photos, 128 photos)", "onnx fp32 (photos, 64 photos)"]
    elsewhere = replace(base, device="host", threads=2, rigor="default", eval_data="val")
    run = desk.envelope("smoke", {"cells": [replace(cell(artifact=thrown), cell=each) for each in (base, elsewhere)]})
    assert len(read_runs([run]).artifacts) == 1


def test_thrown_away_artifacts_of_two_models_are_two(desk: Desk) -> None:
    thrown = replace(ENTRY, path=Path("out/net_build/onnx-fp32/model.onnx"), kept=False)
    counted = profile(thrown.path, device="count", host=None, samples=(), instructions=9)
    models = [f"/nets/{place}/net.py:build" for place in ("a", "b")]
    cells = [
        replace(cell(artifact=thrown, profile=counted), cell=Cell(model, "onnx", device="count")) for model in models
    ]
    desk.envelope("smoke", {"cells": cells})
    found = read_runs(desk.runs).artifacts
    assert [(each.model, len(each.profiles)) for each in found] == [(model, 1) for model in models]


def test_a_failed_gate_is_a_failure_with_an_artifact(desk: Desk) -> None:
    entry = replace(ENTRY, parity=parity(10.0, "failed", "too far"))
    error = {"code": "gate_failed", "message": "too far.", "hint": None}
    result = {"model": "care_s0", "random_weights": True, "ema": None, "artifacts": [entry]}
    desk.envelope("export", result, status="error", error=error)
    evidence = read_runs(desk.runs)
    assert evidence.failures[0].gate
    assert evidence.artifacts[0].parity is not None
    assert evidence.artifacts[0].parity.status == "failed"
    assert evidence.artifacts[0].random_weights


def test_an_error_without_a_result_is_a_failure(desk: Desk) -> None:
    path = desk.envelope("profile", None, status="error", error={"code": "device_hangs", "message": "x.", "hint": "y"})
    assert read_runs([path]).failures[0].code == "device_hangs"


def test_comparisons_and_verifications(desk: Desk) -> None:
    a, b = profile("a.onnx"), profile("b.onnx")
    comparison = {"verdict": "slower", "ratio": 1.5, "interval": [1.4, 1.6], "pairs": 20}
    desk.envelope("profile", {"a": jsonable(a), "b": jsonable(b), "comparison": comparison})
    desk.envelope(
        "verify",
        VerifyResult(Path("a.onnx"), "care_s0", "fp32", GATES["fp32"], digest_matches=None, parity=parity()),
    )
    evidence = read_runs(desk.runs)
    assert evidence.comparisons[0].comparison.ratio == 1.5
    assert [len(each.verifications) for each in evidence.artifacts] == [1, 0]


def test_a_manifest_takes_over_no_other_artifact(desk: Desk) -> None:
    desk.export(manifest(), "a")
    stranger = desk.export(manifest("stranger"), "b").parent / "manifest.json"
    written = json.loads(stranger.read_text())
    written["artifact"]["file"] = "../../../a/model/onnx-fp32/model.onnx"
    stranger.write_text(json.dumps(written))
    with pytest.raises(BadInputError, match="outside of its folder") as refusal:
        read_runs(desk.runs)
    assert str(stranger) in refusal.value.message


@pytest.mark.parametrize("name", ["ctrl\x01", "not-\udcff-utf8"])
def test_a_run_in_an_oddly_named_folder_is_shown(desk: Desk, name: str) -> None:
    artifact = desk.export(manifest(), name)
    desk.export(manifest(), "plain")
    desk.envelope("profile", profile(artifact))
    page = draw(*desk.runs)
    assert page.encode()
    assert name.translate({1: "\ufffd", 0xDCFF: "\ufffd"}) in page
    labels = [each.label for each in read_runs(desk.runs).artifacts if each.profiles]
    assert labels == [f"onnx fp32 ({name.translate({1: 0xFFFD, 0xDCFF: 0xFFFD})})"]


def test_a_sweep_may_be_larger_than_any_of_its_lines(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps(jsonable(replace(cell(), cell=Cell("care_s0", "onnx", device=str(n))))) for n in range(5)]
    path = desk.folder / "results.jsonl"
    path.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(intake, "RUN", replace(documents.RUN, max_bytes=len(lines[0]) + 1))
    assert len(read_runs([path]).artifacts) == 1
    monkeypatch.setattr(intake, "RUN", replace(documents.RUN, max_bytes=len(lines[0]) - 1))
    with pytest.raises(BadInputError, match=r"results\.jsonl:1 is too large"):
        read_runs([path])


def test_core_ml_packages_and_unfinished_exports_are_not_looked_into(desk: Desk) -> None:
    artifact = desk.export(manifest(target="onnx"))
    for inside in ("model.mlpackage", ".onnx-fp32.x.partial"):
        (artifact.parent / inside).mkdir()
        (artifact.parent / inside / "manifest.json").write_text("{}")
    assert len(read_runs(desk.runs).artifacts) == 1


def test_links_to_folders_are_not_followed(desk: Desk) -> None:
    desk.export(manifest(), "outside")
    folder = desk.folder / "run"
    folder.mkdir()
    (folder / "link").symlink_to(desk.folder / "outside")
    with pytest.raises(BadInputError, match="no manifest"):
        read_runs([folder])


Broken = Callable[[Path], Path]


def _file(name: str, text: str | bytes) -> Broken:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def _envelope(**body: object) -> str:
    return json.dumps({"schema": 1, "status": "ok", **body})


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (lambda folder: folder / "nowhere", "no_such_run"),
        (lambda folder: folder, "empty_run"),
        (_file("x.json", ""), "bad_run"),
        (_file("x.json", b"\xff\xfe"), "bad_run"),
        (_file("x.json", "[1]"), "bad_run"),
        (_file("x.json", '{"a": 1}'), "bad_run"),
        (_file("x.json", "[" * 100_000), "bad_run"),
        (_file("manifest.json", "{}"), "bad_run"),
        (_file("x.json", _envelope(command="info", result={})), "bad_run"),
        (_file("x.json", _envelope(command="export", result={"model": 1})), "bad_run"),
        (_file("x.json", _envelope(command="profile", result=None)), "bad_run"),
        (_file("x.json", _envelope(command="smoke", result={})), "bad_run"),
        (_file("x.json", _envelope(command=["x"], result={})), "bad_run"),
        (_file("results.jsonl", '{"cell": 1}\n{}\n'), "bad_run"),
        (_file("results.jsonl", "nonsense\n{}\n"), "bad_run"),
    ],
)
def test_what_is_no_run_is_bad_input(tmp_path: Path, broken: Broken, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_runs([broken(tmp_path)])
    assert caught.value.error_code == code
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


def _spoiled(fields: object, path: Sequence[str | int], value: object) -> dict[str, object]:
    spoiled = json.loads(json.dumps(jsonable(fields)))
    place = spoiled
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return spoiled


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["samples_ms", 1], 1e999),
        (["samples_ms", 1], 0.0),
        (["threads"], "two"),
        (["size_bytes"], -1),
        (["load_ms"], -1.0),
        (["instructions"], -1),
        (["latency_ms", "p50"], -1.0),
        (["per_op", 0, "ms"], -1.0),
    ],
)
def test_figures_that_no_measurement_has_are_refused(desk: Desk, path: Sequence[str | int], value: object) -> None:
    operators = (OperatorTime("Conv", "Conv", 1.0),)
    good = jsonable(profile("a.onnx", per_op=operators, instructions=5))
    assert isinstance(good, dict)
    desk.envelope("profile", good)
    assert read_runs(desk.runs).artifacts
    desk.runs[-1].write_text(_envelope(command="profile", result=_spoiled(good, path, value)))
    with pytest.raises(BadInputError) as caught:
        read_runs(desk.runs)
    assert caught.value.error_code == "bad_run"


@pytest.mark.parametrize(
    ("path", "value"), [(["top1"], 1.5), (["top5"], -0.1), (["interval", 1], 2.0), (["agreement"], 3), (["images"], -1)]
)
def test_shares_are_between_0_and_1(desk: Desk, path: Sequence[str | int], value: object) -> None:
    run = desk.envelope("eval", _spoiled(evaluation("a.onnx"), path, value))
    with pytest.raises(BadInputError):
        read_runs([run])


def test_sizes_are_not_negative(desk: Desk) -> None:
    negative = replace(ENTRY, size_bytes=-1)
    run = desk.envelope("export", ExportResult("m", random_weights=False, ema=None, artifacts=(negative,)))
    smoke = desk.envelope("smoke", {"cells": [cell(artifact=negative)]})
    desk.export(manifest())
    path = next(desk.folder.rglob("manifest.json"))
    path.write_text(path.read_text().replace('"size_bytes": 1000', '"size_bytes": -1000'))
    for each in (run, smoke, path):
        with pytest.raises(BadInputError, match="negative figure"):
            read_runs([each])


def test_a_report_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.export(manifest())
    desk.export(manifest(precision="fp16"))
    monkeypatch.setattr(intake, "MAX_FILES", 1)
    with pytest.raises(BadInputError, match="up to 1 files"):
        read_runs(desk.runs)
