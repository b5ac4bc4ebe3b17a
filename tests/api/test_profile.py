"""What a manifest adds to a measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mobilevit_tools.api.profile import compare, profile
from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.errors import BadInputError, GateError
from mobilevit_tools.models.names import resolve
from mobilevit_tools.profiling.result import ComparisonResult, ProfileResult
from mobilevit_tools.profiling.statistics import Comparison
from tests.profiling.test_baseline import COUNTED


def measured(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, sha256: str | None = None) -> Path:
    """Write an artifact; its manifest names a model and, by default, its own digest."""
    path = folder / "model.onnx"
    path.write_bytes(b"weights")
    stated = SimpleNamespace(sha256=sha256 or describe_artifact(path).sha256)
    manifest = SimpleNamespace(artifact=stated, model=SimpleNamespace(name=name, params=7, macs=9))
    result = replace(COUNTED, artifact=path)
    monkeypatch.setattr("mobilevit_tools.artifacts.artifact.find_manifest", lambda _path: manifest)
    monkeypatch.setattr("mobilevit_tools.api.profile.profile_on_host", lambda *_, **__: result)
    monkeypatch.setattr("mobilevit_tools.api.profile.profile_on_device", lambda _, paths, **__: (result,) * len(paths))
    both = ComparisonResult(result, result, Comparison("no difference", 1.0, None, 1))
    monkeypatch.setattr("mobilevit_tools.api.profile.compare_on_host", lambda *_, **__: both)
    return path


@pytest.mark.parametrize("device", ["host", "count"])
def test_a_measurement_says_of_which_bytes_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str) -> None:
    path = measured(monkeypatch, tmp_path, "care_s0")
    digest = describe_artifact(path).sha256
    assert profile(path, device=device).sha256 == digest
    compared = compare(path, path, device=device)
    assert compared.a.sha256 == compared.b.sha256 == digest


def test_a_manifest_of_other_bytes_says_nothing_of_these(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = profile(measured(monkeypatch, tmp_path, "care_s0", sha256="ab" * 32))
    assert (result.params, result.macs, result.published_ms) == (None, None, {})


@pytest.mark.parametrize("name", ["care_s0", "care_s0.imagenette", "care_s0.v2", "net.py:build"])
def test_what_others_published_goes_by_the_architecture_whatever_the_tag(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    result = profile(measured(monkeypatch, tmp_path, name))
    assert (result.params, result.macs) == (7, 9)
    known = resolve("care_s0")[0].published.latency_ms
    assert known
    assert result.published_ms == (known if name.startswith("care_s0") else {})


@pytest.mark.parametrize("stored", [True, False], ids=["file", "result"])
def test_a_baseline_is_compared_with_by_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, stored: bool
) -> None:
    path = measured(monkeypatch, tmp_path, "care_s0")
    before = replace(profile(path), instructions=970_000)  # today's are 1 000 000
    against = before
    if stored:
        against = tmp_path / "before.json"
        against.write_text(before.to_json())
    fine = profile(path, against=against, max_regress=0.04).regression
    assert fine is not None
    assert (fine.regressed, fine.exact, fine.allowed) == (False, True, 1.04)
    with pytest.raises(GateError, match=r"regressed: its instructions are 1\.0309 times the baseline's") as caught:
        profile(path, against=against)
    assert isinstance(caught.value.result, ProfileResult)
    assert caught.value.result.regression.regressed


def test_what_is_no_measurement_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = measured(monkeypatch, tmp_path, "care_s0")
    monkeypatch.setattr("mobilevit_tools.api.profile.profile_on_host", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(BadInputError, match=r"there.json cannot be read"):
        profile(path, against=tmp_path / "there.json")
