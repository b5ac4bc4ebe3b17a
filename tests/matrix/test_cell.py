from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.matrix.cell import Cell, CellResult, read_cell_result
from mobilevit_tools.rewrites.applied import AppliedRewrite
from tests.found import exported, judged, measured

FOLDER = Path("out")
FULL = Cell(
    "nets/net.py:tiny",
    "executorch",
    "int8",
    backend="xnnpack",
    device="count",
    checkpoint="w.pth",
    input_size="64x32",
    options=("depth=2", "wide=true"),
    calibration="photos",
    calibration_size=5,
    eval_data="val",
    threads=2,
    rigor="mlperf",
)


def test_a_cell_is_three_commands_that_people_can_type() -> None:
    export, profile, evaluate = (" ".join(command) for command in FULL.commands(FOLDER))
    assert export == (
        "export nets/net.py:tiny --target executorch --precision int8 --backend xnnpack --checkpoint w.pth "
        "--input-size 64x32 --option depth=2 --option wide=true --calibration photos --calibration-size 5 --output out"
    )
    artifact = "out/net_tiny/executorch-xnnpack-int8/model.pte"
    assert profile == f"profile {artifact} --device count --threads 2 --rigor mlperf"
    assert evaluate == f"eval {artifact} val --model nets/net.py:tiny --threads 2"


def test_what_is_not_asked_for_is_in_no_command() -> None:
    (export,) = Cell("care_s0.imagenette", "coreml").commands(FOLDER)
    assert " ".join(export) == "export care_s0.imagenette --target coreml --precision fp32 --output out"
    (random,) = Cell("care_s0", "onnx", random_weights=True).commands(FOLDER)
    assert "--random-weights" in random


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (Cell("care_s0", "onnx", "int8", device="count"), "care_s0/onnx/int8@count"),
        (Cell("care_s0", "executorch", backend="portable"), "care_s0/executorch-portable/fp32"),
        (Cell("care_s0", "coreml"), "care_s0/coreml/fp32"),
    ],
)
def test_name(cell: Cell, name: str) -> None:
    assert cell.name == name


@pytest.mark.parametrize("field", ["model", "target", "backend", "device", "checkpoint", "calibration", "eval_data"])
@pytest.mark.parametrize("value", ["--overwrite", "", "a\0b"])
def test_a_value_never_becomes_an_option(field: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"is no {field.replace('_', ' ')}"):
        replace(FULL, **{field: value})


def test_an_unsupported_pair_is_refused_with_what_there_is() -> None:
    with pytest.raises(UsageError) as refused:
        Cell("care_s0", "onnx", "palette4")
    assert "int8-weight" in (refused.value.hint or "")


def test_the_digest_follows_every_field_and_what_the_files_hold(tmp_path: Path) -> None:
    net, weights, photos = tmp_path / "net.py", tmp_path / "w.pth", tmp_path / "photos"
    labels = tmp_path / "labels.txt"
    for file in (net, weights, labels):
        file.write_text("a")
    photos.mkdir()
    cell = Cell(f"{net}:tiny", "onnx", "int8", checkpoint=str(weights), calibration=str(photos), eval_data=str(photos))
    cell = replace(cell, labels=str(labels))
    seen = {cell.digest()}
    assert cell.digest() in seen
    for change in (
        lambda: net.write_text("b"),
        lambda: weights.write_text("b"),
        lambda: labels.write_text("b"),
        lambda: photos.joinpath("1.jpg").write_text("a"),
        lambda: photos.joinpath("1.jpg").rename(photos / "2.jpg"),
        lambda: photos.joinpath("2.jpg").write_text("ab"),
    ):
        change()
        assert cell.digest() not in seen
        seen.add(cell.digest())
    for field, value in (("calibration_size", 9), ("threads", 2), ("options", ("a=1",)), ("device", "count")):
        assert replace(cell, **{field: value}).digest() not in seen


@pytest.mark.parametrize("heading", ["", "\N{BOM}path,label\n"])
def test_the_digest_follows_the_photos_that_a_csv_lists(tmp_path: Path, heading: str) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a b.jpg").write_text("a")
    (photos / "unlisted.jpg").write_text("a")
    listed = photos / "list.csv"
    listed.write_text(heading + '"a b.jpg",0\n\n late.jpg ,1\n', encoding="utf-8")
    cell = Cell("care_s0", "onnx", eval_data=str(listed))
    seen = {cell.digest()}
    (photos / "unlisted.jpg").write_text("ab")
    assert cell.digest() in seen
    for change in (
        lambda: (photos / "a b.jpg").write_text("ab"),
        (photos / "late.jpg").touch,
        (photos / "a b.jpg").unlink,
        lambda: listed.write_text(listed.read_text() + "late.jpg,0\n"),
    ):
        change()
        assert cell.digest() not in seen
        seen.add(cell.digest())


@pytest.mark.parametrize(
    "content", [b"\xff\xfe,0\n", b"a\0b.jpg,0\n", b"x" * 5000 + b",0\n", b'"' + b"x" * 200_000, b""]
)
def test_a_csv_that_cannot_be_read_is_a_file_like_any_other(tmp_path: Path, content: bytes) -> None:
    listed = tmp_path / "list.csv"
    listed.write_bytes(content)
    cell = Cell("care_s0", "onnx", eval_data=str(listed))
    before = cell.digest()
    assert cell.digest() == before
    listed.write_bytes(content + b"y.jpg,0\n")
    assert cell.digest() != before


def result(cell: Cell = FULL) -> CellResult:
    return CellResult(
        cell=cell,
        digest="0" * 64,
        status="error",
        exit_code=None,
        code="timed_out",
        message="It hung.",
        hint=None,
        command="mvt export",
        artifact=exported(size_bytes=3, rewrites=(AppliedRewrite("flat_matmul", "Products of three axes.", 2, 0),)),
        profile=measured(instructions=9, flags=("drift",), samples_ms=(1.0, 2.5)),
        evaluation=judged(),
        seconds=1.5,
    )


def test_a_result_goes_to_json_and_back() -> None:
    stored = json.loads(json.dumps(jsonable(result())))
    assert read_cell_result(stored, "x") == result()


@pytest.mark.parametrize(
    ("path", "value"),
    [("status", "fine"), ("cell", {"model": "a"}), ("exit_code", "four"), ("artifact", [])],
)
def test_what_is_no_result_is_refused(path: str, value: object) -> None:
    raw = jsonable(result())
    assert isinstance(raw, dict)
    with pytest.raises(BadInputError, match=f"smoke.json is not the result of a cell: {path}"):
        read_cell_result({**raw, path: value}, "smoke.json")


def test_a_stored_cell_is_held_to_the_same_rules() -> None:
    raw = jsonable(result())
    assert isinstance(raw, dict)
    assert isinstance(raw["cell"], dict)
    with pytest.raises(BadInputError, match="--overwrite"):
        read_cell_result({**raw, "cell": {**raw["cell"], "model": "--overwrite"}}, "smoke.json")
