"""The zoo: every model and target has a row, whatever became of it; the pass rate counts what passed its gates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mobilevit_tools.api import runtimes_bench, zoo
from mobilevit_tools.cli.app import run
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.models import settled
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.sources.torchvision import make_importable
from mobilevit_tools.profiling.result import ComparisonResult
from mobilevit_tools.quantization.share import QuantizedShare
from tests.found import exported

NAME = "timm:test_vit"


@pytest.mark.thorough(twin="test_what_fails_is_one_row_of_many")
def test_passes_and_refusals_are_rows_and_latency_is_against_the_plain_lowering(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ("-t", "onnx", "--latency", "--rigor", "quick")
    (tmp_path / "net.py").write_text("def build():\n    raise RuntimeError('out of cheese')\n")
    assert run(["bench", "zoo", NAME, f"{tmp_path}/net.py:build", *asked, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    passed, refused = result["rows"]
    assert passed["result"]["status"] == "passed"
    assert passed["result"]["artifact"]["parity"]["snr_db"] > 80
    assert passed["result"]["artifact"]["kept"] is False
    plain, ours = passed["speed"]["a"], passed["speed"]["b"]
    assert "onnx-fp32-own" in plain["artifact"]
    assert plain["latency_ms"]["p50"] > 0 < ours["latency_ms"]["p50"]
    assert refused["result"]["code"] == "own_model"
    assert refused["speed"] is None
    assert result["rates"] == {"onnx-fp32": {"passed": 1, "models": 2}}


@pytest.mark.parametrize("benchmark", ["zoo", "runtimes"])
@pytest.mark.parametrize("name", ["care_s9", "care_s0.imagenet", "timm:no_such", "no.py:build"])
def test_names_of_no_model_are_found_before_the_first_export(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, benchmark: str, name: str
) -> None:
    for module, export in ((zoo, "run_cell"), (runtimes_bench, "export")):
        monkeypatch.setattr(module, export, lambda *_, **__: pytest.fail("exported"))
    assert run(["bench", benchmark, NAME, name, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unknown_model"


def test_what_fails_is_one_row_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def cell_result(cell: Cell, folder: Path, **_: object) -> CellResult:
        given = {"exit_code": 0, "code": None, "message": None, "hint": None, "command": None}
        rest = {"profile": None, "evaluation": None, "seconds": 0.0}
        return CellResult(cell, "0", "passed", artifact=exported(path=folder), **given, **rest)

    def unloadable(*_: object, **__: object) -> ComparisonResult:
        raise BadInputError("It cannot be loaded.")

    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(zoo, "run_cell", cell_result)
    monkeypatch.setattr(zoo, "own_lowering", lambda _, folder, **__: folder)
    monkeypatch.setattr(zoo, "compare", unloadable)
    monkeypatch.setattr(settled, "settle", failing)
    result = zoo.bench_zoo([NAME, "care_s0"], targets=["onnx"], latency=True)
    assert [row.result.cell.random_weights for row in result.rows] == [True, True]
    assert [row.speed for row in result.rows] == [None, None]


def test_a_name_that_can_be_none_is_refused_before_anything_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "run_cell", None)
    with pytest.raises(UsageError, match="'' is no model"):
        zoo.bench_zoo(["care_s0", ""], targets=["onnx"])


def test_all_names_are_timms() -> None:
    make_importable()
    import timm

    assert not [name for name in zoo.ZOO if not timm.is_model(name.removeprefix("timm:"))]
    assert len(set(zoo.ZOO)) == len(zoo.ZOO)


def test_no_model_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one model"):
        zoo.bench_zoo([])
    with pytest.raises(UsageError, match="time limit"):
        zoo.bench_zoo(["care_s0"], timeout_s=float("nan"))


def test_precisions_are_cells_of_the_targets_that_have_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def cell_result(cell: Cell, folder: Path, **_: object) -> CellResult:
        share = QuantizedShare(
            weights=0.97,
            macs=0.9,
            asked_weights=0.0,
            asked_macs=0.0,
            layers=4,
            quantized=4,
            floating=(),
            weights_alone=False,
        )
        artifact = exported(path=folder, quantized=share if cell.precision == "int8" else None)
        given = {"exit_code": 0, "code": None, "message": None, "hint": None, "command": None}
        rest = {"profile": None, "evaluation": None, "seconds": 0.0}
        return CellResult(cell, "0", "passed", artifact=artifact, **given, **rest)

    monkeypatch.setattr(zoo, "run_cell", cell_result)
    sizes = []
    monkeypatch.setattr(settled, "settle", lambda _, size, **__: sizes.append(size))
    result = zoo.bench_zoo(
        [NAME],
        targets=["onnx", "executorch"],
        precisions=["fp16", "int8", "palette4"],
        calibration=tmp_path,
        calibration_size=7,
        input_size=(64, 96),
    )
    assert sizes == [(64, 96)]
    assert {row.result.cell.input_size for row in result.rows} == {"64x96"}
    assert [row.result.cell.calibration_size for row in result.rows] == [None, 7] * 2
    found = [(row.result.cell.precision, row.result.cell.calibration, row.quantized_share) for row in result.rows]
    assert found == [("fp16", None, None), ("int8", str(tmp_path), 0.97)] * 2
    assert [*result.rates] == ["onnx-fp16", "onnx-int8", "executorch-xnnpack-fp16", "executorch-xnnpack-int8"]
    for given, problem in [
        ({"precisions": ["int8"]}, "requires calibration photos"),
        ({"precisions": ["int3"]}, "no precision named int3"),
        ({"calibration": tmp_path}, "calibration"),
        ({"targets": ["executorch"], "precisions": ["palette4"]}, "None of executorch has palette4"),
    ]:
        with pytest.raises(UsageError, match=problem):
            zoo.bench_zoo([NAME], **given)


def test_a_folder_of_transformers_with_a_configuration_alone_gets_settled_weights(tmp_path: Path) -> None:
    config = {"model_type": "mobilevit", "image_size": 32, "hidden_sizes": [16, 16, 16], "num_hidden_layers": 1}
    config |= {"architectures": ["MobileViTForImageClassification"], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 8]}
    folder = tmp_path / "mobilevit"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    weights = tmp_path / "settled.safetensors"
    assert zoo._settled(f"hf:{folder}", weights, None, {}) == str(weights)
    assert weights.stat().st_size > 1000
    assert zoo._settled(f"{folder}/net.py:build", weights, None, {}) is None


def test_architectures_of_this_project_get_settled_weights_of_the_options_and_a_tag_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[tuple[str, bool, tuple[str, ...]]] = []

    def cell_result(cell: Cell, folder: Path, **_: object) -> CellResult:
        if cell.checkpoint is not None:
            loaded = load_model(cell.model, checkpoint=cell.checkpoint, options={"head": "semantic_fpn"})
            bias = loaded.module.get_parameter("neck.lateral_convs.0.conv.bias")
            assert loaded.num_classes == 7
            assert not torch.allclose(bias, torch.full_like(bias, float(bias[0])))
        given.append((cell.model, cell.random_weights, cell.options))
        failed = {"exit_code": 3, "code": "x", "message": "x", "hint": None, "command": None, "artifact": None}
        return CellResult(cell, "0", "error", profile=None, evaluation=None, seconds=0.0, **failed)

    monkeypatch.setattr(zoo, "run_cell", cell_result)
    options = ("head=semantic_fpn", "num_classes=7")
    zoo.bench_zoo(["care_s0", "care_s0.imagenette"], targets="onnx", input_size=32, options=options)
    assert given == [("care_s0", False, options), ("care_s0.imagenette", False, options)]
    with pytest.raises(UsageError, match="is not a model option"):
        zoo.bench_zoo(["care_s0"], options="head")
