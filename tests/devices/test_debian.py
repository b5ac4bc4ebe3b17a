from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobilevit_tools.devices import debian
from mobilevit_tools.errors import MissingDependencyError


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sources.list", "# deb http://wrong.test/debian x main\ndeb http://mirror.test/debian bookworm main\n"),
        ("sources.list", "deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian/ bookworm main contrib\n"),
        ("sources.list.d/debian.sources", "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm\n"),
        (
            "sources.list.d/many.list",
            "deb http://node.test/node_20.x nodistro main\ndeb http://sec.test/debian-security a main\n"
            "deb http://mirror.test/debian bookworm main\n",
        ),
    ],
)
def test_the_mirror_is_the_one_that_apt_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    monkeypatch.setattr(debian, "_SOURCES", tmp_path)
    assert debian._mirror() == "http://mirror.test/debian"


def test_without_debian_nothing_is_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "_SOURCES", tmp_path)
    with pytest.raises(MissingDependencyError, match="no Debian archive"):
        debian.unpack("trixie", "hello", tmp_path / "hello")
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_mirror_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "apt"
    sources.mkdir()
    (sources / "sources.list").write_text("deb http://127.0.0.1:9/debian bookworm main\n")
    monkeypatch.setattr(debian, "_SOURCES", sources)
    with pytest.raises(MissingDependencyError, match="apt cannot fetch hello of Debian trixie"):
        debian.unpack("trixie", "hello", tmp_path / "toolchain" / "hello")
    assert list((tmp_path / "toolchain").iterdir()) == []


def test_only_root_installs_and_others_are_told_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingDependencyError) as caught:
        debian.install({"valgrind": "valgrind", "g++": "g++"})
    assert caught.value.message == "g++, valgrind must be installed as root."
    assert caught.value.hint == "sudo apt-get install g++ valgrind"
    debian.install({})
