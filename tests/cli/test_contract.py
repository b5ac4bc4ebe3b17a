"""What scripts rely on: exit codes, the JSON envelope, and a command that starts at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mobilevit_tools.errors import ExitCode
from tests.cli.conftest import Ran

Mvt = Callable[..., Ran]
HEAVY = ("torch", "coremltools", "onnx", "onnxruntime", "executorch", "numpy")


def test_exit_codes_are_the_documented_ones() -> None:
    documented = {"OK": 0, "INTERNAL": 1, "USAGE": 2, "BAD_INPUT": 3, "GATE_FAILED": 4, "MISSING_DEPENDENCY": 5}
    assert {code.name: int(code) for code in ExitCode} == {**documented, "DEVICE_FAILED": 6, "INTERRUPTED": 130}


@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["export", "--help"]])
def test_cheap_commands_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from mobilevit_tools.cli import main; code = main(sys.argv[1:]); "
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "LOADED []"


def test_the_envelope_of_a_result(mvt: Mvt) -> None:
    ran = mvt("models", "care*", "--json")
    assert ran.code == 0
    assert ran.envelope["schema"] == 1
    assert ran.envelope["command"] == "models"
    assert ran.envelope["status"] == "ok"
    first = ran.envelope["result"]["models"][0]
    assert {"name", "family", "params", "macs", "input_size", "weights", "reconstruction"} <= set(first)


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["models", "zzz"], 3, "unknown_model"),
        (["info", "care_s9"], 3, "unknown_model"),
        (["export", "care_s0"], 2, "no_weights"),
        (["export", "care_s0.imagenette", "--no-ema"], 2, "ema_without_checkpoint"),
        (["export", "care_s0", "--random-weights", "--ema"], 2, "ema_without_checkpoint"),
        (["export", "care_s0.imagenette", "--target", "onxx"], 2, "unknown_target"),
        (["export", "care_s0.imagenette", "-t", "all", "-t", "onxx"], 2, "unknown_target"),
        (["export", "care_s0.imagenette", "--input-size", "100"], 3, "input_size"),
        (["export", "care_s0.imagenette", "--input-size", "big"], 2, "usage"),
        (["export", "care_s0", "--checkpoint", "nowhere.pth"], 3, None),
        (["verify", "nowhere.onnx"], 3, "no_such_artifact"),
        (["verify", "README.md"], 3, "no_such_artifact"),
        (["profile", "nowhere.pte"], 3, "no_such_artifact"),
        (["predict", "nowhere.onnx", "x.jpg"], 3, "no_such_artifact"),
        (["verify", "--no-such-option"], 2, "usage"),
        (["no-such-verb"], 2, "usage"),
    ],
)
def test_errors_have_an_envelope_and_an_exit_code(mvt: Mvt, arguments: list[str], code: int, name: str | None) -> None:
    ran = mvt(*arguments, "--json")
    assert ran.code == code
    assert ran.envelope["status"] == "error"
    assert name is None or ran.envelope["error"]["code"] == name
    assert ran.envelope["error"]["message"].endswith((".", "?")) or name == "usage"
    assert "Traceback" not in ran.err


def test_errors_for_people_are_a_sentence_and_a_hint(mvt: Mvt) -> None:
    ran = mvt("info", "care_s9")
    assert ran.out == ""
    assert ran.err.splitlines()[0] == "error: There is no model named 'care_s9'."
    assert ran.err.splitlines()[1].startswith("hint: Did you mean care_s")


def test_the_libraries_stay_silent(exported: Path) -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "mobilevit_tools",
            "verify",
            str(exported / "executorch-xnnpack-fp32/model.pte"),
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout)["result"]["parity"]["status"] == "passed"
    assert ran.stderr == ""
