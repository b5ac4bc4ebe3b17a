from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_tools.api import bench
from mobilevit_tools.cli.app import run
from mobilevit_tools.errors import UsageError
from mobilevit_tools.rewrites.applied import AppliedRewrite
from tests.conftest import SMALL


def test_each_rewrite_is_left_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: dict[str, tuple[str, ...] | None] = {}
    compared: list[tuple[str, str, str, int]] = []

    def lower(loaded, spec, names, path: Path):
        lowered[path.name] = None if names is None else tuple(names)
        path.write_text(path.stem)
        return tuple(AppliedRewrite(name, "", 1, 0) for name in ("split_slices", "token_means"))

    def compare(a: Path, b: Path, *, device, threads, rigor, progress):
        compared.append((a.stem, b.stem, device, threads))

    monkeypatch.setattr(bench, "_lower", lower)
    monkeypatch.setattr(bench, "compare", compare)
    result = bench.bench_rewrites(  # what is named twice is measured once
        [SMALL, SMALL],
        targets=["executorch", "executorch"],
        devices=("host", "count", "host"),
        threads=(1, 2, 1),
        each=True,
    )
    assert lowered == {
        "rewritten.pte": None,
        "plain.pte": (),
        "without-split_slices.pte": ("token_means",),
        "without-token_means.pte": ("split_slices",),
    }
    assert compared == [
        (without, "rewritten", device, threads)
        for without in ("plain", "without-split_slices", "without-token_means")
        for device, threads in (("host", 1), ("host", 2), ("count", 1))
    ]
    assert [gain.rewrite for gain in result.gains][::3] == ["all rewrites", "split_slices", "token_means"]


@pytest.mark.parametrize("threads", [(4,), (1, 4)])
def test_threads_that_no_device_takes_are_refused(threads: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "load_model", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(UsageError, match="The count device runs one thread, not 4") as caught:
        bench.bench_rewrites([SMALL], devices=("count", "count"), threads=threads)
    assert caught.value.hint is not None


def test_the_same_bytes_are_not_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def lower(loaded, spec, names, path: Path):
        path.write_bytes(b"nothing to rewrite")
        return ()

    def compare(*_: object, **__: object):
        raise AssertionError("noise would find a difference")

    monkeypatch.setattr(bench, "_lower", lower)
    monkeypatch.setattr(bench, "compare", compare)
    (gain,) = bench.bench_rewrites([SMALL], targets=["onnx"]).gains
    assert gain.measured is None
    assert run(["bench", "rewrites", SMALL, "--target", "onnx"]) == 0
    assert "same bytes" in capsys.readouterr().out


def test_a_model_in_a_file_has_its_dots_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n"
        "def build(num_classes=4):\n"
        "    layers = nn.Conv2d(3, num_classes, 8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "    return nn.Sequential(*layers)\n"
    )
    monkeypatch.setattr(bench, "compare", lambda *_, **__: None)
    (gain,) = bench.bench_rewrites([f"{net}:build"], targets=["onnx"], input_size=(32, 32)).gains
    assert gain.model == f"{net}:build"
