"""The packages of an optional target are an extra: without them it is told of, and in the way of nothing."""

from __future__ import annotations

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import mobilevit_tools
from mobilevit_tools.api import doctor
from mobilevit_tools.errors import ExitCode, MissingDependencyError, UsageError
from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.targets.registry import TARGETS
from tests.cli.conftest import Ran, mvt  # noqa: F401
from tests.conftest import SMALL

ROOT = Path(__file__).parents[2]
OPTIONAL = {name: target for name, target in TARGETS.items() if target.extra is not None}
COMMANDS = {name: f"pip install 'mobilevit-tools[{target.extra}]'" for name, target in OPTIONAL.items()}

pytestmark = pytest.mark.parametrize("name", OPTIONAL)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without any extra, whatever is here."""
    modules = {module for target in OPTIONAL.values() for module in (*target.exporting, target.running)}
    packages = {package.name for target in OPTIONAL.values() for package in target.packages}

    def found(name: str) -> object:
        return None if name in modules else find_spec(name)

    for module in ("targets._base", "exporters._base", "runtimes.registry"):
        monkeypatch.setattr(f"mobilevit_tools.{module}.find_spec", found)
    honest = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in packages else honest(name))


def test_its_pins_are_those_of_the_extra(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"][OPTIONAL[name].extra]
    assert {f"{package.name}=={package.tested[0]}" for package in OPTIONAL[name].packages} == set(extra)


def test_make_test_targets_runs_its_tests(name: str) -> None:
    (targets,) = re.findall(r"^TARGETS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert name in targets.split()
    assert OPTIONAL[name].extra == name
    for folder in ("exporters", "runtimes", "comparison"):
        assert (ROOT / "tests" / folder / f"test_{name}.py").is_file()


def test_its_pins_are_those_that_it_is_tested_with(name: str) -> None:
    own = ROOT / f"constraints-{name}.txt"
    constraints = (own if own.is_file() else ROOT / "constraints.txt").read_text().splitlines()
    assert {f"{package.name}=={package.tested[0]}" for package in OPTIONAL[name].packages} <= set(constraints)


def test_without_the_extra_an_export_is_refused_with_the_command(name: str, without: None, tmp_path: Path) -> None:
    needed = OPTIONAL[name].exporting[0]
    with pytest.raises(MissingDependencyError, match=f"Exporting to {name} needs {needed}") as caught:
        mobilevit_tools.export(SMALL, random_weights=True, targets=name, output=tmp_path)
    assert (caught.value.exit_code, caught.value.hint) == (ExitCode.MISSING_DEPENDENCY, COMMANDS[name])
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_an_artifact_is_refused_with_the_command(name: str, without: None, tmp_path: Path) -> None:
    target = OPTIONAL[name]
    artifact = tmp_path / f"model{target.suffix}"
    artifact.mkdir() if target.suffix in target.folders else artifact.touch()
    with pytest.raises(
        MissingDependencyError, match=f"Running {target.suffix} artifacts needs {target.running}"
    ) as error:
        open_session(artifact)
    assert error.value.hint == COMMANDS[name]


def test_doctor_says_what_to_type_and_is_content(name: str, without: None) -> None:
    result = doctor.doctor()
    checks = {check.name: check for check in result.checks}
    packages = [package.name for package in OPTIONAL[name].packages]
    assert not {*packages, name} & set(result.broken)
    for each in (*packages, f"--target {name}"):
        assert (checks[each].status, checks[each].remedy) == ("missing", COMMANDS[name])
    assert checks["--target onnx"].status == "ok"


def test_target_help_needs_no_model_and_says_what_to_type(name: str, without: None, mvt) -> None:  # noqa: F811
    ran: Ran = mvt("export", "--target", "help")
    assert ran.code == 0
    assert f"{name} needs {OPTIONAL[name].exporting[0]}: {COMMANDS[name]}" in " ".join(ran.out.split())
    assert "onnx needs" not in ran.out


def test_a_precision_that_it_lacks_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has no precision named 'palette4'"):
        mobilevit_tools.export(SMALL, random_weights=True, targets=name, precision="palette4")
