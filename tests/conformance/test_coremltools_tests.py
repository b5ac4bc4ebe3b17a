"""A sample of coremltools' own tests on the reference runtime; `make conformance` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.conformance.coremltools_tests import SAMPLED, Result, counts, run
from tools.conformance.known import reason


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    return run(SAMPLED, tmp_path_factory.mktemp("conformance") / "operators.jsonl", total=300)


def test_none_of_a_sample_is_wrong_refused_or_lacking(sample: list[Result]) -> None:
    failed = ("wrong", "refused", "crash", "unsupported", "too slow")
    assert [entry for entry in sample if entry.verdict in failed] == []


def test_the_sample_says_something(sample: list[Result]) -> None:
    found = counts(sample)
    assert found.total() == 300
    assert found["passed"] + found["half rounding"] > 200


FAULT = """
import dataclasses
from mobilevit_tools.runtimes.coreml.ops import OPERATORS

def spoil(entry):
    return dataclasses.replace(entry, function=lambda **given: entry.function(**given) * 1.01)

OPERATORS.update({name: spoil(OPERATORS[name]) for name in ("abs", "ceil", "cos", "exp", "floor", "sqrt", "square")})
"""


def test_a_wrong_operator_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "spoiled_operators.py").write_text(FAULT)
    tests = ("converters/mil/mil/ops/tests/iOS14/test_elementwise_unary.py",)
    found = run(tests, tmp_path / "unary.jsonl", per_function=40, plugins=("spoiled_operators",))
    spoiled = {entry.test.split("mode=")[-1].rstrip("]") for entry in found if entry.verdict == "wrong"}
    assert spoiled & {"abs", "ceil", "cos", "exp", "floor", "sqrt", "square"}


def test_tests_that_say_nothing_have_a_reason() -> None:
    assert "out of bounds" in str(reason("x/test_scatter_gather.py::TestScatter::test_ios17_invalid_indices[a]"))
    assert reason("x/test_conv.py::TestConv::test_builder_to_backend_stress[a]") is None
