"""``pip install mobilevit-tools`` finds versions of everything without constraints, where the docs say so."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

uv = pytest.importorskip("uv", reason="uv resolves for other platforms; `pip install -e .[dev]` brings it")

ROOT = Path(__file__).parents[1]
PYTHONS = re.findall(r'Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE_ML = {
    "x86_64-manylinux_2_28": True,
    "aarch64-apple-darwin": True,
    "aarch64-manylinux_2_28": False,
    "x86_64-pc-windows-msvc": False,
}
UNSUPPORTED = ("x86_64-apple-darwin", "aarch64-pc-windows-msvc", "x86_64-manylinux_2_17")
UNREACHABLE = ("Failed to fetch", "error sending request", "Could not connect", "timed out")

pytestmark = pytest.mark.slow  # it asks the package index


def resolve(platform: str, python: str) -> subprocess.CompletedProcess[str]:
    """Resolve the project's requirements for wheels of a platform, as if nothing were installed."""
    wanted = ("--python-platform", platform, "--python-version", python, "--only-binary", ":all:")
    ran = subprocess.run(
        [
            uv.find_uv_bin(),
            "pip",
            "compile",
            "--no-config",
            "--no-python-downloads",
            "--no-header",
            "--no-annotate",
            *wanted,
            "pyproject.toml",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
    )
    if ran.returncode and any(sign in ran.stderr for sign in UNREACHABLE):
        pytest.skip("the package index cannot be reached")
    return ran


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", CORE_ML)
def test_everything_resolves(platform: str, python: str) -> None:
    ran = resolve(platform, python)
    assert ran.returncode == 0, ran.stderr
    found = dict(re.findall(r"^([\w.-]+)==(\S+)", ran.stdout, re.MULTILINE))
    assert found["torch"].startswith("2.13.")
    assert {"onnx", "onnxruntime", "executorch", "typer"} <= found.keys()
    assert ("coremltools" in found) == CORE_ML[platform]


@pytest.mark.parametrize("platform", UNSUPPORTED)
def test_what_the_docs_exclude_cannot_be_installed(platform: str) -> None:
    ran = resolve(platform, PYTHONS[0])
    assert ran.returncode == 1
    assert "executorch" in ran.stderr
