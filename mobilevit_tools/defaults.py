"""A default of an option that a team shares, as the command line reads it and ``mvt doctor`` lists it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Default:
    """A default of an option that is not mvt's own.

    Attributes:
        command: The command that it is for; None for every one that has the option.
        option: The option, without its dashes.
        value: The value; several as a tuple.
        source: The pyproject.toml or the variable that states it.
    """

    command: str | None
    option: str
    value: object
    source: str
