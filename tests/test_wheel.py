"""The wheel is small and whole, and what it asks for fits what is tested."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MOST_BYTES = 25_000_000
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources: building leaves files beside them."""
    pytest.importorskip("setuptools", minversion="77")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "mobilevit_tools", source / "mobilevit_tools", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD, str(built)], cwd=source, check=True, capture_output=True)
    (found,) = built.glob("mobilevit_tools-*.whl")
    return found


def test_the_wheel_is_small_as_the_docs_say(wheel: Path) -> None:
    assert wheel.stat().st_size <= MOST_BYTES
    page = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"The wheel takes (\d+) MB", page)
    assert abs(wheel.stat().st_size / 1e6 - int(said)) < 1


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mobilevit_tools").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_requirements_have_both_bounds_and_allow_what_is_tested() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    pinned = {name.replace("_", "-").lower(): version for name, version in pins.items()}
    asked = [*PROJECT["dependencies"], *(each for extra in PROJECT["optional-dependencies"].values() for each in extra)]
    for requirement in map(Requirement, asked):
        name = requirement.name.replace("_", "-").lower()
        if name == PROJECT["name"]:
            continue
        assert {clause.operator for clause in requirement.specifier} & {">=", "=="}, requirement
        assert {clause.operator for clause in requirement.specifier} & {"<", "=="}, requirement
        if {clause.operator for clause in requirement.specifier} != {"=="}:  # which an environment of its own tests
            assert requirement.specifier.contains(pinned[name], prereleases=True), requirement
