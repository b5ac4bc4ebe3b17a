"""Code of an app that runs the stored input and compares, in Kotlin and Swift, and what decodes outputs."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from mobilevit_tools.targets.registry import find_target

if TYPE_CHECKING:
    from mobilevit_tools.bundle.contents import Golden
    from mobilevit_tools.exporters._base import ExportSpec

KOTLIN = "GoldenCheck.kt"
SWIFT = "GoldenCheck.swift"
DECODERS = MappingProxyType({".py.j2": "decoder.py", ".kt": "Decoder.kt", ".swift": "Decoder.swift"})
_TEMPLATES = Path(__file__).parent / "templates"
_SYSTEMS = {KOTLIN: "android", SWIFT: "apple"}


def snippets_of(spec: ExportSpec) -> dict[str, str]:
    """Return the files that go with an artifact, each with its template, where its runtime exists."""
    backend = find_target(spec.target).backend(spec.backend)
    files = {name: f"{spec.target}{Path(name).suffix}" for name in _SYSTEMS}
    return {
        name: template
        for name, template in files.items()
        if (backend is None or _SYSTEMS[name] in backend.apps) and (_TEMPLATES / template).is_file()
    }


def decoders_of(spec: ExportSpec, kind: str) -> dict[str, str]:
    """Return the decoders that go with an artifact, each with its template: in Python, and where snippets are."""
    languages = (".py.j2", *(Path(name).suffix for name in snippets_of(spec)))
    return {DECODERS[each]: f"decode_{kind}{each}" for each in languages}


def render(template: str, golden: Golden) -> str:
    """Fill in one snippet; whatever a name contains, it ends up as text in a literal or in a comment."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape([]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"kotlin": kotlin_literal, "swift": swift_literal, "python": ascii, "one_line": one_line}
    return environment.get_template(template).render(golden=golden)


def kotlin_literal(text: str) -> str:
    """Return ``text`` as a Kotlin string literal, in which ``$`` would begin an expression."""
    return f'"{"".join(_kotlin_escape(character) for character in text)}"'


def swift_literal(text: str) -> str:
    r"""Return ``text`` as a Swift string literal, in which ``\(`` would begin an expression."""
    return f'"{"".join(_swift_escape(character) for character in text)}"'


def one_line(text: str) -> str:
    """Return ``text`` fit for a comment that ends with its line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _kotlin_escape(character: str) -> str:
    if character in '"\\$':
        return f"\\{character}"
    if character.isascii() and character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))


def _swift_escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isascii() and character.isprintable() else f"\\u{{{ord(character):x}}}"
