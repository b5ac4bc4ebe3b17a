"""The GitHub Action's steps, run as a runner runs them, and the workflows that the docs show."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.conftest import SMALL
from tests.matrix import nets

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
TUTORIAL = ROOT / "docs" / "tutorials" / "export-checks-in-github-actions.md"
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@dataclass(frozen=True)
class Job:
    """What the steps of one run left behind."""

    code: int
    outputs: dict[str, str]
    summary: str
    log: str


class Runner:
    """The part of GitHub's runner that a composite action of ``run`` steps needs."""

    def __init__(self, folder: Path, action: Path, python: Path) -> None:
        self.workspace, self.temp, self.action = folder / "workspace", folder / "temp", action
        self.files = {name: folder / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")}
        self.summary = folder / "summary.md"
        self.workspace.mkdir()
        self.temp.mkdir()
        self.environment = {
            **{name: os.environ[name] for name in ("HOME", "OMP_NUM_THREADS", "OMP_WAIT_POLICY") if name in os.environ},
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_ACTIONS": "true",
            "CI": "true",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_ACTION_PATH": str(action),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(self.temp),
            **{name: str(path) for name, path in self.files.items()},
            # No network: what the action needs is in this environment already.
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
        }

    def run(self, name: str, inputs: Mapping[str, str]) -> Job:
        """Run the step of that name, with the action's defaults for inputs that are not given."""
        (step,) = (each for each in ACTION["runs"]["steps"] if each["name"] == name)
        assert step["shell"] == "bash"
        assert set(inputs) <= set(ACTION["inputs"])
        known = {key: declared["default"] for key, declared in ACTION["inputs"].items()} | dict(inputs)
        context = {f"inputs.{key}": value for key, value in known.items()} | {"github.action_path": str(self.action)}
        given = {key: EXPRESSION.sub(lambda found: context[found[1]], value) for key, value in step["env"].items()}
        for path in (*self.files.values(), self.summary):
            path.write_text("")
        script = self.temp / "step.sh"
        script.write_text(step["run"])
        ran = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script],
            cwd=self.workspace,
            env={**self.environment, **given},
            capture_output=True,
            text=True,
            check=False,
        )
        pairs = (line.split("=", 1) for line in self.files["GITHUB_OUTPUT"].read_text().splitlines())
        return Job(ran.returncode, dict(pairs), self.summary.read_text(), ran.stdout + ran.stderr)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A runner with a checkout of the action and a Python of its own, in which it is not installed yet.

    That Python sees the packages of this one beside its own, so that installing the action fetches nothing.
    """
    folder = tmp_path_factory.mktemp("runner")
    action = folder / "action"
    shutil.copytree(ROOT / "mobilevit_tools", action / "mobilevit_tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "action.yml"):
        shutil.copy(ROOT / name, action / name)
    venv.create(folder / "python", symlinks=True, with_pip=False)
    python = folder / "python" / "bin" / "python"
    paths = {"base": str(folder / "python"), "platbase": str(folder / "python")}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    site.joinpath("beside.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return Runner(folder, action, python)


@pytest.fixture(scope="module")
def installed(runner: Runner) -> Runner:
    """The runner after the step that installs."""
    job = runner.run("Install mobilevit-tools", {})
    assert job.code == 0, job.log
    return runner


def test_the_action_installs_what_was_checked_out(installed: Runner) -> None:
    program = "import mobilevit_tools; print(mobilevit_tools.__file__)"
    where = subprocess.run(
        ["python", "-P", "-c", program], env=installed.environment, capture_output=True, text=True, check=True
    )
    assert Path(where.stdout.strip()).is_relative_to(installed.workspace.parent / "python")


def test_devices_are_prepared(installed: Runner) -> None:
    job = installed.run("Prepare devices", {"device": "host count:"})
    assert job.code == 0, job.log
    assert job.log == "ready: count\n"
    assert installed.run("Prepare devices", {"device": "host"}).log == ""


@pytest.mark.thorough(twin="test_a_matrix_that_fails_and_inputs_that_mean_harm")
def test_a_matrix_that_passes(installed: Runner) -> None:
    job = installed.run("Export and verify", {"models": SMALL, "targets": "executorch", "random-weights": "true"})
    assert job.code == 0, job.log
    assert job.outputs["exit-code"] == "0"
    assert job.summary.startswith("## mvt smoke: all 1 cells passed\n")
    (cell,) = json.loads(Path(job.outputs["results"]).read_text())["result"]["cells"]
    assert (cell["status"], cell["cell"]["target"]) == ("passed", "executorch")
    delegation = cell["artifact"]["delegation"]
    assert (delegation["calls"], delegation["outside"]) == (1, {})
    assert len(ElementTree.parse(job.outputs["junit"]).findall(".//testcase")) == 1
    assert f"[1/1] {SMALL}/executorch/fp32: passed" in job.log


def test_a_matrix_that_fails_and_inputs_that_mean_harm(installed: Runner) -> None:
    (installed.workspace / "net.py").write_text(Path(nets.__file__).read_text())
    models = "net.py:crash\n  $(touch${IFS}harm);touch${IFS}harm\n"
    inputs = {"models": models, "targets": "onnx", "random-weights": "true", "baseline": ""}
    job = installed.run("Export and verify", inputs)
    assert job.code == 1
    assert job.outputs["exit-code"] == "1"
    assert job.summary.startswith("## mvt smoke: 2 of 2 cells failed\n")
    assert "mvt export was ended by SIGSEGV" in job.summary
    cells = json.loads(Path(job.outputs["results"]).read_text())["result"]["cells"]
    assert [cell["cell"]["model"] for cell in cells] == models.split()
    assert [cell["code"] for cell in cells] == ["crashed", "unknown_model"]
    assert sorted(path.name for path in installed.workspace.iterdir() if path.name != "__pycache__") == ["net.py"]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"random-weights": "yes"}, "::error::random-weights is true or false"),
        ({"targets": "onnx onxx"}, "There is no target named 'onxx'"),
        ({"device": "--overwrite"}, "There is no device '--overwrite'"),
        ({"timeout": "long"}, "a valid number"),
        ({"checkpoint": "a b.pth"}, "--checkpoint requires exactly one model"),
    ],
)
def test_inputs_that_cannot_be_fail_the_step(installed: Runner, inputs: dict[str, str], said: str) -> None:
    job = installed.run("Export and verify", inputs)
    assert job.code == 2, job.log
    assert said in job.log


def test_no_expression_reaches_a_script_and_every_input_is_used() -> None:
    steps = ACTION["runs"]["steps"]
    assert not [step["name"] for step in steps if "${{" in step.get("run", "")]
    written = json.dumps(steps)
    assert set(re.findall(r"inputs\.([\w-]+)", written)) == set(ACTION["inputs"])
    assert all(declared["description"] and "default" in declared for declared in ACTION["inputs"].values())
    (smoke,) = (step for step in steps if step.get("id") == "smoke")
    set_there = set(re.findall(r'echo "([\w-]+)=', smoke["run"]))
    values = {EXPRESSION.fullmatch(output["value"]) for output in ACTION["outputs"].values()}
    assert {found[1].removeprefix("steps.smoke.outputs.") for found in values if found} == set_there
    assert set_there == set(ACTION["outputs"])


def shown_steps() -> Iterator[dict[str, Any]]:
    """Yield every step of every workflow that the tutorial shows, whole or in part."""
    for block in re.findall(r"^```yaml\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL):
        shown = yaml.safe_load(block)
        yield from (
            shown if isinstance(shown, list) else [step for job in shown["jobs"].values() for step in job["steps"]]
        )


def test_the_docs_use_only_what_the_action_has() -> None:
    steps = list(shown_steps())
    used = [step for step in steps if "/mobilevit-tools@" in step.get("uses", "")]
    assert len(used) == 3
    for step in used:
        assert set(step["with"]) <= set(ACTION["inputs"]), step
        assert all(isinstance(value, str) for value in step["with"].values()), step
    outputs = re.findall(r"steps\.smoke\.outputs\.([\w-]+)", json.dumps(steps))
    assert outputs
    assert set(outputs) <= set(ACTION["outputs"])
