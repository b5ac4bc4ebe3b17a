from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.matrix.cell import Cell
from mobilevit_tools.sweeping.expand import MAX_CELLS, expand
from mobilevit_tools.sweeping.plan import Plan, read_plan
from mobilevit_tools.targets.registry import host_targets
from tests.docs.pages import ROOT, blocks

MODEL = {"name": "care_s0.imagenette"}


def plan(**changes: object) -> Plan:
    return Plan.model_validate({"models": [MODEL], "targets": ["onnx"], **changes})


def refusal(base: Path, **changes: object) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        expand(plan(**changes), base)
    return caught.value


def test_everything_with_everything_in_order(tmp_path: Path) -> None:
    models = [MODEL, {"name": "care_s1", "random_weights": True}]
    wanted = plan(models=models, targets=["onnx", "executorch"], precisions=["fp32", "fp16"], devices=["none", "count"])
    assert [cell.name for cell in expand(wanted, tmp_path)] == [
        f"{model}/{target}/{precision}{device}"
        for model in ("care_s0.imagenette", "care_s1")
        for target in ("onnx", "executorch-xnnpack")
        for precision in ("fp32", "fp16")
        for device in ("", "@count")
    ]


def test_a_model_with_all_its_settings(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "best.pth").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "labelled").mkdir()
    (tmp_path / "names.txt").touch()
    entry = {
        "name": "care_s1",
        "checkpoint": "weights/best.pth",
        "num_classes": 7,
        "labels": "names.txt",
        "input_size": 192,
        "mean": [0.5, 0.4, 0.3],
        "std": 0.25,
        "options": {"qk_norm": True, "depth": 3},
    }
    (cell,) = expand(
        plan(
            models=[entry],
            targets=["executorch-xnnpack"],
            precisions=["int8"],
            devices=["host"],
            calibration="photos",
            calibration_size=20,
            eval="labelled",
            threads=2,
            rigor="default",
        ),
        tmp_path,
    )
    assert cell == Cell(
        model="care_s1",
        target="executorch",
        precision="int8",
        backend="xnnpack",
        device="host",
        checkpoint=str(tmp_path / "weights/best.pth"),
        num_classes=7,
        labels=str(tmp_path / "names.txt"),
        input_size="192",
        mean="0.5,0.4,0.3",
        std="0.25",
        options=("qk_norm=true", "depth=3"),
        calibration=str(tmp_path / "photos"),
        calibration_size=20,
        eval_data=str(tmp_path / "labelled"),
        threads=2,
        rigor="default",
    )


def test_the_class_order_goes_to_every_cell_with_labelled_photos(tmp_path: Path) -> None:
    (tmp_path / "labelled").mkdir()
    (cell,) = expand(plan(eval="labelled", class_order="natural"), tmp_path)
    (command,) = (each for each in cell.commands(tmp_path) if each[0] == "eval")
    assert command[command.index("--class-order") + 1] == "natural"
    with pytest.raises(BadInputError, match="class_order: --class-order requires labelled photos"):
        expand(plan(class_order="natural"), tmp_path)


def test_a_cell_depends_on_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    plain = expand(plan(), tmp_path)
    assert (
        expand(plan(calibration="photos", calibration_size=7, threads=4, rigor="mlperf", timeout=1), tmp_path) == plain
    )


def test_an_own_model_is_found_from_the_plan(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "mine.py").touch()
    (cell,) = expand(plan(models=[{"name": "nets/mine.py:build", "random_weights": True}]), tmp_path)
    assert cell.model == f"{tmp_path}/nets/mine.py:build"


def test_addresses_of_the_hub_stay_as_they_are(tmp_path: Path) -> None:
    (cell,) = expand(plan(models=[{"name": "care_s1", "checkpoint": "hf://owner/repo/s1.pth"}]), tmp_path)
    assert cell.checkpoint == "hf://owner/repo/s1.pth"


