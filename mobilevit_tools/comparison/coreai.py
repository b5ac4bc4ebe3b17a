"""The weights that a Core AI asset stores; the format keeps no names of theirs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from coreai.authoring import AIModelAsset

from mobilevit_tools.comparison.stored import Stored, weight
from mobilevit_tools.errors import BadInputError, first_line
from mobilevit_tools.runtimes.coreai import graph_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONSTANT = "coreai.constant"
_RESOURCE = re.compile(r'^ +(?P<name>\w+): "0x(?P<hexadecimal>[0-9A-F]*)"', re.MULTILINE)
_REFERENCE = re.compile(r"dense_resource<(?P<name>\w+)>")
_ALIGNMENT_BYTES = 4
"""What a resource begins with, before its content."""
_TYPE = re.compile(r"tensor<(?P<sizes>(?:\d+x)*)(?P<element>\w+)>")


def read_weights(path: Path) -> Stored:
    """Read the floating-point constants of an asset; small ones are in its graph, large ones beside it.

    Raises:
        BadInputError: It cannot be read.
    """
    try:
        program = AIModelAsset.load(path).program
        operations = [each for each in graph_of(program) if each.name == _CONSTANT]
        # The compiler's Python gives the content of what lies beside the graph as text alone.
        text = program._module._mlir_module.operation.get_asm()
        beside = {found["name"]: bytes.fromhex(found["hexadecimal"]) for found in _RESOURCE.finditer(text)}
        constants = [_read(operation, beside) for operation in operations]
    except Exception as error:  # the compiler raises several classes for one reason
        raise BadInputError(
            f"{path} cannot be read by Core AI: {first_line(error)}", code="unloadable_artifact"
        ) from error
    return tuple(weight("", element, shape, content) for element, shape, content in constants if "f" in element), (
        "Core AI assets do not store weight names.",
    )


def _read(operation: Any, beside: Mapping[str, bytes]) -> tuple[str, tuple[int, ...], bytes]:
    value = operation.attributes["value"]
    declared = _TYPE.fullmatch(str(operation.results[0].type))
    if declared is None:
        raise ValueError(f"{operation.results[0].type} is no tensor of a known size")
    shape = tuple(map(int, declared["sizes"].split("x")[:-1]))
    reference = _REFERENCE.match(str(value)[:200])
    if reference is not None:
        return declared["element"], shape, beside[reference["name"]][_ALIGNMENT_BYTES:]
    return declared["element"], shape, np.asarray(value).tobytes()
