from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mobilevit_tools.data.labelled import read_labelled
from mobilevit_tools.errors import BadInputError

LABELS = ("zebra", "ant", "cat")


def _folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / name / "photo.png")
    return root


def _classes(root: Path, labels: tuple[str, ...] | None = LABELS, count: int = 3) -> dict[str, int]:
    return {path.parent.name: label for path, label in read_labelled(root, labels, count).images}


def test_folders_named_as_labels_take_the_models_order(tmp_path: Path) -> None:
    assert _classes(_folders(tmp_path, "ant", "zebra")) == {"zebra": 0, "ant": 1}


def test_case_and_separators_do_not_make_another_class(tmp_path: Path) -> None:
    labels = ("tench", "cassette player", "golf-ball", "Tench")
    folders = ("Cassette_Player", "GOLF ball", "Tench", "tench")
    assert _classes(_folders(tmp_path / "a", *folders), labels, 4) == dict(zip(folders, (1, 2, 3, 0), strict=True))
    assert _classes(_folders(tmp_path / "b", "Dog", "Cat"), ("dog", "cat"), 2) == {"Dog": 0, "Cat": 1}
    with pytest.raises(BadInputError, match="2 classes named 'TENCH'"):
        _classes(_folders(tmp_path / "c", "TENCH"), labels, 4)
    with pytest.raises(BadInputError, match=r"1 of the 3 folders .* 'Golf', 'Trench' are not") as refusal:
        _classes(_folders(tmp_path / "d", "Cassette_Player", "Golf", "Trench"), labels[:3], 3)
    assert "'tench' for 'Trench'" in str(refusal.value.hint)
    table = tmp_path / "list.csv"
    table.write_text("x.png,Cassette-Player\n")
    assert [label for _, label in read_labelled(table, labels, 4).images] == [1]


def test_synsets_are_looked_up_beside_or_above(tmp_path: Path) -> None:
    root = _folders(tmp_path / "val", "n1", "n2", "n3")
    (tmp_path / "labels.txt").write_text("n1 cat\nn2 zebra\nn3 ant\n")
    assert _classes(root) == {"n1": 2, "n2": 0, "n3": 1}
    assert _classes(root, None) == {"n1": 0, "n2": 1, "n3": 2}
    (root / "labels.txt").write_text("n1 ant\nn2 zebra\nn3 cat\n")
    assert _classes(root) == {"n1": 1, "n2": 0, "n3": 2}


def test_names_that_the_model_does_not_have_are_refused(tmp_path: Path) -> None:
    root = _folders(tmp_path / "val", "n1", "n2", "n3")
    (tmp_path / "labels.txt").write_text("n1 cat\nn2 zebra\nn3 whale\n")
    with pytest.raises(BadInputError, match="'whale'"):
        _classes(root)


def test_indices_come_before_sorted_order(tmp_path: Path) -> None:
    assert _classes(_folders(tmp_path, "2", "0")) == {"0": 0, "2": 2}
    found = read_labelled(_folders(tmp_path / "b", "x", "y", "z"), None, 3)
    assert [label for _, label in found.images] == [0, 1, 2]
    assert "sorted order" in found.rule


def test_folders_that_cannot_be_matched_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not one of the model's 3 classes"):
        _classes(_folders(tmp_path, "x", "y"))


def test_a_folder_that_is_misspelt_among_the_models_names_is_refused(tmp_path: Path) -> None:
    root = _folders(tmp_path, "ant", "kat", "zebra")
    with pytest.raises(BadInputError, match=r"2 of the 3 folders .* 'kat' is not") as refusal:
        _classes(root)
    assert refusal.value.error_code == "bad_labels"
    assert "'cat' for 'kat'" in str(refusal.value.hint)
    (root / "labels.txt").write_text("zebra zebra\nant ant\nkat cat\n")
    assert _classes(root) == {"zebra": 0, "ant": 1, "kat": 2}


@pytest.mark.parametrize("others", [("9_whales",), ("cat", "whale", "yeti")])
def test_folders_far_from_every_label_or_beside_all_of_them_are_refused_too(
    tmp_path: Path, others: tuple[str, ...]
) -> None:
    with pytest.raises(BadInputError, match=repr(others[-1])) as refusal:
        _classes(_folders(tmp_path, "ant", "zebra", *others))
    assert "labels.txt" in str(refusal.value.hint)


