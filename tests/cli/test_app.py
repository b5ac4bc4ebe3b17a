"""A usage error names the verb that was reached, and the help that tells of it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.cli.conftest import Ran


@pytest.mark.parametrize(
    ("arguments", "command", "help_of"),
    [
        (["export", "--badopt"], "export", "mvt export --help"),
        (["profile", "a.onnx", "--threads", "0"], "profile", "mvt profile --help"),
        (["eval"], "eval", "mvt eval --help"),
        (["bench", "rewrites", "--badopt"], "bench rewrites", "mvt bench rewrites --help"),
        (["bench", "precisions", "care_s0"], "bench precisions", "mvt bench precisions --help"),
        (["bench", "nothing"], "bench", "mvt bench --help"),
        (["nothing"], "", "mvt --help"),
        (["--badopt", "export"], "", "mvt --help"),
    ],
)
def test_a_usage_error_names_its_verb(
    mvt: Callable[..., Ran], arguments: list[str], command: str, help_of: str
) -> None:
    ran = mvt(*arguments, "--json")
    assert (ran.code, ran.envelope["command"]) == (2, command)
    assert f"`{help_of}`" in ran.envelope["error"]["hint"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["predict", "a.onnx", "b.jpg", "--top", "0"], "--top"),
        (["export", "care_s0", "--num-classes", "x"], "--num-classes"),
        (["eval"], "artifact"),
    ],
)
def test_a_usage_error_names_what_it_is_about(mvt: Callable[..., Ran], arguments: list[str], named: str) -> None:
    assert f"'{named}'" in mvt(*arguments, "--json").envelope["error"]["message"]


def test_nothing_is_compiled_for_a_few_runs(mvt: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_COMPILE_DISABLE", raising=False)
    mvt("models", "--json")
    assert os.environ["TORCH_COMPILE_DISABLE"] == "1"
