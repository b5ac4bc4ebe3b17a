"""The shell completes names, and pipes get nothing else."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from mobilevit_tools.cli.app import parser
from mobilevit_tools.cli.completion import complete_device, complete_model, complete_target
from mobilevit_tools.cli.export import _render_paths
from mobilevit_tools.models.registry import FAMILIES
from mobilevit_tools.targets.registry import TARGETS
from tests.cli.conftest import Ran


def test_names_are_completed() -> None:
    assert complete_model("care_s0") == ["care_s0", "care_s0.imagenette"]
    assert "timm:" in complete_model("t")
    assert complete_target("") == list(TARGETS)
    assert complete_target("core") == ["coreml", "coreai"]
    assert complete_device("a") == ["arm64", "adb"]


def test_every_option_that_takes_a_name_completes_it() -> None:
    groups = [parser(), parser().commands["bench"]]
    commands = [(name, command) for group in groups for name, command in group.commands.items()]
    named = [
        (name, parameter)
        for name, command in commands
        for parameter in command.params
        if {"--target", "model", "models"} & set(parameter.opts)
    ]
    assert len(named) > 12
    assert [(name, each.opts) for name, each in named if each._custom_shell_complete is None] == []


@pytest.mark.parametrize(
    ("typed", "found"),
    [("export care_s0.", "care_s0.imagenette"), ("export x --target on", "onnx"), ("profile x --device cou", "count")],
)
def test_the_shell_asks_and_gets_them(typed: str, found: str) -> None:
    words = f"mvt {typed}"
    asked = {"_MVT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    command = [sys.executable, "-m", "mobilevit_tools"]
    ran = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == [found]


def test_quiet_prints_names_alone(mvt: Callable[..., Ran]) -> None:
    names = mvt("models", "-q").out.split("\n")
    assert {arch for family in FAMILIES.values() for arch in family.architectures} <= set(names)
    assert all(" " not in name for name in names)
    assert "host" in mvt("devices", "--quiet").out.splitlines()
    console = Console(width=20, record=True, file=io.StringIO())
    passed = SimpleNamespace(path=Path("out/a-long-folder[b]/model.onnx"), parity=SimpleNamespace(status="passed"))
    _render_paths(console, SimpleNamespace(artifacts=[passed]))
    assert console.export_text() == "out/a-long-folder[b]/model.onnx\n"
