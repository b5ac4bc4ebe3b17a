"""The verbs are listed without being imported, and only the one that runs is."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest

from mobilevit_tools.cli.app import commands, parser
from mobilevit_tools.cli.verbs import GROUPS, VERBS

IMPORTED = """
import sys
from mobilevit_tools.cli import main
main(sys.argv[1:])
print(*sorted(name for name in sys.modules if name.startswith("mobilevit_tools.")), file=sys.stderr)
"""


def imported(*arguments: str) -> set[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MVT_")}
    ran = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd="/",
    )
    return set(ran.stderr.split())


def test_help_imports_no_verb_and_nothing_that_verbs_need() -> None:
    found = imported("--help")
    verbs = {f"mobilevit_tools.cli.{where.partition(':')[0]}" for where, _ in VERBS.values()}
    assert not verbs & found
    assert len(found) < 20


def test_a_verb_imports_no_other() -> None:
    found = imported("devices", "--help")
    assert "mobilevit_tools.cli.devices" in found
    assert not {"mobilevit_tools.cli.export", "mobilevit_tools.cli.profile", "mobilevit_tools.cli.bench"} & found


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_there_and_says_what_it_does(name: str) -> None:
    command = parser().commands[name]
    assert command.name == name
    assert inspect.cleandoc(command.help or "")
    assert len(f"  {name:9}{VERBS[name][1]}") <= 80


def test_groups_have_no_shared_defaults() -> None:
    assert set(commands()) == set(VERBS) - GROUPS
    assert all(hasattr(parser().commands[name], "commands") for name in GROUPS)
    assert not any(hasattr(each, "commands") for each in commands().values())
    with pytest.raises(KeyError):
        commands()["bench"]
