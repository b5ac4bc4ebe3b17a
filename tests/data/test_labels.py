"""Label files in their usual forms, and one sentence for everything else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.data import labels as module_under_test
from mobilevit_tools.data.labels import check_label_count, read_labels, unique_labels
from mobilevit_tools.errors import BadInputError


def read(tmp_path: Path, content: str | bytes | object, suffix: str = ".txt") -> tuple[str, ...]:
    path = tmp_path / f"labels{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_labels(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("tench\nchain saw\n", ("tench", "chain saw")),
        ("tench\r\nchain saw\r\n\r\n", ("tench", "chain saw")),
        (b"\xef\xbb\xbftench\nf\xc3\xbcr", ("tench", "für")),
        ("n01440764 tench\nn02102040 English springer\n", ("tench", "English springer")),
        ("n01440764 tench, Tinca tinca\nn02102040\tspringer", ("tench, Tinca tinca", "springer")),
        ("n01440764,tench\nn02102040,springer", ("tench", "springer")),
        ("n01440764 tench\nchain saw\n", ("n01440764 tench", "chain saw")),
        ("n01440764\nn02102040\n", ("n01440764", "n02102040")),
        ("crane\ncrane\n", ("crane", "crane")),
    ],
)
def test_text(tmp_path: Path, content: str | bytes, expected: tuple[str, ...]) -> None:
    assert read(tmp_path, content) == expected


ELEVEN = tuple(f"class {index}" for index in range(11))  # as text, index 10 sorts before index 2


@pytest.mark.parametrize(
    "content",
    [
        list(ELEVEN),
        {str(index): name for index, name in reversed(list(enumerate(ELEVEN)))},
        [["n00000001", name] for name in ELEVEN],
        {str(index): ["n00000001", name] for index, name in enumerate(ELEVEN)},
    ],
)
def test_json_keeps_the_order_of_the_indices(tmp_path: Path, content: object) -> None:
    assert read(tmp_path, content, ".json") == ELEVEN


@pytest.mark.parametrize(
    ("content", "suffix", "said"),
    [
        ("", ".txt", "it is empty"),
        ("\n\n", ".txt", "it is empty"),
        ("a\n\nb\n", ".txt", "class 1 is empty"),
        ("a\x1b[31mred\n", ".txt", "control characters"),
        (b"\xff\xfe\x00", ".txt", "utf-8"),
        ("[1, 2]", ".json", "not names"),
        ('["a", null]', ".json", "not names"),
        ('{"1": "a", "2": "b"}', ".json", "class indices from 0"),
        ('"tench"', ".json", "neither a list nor an object"),
        ("[]", ".json", "it is empty"),
        ('["a", "b\\nc"]', ".json", "class 1"),
        ('["a"', ".json", "is not a list of class names"),
        ("[" * 100_000, ".json", "is not a list of class names"),
    ],
)
def test_what_is_no_list_of_names(tmp_path: Path, content: str | bytes, suffix: str, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, content, suffix)
    assert said in caught.value.message
    assert caught.value.error_code == "bad_labels"


def test_missing_special_and_huge_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match="does not exist"):
        read_labels(tmp_path / "absent.txt")
    with pytest.raises(BadInputError, match="is a folder"):
        read_labels(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInputError, match="is not a regular file"):
        read_labels(tmp_path / "pipe")
    monkeypatch.setattr(module_under_test, "MAX_BYTES", 3)
    assert read(tmp_path, "abc") == ("abc",)
    with pytest.raises(BadInputError, match="larger than 3 bytes"):
        read(tmp_path, "abcd")


@pytest.mark.parametrize("classes", [1, 3])
def test_the_count_must_match(classes: int) -> None:
    check_label_count(("a", "b"), 2)
    with pytest.raises(BadInputError, match=f"2 labels for {classes} classes") as caught:
        check_label_count(("a", "b"), classes)
    assert caught.value.error_code == "label_count"


@given(st.lists(st.sampled_from(["a", "b", "a (0)", "a (1)", "a (1) (1)"]), max_size=8))
def test_classes_of_one_name_are_told_apart(labels: list[str]) -> None:
    unique = unique_labels(labels)
    assert len(set(unique)) == len(labels)
    for label, name in zip(labels, unique, strict=True):
        assert name == label if labels.count(label) == 1 else name.startswith(f"{label} (")


def test_the_index_tells_classes_apart() -> None:
    assert unique_labels(["crane", "dog", "crane"]) == ["crane (0)", "dog", "crane (2)"]
