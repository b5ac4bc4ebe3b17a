"""Shared defaults reach every command that has the option, give way to what is typed, and loosen no gate."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mobilevit_tools.api import export_bench
from mobilevit_tools.child import EXPLICIT, explicit
from mobilevit_tools.cli.app import commands
from mobilevit_tools.cli.defaults import LEAST, MOST, apply_defaults, read_defaults
from mobilevit_tools.cli.profile import MAX_REGRESS
from mobilevit_tools.cli.target_options import for_targets
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.matrix.baseline import Margins
from mobilevit_tools.quantization.share import LEAST_QUANTIZED
from tests.cli.conftest import Ran
from tests.conftest import SMALL


def settle(folder: Path, table: str, environment: Mapping[str, str] | None = None) -> dict[str, dict[str, object]]:
    (folder / "pyproject.toml").write_text(table)
    return apply_defaults(commands(), folder / "below", environment or {})


def test_a_commands_own_key_goes_before_the_general_one_and_variables_before_both(tmp_path: Path) -> None:
    table = '[tool.mvt]\ntarget = ["onnx"]\nrigor = "quick"\n[tool.mvt.export]\ntarget = ["coreml"]\n'
    found = settle(tmp_path, table)
    assert found["export"]["target"] == ["coreml"]
    assert found["smoke"]["target"] == ["onnx"]
    assert found["profile"] == {"rigor": "quick"}
    assert "models" not in found
    typed = {"MVT_EXPORT_TARGET": "executorch, onnx", "MVT_RIGOR": "mlperf", "MVT_OTHER": "1"}
    found = settle(tmp_path, table, typed)
    assert found["export"]["target"] == ["executorch", "onnx"]
    assert found["profile"] == {"rigor": "mlperf"}
    found = settle(tmp_path, '[tool.mvt.profile]\nrigor = "mlperf"\n', {"MVT_RIGOR": "quick"})
    assert found["profile"] == {"rigor": "quick"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[tool.mvt]\ntargett = 1", "Unknown key 'targett'"),
        ("[tool.mvt.models]\ntarget = 1", r"\[tool.mvt.models\]"),
        ("[tool.mvt]\nleast-quantized = 50", "cannot loosen a gate"),
        ('[tool.mvt]\nmax-regress = "3%"', "cannot loosen a gate"),
        ("[tool.mvt]\nmax-snr-loss = nan", "cannot loosen a gate"),
        ("[tool.mvt.smoke]\nmax-new-calls = 1", "cannot loosen a gate"),
        ('[tool.mvt]\nleast-quantized = "most"', "not a number"),
        ("[tool.mvt.export]\nrandom-weights = true", "cannot have a shared default"),
        ('[tool.mvt]\nrigor = ["quick", "mlperf"]', "takes one value"),
        ("[tool.mvt.export.target]\na = 1", "takes no table"),
        ('[tool.mvt]\ntarget = [["onnx"]]', "takes no table or nested list"),
        ('[tool.mvt.verify]\nprecision = "int8"', "cannot have a shared default"),
        ("[tool.mvt.sweep]\nallow-contention = true", "cannot have a shared default"),
    ],
)
def test_what_is_unknown_or_loose_is_refused(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settle(tmp_path, table)


@pytest.mark.parametrize("table", ["[tool", "tool = 1", "[tool]\nmvt = 3"])
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, table: str) -> None:
    with pytest.raises(BadInputError):
        settle(tmp_path, table)


def test_the_limits_are_those_of_the_options() -> None:
    margins = Margins()
    assert LEAST == {"least-quantized": LEAST_QUANTIZED}
    assert [MOST[f"max-{name}"] for name in ("size-growth", "snr-loss", "new-calls", "new-outside")] == [
        margins.size,
        margins.snr_db,
        margins.calls,
        margins.outside,
    ]
    assert MOST["max-instruction-growth"] == margins.instructions
    assert MOST["max-regress"] == float(MAX_REGRESS.rstrip("%")) / 100


def test_a_target_that_lacks_the_option_is_left_alone(tmp_path: Path) -> None:
    settle(tmp_path, '[tool.mvt]\ndeployment-target = "iOS18"\n')
    given = {"deployment_target": "iOS18", "opset": None}
    assert for_targets(given, ["onnx"]) == {"opset": None}
    assert for_targets(given, ["coreml"]) == given
    assert for_targets(given | {"deployment_target": "iOS17"}, ["onnx"])["deployment_target"] == "iOS17"
    settle(tmp_path, "", {"MVT_OPSET": "18", "MVT_DYNAMIC_BATCH": "true"})  # which the parser makes numbers of
    assert for_targets({"opset": 18, "dynamic_batch": True}, ["coreml"]) == {}


def test_the_precision_of_exports_is_no_gate_of_verify(tmp_path: Path) -> None:
    found = settle(tmp_path, '[tool.mvt]\nprecision = "int8"\n')
    assert found["export"] == {"precision": "int8"}
    assert "verify" not in found
    with pytest.raises(UsageError, match="cannot have a shared default"):
        settle(tmp_path, "", {"MVT_VERIFY_PRECISION": "int8"})


def test_a_bound_holds_where_what_it_bounds_is_asked_for(tmp_path: Path) -> None:
    table = (
        '[tool.mvt]\nmax-regress = "1%"\nmax-snr-loss = 3\nleast-quantized = 95\ncalibration-size = 50\n'
        "[tool.mvt.smoke]\ncalibration-size = 60"
    )
    (tmp_path / "pyproject.toml").write_text(table)

    def found(*typed: str, environment: Mapping[str, str] | None = None) -> dict[str, dict[str, object]]:
        return apply_defaults(commands(), tmp_path, environment or {}, typed)

    assert not any(found("profile", "a.onnx").values())
    assert found("profile", "a.onnx", "--against", "b.json")["profile"] == {"max_regress": "1%"}
    assert found("smoke", "care_s0", "--baseline=b.json")["smoke"] == {"max_snr_loss": 3}
    assert found("smoke", "--precision", "fp32", "--precision", "int8")["smoke"] == {"calibration_size": 60}
    assert found("export", "care_s0", "--precision", "int8-weight")["export"] == {"least_quantized": 95}
    both = {"least_quantized": 95, "calibration_size": 50}
    assert found("export", "care_s0", "--precision=int8")["export"] == both
    assert found(environment={"MVT_EXPORT_PRECISION": "int8"})["export"] == {"precision": "int8", **both}


def test_a_misspelt_variable_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    for misspelt, meant in (("MVT_TARGT", "MVT_TARGET"), ("MVT_EXPORT_PRECISON", "MVT_EXPORT_PRECISION")):
        with pytest.raises(UsageError, match=misspelt) as caught:
            settle(tmp_path, "", {misspelt: "1"})
        assert f"Did you mean {meant}?" in str(caught.value.hint)


def test_what_mvt_runs_itself_is_told_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mobilevit_tools.matrix import run as cells

    assert settle(tmp_path, '[tool.mvt]\nprecision = "int8"\n', explicit({})) == {}
    given = {}
    monkeypatch.setattr(cells, "run", lambda _command, **rest: given.update(rest["env"]))
    cells._mvt(["export", "care_s0"], tmp_path, 1.0)
    assert given[EXPLICIT]
    assert export_bench._environment("other")[EXPLICIT]
    assert export_bench._environment(export_bench.sys.executable)[EXPLICIT]


def test_help_needs_none_and_errors_are_of_their_command(
    mvt: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pyproject.toml").write_text("[tool")
    assert mvt("--help").code == mvt("--version").code == 0
    refused = mvt("export", "care_s0", "--json")
    assert (refused.code, refused.envelope["command"], refused.envelope["error"]["code"]) == (
        3,
        "export",
        "bad_defaults",
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert mvt("models", "--quiet").code == 0


def test_commands_use_them_and_doctor_shows_them(mvt: Callable[..., Ran]) -> None:
    Path("pyproject.toml").write_text('[tool.mvt]\ntarget = ["onxx"]\n')
    refused = mvt("export", "care_s0", "--random-weights", "--json")
    assert "no target named 'onxx'" in refused.envelope["error"]["message"]
    typed = mvt("export", "care_s0", "--random-weights", "--target", "coremll", "--json")
    assert "'coremll'" in typed.envelope["error"]["message"]
    (shown,) = mvt("doctor", "--json").envelope["result"]["defaults"]
    assert (shown["option"], shown["value"]) == ("target", ["onxx"])
    assert "default: --target onxx (" in mvt("doctor").out
    Path("pyproject.toml").write_text("[tool.mvt]\nleast-quantized = 1\n")
    assert mvt("models", "--json").envelope["error"]["code"] == "usage"
    assert mvt("doctor", "--json").envelope["error"]["code"] == "usage"


def test_our_own_variables_are_no_defaults() -> None:
    environment = {"MVT_SHARED": "/shared", "MVT_APPLE_TEAM": "ABC"}
    assert read_defaults(commands(), Path("/"), environment) == ()
    assert inspect.signature(read_defaults).parameters["environment"].default is not environment


def test_a_team_makes_gates_stricter_and_no_looser(
    mvt: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "pyproject.toml"
    wanted = ("export", SMALL, "--random-weights", "-t", "onnx", "--precision", "fp16")
    table.write_text('[tool.mvt]\ngate = ["fp16:snr=95"]\n')
    failed = mvt(*wanted, "--json", "--keep-failed")
    assert (failed.code, failed.envelope["error"]["code"]) == (4, "gate_failed")
    (artifact,) = tmp_path.glob("out/*/*/model.onnx")
    table.unlink()
    again = mvt("verify", artifact, "--json")
    assert (again.code, again.envelope["result"]["gate"]["snr_db"]) == (4, 95.0)  # the manifest states it
    table.write_text('[tool.mvt]\ngate = "fp16:snr=41"\n')
    assert mvt(*wanted, "--output", "other").code == 0
    assert {"option": "gate", "value": "fp16:snr=41"}.items() <= mvt("doctor", "--json").envelope["result"]["defaults"][
        0
    ].items()
    table.write_text('[tool.mvt]\ngate = ["fp32:snr=90", "fp16:snr=30"]\n')
    for command in (wanted, ("doctor",)):
        ran = mvt(*command)
        assert ran.code == 2
        assert "fp16:snr=30 is looser than mvt's own, 40" in ran.err
