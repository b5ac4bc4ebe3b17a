"""Nothing half-written, nothing overwritten unasked."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mobilevit_tools.artifacts.staging import staged_folder
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.writing import check_file


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_folder_appears_only_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "a" / "b"
    with staged_folder(final, overwrite=False) as stage:
        (stage.folder / "model").write_text("new")
        assert not final.exists()
        assert stage.folder.parent == final.parent
    assert (final / "model").read_text() == "new"
    assert everything(tmp_path) == ["a", "a/b", "a/b/model"]


@pytest.mark.parametrize("failure", [RuntimeError("converter broke"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises(type(failure)), staged_folder(tmp_path / "a" / "b", overwrite=False) as stage:
        (stage.folder / "model").write_text("half")
        raise failure
    assert everything(tmp_path) == []


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    final = tmp_path / "b"
    final.mkdir()
    (final / "model").write_text("old")
    with pytest.raises(KeyboardInterrupt), staged_folder(final, overwrite=True) as stage:
        (stage.folder / "model").write_text("half")
        raise KeyboardInterrupt
    assert everything(tmp_path) == ["b", "b/model"]
    assert (final / "model").read_text() == "old"


def test_what_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    final = tmp_path / "b"
    final.mkdir()
    (final / "old").write_text("old")
    with pytest.raises(UsageError, match="already exists"), staged_folder(final, overwrite=False):
        pytest.fail("the block must not run")
    with staged_folder(final, overwrite=True) as stage:
        (stage.folder / "new").write_text("new")
    assert everything(tmp_path) == ["b", "b/new"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_an_interrupted_replacement_gives_back_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, moment: str
) -> None:
    final = tmp_path / "b"
    final.mkdir()
    (final / "model").write_text("old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if moment == "after" and self == final:
            rename(self, target)
            raise failure
        if moment == "before" and target == final and not final.exists() and self.suffix == ".partial":
            raise failure
        return rename(self, target)

    with pytest.raises(type(failure)), staged_folder(final, overwrite=True) as stage:
        (stage.folder / "model").write_text("new")
        monkeypatch.setattr(Path, "rename", interrupted)
    assert everything(tmp_path) == ["b", "b/model"]
    assert (final / "model").read_text() == "old"


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_came_meanwhile_is_replaced_only_when_asked(tmp_path: Path, kind: str) -> None:
    final, other = tmp_path / "a" / "b", tmp_path / "other"
    other.mkdir()

    def come() -> None:
        if kind == "folder":
            final.mkdir()
            (final / "model").write_text("theirs")
        elif kind == "file":
            final.write_text("theirs")
        else:
            final.symlink_to(other)

    with pytest.raises(UsageError, match="already exists") as refusal, staged_folder(final, overwrite=False) as stage:
        (stage.folder / "model").write_text("ours")
        come()
    assert refusal.value.error_code == "exists"
    theirs = everything(tmp_path)
    assert theirs == ["a", "a/b", *(["a/b/model"] if kind == "folder" else []), "other"]
    with staged_folder(final, overwrite=True) as stage:
        (stage.folder / "model").write_text("ours")
    assert everything(tmp_path) == ["a", "a/b", "a/b/model", "other"]
    assert (final / "model").read_text() == "ours"


@pytest.mark.parametrize("moment", ["old", "new"])
def test_two_runs_that_replace_the_same_at_once_leave_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    final, aside = tmp_path / "b", tmp_path / "aside"
    final.mkdir()
    (final / "model").write_text("old")
    rename = Path.rename
    others = [None]

    def interleaved(self: Path, target: Path) -> Path:
        if moment == "old" and self == final and others:  # another run takes the old one away
            others.clear()
            rename(final, aside)
        elif moment == "new" and target == final and not final.exists() and others:  # another run is quicker
            others.clear()
            final.mkdir()
            (final / "model").write_text("theirs")
        return rename(self, target)

    with staged_folder(final, overwrite=True) as stage:
        (stage.folder / "model").write_text("ours")
        monkeypatch.setattr(Path, "rename", interleaved)
    assert not others
    assert (final / "model").read_text() == "ours"
    assert [name for name in everything(tmp_path) if not name.startswith("aside")] == ["b", "b/model"]


def test_a_file_takes_the_place_of_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_text("old")
    with pytest.raises(UsageError, match="already exists"):
        check_file(tmp_path / "old", overwrite=False)
    check_file(tmp_path / "old", overwrite=True)
    with pytest.raises(BadInputError, match="not a file"):
        check_file(tmp_path, overwrite=True)
    monkeypatch.setattr("os.access", lambda *_: False)  # for root, everything can be written
    with pytest.raises(BadInputError, match=f"new cannot be written: no permission in the folder {tmp_path}"):
        check_file(tmp_path / "a" / "new", overwrite=False)


def test_a_folder_thrown_away_leaves_nothing(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "a" / "b", overwrite=False) as stage:
        (stage.folder / "model").write_text("failed its gate")
        stage.keep = False
    assert everything(tmp_path) == []


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="No space is left"), staged_folder(tmp_path / "a", overwrite=False):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert everything(tmp_path) == []


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="is a file"), staged_folder(tmp_path / "file" / "x", overwrite=False):
        pytest.fail("the block must not run")
