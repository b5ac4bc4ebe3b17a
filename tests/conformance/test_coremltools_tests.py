"""A sample of coremltools' own tests on the reference runtime; `make conformance` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_tools.errors import BadInputError
from tools.conformance.coremltools_tests import SAMPLED, Result, counts, run
from tools.conformance.known import reason
from tools.conformance.verdicts import failures

TOTAL, OF_EACH = 200, 2


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """A few cases of many functions: more of the same function say less than another one does."""
    results = tmp_path_factory.mktemp("conformance") / "operators.jsonl"
    return run(SAMPLED, results, per_function=OF_EACH, total=TOTAL)


@pytest.mark.thorough(twin="runtimes/coreml/ops/test_elementwise.py::test_saved_operator_matches_numpy")
def test_none_of_a_sample_is_wrong_refused_or_lacking(sample: list[Result]) -> None:
    failed = ("wrong", "refused", "crash", "unsupported", "too slow")
    assert [entry for entry in sample if entry.verdict in failed] == []


@pytest.mark.thorough(twin="test_what_a_failed_test_shows")
def test_the_sample_says_something(sample: list[Result]) -> None:
    found = counts(sample)
    assert found.total() == TOTAL
    assert len({entry.test.split("[")[0] for entry in sample}) >= TOTAL // OF_EACH
    assert found["passed"] + found["half rounding"] > TOTAL // 2


SPOILED = ("abs", "atan", "cos", "cosh", "exp", "floor", "round", "sin", "sinh", "sqrt", "square", "tan", "tanh")
FAULT = f"""
import dataclasses
from mobilevit_tools.runtimes.coreml.ops import OPERATORS

def spoil(entry):
    return dataclasses.replace(entry, function=lambda **given: entry.function(**given) * 1.01)

OPERATORS.update({{name: spoil(OPERATORS[name]) for name in {SPOILED}}})
"""
UNARY = "converters/mil/mil/ops/tests/iOS14/test_elementwise_unary.py::TestElementwiseUnary"


@pytest.mark.thorough(twin="test_what_a_failed_test_shows")
def test_a_wrong_operator_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "spoiled_operators.py").write_text(FAULT)
    tests = (f"{UNARY}::test_builder_to_backend_smoke",)
    found = run(tests, tmp_path / "unary.jsonl", total=12, plugins=("spoiled_operators",))
    wrong = {entry.test.split("mode=")[-1].rstrip("]") for entry in found if entry.verdict == "wrong"}
    assert wrong
    assert wrong <= set(SPOILED)


def test_tests_that_say_nothing_have_a_reason() -> None:
    assert "out of bounds" in str(reason("x/test_scatter_gather.py::TestScatter::test_ios17_invalid_indices[a]"))
    assert reason("x/test_conv.py::TestConv::test_builder_to_backend_stress[a]") is None


@pytest.mark.parametrize(
    ("predictions", "error", "verdict"),
    [
        (1, AssertionError("off by one"), "wrong"),
        (1, BadInputError("No."), "refused"),
        (1, KeyError("x"), "crash"),
        (0, AssertionError("off by one"), "no prediction"),
    ],
)
def test_what_a_failed_test_shows(predictions: int, error: Exception, verdict: str) -> None:
    found = failures(
        "x/test_conv.py::TestConv::test_a[b]", [error], predictions=predictions, close_enough=lambda: False
    )
    assert next(found)[0] == verdict
