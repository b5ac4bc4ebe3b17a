from __future__ import annotations

from dataclasses import replace
from itertools import product

from mobilevit_tools.matrix.cell import Cell
from mobilevit_tools.sweeping.labels import Label, labels_of

CELL = Cell("/home/me/nets/mine.py:build", "onnx", checkpoint="/data/best.pth", input_size="192", options=("a=1",))


def test_labels_are_as_short_as_they_can_be() -> None:
    plain = replace(CELL, checkpoint=None, input_size=None, options=())
    assert labels_of([CELL, plain]) == {
        CELL: Label("mine.py:build (best.pth, 192, a=1)/onnx/fp32", "mine.py:build", "best.pth, 192, a=1"),
        plain: Label("mine.py:build/onnx/fp32", "mine.py:build", ""),
    }


def test_entries_that_differ_in_one_setting_are_told_apart() -> None:
    changes = ({}, {"num_classes": 7}, {"labels": "/a/x.txt"}, {"labels": "/b/x.txt"}, {"mean": "0.5"}, {"std": "0.5"})
    labels = labels_of([replace(CELL, **change) for change in changes])
    assert len({label.cell for label in labels.values()}) == len({label.variant for label in labels.values()}) == 6
    assert [label.variant for label in labels.values()][-1] == "best.pth, 192, std 0.5, a=1"


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    checkpoints = ("/data/runs/a/last/best.pth", "/data/runs/b/last/best.pth", "/data/runs/best.pth", "/other/x.pth")
    cells = [replace(CELL, checkpoint=checkpoint, input_size=None, options=()) for checkpoint in checkpoints]
    assert [label.variant for label in labels_of(cells).values()] == [
        "a/last/best.pth",
        "b/last/best.pth",
        "best.pth",
        "x.pth",
    ]
    models = ("/nets/a/net.py:build", "/nets/b/net.py:build", "/nets/b/net.py:small")
    cells = [Cell(model, "onnx") for model in models]
    assert [label.cell for label in labels_of(cells).values()] == [
        "a/net.py:build/onnx/fp32",
        "b/net.py:build/onnx/fp32",
        "net.py:small/onnx/fp32",
    ]


def test_an_address_of_the_hub_and_a_file_are_told_apart() -> None:
    cells = [Cell("care_s1", "onnx", checkpoint=path) for path in ("hf://owner/repo/s1.pth", "/data/s1.pth")]
    assert [label.variant for label in labels_of(cells).values()] == ["hf://owner/repo/s1.pth", "/data/s1.pth"]


def test_no_two_cells_have_one_name() -> None:
    cells = [
        Cell(model, target, precision, device=device, checkpoint=checkpoint, input_size=size, options=options)
        for model, target, precision, device, checkpoint, size, options in product(
            ("care_s1", "/a/net.py:build", "/b/net.py:build", "/b/c/net.py:build"),
            ("onnx", "coreml"),
            ("fp32", "fp16"),
            (None, "count"),
            (None, "/a/best.pth", "/b/best.pth", "/b/c/best.pth", "/b/best.pt", "hf://owner/repo/best.pth"),
            (None, "192"),
            ((), ("a=1",), ("a=1", "b=2")),
        )
    ]
    labels = labels_of(cells)
    assert list(labels) == cells
    assert len({label.cell for label in labels.values()}) == len(cells)
    entries = {(cell.model, cell.checkpoint, cell.input_size, cell.options) for cell in cells}
    assert len({(label.model, label.variant) for label in labels.values()}) == len(entries)
