"""A hook of MkDocs: docstrings name other objects in Sphinx's way, and here these names are plain code."""

from __future__ import annotations

import re

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code>)")


def on_page_content(html: str, **_: object) -> str:
    """Leave the roles out."""
    return _ROLE.sub("", html)
