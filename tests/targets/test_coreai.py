"""Core AI's packages are an extra: without them it is told of, and in the way of nothing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import mobilevit_tools
from mobilevit_tools.api import doctor
from mobilevit_tools.errors import ExitCode, MissingDependencyError, UsageError
from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.targets.coreai import TARGET
from tests.cli.conftest import Ran, mvt  # noqa: F401
from tests.conftest import SMALL

COMMAND = "pip install 'mobilevit-tools[coreai]'"


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra, whatever is here."""

    def found(name: str) -> object:
        return None if name.startswith("coreai") else find_spec(name)

    for module in ("targets._base", "exporters._base", "runtimes.registry"):
        monkeypatch.setattr(f"mobilevit_tools.{module}.find_spec", found)
    honest = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name.startswith("coreai") else honest(name))


def test_its_pins_are_those_of_the_extra() -> None:
    extra = (Path(__file__).parents[2] / "pyproject.toml").read_text().partition("\ncoreai = ")[2].partition("\n")[0]
    assert {f"{package.name}=={package.tested[0]}" for package in TARGET.packages} == set(eval(extra))


def test_without_the_extra_an_export_is_refused_with_the_command(without: None, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="Exporting to coreai needs coreai_torch") as caught:
        mobilevit_tools.export(SMALL, random_weights=True, targets="coreai", output=tmp_path)
    assert (caught.value.exit_code, caught.value.hint) == (ExitCode.MISSING_DEPENDENCY, COMMAND)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_an_artifact_is_refused_with_the_command(without: None, tmp_path: Path) -> None:
    (tmp_path / "model.aimodel").mkdir()
    with pytest.raises(MissingDependencyError, match=r"Running \.aimodel artifacts needs coreai") as caught:
        open_session(tmp_path / "model.aimodel")
    assert caught.value.hint == COMMAND


def test_doctor_says_what_to_type_and_is_content(without: None) -> None:
    result = doctor.doctor()
    checks = {check.name: check for check in result.checks}
    assert not [name for name in result.broken if "coreai" in name]
    for name in ("coreai-torch", "coreai-core", "--target coreai"):
        assert (checks[name].status, checks[name].remedy) == ("missing", COMMAND)
    assert checks["--target onnx"].status == "ok"


def test_target_help_needs_no_model_and_says_what_to_type(without: None, mvt) -> None:  # noqa: F811
    ran: Ran = mvt("export", "--target", "help")
    assert ran.code == 0
    assert f"coreai needs coreai_torch: {COMMAND}" in ran.out
    assert "onnx needs" not in ran.out


def test_quantization_is_refused() -> None:
    with pytest.raises(UsageError, match="coreai has no precision named 'int8'"):
        mobilevit_tools.export(SMALL, random_weights=True, targets="coreai", precision="int8")
