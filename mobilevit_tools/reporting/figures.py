"""Figures that follow the page's colours inside of it, and stand alone as SVG or PNG files."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

FORMATS = ("svg", "png")

PALETTE: Mapping[str, str] = MappingProxyType(
    {
        "ink": "#1b1f24",
        "muted": "#5d6673",
        "line": "#d5d9df",
        "surface": "#ffffff",
        "tint": "#f4eee2",
        "bad": "#b3261e",
        "s0": "#2b6cd4",
        "s1": "#c05f0a",
        "s2": "#0b7d72",
        "s3": "#a03a86",
        "s4": "#7d6500",
        "s5": "#566579",
        "s6": "#a3442b",
        "s7": "#44802a",
        "s8": "#7a3fc0",
        "s9": "#0a7a9c",
        "s10": "#c3386b",
    }
)
"""A figure's colours by role. In a page, each becomes the CSS variable of its role's name."""

SERIES = tuple(name for name in PALETTE if re.fullmatch(r"s\d+", name))
_ROLES = {value: f"var(--{name})" for name, value in PALETTE.items()}
_PRESENTATION = frozenset(
    {
        *("fill", "fill-opacity", "fill-rule", "clip-rule", "opacity", "font-size", "font-weight", "text-anchor"),
        *("stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-dashoffset"),
        *("stroke-linecap", "stroke-linejoin", "stroke-miterlimit"),
    }
)
_REFERENCE = re.compile(r'(?:url\(|href=")#([\w.-]+)')


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save figures in here."""
    from matplotlib import rc_context

    style: dict[RcKeyType, object] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "mobilevit-tools",
        "text.parse_math": False,  # labels are names that people chose, not formulas
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "text.color": PALETTE["ink"],
        "axes.labelcolor": PALETTE["muted"],
        "axes.edgecolor": PALETTE["line"],
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 1.0,
        "axes.axisbelow": True,
        "xtick.color": PALETTE["line"],
        "ytick.color": PALETTE["line"],
        "xtick.labelcolor": PALETTE["muted"],
        "ytick.labelcolor": PALETTE["muted"],
        "grid.color": PALETTE["line"],
        "grid.linewidth": 0.6,
        "figure.facecolor": PALETTE["surface"],
        "hatch.linewidth": 0.6,
    }
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def figure_file(figure: Figure, suffix: str) -> bytes:
    """Return a figure as the content of an ``svg`` or ``png`` file; the same figure gives the same bytes."""
    metadata = {"Date": None, "Creator": None} if suffix == "svg" else {"Software": None}
    content = io.BytesIO()
    figure.savefig(content, format=suffix, metadata=metadata, dpi=200)
    return content.getvalue()


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """Return a figure as an element for a page.

    Text stays text. Colours become the page's variables, and styles become attributes, so that a page which allows no
    inline styles shows them.

    Args:
        figure: The figure, drawn inside :func:`styled`.
        name: What no other figure of the page is called; letters, digits and hyphens.
        title: What the figure shows, in words.
    """
    written = io.BytesIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(written.getvalue())  # noqa: S314 - Matplotlib's own output
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    used = set(_REFERENCE.findall(written.getvalue().decode()))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        attributes |= _presentation(attributes.pop("style", ""))
        element.attrib.clear()
        element.attrib.update({key: _placed(key, value, name) for key, value in attributes.items()})
        if attributes.get("id") not in used:
            element.attrib.pop("id", None)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title"}
    heading = ET.Element("title", {"id": f"{name}-title"})
    heading.text = title
    root.insert(0, heading)
    return ET.tostring(root, encoding="unicode")


def _presentation(style: str) -> dict[str, str]:
    found = {}
    for declaration in style.split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key in _PRESENTATION:
            found[key] = value
    return found


def _placed(key: str, value: str, name: str) -> str:
    """Keep a figure's identifiers apart from those of the page's other figures."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value.removeprefix('#')}"
    return _ROLES.get(value, value.replace("url(#", f"url(#{name}-"))
