"""Packages whose parts do not fit each other are one clear error, wherever that shows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilevit_tools.errors import BadInputError, MvtError
from mobilevit_tools.runtimes.coreml.damage import refusing
from mobilevit_tools.runtimes.coreml.schema import model_class
from mobilevit_tools.runtimes.coreml.session import open_session
from tests.runtimes.coreml.test_mil import MODEL

Change = Callable[[Any], None]
Copied = Callable[[], Path]
HUGE = 1 << 62


def changed(package: Path, change: Change) -> Path:
    """Change the model of a package in place."""
    spec = model_class()()
    spec.ParseFromString((package / MODEL).read_bytes())
    change(spec)
    (package / MODEL).write_bytes(spec.SerializeToString())
    return package


def use(package: Path) -> None:
    """Do with a package what the verbs do."""
    with open_session(package, threads=1) as session:
        sizes = [size or 1 for info in session.inputs for size in info.shape]
        assert len(session.inputs) == 1
        for arithmetic in session.arithmetics:
            session.use(arithmetic)
            session.run(np.zeros(sizes, np.float32))
        session.operators()
        session.operator_uses()


def block(spec: Any) -> Any:
    return spec.mlProgram.functions["main"].block_specializations["CoreML5"]


def operation(spec: Any, kind: str) -> Any:
    return next(entry for entry in block(spec).operations if entry.type == kind)


def constant(spec: Any, name: str) -> Any:
    return next(entry for entry in block(spec).operations if entry.outputs[0].name == name).attributes["val"]


def empty(value: Any) -> None:
    """Make a constant one of no elements."""
    value.type.tensorType.ClearField("dimensions")
    value.type.tensorType.dimensions.add().constant.size = 0
    getattr(value.immediateValue.tensor, value.immediateValue.tensor.WhichOneof("value")).ClearField("values")


def named_parameter(spec: Any, kind: str, parameter: str) -> Any:
    return constant(spec, operation(spec, kind).inputs[parameter].arguments[0].name)


def a_vector_for_a_number(spec: Any) -> None:
    operation(spec, "softmax").inputs["axis"].CopyFrom(operation(spec, "conv").inputs["strides"])


def a_vector_for_a_number_while_running(spec: Any) -> None:
    operation(spec, "softmax").inputs["axis"].arguments[0].name = "scores"


def no_number(spec: Any) -> None:
    empty(named_parameter(spec, "softmax", "axis"))


def no_text(spec: Any) -> None:
    empty(named_parameter(spec, "conv", "pad_type"))


def text_beside_a_tensor(spec: Any) -> None:
    argument = operation(spec, "relu").inputs["x"].arguments.add()
    argument.value.CopyFrom(named_parameter(spec, "conv", "pad_type"))


def two_tensors_for_one(spec: Any) -> None:
    operation(spec, "relu").inputs["x"].arguments.add().name = "stem"


def two_flags_for_one(spec: Any) -> None:
    axis, keeps = (operation(spec, "reduce_mean").inputs[name] for name in ("axes", "keep_dims"))
    keeps.arguments.add().CopyFrom(axis.arguments[0])


def no_name(spec: Any) -> None:
    empty(operation(spec, "conv").attributes["name"])


def an_empty_item_of_a_list(spec: Any) -> None:
    value = operation(spec, "conv").attributes["name"]
    item = type(value)()
    item.CopyFrom(value)
    empty(item)
    value.type.listType.type.CopyFrom(item.type)
    value.immediateValue.list.values.add().CopyFrom(item)


def a_huge_size_beside_none(spec: Any) -> None:
    value = named_parameter(spec, "conv", "strides")
    empty(value)
    value.type.tensorType.dimensions.add().constant.size = HUGE


def an_output_that_the_program_lacks(spec: Any) -> None:
    spec.description.output[0].name = "stem"


def a_weight_file_of_a_name_too_long(spec: Any) -> None:
    entry = next(
        entry for entry in block(spec).operations if entry.attributes["val"].blobFileValue.fileName.endswith("bin")
    )
    entry.attributes["val"].blobFileValue.fileName = "@model_path/" + "w" * 5000


UNFIT = r"'\w+' \(softmax\) cannot compute with what it is given"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (a_vector_for_a_number, UNFIT),
        (a_vector_for_a_number_while_running, UNFIT),
        (no_number, UNFIT),
        (no_text, r"'stem' \(conv\) cannot compute"),
        (text_beside_a_tensor, r"'active' .* several values for 'x'"),
        (two_tensors_for_one, r"'active' .* several values for 'x'"),
        (two_flags_for_one, r"'pooled' \(reduce_mean\) cannot compute"),
        (no_name, r"copy.mlpackage is damaged: index 0"),
        (an_empty_item_of_a_list, r"copy.mlpackage is damaged: index 0"),
        (a_huge_size_beside_none, "too large"),
        (an_output_that_the_program_lacks, "its description and its program disagree on an output 'stem'"),
        (a_weight_file_of_a_name_too_long, "is incomplete: its weight file 'w"),
    ],
)
def test_damage_is_one_clear_error(copied: Copied, change: Change, match: str) -> None:
    use(copied())
    with pytest.raises(BadInputError, match=match):
        use(changed(copied(), change))


def messages(message: Any) -> Iterable[Any]:
    """Give a message and all that are in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        inner = value if field.is_repeated else [value]
        if field.message_type.GetOptions().map_entry:
            inner = [] if field.message_type.fields_by_name["value"].message_type is None else list(value.values())
        for each in inner:
            yield from messages(each)


def exchanged(choose: random.Random) -> Change:
    """Take away a part of a model, or put another of the same type, or another number or name, in its place."""

    def change(spec: Any) -> None:
        found = list(messages(spec))
        message = choose.choice([each for each in found if each.ListFields()])
        field, value = choose.choice(message.ListFields())
        alike = [each for each in found if each.DESCRIPTOR is field.message_type]
        if field.is_repeated or choose.random() < 0.3:
            message.ClearField(field.name)
        elif alike:
            other = type(alike[0])()
            other.CopyFrom(choose.choice(alike))
            value.CopyFrom(other)
        elif isinstance(value, str):
            names = [each.name for each in found if isinstance(getattr(each, "name", None), str)]
            setattr(message, field.name, choose.choice(names))
        elif isinstance(value, int) and field.enum_type is None:
            setattr(message, field.name, type(value)(choose.choice([0, 1, 2, 13, HUGE]) % (1 << 31)))

    return change


def test_no_exchange_of_parts_shows_as_anything_but_a_clear_error(copied: Copied) -> None:
    choose = random.Random(0)
    refused = 0
    for _ in range(200):
        try:
            use(changed(copied(), exchanged(choose)))
        except MvtError:
            refused += 1
    assert refused > 80


@pytest.mark.parametrize(
    "error", [ValueError("first line\nsecond"), KeyError("first line"), MemoryError(), IndexError()]
)
def test_what_does_not_fit_is_told_in_one_line(error: Exception) -> None:
    with pytest.raises(BadInputError) as caught, refusing("It is damaged"):
        raise error
    assert caught.value.message.startswith("It is damaged: ")
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is error


def test_errors_of_ours_and_faults_of_the_program_pass() -> None:
    for error in (BadInputError("clear"), AttributeError("fault"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, refusing("It is damaged"):
            raise error
        assert caught.value is error
