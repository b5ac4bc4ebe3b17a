from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.reporting.intake import read_runs
from mobilevit_tools.reporting.page import parity_grid
from tests.reporting.conftest import HOSTILE, SHA256, Desk, draw, evaluation, manifest, parity, profile


class Tags(HTMLParser):
    """Collects a page's elements, and the text of each kind."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_all_that_was_found_out_is_on_the_page(page: str) -> None:
    text = Tags(page).text
    for wanted in (
        "care_s0.imagenette",
        "95.0",
        "SNR too low",
        "123,456,789",
        "80.0%",
        "75.0% to 85.0%",
        "executorch-xnnpack fp32",
        "aten::elu.out × 1",
        "the partitioner leaves ELU",
        "Phone (adb:X), 1 thread",
        "torch 2.13.0",
        "Some CPU",
        "mvt export",
    ):
        assert wanted in text, wanted


def test_the_page_needs_nothing_else_and_may_fetch_nothing(page: str) -> None:
    elements = Tags(page).elements
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in elements}
    for _, attributes in elements:
        assert not {"src", "style", "srcset", "action", "background"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
        address = attributes.get("href") or attributes.get("xlink:href") or "#"
        assert address.startswith("#")
    policy = next(each["content"] for _, each in elements if each.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for kind in ("style", "script"):
        (body,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_identifiers_are_unique_and_links_lead_somewhere(page: str) -> None:
    elements = Tags(page).elements
    names = [each["id"] for _, each in elements if "id" in each]
    assert len(names) == len(set(names))
    assert {each["href"][1:] for tag, each in elements if tag == "a" and each.get("href")} <= set(names)


def test_an_evaluation_of_other_bytes_is_not_the_artifacts_accuracy(desk: Desk) -> None:
    artifact = desk.export(manifest())
    desk.envelope("eval", evaluation(artifact, sha256="cd" * 32))
    text = Tags(draw(*desk.runs)).text
    assert "other bytes than now" in text
    assert "evaluated0" in text
    desk.envelope("eval", evaluation(artifact, 0.9, sha256=SHA256))
    text = Tags(draw(*desk.runs)).text
    assert text.count("other bytes than now") == 1
    assert "evaluated1" in text


def test_the_same_runs_give_the_same_page(full: Desk, page: str) -> None:
    drawn = draw(*full.runs)
    assert draw(*reversed(full.runs)) == drawn
    assert not re.search(r"20\d\d-\d\d-\d\d", page)


def test_hostile_names_are_text_wherever_they_stand(desk: Desk) -> None:
    artifact = desk.export(manifest(HOSTILE, labels=(HOSTILE, "b"), source=HOSTILE, judged=parity(reason=HOSTILE)))
    program = desk.export(manifest(HOSTILE, "executorch", outside={HOSTILE: 3}))
    desk.envelope("profile", profile(artifact, device=HOSTILE, host=None))
    desk.envelope("eval", evaluation(artifact, data=HOSTILE))
    desk.envelope("profile", profile(program, target="executorch"))
    error = {"code": HOSTILE, "message": HOSTILE, "hint": HOSTILE}
    desk.envelope("verify", None, status="error", error=error)
    desk.export(manifest("another"), "more")
    page = draw(*desk.runs)
    tags = Tags(page)
    assert sum(tag == "script" for tag, _ in tags.elements) == 1
    assert "img" not in {tag for tag, _ in tags.elements}
    assert "<script>document.title" not in page
    assert "&lt;script&gt;document.title" in page
    assert len(re.findall(r"<text[^>]*>[^<]*&lt;script", page)) >= 2  # in plots, too


@pytest.mark.parametrize("backend", ["xnnpack", "vulkan"])
def test_reasons_for_operators_outside_are_those_of_the_backend(desk: Desk, backend: str) -> None:
    spec = ExportSpec("executorch", backend=backend)
    desk.export(replace(manifest(target="executorch", outside={"aten::elu.out": 1}), spec=spec))
    page = draw(*desk.runs)
    assert "aten::elu.out" in page
    assert ("the partitioner leaves ELU" in page) == (backend == "xnnpack")


def test_numbers_of_different_places_share_no_table_and_no_plot(page: str) -> None:
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    assert not [table for table in tables if ">3.25<" in table and ">10.08<" in table]
    figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert [figure for figure in figures if "3.25 ms" in figure]
    assert not [figure for figure in figures if "3.25 ms" in figure and "10.08 ms" in figure]
    assert not [table for table in tables if "Published ms" in table and "Median" in table]


def test_an_emulated_place_shows_no_latency(desk: Desk) -> None:
    artifact = desk.export(manifest())
    liar = profile(artifact, device="arm64:max", host=None, samples=[7.77] * 40)
    desk.envelope("profile", liar)
    page = draw(*desk.runs)
    assert "7.77" not in page
    assert "This device imitates the hardware: it has no latency." in page


def test_published_figures_are_marked(page: str) -> None:
    (section,) = re.findall(r'<section class="card published">.*?</section>', page, re.DOTALL)
    assert "Published by others, on other devices" in section
    assert "None of this was measured here." in section
    assert section.count("PUBLISHED, not measured here") == 3
    assert "PUBLISHED" not in page.replace(section, "")


def test_random_weights_are_said_at_the_top(desk: Desk) -> None:
    desk.export(manifest(source=None))
    page = draw(*desk.runs)
    assert page.index("random weights") < page.index('id="artifacts"')
    assert "random weights" not in draw(Path(desk.export(manifest(), "other")).parent)


def test_the_grid_holds_every_variant_of_every_model(desk: Desk) -> None:
    desk.export(manifest("a"), "1")
    desk.export(manifest("a", precision="fp16"), "2")
    desk.export(manifest("b", "coreml"), "3")
    variants, grid = parity_grid(read_runs(desk.runs).artifacts)
    assert variants == ("onnx fp16", "onnx fp32", "coreml fp32")
    assert {model: set(row) for model, row in grid.items()} == {"a": {"onnx fp16", "onnx fp32"}, "b": {"coreml fp32"}}


def test_the_picture_of_a_bundle_is_on_the_page_and_nothing_else_that_lies_there(desk: Desk) -> None:
    bundle = desk.export(manifest()).parent / "bundle"
    bundle.mkdir()
    picture = bundle / "expected.png"
    Image.new("RGB", (8, 6), "red").save(picture)
    page = draw(*desk.runs)
    (shown,) = (attributes for tag, attributes in Tags(page).elements if tag == "img")
    kind, _, content = (shown["src"] or "").partition(",")
    assert kind == "data:image/png;base64"
    assert b64decode(content) == picture.read_bytes()
    assert "img-src data:;" in page
    picture.write_text("<svg onload='alert()'/>")
    assert "img" not in {tag for tag, _ in Tags(draw(*desk.runs)).elements}
