"""People are shown the line of their own source, not where a library gave up."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mobilevit_tools.blame import line_in, line_now, line_of, reason_and_remedy

SOURCE = """
import torch
from helpers import call


def deep(x):
    return x.reshape(7, -1)  # here


def wrapped(x):
    try:
        return deep(x)
    except RuntimeError as error:
        raise ValueError("outer") from error


def through_a_library(x):
    return torch.nn.Sequential(torch.nn.Linear(3, 3))(x)


def by_a_helper(x, function):
    return call(function)
"""


@pytest.fixture
def their(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "helpers.py").write_text("def call(function):\n    return function()\n")
    monkeypatch.syspath_prepend(site)
    (tmp_path / "net.py").write_text(SOURCE)
    spec = spec_from_file_location("their_net", tmp_path / "net.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("helpers", None)


def line_when(run: Callable[[], object]) -> str | None:
    try:
        run()
    except Exception as error:
        return line_of(error)
    raise AssertionError("it did not fail")


def test_the_innermost_line_of_their_file_is_shown(their: ModuleType) -> None:
    image = torch.zeros(1, 5)
    assert line_when(lambda: their.deep(image)) == "net.py, line 7: return x.reshape(7, -1)  # here"
    assert line_when(lambda: their.wrapped(image)) == "net.py, line 7: return x.reshape(7, -1)  # here"
    expected = "net.py, line 18: return torch.nn.Sequential(torch.nn.Linear(3, 3))(x)"
    assert line_when(lambda: their.through_a_library(image)) == expected


def test_a_package_of_theirs_is_shown_only_where_no_file_of_their_own_is(their: ModuleType) -> None:
    def broken() -> None:
        raise ValueError

    broken.__code__ = broken.__code__.replace(co_filename=sys.modules["torch"].__file__ or "")
    assert line_when(lambda: their.by_a_helper(None, broken)) == "net.py, line 22: return call(function)"
    trace = 'File "/x/site-packages/timm/vit.py", line 3, in forward\n  File "/x/site-packages/torch/nn/f.py", line 9'
    assert line_in(trace) == "vit.py, line 3"
    assert line_in(f'File "/home/me/net.py", line 12, in forward\n{trace}') == "net.py, line 12"
    assert line_in('File "/x/site-packages/torch/nn/f.py", line 9') is None
    assert line_in('File "<string>", line 9') is None
    assert line_in("") is None


def test_the_line_that_runs_is_known() -> None:
    assert (line_now() or "").startswith("test_blame.py, line ")


def test_the_first_sentence_of_a_wrapper_and_its_cause_are_told_without_colours() -> None:
    error = RuntimeError("Failed to export. \x1b[96mThis is step 1/3\x1b[0m of it")
    error.__cause__ = KeyError("x")
    assert reason_and_remedy(error) == ("RuntimeError: Failed to export (KeyError: 'x')", None)
    alone, remedy = reason_and_remedy(ValueError("\x1b[1;31mCould not guard on data-dependent expression\x1b[0m"))
    assert alone == "ValueError: Could not guard on data-dependent expression"
    assert "torch.where instead of an if" in (remedy or "")
