"""What the docs show and no test runs is right as far as can be told: it parses, and its options exist."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from mobilevit_tools.cli.app import app
from mobilevit_tools.devices.prepare import PARTS
from mobilevit_tools.exporters._base import Exporter
from mobilevit_tools.runtimes.registry import open_session
from tests.docs.pages import PAGES, PLAIN, ROOT, blocks, name, prose

MVT = get_command(app)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def options_of(command: object) -> set[str]:
    own = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    return own.union({"--help"}, *map(options_of, getattr(command, "commands", {}).values()))


def parse(words: list[str]) -> None:
    """Parse a command as ``mvt`` would, without running it."""
    command = MVT
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words))


def check_console(line: str) -> None:
    """Accept a line of a console block: a command of ours that parses, or one of the few others that are shown."""
    words = shlex.split(line, comments=True)
    while "=" in words[0]:
        words = words[1:]
    if words[0] == "mvt":
        for stop in ("|", ">", "&&"):
            words = words[: words.index(stop)] if stop in words else words
        parse(words[1:])
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
    elif words[:2] == ["pip", "install"]:
        extra = words[4].partition("[")[2].rstrip("]")
        own = f"constraints-{extra}.txt"  # of a target whose packages do not go with those of the others
        assert words[2:4] == ["-c", own if (ROOT / own).is_file() else "constraints.txt"], line
    elif words[:3] == ["python", "-m", "mobilevit_tools.devices.prepare"]:
        assert set(words[3:]) <= set(PARTS), line
    elif words[:2] == ["python", "-m"] and words[2].startswith("tools."):
        assert (ROOT / "tools" / f"{words[2].removeprefix('tools.')}.py").is_file(), line
    else:
        assert words[:2] in (
            [".", ".venv/bin/activate"],
            ["adb", "devices"],
            ["model-explorer", "graph.json"],
            ["ray", "start"],
            ["ray", "stop"],
        ), line


def check_bash(line: str) -> None:
    """Parse what is nothing but a command of ours; it runs, too, but on dear pages in `make test-thorough` alone."""
    plain = PLAIN.fullmatch(line.strip())
    if plain is not None:
        parse(shlex.split(plain["arguments"], comments=True))


CHECKS = {
    "bash": lambda code: [check_bash(line) for line in code.replace("\\\n", " ").splitlines()],
    "console": lambda code: [check_console(line) for line in code.replace("\\\n", " ").splitlines() if line.strip()],
    "json": json.loads,
    "python": lambda code: None,  # runs, or is looked at below
    "text": lambda code: None,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_checked(page: Path) -> None:
    for block in blocks(page):
        assert block.language in CHECKS, f"a block in {block.language or 'no language'} that nothing checks"
        CHECKS[block.language](block.code)
        if block.language == "python" and block.indented:
            ast.parse(f"{{{block.code}}}" if block.code.startswith('"') else block.code)  # an entry of a dictionary


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_prose_names_what_there_is(page: Path) -> None:
    known = options_of(MVT)
    for span in SPAN.findall(prose(page)):
        words = span.split()
        if words[0] == "mvt" and len(words) > 1 and words[1].isalpha() and words[1].islower():
            assert words[1] in MVT.commands, span
            assert set(OPTION.findall(span)) <= options_of(MVT.commands[words[1]]), span
        elif words[0].startswith("--"):
            assert set(OPTION.findall(span)) <= known, span


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pages_name_the_python_versions_of_the_package(page: Path) -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    first, after = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", required).groups())
    said = re.findall(r"Python 3\.\d+ (?:or|to|and) [\w.]*\w", prose(page))
    assert set(said) <= {f"Python 3.{first} to 3.{after - 1}"}


@pytest.mark.parametrize(
    "bad",
    ["mvt exprot care_s0", "mvt export --no-such-option", "mvt bench", "rm -rf /", "make no", "pip install torch"],
)
def test_a_console_line_that_is_wrong_is_found(bad: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        check_console(bad)


@pytest.mark.parametrize("bad", ["mvt exprot care_s0", "mvt verify out/model.onnx --no-such-option > said.txt"])
def test_a_line_that_runs_and_is_wrong_is_found_before(bad: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        check_bash(bad)


@pytest.mark.parametrize(
    ("shown", "real"), [("trace", Exporter.trace), ("lower", Exporter.lower), ("open_session", open_session)]
)
def test_the_page_on_targets_shows_the_real_signatures(shown: str, real: object) -> None:
    page = "\n".join(block.code for block in blocks(ROOT / "docs" / "how-to" / "add-a-target.md") if block.indented)
    (function,) = [node for node in ast.parse(page).body if isinstance(node, ast.FunctionDef) and node.name == shown]
    named = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    assert named == [each for each in inspect.signature(real).parameters if each != "self"]
