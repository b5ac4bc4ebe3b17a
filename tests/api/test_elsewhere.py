"""Targets that another process converts meanwhile: its steps, its artifacts, and the many ways in which it can end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from torch import nn

from mobilevit_tools.api import elsewhere, share, share_child, side_by_side
from mobilevit_tools.api.elsewhere import Elsewhere
from mobilevit_tools.api.share import Share
from mobilevit_tools.api.side_by_side import SideBySide
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.artifacts.manifest import ModelRecord
from mobilevit_tools.artifacts.staging import staged_folder
from mobilevit_tools.errors import BadInputError, GateError, MvtError, told
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.models.provenance import Weights
from mobilevit_tools.progress import Advance, silent
from tests.found import exported
from tests.sweeping.stand_in import eventually

CHILD = """
import json, os, signal, sys, time
to = os.fdopen(int(sys.argv[1]), "w", buffering=1)
def say(**what): print(json.dumps(what), file=to)
share = json.load(open(sys.stdin.buffer.raw.readline().decode().rstrip()))
"""
RECORD = ModelRecord("net", 10, {}, 70, 700, Weights(None, None, None), None)
MADE = exported()


def share_in(folder: Path) -> Share:
    """Three artifacts, of which the other process makes the first two."""
    requests = tuple(ExportRequest("net", target) for target in ("onnx", "coreml", "executorch"))
    return Share(
        requests=requests,
        finals=tuple(folder / request.target for request in requests),
        chosen=(0, 1),
        asking=requests[0],
        record=RECORD,
        digest="d",
        labels=None,
        images=None,
        overwrite=False,
        keep_failed=False,
        bundle=False,
    )


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Let the other process run what a test says."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setattr(elsewhere, "_CHILD", "stand_in_child")
    monkeypatch.setattr(elsewhere, "GRACE_S", 0.2)
    started: list[Elsewhere] = []

    def start(program: str, progress: object = silent) -> Elsewhere:
        (site / "stand_in_child.py").write_text(CHILD + program)
        started.append(Elsewhere(progress))  # type: ignore[arg-type]
        started[-1].begin(share_in(tmp_path))
        return started[-1]

    yield start
    for each in started:
        if not each._told.closed:
            each.stop()


class Heard:
    """What people are told, with how deep the steps are in each other."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    @contextmanager
    def __call__(self, step: str, parts: int = 0, /) -> Iterator[Advance]:
        self.lines.append(f"{'.' * self.depth}{step} {parts}")
        self.depth += 1
        try:
            yield lambda: self.lines.append(f"{'.' * self.depth}part")
        finally:
            self.depth -= 1
        self.lines.append(f"{'.' * self.depth}{step} done")


