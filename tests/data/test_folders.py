"""Listings are complete, ordered by name alone, and stay inside the folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mobilevit_tools.data.folders import list_images
from mobilevit_tools.data.images import FORMATS, load_image, photo_suffixes
from mobilevit_tools.errors import BadInputError, UsageError


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_images(root).images]


def refusal(root: Path) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        list_images(root)
    return caught.value


def test_a_flat_folder(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "B.JPEG", "a.png", "10.webp", "9.webp", "notes.txt", ".hidden.jpg", "._a.png", "jpg")
    folder = list_images(tmp_path)
    assert names(tmp_path) == ["10.webp", "9.webp", "B.JPEG", "a.png", "b.jpg"]
    assert folder.classes == ()
    assert folder.targets == ()


def test_one_folder_per_class(tmp_path: Path) -> None:
    make(tmp_path, "n2/b.jpg", "n2/a.jpg", "n1/z.png", "n10/deep/er/x.png", "n10/a.jpg", "README.md", "empty/notes.txt")
    folder = list_images(tmp_path)
    assert folder.classes == ("n1", "n10", "n2")
    assert names(tmp_path) == ["n1/z.png", "n10/a.jpg", "n10/deep/er/x.png", "n2/a.jpg", "n2/b.jpg"]
    assert folder.targets == (0, 1, 1, 2, 2)


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "c1/a.jpg", "c1/b.jpg", "c2/a.jpg", "c2/b.jpg")
    expected = names(tmp_path)
    from mobilevit_tools.data import folders

    listing = folders.os.listdir
    monkeypatch.setattr(folders.os, "listdir", lambda path: sorted(listing(path), reverse=True))
    assert names(tmp_path) == expected


def test_a_mixture_is_refused(tmp_path: Path) -> None:
    error = refusal(make(tmp_path, "stray.jpg", "n1/a.jpg"))
    assert error.error_code == "mixed_folder"
    assert "stray.jpg" in error.message


def test_missing_empty_and_wrong(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent").error_code == "no_such_folder"
    assert refusal(make(tmp_path, "notes.txt")).error_code == "no_images"
    assert "is a file" in refusal(tmp_path / "notes.txt").message


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, kind: str) -> None:
    outside = make(tmp_path / "outside", "secret/s.jpg")
    root = make(tmp_path / "root", "n1/a.jpg")
    target = outside / "secret" / "s.jpg" if kind == "file" else outside / "secret"
    (root / "n1" / "link.jpg").symlink_to(target)
    error = refusal(root)
    assert error.error_code == "link_leads_out"
    assert "link.jpg" in error.message


def test_links_inside_count_once_for_files_and_are_not_followed_for_folders(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "n1/a.jpg")
    (root / "n1" / "b.jpg").symlink_to(root / "n1" / "a.jpg")
    (root / "n1" / "loop").symlink_to(root)
    (tmp_path / "entrance").symlink_to(root)
    assert names(root) == ["n1/a.jpg", "n1/b.jpg"]
    assert names(tmp_path / "entrance") == ["n1/a.jpg", "n1/b.jpg"]


def test_a_subset_is_seeded_ordered_and_keeps_targets(tmp_path: Path) -> None:
    folder = list_images(make(tmp_path, *(f"c{index % 3}/{index:02}.jpg" for index in range(30))))
    drawn = folder.subset(10, seed=1)
    assert drawn == folder.subset(10, seed=1)
    assert drawn != folder.subset(10, seed=2)
    assert len(set(drawn.images)) == 10
    assert list(drawn.images) == sorted(drawn.images)
    assert drawn.classes == folder.classes
    assert [path.parent.name for path in drawn.images] == [drawn.classes[target] for target in drawn.targets]
    assert [path.name for path in folder.subset(3).images] == ["07.jpg", "14.jpg", "23.jpg"]  # the same for ever
    assert folder.subset(30) == folder.subset(99) == folder


def test_an_empty_subset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        list_images(make(tmp_path, "a.jpg")).subset(0)


def test_a_link_in_a_circle_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    with pytest.raises(BadInputError, match=r"a\.jpg"):
        load_image(*list_images(tmp_path).images)


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".jpg", ".apng", ".webp", ".tif", ".heic"])
def test_photos_of_every_format_are_found_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    make(tmp_path, f"photo{suffix}", "model.onnx", "labels.txt")
    assert names(tmp_path) == [f"photo{suffix}"]


def test_whatever_suffix_pillow_gives_a_format_that_is_read_is_a_photos() -> None:
    Image.init()
    missing = {suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS} - photo_suffixes()
    assert not missing
    assert not photo_suffixes() & {".eps", ".pdf", ".psd", ".mp4"}
