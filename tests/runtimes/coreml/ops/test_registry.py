from __future__ import annotations

import pytest
import torch

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml.ops import OPERATORS, plain
from mobilevit_tools.runtimes.coreml.ops.registry import axes_of, bounded


def test_signatures_say_how_parameters_are_given() -> None:
    conv = OPERATORS["conv"]
    assert conv.kinds["x"] == conv.kinds["bias"] == "tensor"
    assert (conv.kinds["strides"], conv.kinds["pad_type"], conv.kinds["groups"]) == ("ints", "string", "int")
    assert conv.required == {"x", "weight"}
    assert OPERATORS["concat"].kinds["values"] == "tensors"
    assert OPERATORS["slice_by_index"].kinds["begin_mask"] == "bools"
    assert OPERATORS["classify"].kinds["classes"] == "labels"


def test_every_operator_of_the_core_sets_is_there_with_every_parameter() -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    constants = {name for name in SSAOpRegistry.core_ops if "const" in name}  # read with the program, not executed
    older = {"conv_quantized"}  # of the format before ML Programs
    writer = {"write_state"}  # what coremltools' coreml_update_state becomes in a saved program
    core = set(SSAOpRegistry.core_ops) - constants - older
    assert core <= set(OPERATORS)  # beside which are those of older networks, once their reader is imported
    assert writer <= set(OPERATORS)
    for name in core:
        for opset, definition in SSAOpRegistry.core_ops[name].items():
            given = {parameter for parameter in definition.input_spec.input_types if not parameter.startswith("_")}
            assert given <= set(OPERATORS[name].kinds) | OPERATORS[name].ignored, (name, opset)


def test_values_become_plain() -> None:
    assert plain("int", torch.tensor([3])) == 3
    assert plain("float", torch.tensor(0.5)) == 0.5
    assert plain("bool", torch.tensor(1)) is True
    assert plain("ints", torch.tensor([[1, 2]])) == (1, 2)
    assert plain("bools", torch.tensor([0, 1])) == (False, True)


def test_axes_and_sizes() -> None:
    assert axes_of(None, 3) == (0, 1, 2)
    assert axes_of((-1, 0), 3) == (2, 0)
    assert bounded(2, 3) == (2, 3)
    with pytest.raises(BadInputError, match="too large"):
        bounded(-1)
