"""Exceptions become one sentence and an exit code, Ctrl-C above all."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from rich.console import Console
from rich.table import Table

from mobilevit_tools.cli.output import command_output
from mobilevit_tools.errors import BadInputError, ExitCode
from tests.cli.conftest import Ran
from tests.conftest import SMALL


def test_a_fault_is_an_internal_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, command_output("export"):
        raise ZeroDivisionError("division by zero")
    assert caught.value.exit_code == ExitCode.INTERNAL
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err


@pytest.mark.parametrize(("verbosity", "traced"), [(0, False), (1, False), (2, True)])
def test_what_a_library_raised_is_traced_when_libraries_are_asked_for(
    capsys: pytest.CaptureFixture[str], verbosity: int, traced: bool
) -> None:
    with pytest.raises(typer.Exit) as caught, command_output("export", verbosity=verbosity):
        raise BadInputError("The model cannot be converted.") from NotImplementedError("no such operator")
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    told = capsys.readouterr().err
    assert "error: The model cannot be converted." in told
    assert ("NotImplementedError: no such operator" in told) == traced


def test_paths_and_commands_are_not_broken_where_no_terminal_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = "/builds/team/" + "a folder/" * 20 + "care.pth"
    with pytest.raises(typer.Exit), command_output("export", verbosity=1) as output:
        with output.progress(f"Loading {path}"):
            pass
        raise BadInputError(f"There is no checkpoint at {path}.", hint=f"Run: mvt info {path}")
    step, error, hint = capsys.readouterr().err.splitlines()
    assert step.startswith(f"Loading {path}: ")
    assert error == f"error: There is no checkpoint at {path}."
    assert hint == f"hint: Run: mvt info {path}"


def test_what_others_wrote_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]0;title\x07\x1b[2Jb\u202ec"
    shown = "a\ufffd]0;title\ufffd\ufffd[2Jb\ufffdc"

    def render(console: Console, text: str) -> None:
        table = Table(box=None, show_header=False)
        table.add_row(text)
        console.print(table)

    with pytest.raises(typer.Exit), command_output("inspect") as output:
        output.show(hostile, render)
        raise BadInputError(f"It has no {hostile}.", hint=hostile)
    told = capsys.readouterr()
    assert told.out.strip() == shown
    assert told.err.splitlines() == [f"error: It has no {shown}.", f"hint: {shown}"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP])
def test_a_path_that_nothing_can_reach_is_bad_input(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, command_output("export", as_json=True):
        raise OSError(number, os.strerror(number), "/locked/care.pth")
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["code"] == "unreachable_path"
    assert told["message"] == f"/locked/care.pth cannot be reached: {os.strerror(number)}."


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), OSError(errno.EIO, "I/O", "care.pth")])
def test_what_no_path_is_to_blame_for_stays_a_fault(error: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, command_output("export"):
        raise error
    assert caught.value.exit_code == ExitCode.INTERNAL
    assert "bug in mvt" in capsys.readouterr().err


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", SMALL, "--checkpoint", f"{LONG}.pth"],
        ["export", SMALL, "--random-weights", "--target", "onnx", "--output", LONG],
        ["export", SMALL, "--random-weights", "--target", "onnx", "--labels", f"{LONG}.txt"],
        ["verify", f"{LONG}.onnx"],
    ],
)
def test_a_name_that_no_file_can_have_is_bad_input(mvt: Callable[..., Ran], arguments: list[str]) -> None:
    ran = mvt(*arguments, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (ExitCode.BAD_INPUT, "unreachable_path")
    assert LONG in ran.envelope["error"]["message"]


def test_links_in_a_circle_are_bad_input(mvt: Callable[..., Ran]) -> None:
    for name in ("circle", "circle.pth", "circle.pte", "circle.onnx"):
        Path(name).symlink_to(name)
    for arguments in (
        ["export", SMALL, "--checkpoint", "circle.pth"],
        ["export", SMALL, "--checkpoint", "circle/care.pth"],
        ["export", SMALL, "--random-weights", "--target", "onnx", "--output", "circle"],
        ["export", SMALL, "--random-weights", "--target", "onnx", "--output", "circle/care"],
        ["verify", "circle.pte"],
        ["eval", "circle.onnx", "circle"],
        ["report", "circle", "--output", "report.html"],
    ):
        ran = mvt(*arguments, "--json")
        assert ran.code == ExitCode.BAD_INPUT, ran.out


def test_ctrl_c_that_a_library_swallows_still_stops_at_the_end_of_the_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reached = []
    with pytest.raises(typer.Exit) as caught, command_output("export") as output:
        with output.progress("Converting"):
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:
                reached.append("swallowed")
        reached.append("moved into place")
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert reached == ["swallowed"]
    assert "Interrupted" in capsys.readouterr().err


def test_ctrl_c_that_a_library_turns_into_its_own_error_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, command_output("export"):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise BadInputError("The converter failed.") from error
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert "converter" not in capsys.readouterr().err


def test_ctrl_c_is_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with command_output("export"):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
