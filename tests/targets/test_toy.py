"""A target of another package is a description, an exporter and a runtime; every verb knows it from then on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mobilevit_tools.data.bundled import verification_photos
from tests.conftest import SMALL
from tools.generate_reference import typers_page

TOY = Path(__file__).parent / "toy"
CALLS = """
import contextlib, io, json, sys
from mobilevit_tools.cli import main
for call in json.loads(sys.stdin.read()):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(call)
    print(json.dumps([code, out.getvalue()]))
"""
SWEEP = f"""
targets = ["toy"]
[[models]]
name = "{SMALL}"
random_weights = true
input_size = 32
"""


def installed() -> str:
    """Return the PYTHONPATH of a process that has the toy's package installed."""
    return os.pathsep.join([str(TOY), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])


def run(calls: list[list[str]], folder: Path) -> list[tuple[int, str]]:
    """Run commands one after the other in a process that has the toy's package installed."""
    done = subprocess.run(
        [sys.executable, "-c", CALLS],
        input=json.dumps(calls),
        env={**os.environ, "PYTHONPATH": installed(), "COLUMNS": "200"},
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return [(code, out) for code, out in map(json.loads, done.stdout.splitlines())]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("toy")
    (folder / "sweep.toml").write_text(SWEEP)
    artifact = f"out/{SMALL}/toy-fp32/model.toy"
    small = [SMALL, "--random-weights", "--input-size", "32"]
    calls = {
        "export": ["export", *small, "-t", "toy", "--flavour", "sweet", "--json"],
        "wrong option": ["export", *small, "-t", "onnx", "--flavour", "sweet", "--json"],
        "help": ["export", "--help"],
        "smoke's help": ["smoke", "--help"],
        "targets": ["export", "--target", "help"],
        "verify": ["verify", artifact, "--json"],
        "predict": ["predict", artifact, str(verification_photos()[0]), "--json"],
        "inspect": ["inspect", artifact, "--json"],
        "profile": ["profile", artifact, "--rigor", "quick", "--json"],
        "diff": ["diff", artifact, artifact, "--json"],
        "doctor": ["doctor", "--json"],
        "smoke": ["smoke", *small, "-t", "toy", "--json"],
        "sweep": ["sweep", "sweep.toml", "--output", "swept", "--json"],
        "report": ["report", "out", "--output", "report.html", "--json"],
    }
    found = dict(zip(calls, run(list(calls.values()), folder), strict=True))
    return {**found, "page": (0, (folder / "report.html").read_text(encoding="utf-8"))}


def result(ran: dict[str, tuple[int, str]], verb: str) -> Any:
    code, out = ran[verb]
    assert code == 0, out
    return json.loads(out)["result"]


def test_it_is_exported_with_its_own_option_and_verified(ran: dict[str, tuple[int, str]]) -> None:
    (artifact,) = result(ran, "export")["artifacts"]
    assert (artifact["target"], artifact["parity"]["status"]) == ("toy", "passed")
    assert result(ran, "verify")["parity"]["status"] == "passed"
    inspected = result(ran, "inspect")
    assert inspected["manifest"]["spec"]["options"] == {"flavour": "sweet"}
    assert inspected["metadata"] == {"flavour": "sweet"}
    assert inspected["operators"]["aten"] > 10


def test_its_option_is_on_the_command_line_and_is_its_own(ran: dict[str, tuple[int, str]]) -> None:
    code, out = ran["help"]
    assert code == 0
    assert "Toy: how it tastes." in " ".join(out.split())
    code, out = ran["wrong option"]
    assert code == 2
    assert json.loads(out)["error"]["message"] == "--flavour is not for onnx."
    assert json.loads(out)["error"]["hint"] == "Omit it; it is for toy."


def test_the_help_texts_have_it(ran: dict[str, tuple[int, str]]) -> None:
    said = {name: " ".join(ran[name][1].split()) for name in ("help", "smoke's help", "targets")}
    assert "toy: fp32." in said["help"]
    assert "toy." in said["smoke's help"]
    assert "toy .toy fp32 ready" in said["targets"]


def test_the_documentation_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", installed())
    page = typers_page()[1]["export"]
    assert "Toy: how it tastes." in page
    assert "toy: fp32." in page


def test_it_runs_in_every_verb(ran: dict[str, tuple[int, str]]) -> None:
    assert len(result(ran, "predict")["predictions"][0]["top"]) == 5
    assert result(ran, "profile")["target"] == "toy"
    assert result(ran, "profile")["latency_ms"]["p50"] > 0
    assert result(ran, "diff")["weights"]["same"] > 0
    checks = {check["name"]: check["status"] for check in result(ran, "doctor")["checks"]}
    assert (checks["--target toy"], checks["toy-target"]) == ("ok", "ok")
    (cell,) = result(ran, "smoke")["cells"]
    assert (cell["cell"]["target"], cell["status"]) == ("toy", "passed")
    assert result(ran, "sweep")["passed"] == 1
    assert ran["report"][0] == 0
    assert "toy" in ran["page"][1]
