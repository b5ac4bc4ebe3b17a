from __future__ import annotations

import random
from pathlib import Path

from mobilevit_tools.reporting.collection import Collection
from mobilevit_tools.reporting.evidence import Failure
from mobilevit_tools.reporting.intake import read_runs
from tests.found import judged
from tests.reporting.conftest import SHA256, Desk, evaluation, manifest, profile


def test_what_belongs_to_one_artifact_comes_together(desk: Desk) -> None:
    artifact = desk.export(manifest())
    desk.envelope("profile", profile(artifact))
    desk.envelope("eval", evaluation(artifact))
    (found,) = read_runs(desk.runs).artifacts
    assert (found.model, found.deployment, found.precision) == ("care_s0.imagenette", "onnx", "fp32")
    assert (len(found.profiles), len(found.evaluations), found.aliases) == (1, 1, ())


def test_a_run_that_was_copied_here_is_joined_by_the_names_that_export_gave(desk: Desk) -> None:
    desk.export(manifest())
    there = "/home/ci/out/model/onnx-fp32/model.onnx"
    desk.envelope("profile", profile(there))
    (found,) = read_runs(desk.runs).artifacts
    assert (len(found.profiles), found.aliases) == (1, (Path(there),))


def test_other_bytes_or_a_file_that_is_here_are_another_artifact(desk: Desk) -> None:
    desk.export(manifest())
    desk.envelope("profile", profile("/home/ci/out/model/onnx-fp32/model.onnx", size_bytes=77))
    assert len(read_runs(desk.runs).artifacts) == 2
    own = desk.folder / "elsewhere/model/onnx-fp32/model.onnx"
    own.parent.mkdir(parents=True)
    own.write_bytes(bytes(1000))
    desk.envelope("profile", profile(own))
    found = read_runs(desk.runs).artifacts
    assert [len(each.profiles) for each in found if each.path == own] == [1]


def test_a_copied_run_of_another_file_of_the_same_size_is_another_artifact(desk: Desk) -> None:
    desk.export(manifest())
    there = "/home/ci/out/model/onnx-fp32/model.onnx"
    desk.envelope("profile", profile(there, sha256="cd" * 32))
    desk.envelope("eval", evaluation(there, sha256="cd" * 32))
    found = read_runs(desk.runs).artifacts
    assert [(len(each.profiles), len(each.evaluations)) for each in found if each.manifest is None] == [(1, 1)]
    assert [(len(each.profiles), len(each.evaluations)) for each in found if each.manifest] == [(0, 0)]
    desk.envelope("profile", profile("/home/me/out/model/onnx-fp32/model.onnx", sha256=SHA256))
    assert [len(each.profiles) for each in read_runs(desk.runs).artifacts if each.manifest] == [1]


def test_two_candidates_are_not_guessed_between(desk: Desk) -> None:
    desk.export(manifest(), "one")
    desk.export(manifest(), "two")
    desk.envelope("profile", profile("/home/ci/out/model/onnx-fp32/model.onnx"))
    found = read_runs(desk.runs).artifacts
    assert sorted(len(each.profiles) for each in found) == [0, 0, 1]
    assert all(each.manifest is None for each in found if each.profiles)


def test_of_two_candidates_the_one_with_the_longer_common_path_is_meant(desk: Desk) -> None:
    desk.export(manifest(), "sweep/artifacts/one")
    desk.export(manifest(), "sweep/artifacts/two")
    desk.envelope("profile", profile("/home/ci/s/artifacts/two/model/onnx-fp32/model.onnx"))
    found = read_runs(desk.runs).artifacts
    assert {each.label: len(each.profiles) for each in found} == {"onnx fp32 (one)": 0, "onnx fp32 (two)": 1}


def test_labels_tell_artifacts_apart(desk: Desk) -> None:
    desk.export(manifest(), "one")
    desk.export(manifest(), "two")
    desk.export(manifest(precision="fp16"), "two/three")
    assert [each.label for each in read_runs(desk.runs).artifacts] == [
        "onnx fp16",
        "onnx fp32 (one)",
        "onnx fp32 (two)",
    ]
    desk.export(manifest("care_s1", "coreml"))
    labels = [each.label for each in read_runs(desk.runs).artifacts]
    assert labels[-1] == "care_s1 coreml fp32"
    assert labels[0] == "care_s0.imagenette onnx fp16"


def test_the_same_measurement_counts_once() -> None:
    collection = Collection()
    for _ in range(2):
        collection.add_profile(profile("m.onnx"))
        collection.add_evaluation(judged(artifact=Path("m.onnx")))
        collection.add_failure(Failure("cell", "crashed", "It crashed."))
    evidence = collection.evidence()
    assert len(evidence.artifacts[0].profiles) == len(evidence.artifacts[0].evaluations) == len(evidence.failures) == 1


def test_the_order_of_the_runs_changes_nothing(full: Desk) -> None:
    expected = read_runs(full.runs)
    for seed in range(3):
        shuffled = list(full.runs)
        random.Random(seed).shuffle(shuffled)
        assert read_runs(shuffled) == expected
