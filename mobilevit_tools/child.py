"""How one mvt runs another: what it passes is all that holds there, whatever defaults are shared in the folder."""

from __future__ import annotations

from collections.abc import Mapping

EXPLICIT = "MVT_EXPLICIT"
"""The variable under which a command has no shared defaults."""


def explicit(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a command that is told everything."""
    return {**environment, EXPLICIT: "1"}
