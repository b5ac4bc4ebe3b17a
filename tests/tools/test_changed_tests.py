from __future__ import annotations

from pathlib import Path

import pytest

from tools import changed_tests
from tools.changed_tests import FOLDERS, ROOT, importers, named_in, touched

SOURCES = {
    Path(name): text
    for name, text in {
        "mobilevit_tools/low.py": "",
        "mobilevit_tools/typed.py": "",
        "mobilevit_tools/listed.py": "",
        "mobilevit_tools/part/__init__.py": "",
        "mobilevit_tools/part/plug.py": "from mobilevit_tools import low",
        "mobilevit_tools/part/registry.py": "PLUGS = {'plug': 1}; OTHER = 'mobilevit_tools.listed:build'",
        "mobilevit_tools/high.py": (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from mobilevit_tools import typed\n"
            "def f():\n    from mobilevit_tools.part import registry"
        ),
        "tests/conftest.py": "import mobilevit_tools.low",
        "tests/part/test_plug.py": "",
        "tests/part/test_else.py": "import mobilevit_tools.high",
        "tests/other/conftest.py": "",
        "tests/other/test_other.py": "import json",
    }.items()
}


@pytest.mark.parametrize(
    ("changed", "steps", "near", "further"),
    [
        ("mobilevit_tools/high.py", 1, ["tests/part/test_else.py"], 0),
        ("mobilevit_tools/typed.py", 9, [], 0),
        ("mobilevit_tools/listed.py", 2, [], 1),
        ("mobilevit_tools/listed.py", 3, ["tests/part/test_else.py"], 0),
        ("mobilevit_tools/part/plug.py", 1, ["tests/part/test_plug.py"], 1),
        ("mobilevit_tools/part/plug.py", 3, ["tests/part/test_plug.py", "tests/part/test_else.py"], 0),
        ("tests/other/conftest.py", 1, ["tests/other/test_other.py"], 0),
        ("tests/other/test_other.py", 0, ["tests/other/test_other.py"], 0),
    ],
)
def test_what_loads_a_change_is_found_through_functions_registries_and_mirrors(
    changed: str, steps: int, near: list[str], further: int
) -> None:
    found, more = touched([Path(changed)], importers(SOURCES), steps)
    assert ([path.as_posix() for path in found], more) == (near, further)


def test_of_an_import_from_a_package_both_are_named() -> None:
    assert named_in("from a.b import c") == {"a.b", "a.b.c"}


def test_a_change_here_is_told_by_git(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(changed_tests, "changed_files", lambda base: {Path("tools/changed_tests.py"), Path("Makefile")})
    monkeypatch.setattr("sys.argv", ["changed_tests.py", "--steps", "1"])
    changed_tests.main()
    told = capsys.readouterr()
    assert told.out.split() == [Path(__file__).relative_to(ROOT).as_posix()]
    assert "Makefile" in told.err
    assert set(FOLDERS) == {"mobilevit_tools", "tests", "tools"}
