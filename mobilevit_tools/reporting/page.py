"""The report as one HTML file that needs nothing else and may fetch nothing."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import partial
from importlib.metadata import version
from pathlib import Path

from mobilevit_tools.documents import printable
from mobilevit_tools.exporters.delegation_lint import reason
from mobilevit_tools.reporting.contents import Contents, Plot
from mobilevit_tools.reporting.evidence import Artifact
from mobilevit_tools.reporting.figures import inline_svg
from mobilevit_tools.reporting.pictures import expected_picture

_TEMPLATES = Path(__file__).parent / "templates"


def render(contents: Contents) -> str:
    """Render the page; call it inside :func:`mobilevit_tools.reporting.figures.styled`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "fixed": fixed,
        "percent": percent,
        "megabytes": partial(scaled, 1e6),
        "giga": partial(scaled, 1e9, digits=3),
        "thousands": lambda value: "" if value is None else f"{value:,}",
        "printable": lambda value: printable(str(value)),
        "words": lambda text: str(text).replace("_", " "),
    }
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    draw = lambda plot: Markup(_drawn(plot))  # noqa: E731, S704 - every text in it was escaped where it was made
    return environment.get_template("report.html.j2").render(
        contents=contents,
        evidence=contents.evidence,
        grid=parity_grid(contents.evidence.artifacts),
        draw=draw,
        reason=reason,
        picture=lambda artifact: expected_picture(artifact.path),
        style=Markup(style),  # noqa: S704 - the project's own file
        script=Markup(script),  # noqa: S704 - likewise
        policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        version=version("mobilevit-tools"),
    )


def _drawn(plot: Plot) -> str:
    return inline_svg(plot.figure, plot.name, plot.title)


def _digest(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def parity_grid(artifacts: tuple[Artifact, ...]) -> tuple[tuple[str, ...], dict[str, dict[str, list[Artifact]]]]:
    """Return the variants, and by model and variant the artifacts that were judged."""
    judged = [each for each in artifacts if each.parity is not None]
    variants = tuple(dict.fromkeys(f"{each.deployment} {each.precision}" for each in judged))
    grid: dict[str, dict[str, list[Artifact]]] = {}
    for each in judged:
        grid.setdefault(each.model, {}).setdefault(f"{each.deployment} {each.precision}", []).append(each)
    return variants, grid


def fixed(value: float | None, digits: int = 2, pattern: str = "f") -> str:
    """Format a number; nothing for none."""
    return "" if value is None else format(value, f".{digits}{pattern}")


def percent(value: float | None, digits: int = 1) -> str:
    """Format a fraction from 0 to 1; nothing for none."""
    return "" if value is None else f"{value:.{digits}%}"


def scaled(unit: float, value: float | None, digits: int = 2) -> str:
    """Format a number in a larger unit; nothing for none."""
    return "" if value is None else f"{value / unit:,.{digits}f}"
