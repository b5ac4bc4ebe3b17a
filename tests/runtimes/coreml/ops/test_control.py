from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml import Program, load_program
from mobilevit_tools.runtimes.coreml.ops import OPERATORS, control
from tests.runtimes.coreml.building import mb, noise, save

Build = Callable[[Any], Any]


@pytest.fixture
def built(tmp_path: Path) -> Callable[[Build], Program]:
    """A saved program of one input ``x`` (4,)."""

    def build(body: Build) -> Program:
        @mb.program(input_specs=[mb.TensorSpec((4,))], opset_version=ct.target.iOS16)
        def program(x: Any) -> Any:
            return body(x)

        path = save(program, tmp_path / "a.mlpackage", minimum_deployment_target=ct.target.iOS16)
        return load_program(path)

    return build


def _outputs(program: Program, x: np.ndarray) -> list[Any]:
    results = program.run({"x": x})
    return [results[name] for name in program.graph.outputs]


def test_a_branch_is_taken(built: Callable[[Build], Program]) -> None:
    def body(x: Any) -> Any:
        positive = mb.greater(x=mb.reduce_sum(x=x), y=0.0)
        scale = mb.reduce_max(x=x)
        return mb.cond(
            pred=positive, _true_fn=lambda: mb.mul(x=x, y=scale), _false_fn=lambda: mb.add(x=x, y=np.float32(7))
        )

    program = built(body)
    x = np.array([1, 2, 3, 4], np.float32)
    np.testing.assert_array_equal(_outputs(program, x), [x * 4])
    np.testing.assert_array_equal(_outputs(program, -x), [-x + 7])


def test_a_branch_may_return_constants_and_values_around_it(built: Callable[[Build], Program]) -> None:
    def body(x: Any) -> Any:
        one = mb.relu(x=x)
        return mb.cond(
            pred=mb.greater(x=mb.reduce_sum(x=x), y=0.0),
            _true_fn=lambda: mb.identity(x=one),
            _false_fn=lambda: mb.const(val=np.full(4, 2.5, np.float32)),
        )

    program = built(body)
    np.testing.assert_array_equal(_outputs(program, np.ones(4, np.float32)), [np.ones(4)])
    np.testing.assert_array_equal(_outputs(program, -np.ones(4, np.float32)), [np.full(4, 2.5)])


def test_loops_in_loops(built: Callable[[Build], Program]) -> None:
    def inner(i: Any, total: Any, x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda j, part: mb.less(x=j, y=i),
            _body=lambda j, part: (mb.add(x=j, y=1.0), mb.add(x=part, y=x)),
            loop_vars=(0.0, total),
        )[1]

    def body(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda i, total: mb.less(x=i, y=4.0),
            _body=lambda i, total: (mb.add(x=i, y=1.0), inner(i, total, x)),
            loop_vars=(0.0, mb.mul(x=x, y=0.0)),
        )

    x = noise(4)
    rounds, total = _outputs(built(body), x)
    assert rounds == 4
    np.testing.assert_allclose(total, x * (1 + 2 + 3), rtol=1e-6)


def test_a_loop_without_an_end_is_stopped(built: Callable[[Build], Program], monkeypatch: pytest.MonkeyPatch) -> None:
    program = built(
        lambda x: mb.while_loop(
            _cond=lambda y: mb.less(x=mb.reduce_sum(x=y), y=np.float32(np.inf)),
            _body=lambda y: mb.mul(x=y, y=1.0),
            loop_vars=(x,),
        )
    )
    monkeypatch.setattr(control, "MAX_ROUNDS", 50)
    with pytest.raises(BadInputError, match="runs more than 50 rounds"):
        program.run({"x": noise(4)})


def test_lists_are_written_and_read(built: Callable[[Build], Program]) -> None:
    def body(x: Any) -> Any:
        ls = mb.make_list(init_length=2, elem_shape=(4,), dtype="fp32")
        ls = mb.list_write(ls=ls, index=0, value=x)
        longer = mb.list_write(ls=ls, index=3, value=mb.mul(x=x, y=2.0))
        scattered = mb.list_scatter(ls=longer, indices=[1, 2], value=np.stack((np.ones(4), 3 * np.ones(4))).astype("f"))
        return (
            mb.list_length(ls=longer),
            mb.list_read(ls=ls, index=0),
            mb.list_gather(ls=longer, indices=[3, 1]),
            mb.list_gather(ls=scattered, indices=[0, 1, 2, 3]),
        )

    x = noise(4)
    length, read, gathered, whole = _outputs(built(body), x)
    assert length == 4
    np.testing.assert_array_equal(read, x)
    np.testing.assert_array_equal(gathered, [2 * x, np.zeros(4)])
    np.testing.assert_array_equal(whole, [x, np.ones(4), np.full(4, 3), 2 * x])


def test_lists_are_not_changed_in_place() -> None:
    first = [torch.zeros(2)]
    second = OPERATORS["list_write"].function(first, 0, torch.ones(2))
    assert first[0].sum() == 0
    assert second[0].sum() == 2


def test_lists_beyond_all_memory_are_refused() -> None:
    with pytest.raises(BadInputError, match="asks for"):
        OPERATORS["make_list"].function((4,), 1 << 40)
    with pytest.raises(BadInputError, match="writes at index"):
        OPERATORS["list_write"].function([], 1 << 40, torch.ones(1))
