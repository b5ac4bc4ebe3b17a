from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import get_new_symbol, types

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.runtimes._base import UnsupportedOperatorError
from mobilevit_tools.runtimes.coreml import Program, load_program
from mobilevit_tools.runtimes.coreml.interpreter import Interpreter
from mobilevit_tools.runtimes.coreml.mil import Block, Operation
from mobilevit_tools.runtimes.coreml.ops.conv import channels_last
from tests.runtimes.coreml.building import mb, noise, save

X = noise(1, 4)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """x -> ``big`` = 300 x -> ``bigger`` = 300 big (overflows fp16 from 0.73 on) -> ``small`` = bigger / 90000."""

    @mb.program(input_specs=[mb.TensorSpec((1, 4))])
    def program(x: Any) -> Any:
        big = mb.mul(x=x, y=300.0, name="big")
        bigger = mb.mul(x=big, y=300.0, name="bigger")
        return mb.mul(x=bigger, y=1 / 90000, name="small")

    return load_program(save(program, tmp_path_factory.mktemp("chain") / "chain.mlpackage"))


def f16(value: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(value, np.float32).astype(np.float16).astype(np.float32)


def test_fp32_rounds_nothing(chain: Program) -> None:
    np.testing.assert_allclose(chain.run({"x": X})["small"], X, rtol=1e-6)


def test_half_rounds_inputs_constants_and_every_result(chain: Program) -> None:
    x = np.array([[0.1, 0.5, 0.7, 1e-3]], np.float32)
    big = f16(f16(x) * np.float32(300))
    bigger = f16(big * np.float32(300))
    out = chain.run({"x": x}, "half", fetch=["big", "bigger"])
    np.testing.assert_array_equal(out["big"], big)
    np.testing.assert_array_equal(out["bigger"], bigger)
    np.testing.assert_array_equal(out["small"], f16(bigger * f16(1 / 90000)))


def test_half_overflows_to_infinity_and_stays_there(chain: Program) -> None:
    out = chain.run({"x": np.array([[1.0, -1.0, 0.1, 0.0]], np.float32)}, "half")
    np.testing.assert_array_equal(out["small"][0, :2], [np.inf, -np.inf])
    assert np.isfinite(out["small"][0, 2:]).all()


def test_as_typed_rounds_only_what_the_program_declares_half(chain: Program, tmp_path: Path) -> None:
    np.testing.assert_array_equal(chain.run({"x": X}, "as-typed")["small"], chain.run({"x": X})["small"])

    @mb.program(input_specs=[mb.TensorSpec((1, 4))])
    def program(x: Any) -> Any:
        narrow = mb.cast(x=x, dtype="fp16")
        narrow = mb.mul(x=narrow, y=np.float16(0.3), name="narrow")
        return mb.mul(x=mb.cast(x=narrow, dtype="fp32"), y=0.3, name="wide")

    mixed = load_program(save(program, tmp_path / "mixed.mlpackage"))
    narrow = f16(f16(X) * f16(0.3))
    out = mixed.run({"x": X}, "as-typed", fetch=["narrow"])
    np.testing.assert_array_equal(out["narrow"], narrow)
    np.testing.assert_array_equal(out["wide"], narrow * np.float32(0.3))
    half = mixed.run({"x": X}, "half")
    np.testing.assert_array_equal(half["wide"], f16(narrow * f16(0.3)))


def test_kept_operations_pass_wide_values_among_themselves_only(chain: Program) -> None:
    x = np.array([[1.0, -1.0, 0.1, 0.25]], np.float32)
    whole = chain.run({"x": x}, "half", keep_fp32={"big", "bigger", "small"})
    np.testing.assert_array_equal(whole["small"], chain.run({"x": x})["small"])
    middle = chain.run({"x": x}, "half", fetch=["bigger"], keep_fp32={"bigger", "small"})
    big = f16(f16(x) * np.float32(300))
    np.testing.assert_array_equal(middle["bigger"], big * np.float32(300))
    np.testing.assert_array_equal(middle["small"], big * np.float32(300) * np.float32(1 / 90000))
    alone = chain.run({"x": x}, "half", keep_fp32={"bigger"})
    np.testing.assert_array_equal(alone["small"][0, :2], [np.inf, -np.inf])  # read by a half operator: rounded there


def test_weights_round_unless_their_operation_is_kept(small_package: Path) -> None:
    program = load_program(small_package)
    x = {"x": f16(noise(1, 3, 8, 8))}
    weight, bias = channels_last(torch.from_numpy(noise(4, 3, 3, 3))), torch.from_numpy(noise(4, seed=1))
    image = torch.from_numpy(x["x"])
    exact = torch.conv2d(image, weight, bias, stride=2)
    rounded = torch.conv2d(image, weight.half().float(), bias.half().float(), stride=2)
    kept = program.run(x, "half", fetch=["stem"], keep_fp32={"stem"})
    np.testing.assert_array_equal(kept["stem"], exact)
    np.testing.assert_array_equal(program.run(x, "half", fetch=["stem"])["stem"], f16(rounded))
    np.testing.assert_array_equal(program.run(x, fetch=["stem"])["stem"], exact)


def test_an_observer_sees_every_value_before_it_is_rounded(chain: Program) -> None:
    seen: dict[str, tuple[str, str, float]] = {}

    def observe(name: str, kind: str, output: str, value: torch.Tensor) -> None:
        seen[output] = (name, kind, float(value.abs().max()))

    chain.run({"x": np.full((1, 4), 0.5, np.float32) * 2}, "half", observe=observe)
    assert list(seen) == ["big", "bigger", "small"]
    assert seen["bigger"] == ("bigger", "mul", 90000.0)
    assert seen["small"][2] == np.inf


def test_values_are_freed_after_their_last_reader(chain: Program) -> None:
    last = [step.last for step in chain._interpreter._exact_body.steps]
    assert last == [("x",), ("big",), ("bigger",)]
    assert set(chain.run({"x": X}, fetch=["big"])) == {"small", "big"}


def test_unknown_arithmetic_values_and_inputs_are_refused(chain: Program) -> None:
    with pytest.raises(UsageError, match="no arithmetic 'bf16'"):
        chain.run({"x": X}, "bf16")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no operation named 'huge'"):
        chain.run({"x": X}, "half", keep_fp32={"big", "huge"})
    with pytest.raises(BadInputError, match="no value named 'logits'"):
        chain.run({"x": X}, fetch=["logits"])
    with pytest.raises(BadInputError, match="no input 'y'"):
        chain.run({"x": X, "y": X})
    with pytest.raises(BadInputError, match="needs the input 'x'"):
        chain.run({})
    with pytest.raises(BadInputError, match=r"shape \(1, 4\)"):
        chain.run({"x": noise(2, 4)})
    with pytest.raises(BadInputError, match="takes numbers"):
        chain.run({"x": np.array([["a"] * 4])})


def test_operators_that_the_runtime_lacks_are_named_and_never_run(chain: Program) -> None:
    first, second, third = chain.graph.operations
    block = Block({}, ("inner",), (dataclasses.replace(first, type="conv_quantized"),))
    branch = dataclasses.replace(third, type="cond", blocks=(block, block))
    graph = dataclasses.replace(chain.graph, operations=(first, dataclasses.replace(second, type="magic"), branch))
    interpreter = Interpreter(graph)
    assert interpreter.unsupported == ("conv_quantized", "magic")
    with pytest.raises(UnsupportedOperatorError, match="conv_quantized, magic") as caught:
        interpreter.run({"x": torch.from_numpy(X)}, "fp32")
    assert caught.value.operators == interpreter.unsupported


def test_values_of_loops_and_branches_are_rounded_like_all_others(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda total: mb.less(x=mb.reduce_sum(x=total), y=3.0),
            _body=lambda total: mb.mul(x=total, y=1.1, name="grown"),
            loop_vars=(x,),
            name="loop",
        )

    loaded = load_program(save(program, tmp_path / "loop.mlpackage", minimum_deployment_target=ct.target.iOS16))
    assert loaded.unsupported == ()
    exact, rounded, kept = (np.float32(0.1), f16(0.1), f16(0.1))
    while exact < 3:
        exact *= np.float32(1.1)
    while rounded < 3:
        rounded = f16(rounded * f16(1.1))
    while kept < 3:
        kept *= np.float32(1.1)
    x = {"x": np.array([0.1], np.float32)}
    np.testing.assert_allclose(next(iter(loaded.run(x).values())), [exact], rtol=1e-6)
    np.testing.assert_array_equal(next(iter(loaded.run(x, "half").values())), [rounded])
    (value,) = loaded.run(x, "half", keep_fp32={"grown"}).values()
    assert abs(value[0] - exact) < abs(rounded - exact)
    with pytest.raises(BadInputError, match="no value named 'grown'"):
        loaded.run(x, fetch=["grown"])


def test_a_state_lasts_from_one_run_to_the_next(tmp_path: Path) -> None:
    @mb.program(
        input_specs=[mb.TensorSpec((2,), dtype=types.fp16), mb.StateTensorSpec((2,), dtype=types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, memory: Any) -> Any:
        total = mb.add(x=mb.read_state(input=memory), y=x)
        mb.coreml_update_state(state=memory, value=total)
        return mb.mul(x=total, y=np.float16(2), name="doubled")

    path = save(program, tmp_path / "state.mlpackage", minimum_deployment_target=ct.target.iOS18)
    loaded = load_program(path)
    assert [entry.name for entry in loaded.inputs] == ["x"]
    assert [entry.kind for entry in loaded.description.states] == ["state"]
    memory = loaded.new_memory()
    x = np.array([1, 2], np.float32)
    for times in (1, 2, 3):
        np.testing.assert_array_equal(loaded.run({"x": x}, memory=memory)["doubled"], 2 * times * x)
    np.testing.assert_array_equal(memory["memory"], 3 * x)
    np.testing.assert_array_equal(loaded.run({"x": x})["doubled"], 2 * x)  # each run its own, unless it is given one


def test_constants_and_decompressed_weights_are_results(tmp_path: Path) -> None:
    stored = np.array([[1, -2], [3, 4]], np.int8)

    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        scale = np.full((2, 1), 0.1, np.float32)
        weight = mb.constexpr_blockwise_shift_scale(data=stored, scale=scale, name="weight")
        return mb.identity(x=x, name="same"), mb.const(val=np.float32(0.1), name="plain"), weight

    loaded = load_program(save(program, tmp_path / "a.mlpackage", minimum_deployment_target=ct.target.iOS18))
    given = {"x": np.ones(1, np.float32)}
    out = loaded.run(given)
    assert set(out) == {"same", "plain", "weight"}
    np.testing.assert_array_equal(out["plain"], np.float32(0.1))
    np.testing.assert_array_equal(out["weight"], stored * np.float32(0.1))
    np.testing.assert_array_equal(loaded.run(given, "half")["weight"], f16(stored * np.float32(0.1)))


def test_values_whose_rank_shows_at_run_time(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((get_new_symbol(),), dtype=types.int32)])
    def program(shape: Any) -> Any:
        return mb.fill(shape=shape, value=2.0, name="filled")

    size = ct.TensorType(name="shape", shape=(ct.RangeDim(1, 5),), dtype=np.int32)
    loaded = load_program(save(program, tmp_path / "a.mlpackage", inputs=[size]))
    for shape in ((2, 1, 3), (4,)):
        np.testing.assert_array_equal(loaded.run({"shape": np.array(shape)})["filled"], np.full(shape, 2.0))


def _broken(chain: Program, **changes: Any) -> Interpreter:
    first, *rest = chain.graph.operations
    graph = dataclasses.replace(chain.graph, operations=(dataclasses.replace(first, **changes), *rest))
    return Interpreter(graph)


def _inputs(operation: Operation, **changes: Any) -> dict[str, Any]:
    return {**operation.inputs, **changes}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"x": ("nothing",)}, "reads 'nothing', which nothing before it produces"),
        ({"x": ("small",)}, "reads 'small'"),
        ({"z": ("x",)}, "unknown or empty parameter 'z'"),
    ],
)
def test_programs_that_do_not_hold_together_are_refused(chain: Program, changes: dict[str, Any], match: str) -> None:
    interpreter = _broken(chain, inputs=_inputs(chain.graph.operations[0], **changes))
    with pytest.raises(BadInputError, match=match):
        interpreter.run({"x": torch.from_numpy(X)}, "fp32")


def test_missing_parameters_and_wrong_shapes_are_refused(chain: Program) -> None:
    first = chain.graph.operations[0]
    given = {"x": torch.from_numpy(X)}
    with pytest.raises(BadInputError, match="lacks the parameter 'y'"):
        _broken(chain, inputs={"x": first.inputs["x"]}).run(given, "fp32")
    ((name, declared),) = first.outputs
    with pytest.raises(BadInputError, match=r"makes a value of shape \(1, 4\) where the program says \(1, 5\)"):
        _broken(chain, outputs=((name, dataclasses.replace(declared, shape=(1, 5))),)).run(given, "fp32")
    with pytest.raises(BadInputError, match="declares 2 outputs"):
        _broken(chain, outputs=((name, declared), ("more", declared))).run(given, "fp32")
    with pytest.raises(BadInputError, match="makes 'x' a second time"):
        _broken(chain, outputs=(("x", declared),)).run(given, "fp32")
    with pytest.raises(BadInputError, match=r"\(matmul\) cannot compute"):
        _broken(chain, type="matmul", inputs={"x": ("x",), "y": ("x",)}).run(given, "fp32")
