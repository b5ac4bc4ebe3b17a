from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from mobilevit_tools.cli.app import app
from mobilevit_tools.cli.arguments import parse_share
from mobilevit_tools.errors import UsageError


@pytest.mark.parametrize(
    ("text", "share"), [("2%", 0.02), ("0.02", 0.02), ("0", 0.0), ("0.999", 0.999), ("1%", 0.01), ("150%", 1.5)]
)
def test_a_share_is_a_percentage_or_a_fraction(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["1", "2", "5.0", "1e3"])
def test_a_number_that_would_be_a_hundred_percent_and_more_needs_its_sign(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_share(text)
    assert caught.value.hint == "For example 2% or 0.02."


@pytest.mark.parametrize("text", ["", "%", "lots", "-2%", "-0.02", "nan", "inf", "inf%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_share(text)


def options_of(command: Any) -> Iterator[Any]:
    for other in getattr(command, "commands", {}).values():
        yield from options_of(other)
    yield from (each for each in command.params if each.param_type_name == "option")


def test_a_short_option_means_the_same_in_every_command() -> None:
    meanings = defaultdict(set)
    for option in options_of(get_command(app)):
        long, *_ = (name for name in option.opts if name.startswith("--"))
        for name in option.opts:
            if not name.startswith("--"):
                meanings[name].add(long)
    assert {"-o", "-t", "-v"} <= meanings.keys()
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}