def test_rules_leave_out_what_matches_all_their_patterns(tmp_path: Path) -> None:
    models = [MODEL, {"name": "care_s1", "random_weights": True}]
    wanted = plan(
        models=models,
        targets=["onnx", "executorch", "executorch-portable"],
        precisions=["fp32", "dynamic-int8"],
        devices=["none", "count"],
        exclude=[
            {"target": "executorch-portable", "precision": "dynamic*"},
            {"model": "care_s1", "target": "executorch"},
            {"device": "none", "target": ["coreml", "onnx"]},
        ],
    )
    assert [cell.name for cell in expand(wanted, tmp_path)] == [
        "care_s0.imagenette/onnx/fp32@count",
        "care_s0.imagenette/onnx/dynamic-int8@count",
        "care_s0.imagenette/executorch-xnnpack/fp32",
        "care_s0.imagenette/executorch-xnnpack/fp32@count",
        "care_s0.imagenette/executorch-xnnpack/dynamic-int8",
        "care_s0.imagenette/executorch-xnnpack/dynamic-int8@count",
        "care_s0.imagenette/executorch-portable/fp32",
        "care_s0.imagenette/executorch-portable/fp32@count",
        "care_s1/onnx/fp32@count",
        "care_s1/onnx/dynamic-int8@count",
    ]


def test_what_cannot_be_is_refused_before_anything_runs(tmp_path: Path) -> None:
    impossible = {
        "targets": ["onnx", "coreml"],
        "precisions": ["fp32", "palette6", "int8"],
        "devices": ["none", "count"],
    }
    error = refusal(tmp_path, **impossible)
    assert error.code == "bad_input"
    assert error.error_code == "impossible_cells"
    for reason in (
        "onnx has no precision named 'palette6'.",
        "int8 needs photos, and there is no key calibration.",
        "coreml artifacts do not run on count.",
    ):
        assert error.message.count(reason) == 1
    rules = [
        {"target": "onnx", "precision": "palette6"},
        {"precision": "int8"},
        {"target": "coreml", "device": "count"},
    ]
    assert len(expand(plan(**impossible, exclude=rules), tmp_path)) == 4


