"""A manifest may come from anyone: one that cannot be meant is bad input, whatever is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mobilevit_tools.artifacts.manifest import find_manifest, read_manifest
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.reporting.intake import read_runs


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("spec", {"precision": "bogus"}, "no precision named 'bogus'"),
        ("spec", {"target": "onxx"}, "no target named 'onxx'"),
        ("spec", {"batch": "many"}, "spec.batch"),
        ("artifact", {"file": "../a/model.onnx"}, "outside of its folder"),
        ("contract", {"preprocessing": {"input_size": [60_000, 60_000]}}, "60000 x 60000 pixels"),
    ],
)
def test_a_field_that_cannot_be_meant_is_refused(
    exported: Path, tmp_path: Path, part: str, change: dict[str, Any], message: str
) -> None:
    written = json.loads((exported / "onnx-fp32" / "manifest.json").read_text())
    written[part] |= change
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(written))
    with pytest.raises(BadInputError, match=message) as refusal:
        read_manifest(path)
    assert str(path) in refusal.value.message
    assert refusal.value.error_code == "bad_manifest"


def test_the_manifest_of_a_web_app_is_none_of_an_artifact(exported: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "model.onnx"
    artifact.write_bytes((exported / "onnx-fp32" / "model.onnx").read_bytes())
    assert find_manifest(artifact) is None
    path = tmp_path / "manifest.json"
    path.write_text('{"name": "An app", "start_url": "/", "icons": []}')
    assert find_manifest(artifact) is None
    with pytest.raises(BadInputError, match="no manifest"):
        read_runs([tmp_path])
    path.write_text((exported / "onnx-fp32" / "manifest.json").read_text())
    assert find_manifest(artifact) is not None
    path.write_text('{"schema": 0, "artifact": {}}')
    with pytest.raises(BadInputError, match="has schema 0"):
        find_manifest(artifact)
    path.write_text('{"schema": 1')
    with pytest.raises(BadInputError, match="is not JSON"):
        find_manifest(artifact)
    path.write_text("[]")
    with pytest.raises(BadInputError, match="is not a manifest: it holds no object"):
        find_manifest(artifact)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '"\\ud800', "\x00"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"nested too deeply|is not JSON"):
        read_manifest(path)