def test_its_steps_and_artifacts_are_told(child, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    heard = Heard()
    artifact = json.dumps(jsonable(MADE))
    running = child(
        f"""
say(step="converting", parts=0); say(step="comparing", parts=2); say(advance=True); say(end=True); say(end=True)
say(made=share["chosen"][0], artifact=json.loads({artifact!r}))
""",
        heard,
    )
    assert running.left() == (1,)
    assert running.made == {0: MADE}
    assert running.error is None
    assert heard.lines == [
        "converting 0",
        ".comparing 2",
        "..part",
        ".comparing done",
        "converting done",
    ]


@pytest.mark.parametrize("ending", ["say(end=False)", "os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_step_that_comes_to_nothing_is_not_told_as_done(child, ending: str) -> None:  # type: ignore[no-untyped-def]
    heard = Heard()
    running = child(f'say(step="converting", parts=0); say(step="comparing", parts=0)\n{ending}', heard)
    assert running.left() == (0, 1)
    assert heard.lines == ["converting 0", ".comparing 0"]
    assert heard.depth == 0


@pytest.mark.parametrize("kind", [BadInputError, GateError])
def test_its_error_is_one_here(child, kind: type[MvtError]) -> None:  # type: ignore[no-untyped-def]
    said = json.dumps(told(kind("net cannot be converted.", hint="Try.", code="not_convertible")))
    running = child(
        f'say(step="converting", parts=0); say(error={said.replace("null", "None")}, cause="ValueError: no")'
    )
    assert running.left() == ()
    error = running.error
    assert type(error) is kind
    assert (error.message, error.hint, error.error_code) == ("net cannot be converted.", "Try.", "not_convertible")
    assert "ValueError: no" in str(error.__cause__)


def test_whoever_is_told_of_progress_can_stop_it(child) -> None:  # type: ignore[no-untyped-def]
    def refuse(step: str, parts: int = 0, /) -> None:
        raise RuntimeError(step)

    running = child('say(step="converting", parts=0); time.sleep(60)', refuse)
    with pytest.raises(RuntimeError, match="converting"):
        running.left()


WORKING = """
import tempfile
from pathlib import Path
final = Path(share["finals"][0])
unfinished = tempfile.mkdtemp(prefix=f".{final.name}.{os.getpid()}.", suffix=".partial", dir=final.parent)
tempfile.mkdtemp()
"""


def living(group: int) -> list[str]:
    """Return the processes of a group that still run; who has ended may wait for somebody to notice."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _parent, of, *_ = path.read_text().rpartition(")")[2].split()
            found += [path.parent.name] if int(of) == group and state != "Z" else []
    return found


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "program",
    [
        pytest.param("import os; os.read(0, 1)", id="ends when it is let go of"),
        pytest.param("signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)", id="is deaf"),
        pytest.param("import subprocess; subprocess.run(['sleep', '60'])", id="waits for another"),
    ],
)
def test_what_is_stopped_leaves_nothing(child, tmp_path: Path, program: str) -> None:  # type: ignore[no-untyped-def]
    others = tmp_path / ".onnx.1.x.partial"
    others.mkdir()
    running = child(WORKING + program)
    eventually(lambda: len(list(tmp_path.glob(".onnx.*.partial"))) == 2)
    scratch = Path(running._scratch.name)
    running.stop()
    assert list(tmp_path.glob(".*")) == [others]
    assert not scratch.exists()
    eventually(lambda: not living(running._process.pid))


def test_the_name_of_what_is_unfinished_says_whose_it_is(tmp_path: Path) -> None:
    """What a killed process leaves is found by it."""
    with staged_folder(tmp_path / "onnx", overwrite=False) as stage:
        assert stage.folder.name.startswith(f".onnx.{os.getpid()}.")
        assert stage.folder.name.endswith(".partial")


@pytest.fixture
def makes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count what this process makes itself, without making anything."""
    here: list[str] = []

    def make(_loaded: object, _record: object, request: ExportRequest, *_: object, **__: object) -> ExportedArtifact:
        here.append(request.target)
        return exported(target=request.target)

    monkeypatch.setattr(share, "make_artifact", make)
    monkeypatch.setattr("mobilevit_tools.models.in_memory.digest_of", lambda _module: "d")
    return here


class Loaded:
    module = nn.Identity()
    learnt = None


def make(folder: Path, made: dict[int, ExportedArtifact], processes: int = 2) -> None:
    """Export; ``made`` receives what was finished."""
    whole = share_in(folder).of((0, 1, 2))
    side_by_side = SideBySide([request.target for request in whole.requests], processes, silent)
    try:
        with side_by_side:
            side_by_side.make_all(whole, Loaded(), [None] * 3, bound=None)  # type: ignore[arg-type]
    finally:
        made.update(side_by_side.made)


class Other:
    """Another process that ends as a test says."""

    def __init__(self, made: tuple[int, ...], error: MvtError | None = None) -> None:
        self.made = {index: exported(target="elsewhere") for index in made}
        self.error = error
        self.stopped = False

    def __call__(self, progress: object) -> Other:
        return self

    def begin(self, share: Share) -> None:
        self.share = share

    def left(self) -> tuple[int, ...]:
        return () if self.error else tuple(each for each in self.share.chosen if each not in self.made)

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize(
    ("elsewhere_made", "here"),
    [((0, 1), ["executorch"]), ((0,), ["executorch", "coreml"]), ((), ["executorch", "onnx", "coreml"])],
)
def test_what_another_process_does_not_make_is_made_here(
    tmp_path: Path, makes: list[str], monkeypatch: pytest.MonkeyPatch, elsewhere_made: tuple[int, ...], here: list[str]
) -> None:
    other, made = Other(elsewhere_made), {}
    monkeypatch.setattr(side_by_side, "Elsewhere", other)
    make(tmp_path, made)
    assert other.share.chosen == (0, 1)
    assert other.share.digest == "d"
    assert makes == here
    assert sorted(made) == [0, 1, 2]
    assert other.stopped


def test_an_error_elsewhere_ends_the_export_and_keeps_what_is_finished(
    tmp_path: Path, makes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, made = Other((0,), BadInputError("no")), {}
    monkeypatch.setattr(side_by_side, "Elsewhere", other)
    with pytest.raises(BadInputError, match="no"):
        make(tmp_path, made)
    assert sorted(made) == [0, 2]
    assert other.stopped


@pytest.mark.parametrize("failure", [BadInputError("mine"), KeyboardInterrupt(), MemoryError()])
def test_an_error_here_stops_the_other_process_and_keeps_what_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, makes: list[str], failure: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(share, "make_artifact", fail)
    other, made = Other((0,)), {}
    monkeypatch.setattr(side_by_side, "Elsewhere", other)
    with pytest.raises(type(failure)):
        make(tmp_path, made)
    assert sorted(made) == [0]
    assert other.stopped


def test_a_system_that_starts_no_process_has_this_one(
    tmp_path: Path, makes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(progress: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(side_by_side, "Elsewhere", refuse)
    make(tmp_path, {})
    assert makes == ["executorch", "onnx", "coreml"]


def test_nobody_waits_for_a_process_that_was_given_nothing(child, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(elsewhere, "GRACE_S", 600.0)
    child("")  # is what the module runs from now on
    waiting = Elsewhere(silent)
    waiting.stop()
    assert waiting.left() == ()
    assert not living(waiting._process.pid)


def test_one_process_starts_no_other(tmp_path: Path, makes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "Elsewhere", None)
    made: dict[int, ExportedArtifact] = {}
    make(tmp_path, made, processes=1)
    assert makes == ["onnx", "coreml", "executorch"]


class Said(list):  # type: ignore[type-arg]
    """What a process tells."""

    def say(self, **what: object) -> None:
        self.append(what)

    progress = staticmethod(silent)


@pytest.mark.parametrize(
    ("digest", "refused", "expected"), [("d", False, ["made", "made"]), ("another", False, []), ("d", True, [])]
)
def test_a_process_that_does_not_get_the_same_model_says_nothing(
    tmp_path: Path, makes: list[str], monkeypatch: pytest.MonkeyPatch, digest: str, refused: bool, expected: list[str]
) -> None:
    def load(request: ExportRequest, *, bundle: bool) -> Loaded:
        if refused:
            raise BadInputError("There is no such file any more.")
        return Loaded()

    monkeypatch.setattr(share_child, "load_requested", load)
    monkeypatch.setattr(share_child, "digest_of", lambda _module: digest)
    monkeypatch.setattr(share_child, "with_labels", lambda loaded, _labels: loaded)
    said = Said()
    share_child._run(share_in(tmp_path), said)  # type: ignore[arg-type]
    assert [next(iter(each)) for each in said] == expected


def test_a_gate_that_fails_in_the_other_process_is_told_with_its_cause(
    tmp_path: Path, makes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise GateError("The rewritten model differs.") from ValueError("a cause")

    monkeypatch.setattr(share, "make_artifact", fail)
    monkeypatch.setattr(share_child, "_load", lambda _share: Loaded())
    said = Said()
    share_child._run(share_in(tmp_path), said)  # type: ignore[arg-type]
    (only,) = said
    assert only["error"] == told(GateError("The rewritten model differs."))
    assert "a cause" in only["cause"]