def test_flat_folders_have_no_labels(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    with pytest.raises(BadInputError, match="not in class folders"):
        _classes(tmp_path)


def test_csv_with_names_and_indices_and_missing_photos(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text('path,label\na/x.png,cat\n"b, c.png",1\n\ngone.png,zebra\n')
    found = read_labelled(table, LABELS, 3)
    assert [(path.relative_to(tmp_path).as_posix(), label) for path, label in found.images] == [
        ("a/x.png", 2),
        ("b, c.png", 1),
        ("gone.png", 0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("../x.png,cat", "leads out of its folder"),
        ("/etc/passwd,cat", "leads out of its folder"),
        ("x.png,whale", "Line 1 .* 'whale'"),
        ("x.png,3", "'3'"),
        ("x.png", "is not path,label"),
        ("x\0.png,cat", r"names no file: 'x\\x00.png'|NUL"),
        ("path,label\n", "lists no photos"),
        ("\x00\x00,\xff", "CSV|path,label|whale|label"),
    ],
)
def test_csv_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "list.csv"
    table.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInputError, match=message):
        read_labelled(table, LABELS, 3)


TWINS = ("crane", "ant", "crane")


def test_a_name_that_two_classes_share_is_no_label(tmp_path: Path) -> None:
    named = _folders(tmp_path / "named", "ant", "crane")
    looked_up = _folders(tmp_path / "looked_up", "n1", "n2", "n3")
    (looked_up / "labels.txt").write_text("n1 crane\nn2 ant\nn3 crane\n")
    table = tmp_path / "list.csv"
    table.write_text("x.png,crane\n")
    for source in (named, looked_up, table):
        with pytest.raises(BadInputError, match="2 classes named 'crane'") as refusal:
            read_labelled(source, TWINS, 3)
        assert "0, 2" in str(refusal.value.hint)


def test_twins_that_no_photo_shows_and_class_indices_are_fine(tmp_path: Path) -> None:
    assert _classes(_folders(tmp_path / "named", "ant"), TWINS) == {"ant": 1}
    table = tmp_path / "list.csv"
    table.write_text("x.png,ant\ny.png,2\n")
    assert [label for _, label in read_labelled(table, TWINS, 3).images] == [1, 2]


def test_without_the_models_labels_twins_in_labels_txt_are_two_classes(tmp_path: Path) -> None:
    root = _folders(tmp_path, "n1", "n2", "n3")
    (root / "labels.txt").write_text("n1 crane\nn2 ant\nn3 crane\n")
    assert _classes(root, None) == {"n1": 0, "n2": 1, "n3": 2}
    (root / "labels.txt").write_text("n0 x\nn1 crane\nn2 ant\nn3 crane\n")
    with pytest.raises(BadInputError, match="names 4 classes"):
        _classes(root, None)
    (root / "labels.txt").write_text("n1 crane\nn2 ant\nn3 crane\n")
    with pytest.raises(BadInputError, match="names 3 classes; the model has 1000"):
        _classes(root, None, 1000)


@pytest.mark.parametrize(
    ("names", "labels", "classes"),
    [
        (("1", "2", "3"), ("1", "2", "3"), [0, 1, 2]),
        (("1", "2", "3"), ("3", "1", "1"), [2, 0, 0]),
        (("1", "2", "3"), ("0", "1", "2"), None),
        (("0", "1", "2"), ("2", "0", "1"), [2, 0, 1]),
        (("1", "two", "3"), ("two", "0", "two"), [1, 0, 1]),
        (("1", "two", "3"), ("two", "0", "1"), None),
    ],
)
def test_numbers_are_names_or_indices_but_never_both(
    tmp_path: Path, names: tuple[str, ...], labels: tuple[str, ...], classes: list[int] | None
) -> None:
    table = tmp_path / "list.csv"
    table.write_text("".join(f"{number}.png,{label}\n" for number, label in enumerate(labels)))
    if classes is not None:
        assert [label for _, label in read_labelled(table, names, 3).images] == classes
        return
    with pytest.raises(BadInputError, match="the name of one class and the index of another") as refusal:
        read_labelled(table, names, 3)
    assert refusal.value.error_code == "ambiguous_label"


def test_an_order_that_is_asked_for_goes_before_names(tmp_path: Path) -> None:
    root = _folders(tmp_path, *(str(index) for index in range(12)))
    assert {each.order for each in read_labelled(root, None, 12).readings} == {"index", "text"}
    found = read_labelled(root, None, 12, "text")
    assert found.readings == ()
    assert {path.parent.name: label for path, label in found.images}["10"] == 2
    table = tmp_path / "list.csv"
    table.write_text("x.png,1\n")
    with pytest.raises(BadInputError, match="no class folders"):
        read_labelled(table, None, 12, "text")


def test_labels_that_are_numbers_leave_no_doubt(tmp_path: Path) -> None:
    names = tuple(sorted(str(index) for index in range(12)))
    found = read_labelled(_folders(tmp_path, *names), names, 12)
    assert found.readings == ()
    assert {path.parent.name: label for path, label in found.images}["10"] == 2
