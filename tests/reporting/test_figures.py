from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from mobilevit_tools.reporting.figures import PALETTE, figure_file, inline_svg, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOSTILE = "<script>alert(1)</script> $\\frac{$ </svg> \" ' &amp;"


def drawing(text: str = "label") -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot()
    axes.plot([1, 2, 3], [1, 4, 9], marker="o", color=PALETTE["s1"], clip_on=True)
    axes.barh([1], [2], color="none", edgecolor=PALETTE["bad"], hatch="//")
    axes.set_title(text)
    axes.set_xlabel(text)
    return figure


def drawn(text: str = "label", name: str = "fig") -> str:
    with styled():
        return inline_svg(drawing(text), name, text)


def test_text_stays_text_and_nothing_of_it_is_markup() -> None:
    svg = drawn(HOSTILE)
    assert "<script" not in svg
    assert svg.count("</svg>") == 1
    assert svg.count("&lt;script&gt;alert(1)&lt;/script&gt; $\\frac{$") == 3
    assert not re.search(r"<(?:path|use)[^>]* id=\"[^\"]*alert", svg)


def test_a_page_that_allows_no_styles_shows_it() -> None:
    svg = drawn()
    assert "style" not in svg
    assert 'fill="var(--ink)"' in svg
    assert 'stroke="var(--s1)"' in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "font-family" not in svg
    assert "metadata" not in svg


def test_figures_of_one_page_share_no_identifier() -> None:
    a, b = (set(re.findall(r'\bid="([^"]+)"', drawn(name=name))) for name in ("one", "two"))
    assert a
    assert not a & b
    svg = drawn(name="one")
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= a
    assert 'aria-labelledby="one-title"' in svg


def test_every_colour_has_a_role_of_its_own() -> None:
    assert len(set(PALETTE.values())) == len(PALETTE)
    style = Path(inline_svg.__code__.co_filename).with_name("templates").joinpath("report.css").read_text()
    light, dark = style.split("prefers-color-scheme: dark")
    for role, value in PALETTE.items():
        assert f"--{role}: {value};" in light
        assert f"--{role}: " in dark.split("}")[0]


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_files_are_the_same_every_time(suffix: str) -> None:
    contents = []
    for _ in range(2):
        with styled():
            contents.append(figure_file(drawing(HOSTILE), suffix))
    assert contents[0] == contents[1]
    assert re.search(rb"20\d\d-\d\d-\d\d", contents[0]) is None
    if suffix == "png":
        assert Image.open(io.BytesIO(contents[0])).size == (600, 400)


def test_the_style_does_not_leak() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawn()
    assert dict(matplotlib.rcParams) == before


def test_names_in_any_script_are_drawn_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    assert "日本" in drawn("日本 🐕")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
