from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path

import pytest

from mobilevit_tools.devices import prepare, process, toolchain
from mobilevit_tools.errors import ExitCode


def test_a_second_preparation_finds_everything(capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert prepare.main(list(prepare.PARTS)) == 0
    assert time.monotonic() - start < 5
    assert capsys.readouterr().out == "ready: " + ", ".join(prepare.PARTS) + "\n"


def test_an_unknown_part_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        prepare.main(["toaster"])
    assert caught.value.code == ExitCode.USAGE
    assert "unknown part 'toaster'" in capsys.readouterr().err


def test_what_is_missing_and_cannot_be_installed_is_said(
    empty_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert prepare.main(["count"]) == ExitCode.MISSING_DEPENDENCY
    assert capsys.readouterr().err.splitlines() == [
        "error: g++ must be installed as root.",
        "hint: sudo apt-get install g++",
    ]


def test_only_the_libraries_of_a_wheel_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "toolchain_root", lambda: tmp_path)
    names = ["onnxruntime/capi/libonnxruntime.so.1.2.3", "onnxruntime/capi/x.py", "onnxruntime/other/y.so"]

    def download(command: list[str | Path], **_: object) -> process.Finished:
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "w.whl", "w") as wheel:
            for name in names:
                wheel.writestr(name, b"")
        return process.Finished(0, "", "")

    monkeypatch.setattr(process, "run", download)
    prepare._fetch_libraries("onnxruntime", "capi")
    folder = tmp_path / "aarch64" / f"onnxruntime-{toolchain.package_version('onnxruntime')}"
    assert [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()] == names[:1]
    assert list(folder.parent.iterdir()) == [folder]
