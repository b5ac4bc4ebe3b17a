"""The page in a real browser."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.reporting.chromium import Page, chromium
from tests.reporting.conftest import HOSTILE, Desk, draw, evaluation, manifest, parity, profile

Open = Callable[[str], Page]
COLUMN = """[...document.querySelectorAll("#artifacts table.sortable")[0].tBodies[0].rows].map(
  (row) => row.cells[{}].textContent.trim())"""

COLOURS = """[...new Set([...document.querySelectorAll("#latency figure svg {0}, #parity figure svg {0}")]
  .map((each) => each.getAttribute("fill")).filter((fill) => /--(s[0-9]|ink|muted|bad)/.test(fill))
  .map((fill) => getComputedStyle(document.querySelector(`svg [fill="${{fill}}"]`)).fill))]"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def shown(page: str, browser: Open, tmp_path: Path) -> Page:
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    return browser(path.as_uri())


def test_it_renders_sorts_and_filters(shown: Page) -> None:
    assert shown.run("document.title") == "Export report"
    assert shown.run("document.querySelectorAll('figure svg').length") >= 9
    assert shown.run("[...document.querySelectorAll('figure svg')].every((each) => each.clientHeight > 50)")

    # by keyboard: three presses sort up, down and up again
    header = 'document.querySelectorAll("#artifacts thead th")[4]'
    assert shown.run(f"{header}.textContent") == "Size MB"
    assert shown.run(f"{header}.getAttribute('aria-sort')") == "none"
    shown.run(f"{header}.querySelector('button').focus()")
    assert shown.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for wanted, sizes in (
        ("ascending", ["1.50", "2.00", "3.00"]),
        ("descending", ["3.00", "2.00", "1.50"]),
        ("ascending", ["1.50", "2.00", "3.00"]),
    ):
        shown.press("Enter")
        assert shown.run(f"{header}.getAttribute('aria-sort')") == wanted
        assert shown.run(COLUMN.format(4)) == sizes
    assert shown.run(COLUMN.format(0)) == ["onnx fp16", "executorch-xnnpack fp32", "onnx fp32"]

    shown.run("document.querySelector('#filter').focus()")
    shown.type("ONNX fp16")
    rows = "[...document.querySelector('#artifacts table').tBodies[0].rows].filter((row) => row.offsetParent).length"
    assert shown.run(rows) == 1
    assert shown.run("document.querySelector('[role=status]').textContent").startswith("3 of ")
    shown.run("document.querySelector('#filter').value = ''")
    shown.run("document.querySelector('#filter').dispatchEvent(new Event('input'))")
    assert shown.run(rows) == 3

    assert (shown.complaints, len(shown.requests)) == ([], 1)


def test_it_fits_a_phone_and_follows_the_colour_scheme(shown: Page) -> None:
    for width, phone in ((320, True), (390, True), (768, False), (1280, False)):
        shown.resize(width, 800, phone=phone)
        shown.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert shown.run("document.documentElement.scrollWidth") <= width
    shown.resize(390, 800, phone=True)
    assert shown.run("[...document.querySelectorAll('.scroll')].some((each) => each.scrollWidth > each.clientWidth)")
    assert shown.run("[...document.querySelectorAll('.scroll')].every((each) => each.tabIndex === 0)")

    grounds = []
    for scheme in ("light", "dark"):
        shown.prefer(scheme)
        grounds.append(Image.open(io.BytesIO(shown.screenshot())).convert("L").resize((1, 1)).getpixel((0, 0)))
        ground = shown.run("getComputedStyle(document.querySelector('.plot')).backgroundColor")
        for what, least in (("text", 4.5), ("path", 3.0)):  # WCAG 2.2, levels AA for text and for graphics
            for colour in shown.run(COLOURS.format(what)):
                assert contrast(colour, ground) >= least, (scheme, what, colour)
    assert grounds[0] > 200
    assert grounds[1] < 60

    assert (shown.complaints, len(shown.requests)) == ([], 1)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two CSS colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_hostile_names_are_inert(desk: Desk, browser: Open, tmp_path: Path) -> None:
    artifact = desk.export(manifest(HOSTILE, labels=(HOSTILE, "b"), source=HOSTILE, judged=parity(reason=HOSTILE)))
    desk.envelope("profile", profile(artifact, device=HOSTILE, host=None))
    desk.envelope("eval", evaluation(artifact, data=HOSTILE))
    desk.export(manifest("another"), "more")
    path = tmp_path / "hostile.html"
    path.write_text(draw(*desk.runs), encoding="utf-8")
    page = browser(path.as_uri())
    assert page.run("document.title") == "Export report"
    assert page.run("document.querySelectorAll('img, script:not(:last-child)').length") == 0
    assert HOSTILE in page.run("document.querySelector('.lead').textContent")
    assert "<script>" in page.run("document.querySelector('figure svg').textContent")
    page.resize(390, 800, phone=True)
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert (page.complaints, len(page.requests)) == ([], 1)

    # What got in all the same could neither run nor call home.
    page.run(
        "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s)"
    )
    assert page.run("document.title") == "Export report"
    assert page.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    assert any("Content Security Policy" in complaint for complaint in page.complaints)
