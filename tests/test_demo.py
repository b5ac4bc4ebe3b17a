"""What ``make demo`` shows can be typed again, and neither it nor ``make clean`` touches what people exported."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mobilevit_tools
from mobilevit_tools.errors import UsageError
from tests.reporting.conftest import parity
from tools import demo

ROOT = Path(__file__).parents[1]
FOLDER = "demo-out"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_writes_into_its_own_folder_and_says_what_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def export(model: str, **options: Any) -> SimpleNamespace:
        asked.update(options)
        path = Path(options["output"], model, "onnx-fp32", "model.onnx")
        made = SimpleNamespace(target="onnx", precision="fp32", size_bytes=1, parity=parity(), path=path)
        return SimpleNamespace(artifacts=(made,))

    def profile(*_: object, **__: object) -> None:
        raise UsageError("It cannot be timed on this host.")

    monkeypatch.setattr(mobilevit_tools, "export", export)
    monkeypatch.setattr(mobilevit_tools, "profile", profile)
    monkeypatch.chdir(ROOT)
    demo.main()
    assert asked["output"] == FOLDER
    command = os.path.relpath(Path(sys.executable).with_name("mvt"))
    artifact = f"{FOLDER}/{demo.MODEL}/onnx-fp32/model.onnx"
    assert capsys.readouterr().out.splitlines()[-1] == f"next: {command} inspect {artifact}"
    assert f"next: .venv/bin/mvt inspect {artifact}\n" in README


def test_its_folder_is_thrown_away_and_no_other_exports() -> None:
    assert FOLDER in (ROOT / ".gitignore").read_text(encoding="utf-8").replace("/", "").splitlines()
    (cleaned,) = re.findall(r"^clean:\n\trm -rf (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(cleaned.split()) == {"$(VENV)", "$(EXTRAS:%=.venv-%)", FOLDER, "site"}


def test_the_readme_puts_mvt_on_the_path_before_it_uses_it() -> None:
    activate = README.index("\n. .venv/bin/activate\n")
    assert activate < README.index("\nmvt ")
    assert README.count("venv/bin/activate") == 1
