"""``mvt report``, the way people call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.reporting.conftest import Desk, evaluation, manifest, profile

Mvt = Callable[..., Ran]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    artifact = desk.export(manifest())
    desk.envelope("profile", profile(artifact))
    desk.envelope("eval", evaluation(artifact))
    return desk


def test_real_artifacts(mvt: Mvt, exported: Path) -> None:
    ran = mvt("report", exported, "--json")
    assert ran.code == 0, ran.err
    assert ran.envelope["result"] == {
        "path": "report.html",
        "plots": [],
        "artifacts": 3,
        "failed": 0,
        "measurements": 0,
        "evaluations": 0,
        "failures": 0,
        "compared": 0,
        "worse": 0,
    }
    page = Path("report.html").read_text(encoding="utf-8")
    assert all(f"{target} fp32" in page for target in ("onnx", "coreml", "executorch-xnnpack"))


def test_artifacts_that_failed_their_gate_are_counted(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    written = json.loads((exported / "onnx-fp32" / "manifest.json").read_text())
    written["parity"]["status"] = "failed"
    (tmp_path / "manifest.json").write_text(json.dumps(written))
    ran = mvt("report", tmp_path, "--output", tmp_path / "report.html")
    assert ran.code == 0, ran.err
    assert "1 artifact (1 failed the gate)" in ran.out


def test_the_page_and_its_plots(mvt: Mvt, desk: Desk) -> None:
    ran = mvt("report", *desk.runs, "--output", "a/b.html", "--plots", "svg", "--json")
    assert ran.code == 0, ran.err
    result = ran.envelope["result"]
    assert (result["artifacts"], result["measurements"], result["evaluations"]) == (1, 1, 1)
    names = {Path(path).stem for path in result["plots"]}
    assert {"parity", "size", "latency-1", "tradeoff-1", "published-1"} <= names
    assert all(Path(path).read_text().startswith("<?xml") for path in result["plots"])
    assert list(Path("a").iterdir()) == [Path("a/b.html")]
    assert (Path("a/b.html").stat().st_mode & 0o777) == 0o644

    again = mvt("report", *desk.runs, "--output", "again.html", "--plots", "png", "--plot-format", "png")
    assert again.code == 0, again.err
    assert "wrote again.html" in again.out
    assert Path("again.html").read_bytes() == Path("a/b.html").read_bytes()
    assert {path.stem for path in Path("png").iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in Path("png").iterdir())


def test_nothing_is_overwritten_unasked(mvt: Mvt, desk: Desk) -> None:
    Path("report.html").write_text("mine")
    Path("plots").mkdir()
    Path("plots/size.svg").write_text("mine")
    Path("plots/other.svg").write_text("mine")
    ran = mvt("report", *desk.runs, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "exists")
    ran = mvt("report", *desk.runs, "--output", "other.html", "--plots", "plots", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "exists")
    assert Path("report.html").read_text() == "mine"
    assert not Path("other.html").exists()
    assert {path.name: path.read_text() for path in Path("plots").iterdir()} == {
        "size.svg": "mine",
        "other.svg": "mine",
    }
    assert mvt("report", *desk.runs, "--plots", "plots", "--overwrite").code == 0
    assert Path("plots/size.svg").read_text().startswith("<?xml")
    assert Path("plots/other.svg").read_text() == "mine"
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["nowhere"], 3, "no_such_run"),
        (["."], 3, "empty_run"),
        ([], 2, "usage"),
        (["{run}", "--plots", "p", "--plot-format", "gif"], 2, "usage"),
        (["{run}", "--plot-format", "png"], 2, "usage"),
        (["{run}", "--output", "."], 2, "usage"),
        (["{run}", "--plots", "file"], 3, "output"),
        (["{run}", "--output", "file/report.html"], 3, "output"),
    ],
)
def test_misuse(mvt: Mvt, desk: Desk, arguments: list[str], code: int, name: str) -> None:
    Path("file").write_text("")
    ran = mvt("report", *(argument.format(run=desk.runs[0]) for argument in arguments), "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (code, name)
    assert list(Path().iterdir()) == [Path("file")]


@pytest.mark.parametrize("name", ["ctrl\x01", "not-\udcff-utf8"])
def test_oddly_named_folders(mvt: Mvt, desk: Desk, name: str) -> None:
    desk.export(manifest(), name)
    ran = mvt("report", *desk.runs, "--plots", "plots", "--json")
    assert ran.code == 0, ran.out
    assert "\ufffd" in Path("report.html").read_text(encoding="utf-8")


def test_a_full_disk_leaves_nothing(mvt: Mvt, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    ran = mvt("report", *desk.runs, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (3, "output")
    assert list(Path().iterdir()) == []


def test_two_runs_stand_side_by_side(mvt: Mvt, desk: Desk, tmp_path: Path) -> None:
    later = Desk(tmp_path / "later")
    later.folder.mkdir()
    later.export(manifest(size_bytes=2000))
    ran = mvt("report", *later.runs, "--against", *desk.runs[:1], "--output", tmp_path / "both.html")
    assert ran.code == 0, ran.err
    assert "1 artifact compared, 1 of them worse" in ran.out
    assert "Compared with the earlier run" in (tmp_path / "both.html").read_text(encoding="utf-8")


def test_runs_with_nothing_in_common_are_told(mvt: Mvt, desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path / "other")
    other.folder.mkdir()
    other.export(manifest("another"))
    ran = mvt("report", *other.runs, "--against", *desk.runs[:1], "--output", tmp_path / "both.html")
    assert ran.code == 0
    assert "no artifact is in both runs" in ran.err
