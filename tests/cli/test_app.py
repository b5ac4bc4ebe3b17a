"""A usage error names the verb that was reached, and the help that tells of it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from mobilevit_tools.cli.app import commands
from mobilevit_tools.cli.other_names import OTHER_NAMES
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


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["export", "care_s0", "--half"], "Use --precision fp16. "),
        (["export", "care_s0", "--format", "onnx"], "Use --target. "),
        (["report", "run", "-o", "report.html"], "Use --output. "),
        (["export", "care_s0", "--classes", "x"], "Use --labels or --num-classes. "),
        (["info", "care_s0", "--classes", "x"], "Use --num-classes. "),
        (["finetune", "care_s0", "--out", "x"], "Use --output. "),
        (["predict", "a.onnx", "b.jpg", "--half"], "See "),  # it has no --precision
        (["export", "care_s0", "--taget", "onnx"], "Use --target. "),
        (["export", "care_s0", "--bogus"], "See "),  # its nearest is --jobs
        (["export", "care_s0", "--no-emma"], "Use --no-ema or --ema. "),
    ],
)
def test_the_names_of_others_lead_to_ours(mvt: Callable[..., Ran], arguments: list[str], meant: str) -> None:
    ran = mvt(*arguments, "--json")
    assert ran.code == 2
    assert ran.envelope["error"]["hint"].startswith(meant)


def test_every_name_of_others_leads_to_an_option() -> None:
    options = [{spelt for each in command.params for spelt in each.opts} for command in commands().values()]
    for name, ours in OTHER_NAMES.items():
        for option in (each.partition(" ")[0] for each in ours):
            assert any(option in known and name not in known for known in options)


def test_nothing_is_compiled_for_a_few_runs(mvt: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_COMPILE_DISABLE", raising=False)
    mvt("models", "--json")
    assert os.environ["TORCH_COMPILE_DISABLE"] == "1"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["export", "care_s0", "--precision", "fp32", "--precision=fp16"], "--precision"),
        (["export", "care_s0", "--output", "a", "--output", "a"], "--output"),
        (["bench", "rewrites", "care_s0", "--rigor", "quick", "--rigor=default"], "--rigor"),
    ],
)
def test_an_option_with_one_value_is_not_given_twice(mvt: Callable[..., Ran], arguments: list[str], named: str) -> None:
    ran = mvt(*arguments)
    assert ran.code == 2
    assert f"{named} takes one value, and 2 were given." in ran.err


def test_options_that_may_be_repeated_are() -> None:
    command = commands()["export"]
    given = ["care_s0", "-t", "onnx", "--target", "coreml", "-v", "-v", "--json", "--json", "--ema", "--no-ema"]
    found = command.make_context("export", given).params
    assert (list(found["target"]), found["verbose"], found["ema"]) == (["onnx", "coreml"], 2, False)
