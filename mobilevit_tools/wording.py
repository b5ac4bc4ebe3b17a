"""Words that depend on a number."""

from __future__ import annotations


def number_of(count: int, plural: str) -> str:
    """Return ``1 artifact`` or ``2 artifacts``, of a plural that ends in ``s`` or in ``sses``."""
    singular = plural.removesuffix("es") if plural.endswith("sses") else plural.removesuffix("s")
    return f"{count} {singular if count == 1 else plural}"