def test_the_rules_that_a_refusal_proposes_are_enough(tmp_path: Path) -> None:
    import tomllib

    impossible = {"targets": ["onnx", "coreml"], "precisions": ["fp32", "palette6"], "devices": ["none", "count"]}
    error = refusal(tmp_path, **impossible)
    assert error.hint is not None
    proposed = tomllib.loads(error.hint.partition("of the plan: ")[2])
    names = [cell.name.partition("/")[2] for cell in expand(plan(**impossible, **proposed), tmp_path)]
    assert names == ["onnx/fp32", "onnx/fp32@count", "coreml/fp32", "coreml/palette6"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targets": ["onxx"]}, "targets[0]: There is no target named 'onxx'."),
        ({"targets": ["onnx-cpu"]}, "targets[0]: onnx has no backend named 'cpu'."),
        ({"precisions": ["fp32", "int9"]}, "precisions[1]: there is no precision named 'int9'."),
        ({"devices": ["none", "hosst"]}, "devices[1]: There is no device 'hosst'."),
        ({"devices": ["ssh:board"]}, "devices[0]: "),
        ({"devices": ["adb", "adb:X"]}, "devices: 'adb' and 'adb:X' may be the same device."),
        ({"devices": ["count"], "threads": 2}, "count counts with 1 thread, not 2."),
        ({"rigor": "slow"}, "rigor: there is no rigor 'slow'."),
        ({"calibration": "nowhere"}, "calibration: there is nothing at "),
        ({"eval": "nowhere"}, "eval: there is nothing at "),
        ({"exclude": [{"target": "onnx", "precision": "fp16"}]}, "exclude[0] matches no cell."),
        ({"exclude": [{}]}, "exclude[0] matches no cell."),
        ({"exclude": [{"target": "onnx"}]}, "The plan excludes every cell."),
        (
            {"targets": ["executorch", "executorch-xnnpack"]},
            "models[0] repeats care_s0.imagenette/executorch-xnnpack/fp32",
        ),
        ({"models": [MODEL, MODEL]}, "models[1] repeats care_s0.imagenette/onnx/fp32."),
        ({"models": [{"name": "care_s9"}]}, "models[0].name: There is no model named 'care_s9'."),
        ({"models": [{"name": "care_s0.imagenet"}]}, "models[0].name: There is no model named 'care_s0.imagenet'."),
        ({"models": [{"name": "care_s0"}]}, "models[0]: care_s0 needs exactly one source of weights."),
        ({"models": [MODEL | {"random_weights": True}]}, "models[0]: care_s0.imagenette needs exactly one source"),
        ({"models": [{"name": "care_s0", "checkpoint": "no.pth"}]}, "models[0].checkpoint: there is nothing at "),
        ({"models": [{"name": "no.py:build", "random_weights": True}]}, "models[0].name: there is nothing at "),
        (
            {"models": [MODEL | {"options": {"not a name": 1}}]},
            "models[0].options: 'not a name=1' is not a model option.",
        ),
        ({"models": [MODEL | {"labels": "no.txt"}]}, "models[0].labels: there is nothing at "),
        ({"models": [MODEL | {"mean": 127.5}]}, "models[0].mean: '127.5' is not a mean of pixels from 0 to 1."),
        ({"models": [MODEL | {"std": [0.5, 0.5]}]}, "models[0].std: '0.5,0.5' is not a standard deviation of"),
        ({"models": [MODEL | {"input_size": "huge"}]}, "models[0].input_size: 'huge' is not an input size."),
        ({"models": [MODEL | {"input_size": "1x2x3"}]}, "models[0].input_size: '1x2x3' is not an input size."),
        ({"models": [MODEL | {"input_size": 0}]}, "models[0].input_size: '0' is not an input size."),
        ({"models": [MODEL | {"input_size": -5}]}, "models[0].input_size: '-5' is not an input size."),
    ],
)
def test_what_does_not_exist_is_named_by_its_key(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    assert refusal(tmp_path, **changes).message.startswith(("The plan contains unsupported cells", said))
    assert said in refusal(tmp_path, **changes).message


def test_a_usage_error_within_a_plan_is_the_plan_s(tmp_path: Path) -> None:
    error = refusal(tmp_path, models=[MODEL | {"input_size": "huge"}])
    assert (error.exit_code, error.error_code) == (3, "bad_plan")
    assert refusal(tmp_path, targets=["onxx"]).error_code == "unknown_target"


@pytest.mark.skipif("coreml" in host_targets(), reason="this system has a runtime with times for Core ML")
def test_core_ml_has_no_latency_here(tmp_path: Path) -> None:
    assert "coreml artifacts do not run on host." in refusal(tmp_path, targets=["coreml"], devices=["host"]).message


def test_a_plan_has_an_end(tmp_path: Path) -> None:
    many = [MODEL | {"options": {f"o{number}": 1}} for number in range(MAX_CELLS)]
    assert len(expand(plan(models=many[:50]), tmp_path)) == 50
    message = refusal(tmp_path, models=many, targets=["onnx", "coreml"]).message
    assert message == f"The plan has more than {MAX_CELLS} cells."


def test_two_entries_of_a_model_are_two_cells(tmp_path: Path) -> None:
    models = [MODEL, MODEL | {"input_size": "192x256"}]
    first, second = expand(plan(models=models), tmp_path)
    assert second == replace(first, input_size="192x256")


def test_the_plan_that_the_docs_show(tmp_path: Path) -> None:
    (shown,) = [block.code for block in blocks(ROOT / "docs" / "how-to" / "sweep.md") if block.language == "toml"]
    (tmp_path / "sweep.toml").write_text(shown)
    for folder in ("photos", "imagenette/val", "runs/s1", "nets"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("runs/s1/best.pth", "runs/mine.pth", "nets/mine.py", "classes.txt"):
        (tmp_path / file).touch()
    cells = expand(read_plan(tmp_path / "sweep.toml"), tmp_path)
    assert len(cells) == 3 * 4 * 3 * 4 - 3 * 3 * 3 - 3 * 4 - (3 * 4 - 3)
    assert {cell.device for cell in cells if cell.target == "coreml"} == {None}


def test_too_many_cells_are_counted_before_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilevit_tools.sweeping.expand.product", lambda *_: pytest.fail("the cells were made"))
    many = dict.fromkeys(("targets", "precisions", "devices"), ["onnx"] * 10_000)
    assert "more than" in refusal(tmp_path, **many).message
