from __future__ import annotations

import json
from pathlib import Path

import pytest

from mobilevit_tools.comparison.subject import find_subject
from mobilevit_tools.errors import BadInputError
from tests.reporting.conftest import Desk, manifest


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return Desk(tmp_path).export(manifest())


def test_an_artifact_its_folder_and_its_manifest_are_one_subject(artifact: Path) -> None:
    by_file, by_folder, by_manifest = (
        find_subject(path) for path in (artifact, artifact.parent, artifact.parent / "manifest.json")
    )
    assert by_file.artifact == by_folder.artifact == by_manifest.artifact == artifact
    assert by_file.sha256 == by_folder.sha256 == by_manifest.sha256 != "ab" * 32
    assert by_file.manifest == by_folder.manifest == by_manifest.manifest
    assert by_file.manifest is not None


def test_a_manifest_alone_says_what_it_says(artifact: Path) -> None:
    artifact.unlink()
    found = find_subject(artifact.parent / "manifest.json")
    assert (found.artifact, found.sha256, found.size_bytes, found.target) == (None, "ab" * 32, 1000, "onnx")


def test_an_artifact_alone(artifact: Path) -> None:
    (artifact.parent / "manifest.json").unlink()
    found = find_subject(artifact)
    assert (found.manifest, found.target, found.size_bytes) == (None, "onnx", 1000)


@pytest.mark.parametrize("name", ["../secret.onnx", "/etc/passwd", "", "..", "manifest.json", "sub/model.onnx"])
def test_a_manifest_leads_nowhere_else(artifact: Path, name: str) -> None:
    path = artifact.parent / "manifest.json"
    raw = json.loads(path.read_text())
    raw["artifact"]["file"] = name
    path.write_text(json.dumps(raw))
    with pytest.raises(BadInputError, match="outside of its folder"):
        find_subject(path)


@pytest.mark.parametrize(
    ("name", "code"), [("nowhere.onnx", "no_such_artifact"), ("x.txt", "no_such_artifact"), ("", "no_manifest")]
)
def test_what_is_neither_is_bad_input(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        find_subject(tmp_path / name)
    assert caught.value.error_code == code
