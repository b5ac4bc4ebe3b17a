"""One object says what an export is asked for; the command line, Python and JSON say it in the same words."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import mobilevit_tools.api.export as api
from mobilevit_tools.cli import main
from mobilevit_tools.data.class_order import CLASS_ORDERS
from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.rewrites.registry import REWRITES
from mobilevit_tools.targets.coreml import DEPLOYMENT_TARGETS, CoremlOptions
from mobilevit_tools.targets.onnx import OPSETS, OnnxOptions
from mobilevit_tools.targets.precisions import FLOATING, PRECISIONS
from mobilevit_tools.targets.registry import TARGETS
from mobilevit_tools.tasks.registry import TASKS

words = st.text("abc/_. -=é", min_size=1).filter(lambda text: not text.startswith("-") and text.strip() == text)
# As the parser hands them on: "./-" becomes "-", which no option can be.
paths = words.map(lambda text: str(Path(text))).filter(lambda text: not text.startswith("-"))
own_options = {
    "onnx": st.builds(OnnxOptions, st.booleans(), st.sampled_from(OPSETS)),
    "coreml": st.builds(CoremlOptions, st.booleans(), st.sampled_from((None, DEPLOYMENT_TARGETS[-1]))),
}


@st.composite
def requests(draw: st.DrawFn) -> ExportRequest:
    target = TARGETS[draw(st.sampled_from(("onnx", "coreml", "executorch")))]
    backend = draw(st.sampled_from((None, *(each.name for each in target.backends))))
    chosen = backend or (target.backends[0].name if target.backends else None)
    precision = draw(st.sampled_from(target.precisions_of(chosen)))
    options = draw(own_options.get(target.name, st.none()))
    if isinstance(options, OnnxOptions) and precision == "a16w8":
        options = replace(options, opset=None)  # which has fewer operator sets
    calibrated, floating = PRECISIONS[precision].calibrated, precision in FLOATING
    bound = None if floating else draw(st.none() | st.floats(0, 5))
    request = ExportRequest(
        draw(words),
        target.name,
        precision,
        backend,
        checkpoint=draw(st.none() | words),
        ema=draw(st.sampled_from((None, True, False))),
        random_weights=draw(st.booleans()),
        num_classes=draw(st.none() | st.integers(1, 1000)),
        labels=draw(st.none() | paths),
        input_size=draw(st.sampled_from((None, "224x224", "64x32"))),
        mean=draw(st.sampled_from((None, "0.5,0.5,0.5", "0.4,0.5,0.6"))),
        std=draw(st.sampled_from((None, "0.2,0.2,0.3"))),
        options=draw(st.sampled_from(((), ("depth=2", "wide=true", "name=x y")))),
        rewrites=draw(st.none() | st.lists(st.sampled_from(sorted(REWRITES)), max_size=3).map(tuple)),
        calibration=draw(paths) if calibrated else None,
        calibration_size=draw(st.none() | st.integers(1, 500)) if calibrated else None,
        calibration_method=draw(st.sampled_from((None, *target.calibration_methods))) if calibrated else None,
        least_quantized=None if floating else draw(st.none() | st.floats(0, 100)),
        task=draw(st.sampled_from((None, *TASKS))),
        upsample=draw(st.booleans()),
        class_map=draw(st.booleans()),
        gates=draw(st.sampled_from(((), (f"{precision}:snr=99", f"{precision}:top1=1")))),
        max_drop=bound,
        eval_data=None if bound is None else draw(paths),
        class_order=None if bound is None else draw(st.sampled_from((None, *CLASS_ORDERS))),
        **({} if options is None else {"target_options": options}),
    )
    takes_several = target.name != "coreml" or (options is not None and options.tensor_io)
    return replace(
        request,
        batch=draw(st.integers(1, 4)) if takes_several else 1,
        fp16_keep=draw(st.sampled_from((None, (), ("blocks.1",)))) if request.spec.arithmetic == "fp16" else None,
    )


def asked_of(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> ExportRequest:
    """Return what the command line asks the library for."""
    made: list[ExportRequest] = []
    real = api.requests_for

    def stop(*args: Any, **kwargs: Any) -> None:
        made.extend(real(*args, **kwargs))
        raise UsageError("it was created")

    monkeypatch.setattr(api, "requests_for", stop)
    assert main(["export", *arguments]) == 2
    (request,) = made
    return request


@settings(max_examples=60, deadline=None)
@given(request_=requests())
def test_arguments_ask_for_the_same(request_: ExportRequest) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert asked_of(request_.arguments(), monkeypatch) == request_


def test_each_field_is_among_what_is_asked_for() -> None:
    asked = set()

    @settings(max_examples=150, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(request_=requests())
    def note(request_: ExportRequest) -> None:
        asked.update(each.name for each in fields(request_) if getattr(request_, each.name) != each.default)

    note()
    assert asked == {each.name for each in fields(ExportRequest)}


@settings(max_examples=60, deadline=None)
@given(request_=requests())
def test_json_states_the_same(request_: ExportRequest) -> None:
    assert TypeAdapter(ExportRequest).validate_json(json.dumps(jsonable(request_))) == request_


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"target": "onxx"}, "no target named 'onxx'"),
        ({"precision": "palette4"}, "no precision named 'palette4'"),
        ({"calibration": "photos"}, "takes --calibration"),
        ({"precision": "int8", "calibration": "photos", "calibration_size": 0}, "at least one photo"),
        ({"max_drop": 1.0}, "--max-drop requires labelled photos"),
        ({"class_order": "text"}, "--class-order requires labelled photos"),
        ({"class_order": "size", "eval_data": "val"}, "There is no class order 'size'"),
        ({"precision": "int8", "max_drop": 1.0}, "--max-drop requires labelled photos"),
        ({"input_size": "big"}, "not an input size"),
        ({"mean": "0.5,0.5"}, "not a mean of pixels from 0 to 1"),
        ({"std": "58.4"}, "not a standard deviation of pixels from 0 to 1"),
        ({"rewrites": ("merged_hats",)}, "no rewrite named 'merged_hats'"),
        ({"target_options": CoremlOptions()}, "belong to another target"),
        ({"checkpoint": "--overwrite"}, "is no checkpoint"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_once(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        ExportRequest(**{"model": "care_s0", "target": "onnx", **changed})


def test_another_target_can_take_its_place() -> None:
    assert replace(ExportRequest("care_s0", "onnx"), target="coreml").spec.options == CoremlOptions(False, "iOS17")


def test_the_command_is_what_a_shell_reads() -> None:
    request = ExportRequest("nets/my net.py:build", "onnx", checkpoint="it's.pth")
    assert request.command == (
        "mvt export 'nets/my net.py:build' --target onnx --precision fp32 --checkpoint 'it'\"'\"'s.pth'"
    )
