"""Snippets name what is in the artifact, and nothing that a name contains becomes code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.bundle.snippets import KOTLIN, SWIFT, kotlin_literal, one_line, render, snippets_of, swift_literal
from mobilevit_tools.exporters._base import ExportSpec
from tests.bundle.conftest import golden_in

HOSTILE = 'a"); boom("x") //\n$boom ${boom} \\(boom) \\ \x00 \u2028 \U0001f600 é'
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"')


def read_kotlin(literal: str) -> str:
    """Kotlin's escapes are JSON's, and one for the dollar."""
    assert not re.search(r"(?<!\\)(\\\\)*\$", literal)
    assert literal.isascii()
    return json.loads(re.sub(r"\\(.)", lambda found: "$" if found[1] == "$" else found[0], literal))


def read_swift(literal: str) -> str:
    assert literal.isascii()
    assert literal.isprintable()
    assert re.fullmatch(r'"([^"\\]|\\["\\]|\\u\{[0-9a-f]{1,8}\})*"', literal)

    def unescape(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else found[2]

    return re.sub(r'\\(?:u\{([0-9a-f]+)\}|(["\\]))', unescape, literal[1:-1])


@given(st.text())
def test_literals_read_back(text: str) -> None:
    assert read_kotlin(kotlin_literal(text)) == text
    assert read_swift(swift_literal(text)) == text


def test_hostile_literals_read_back() -> None:
    assert read_kotlin(kotlin_literal(HOSTILE)) == HOSTILE
    assert read_swift(swift_literal(HOSTILE)) == HOSTILE


@given(st.text())
def test_a_comment_stays_on_its_line(text: str) -> None:
    assert len(f"// {one_line(text)}".splitlines()) == 1


def literals(code: str) -> set[str]:
    found = {literal for line in code.splitlines() if not line.startswith("//") for literal in LITERAL.findall(line)}
    return {json.loads(literal) for literal in found if "$" not in literal and "\\(" not in literal}


@pytest.mark.parametrize("target", ["onnx", "coreml", "executorch"])
def test_every_name_is_one_of_the_artifact(bundles: Mapping[str, Path], target: str) -> None:
    golden = golden_in(bundles[target])
    named = {golden.artifact.file, golden.input.file, golden.outputs[0].file, golden.outputs[0].name}
    if target != "executorch":  # which counts its inputs
        named.add(golden.input.name)
    assert set(golden.snippets) == ({SWIFT} if target == "coreml" else {KOTLIN, SWIFT})
    for snippet in golden.snippets:
        code = (bundles[target] / snippet).read_text(encoding="utf-8")
        said = literals(code)
        assert named <= said
        assert said - named <= {"an output is no float tensor", "the buffer is empty"}
        for value in (golden.outputs[0].max_abs, golden.outputs[0].l2):
            assert str(value) in code
        if golden.input.dtype == "float32":
            assert ", ".join(map(str, golden.input.shape)) in code
        assert golden.tools["executorch" if target == "executorch" else "onnxruntime"] in code or target == "coreml"


@pytest.mark.parametrize("target", ["onnx", "coreml", "executorch"])
def test_names_cannot_break_out(bundles: Mapping[str, Path], target: str) -> None:
    golden = golden_in(bundles[target])
    plain = {name: render(template, golden) for name, template in snippets_of(ExportSpec(target)).items()}
    output = replace(golden.outputs[0], name=HOSTILE, by_label=target == "coreml")
    stored = replace(golden.input, name=HOSTILE)
    hostile = replace(golden, model=HOSTILE, input=stored, outputs=(output,), labels=(HOSTILE, "dog"))
    for name, template in snippets_of(ExportSpec(target)).items():
        code = render(template, hostile)
        assert code.splitlines()[0].isprintable()
        assert "boom" not in re.sub(LITERAL, "", "\n".join(code.splitlines()[1:]))
        if target != "coreml":  # whose classifiers are read otherwise
            assert len(code.splitlines()) == len(plain[name].splitlines())


@pytest.mark.parametrize(
    ("spec", "files"),
    [
        (ExportSpec("onnx"), {KOTLIN, SWIFT}),
        (ExportSpec("coreml"), {SWIFT}),
        (ExportSpec("executorch"), {KOTLIN, SWIFT}),
        (ExportSpec("executorch", "coreml"), {SWIFT}),
        (ExportSpec("executorch", "vulkan"), {KOTLIN}),
    ],
)
def test_snippets_are_written_where_the_runtime_exists(spec: ExportSpec, files: set[str]) -> None:
    assert set(snippets_of(spec)) == files


@pytest.mark.parametrize(
    ("backend", "precision", "linked"),
    [
        ("xnnpack", "fp32", "link backend_xnnpack, kernels_optimized\n"),
        ("xnnpack", "int8", "link backend_xnnpack, kernels_optimized, kernels_quantized\n"),
        ("coreml", "fp16", "link backend_coreml, kernels_optimized\n"),
        ("portable", "fp32", "link kernels_optimized\n"),
    ],
)
def test_an_app_is_told_what_to_link(bundles: Mapping[str, Path], backend: str, precision: str, linked: str) -> None:
    golden = replace(golden_in(bundles["executorch"]), backend=backend, precision=precision)
    assert linked in render("executorch.swift", golden)
