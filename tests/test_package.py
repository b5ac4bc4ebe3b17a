"""What the package as a whole promises: a lazy public API, no telemetry, pins without CUDA, small modules."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mobilevit_tools

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", mobilevit_tools.__all__)
def test_public_names_resolve(name: str) -> None:
    assert callable(getattr(mobilevit_tools, name))
    assert name in dir(mobilevit_tools)


def test_tools_that_only_read_the_source_find_every_name() -> None:
    tree = ast.parse(Path(mobilevit_tools.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    stated = {
        alias.name: each.module for each in block.body if isinstance(each, ast.ImportFrom) for alias in each.names
    }
    assert stated == {name: f"mobilevit_tools.{home}" for name, home in mobilevit_tools._HOMES.items()}
    assert sorted(stated) == sorted(mobilevit_tools.__all__)


def test_no_module_hides_a_public_name() -> None:
    """A module is set as an attribute of the package when it is imported."""
    modules = {path.stem for path in (ROOT / "mobilevit_tools").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(mobilevit_tools.__all__)


def test_what_calls_return_and_raise_is_public() -> None:
    functions = [each for name in mobilevit_tools.__all__ if inspect.isfunction(each := getattr(mobilevit_tools, name))]
    annotations = [str(inspect.signature(each).return_annotation) for each in functions]
    returned = {name for annotation in annotations for name in annotation.split(" | ")}
    assert {each for each in returned if each.endswith(("Result", "Bench", "List"))} <= set(mobilevit_tools.__all__)
    assert len(returned) > 10
    errors = [mobilevit_tools.MvtError]
    for error in errors:
        errors += error.__subclasses__()
    assert {each.__name__ for each in errors if not each.__name__.startswith("_")} <= set(mobilevit_tools.__all__)


def test_imports_run_one_way() -> None:
    """Also those inside of functions and for type checkers alone."""
    folder = Path(mobilevit_tools.__file__).parent
    modules = {".".join(path.relative_to(folder.parent).with_suffix("").parts): path for path in folder.rglob("*.py")}
    needed: dict[str, set[str]] = {}
    for name, path in modules.items():
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        named = {
            f"{node.module}.{each.name}" for node in nodes if isinstance(node, ast.ImportFrom) for each in node.names
        }
        named |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        needed[name] = named & modules.keys()
    assert sum(map(len, needed.values())) > len(modules)
    assert [*TopologicalSorter(needed).static_order()]  # raises where modules need each other


def test_unknown_names_do_not() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mobilevit_tools.no_such_name


def test_onnx_runtime_does_not_report_home(exported: Path, tmp_path: Path) -> None:
    program = f"import mobilevit_tools; mobilevit_tools.inspect({str(exported / 'onnx-fp32/model.onnx')!r})"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not [path for path in tmp_path.rglob("*") if "Microsoft" in path.parts or "onnxruntime" in path.name]


@pytest.mark.parametrize("file", sorted(each.name for each in ROOT.glob("constraints*.txt")))
def test_pins_bring_no_cuda(file: str) -> None:
    pins = (ROOT / file).read_text(encoding="utf-8").lower()
    assert re.search(r"^torch==2\.13\.0$", pins, re.MULTILINE)
    assert not re.search(r"nvidia|cuda|triton", pins)


@pytest.mark.parametrize(
    ("link", "folder", "file"),
    [("models", "mobilevit_tools/models", "registry.py"), ("exporters", "mobilevit_tools/exporters", "_base.py")],
)
def test_the_two_folders_that_people_extend_are_relative_links(link: str, folder: str, file: str) -> None:
    assert (ROOT / link).readlink() == Path(folder)
    assert (ROOT / link / file).is_file()


def test_modules_stay_small() -> None:
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "mobilevit_tools").rglob("*.py")
    }
    assert len(lines) > 100
    assert {str(path) for path, count in lines.items() if count > 400} == set()


def test_ruff_checks_the_folders_behind_the_links() -> None:
    shown = [sys.executable, "-m", "ruff", "check", ".", "--show-files"]
    run = subprocess.run(shown, cwd=ROOT, check=True, capture_output=True, text=True)
    checked = {Path(line).relative_to(ROOT) for line in run.stdout.splitlines()}
    everything = {path.relative_to(ROOT) for path in (ROOT / "mobilevit_tools").rglob("*.py")}
    assert everything <= checked
    assert not [path for path in checked if path.parts[0] in ("models", "exporters")]
