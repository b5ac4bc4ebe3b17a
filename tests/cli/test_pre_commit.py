"""The pre-commit hook that the docs show passes whole artifacts and stops damaged ones."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "share-defaults.md"


def test_the_hook_stops_what_its_manifest_does_not_describe(exported: Path, tmp_path: Path) -> None:
    (block,) = [each.code for each in blocks(PAGE) if each.language == "yaml"]
    (hook,) = yaml.safe_load(block)["repos"][0]["hooks"]
    whole, damaged = exported / "onnx-fp32/model.onnx", tmp_path / "damaged/model.onnx"
    shutil.copytree(whole.parent, damaged.parent)
    damaged.write_bytes(whole.read_bytes()[:-1])
    assert all(re.search(hook["files"], str(path)) for path in (whole, damaged))
    command = tmp_path / "mvt"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m mobilevit_tools "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def run(*files: Path) -> tuple[int, str]:
        ran = subprocess.run(
            [*shlex.split(hook["entry"]), *files], env=environment, check=False, capture_output=True, text=True
        )
        return ran.returncode, ran.stdout + ran.stderr

    assert run(whole) == (0, "")
    code, said = run(damaged, whole)
    assert code == 3
    assert f"{damaged} is not the file that its manifest describes" in said
