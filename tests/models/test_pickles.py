"""The scan sees every global that a pickle could import, in every opcode that names one, and imports none."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import sys
from collections import OrderedDict, defaultdict
from pathlib import Path, PurePosixPath
from types import ModuleType

import numpy as np
import pytest
import torch

from mobilevit_tools.models.decoding import decode
from mobilevit_tools.models.pickles import HARMLESS_GLOBALS, TENSOR_GLOBALS, refused_globals, wanted_globals


class Planted:
    """Unpickling one creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_names_its_globals(protocol: int) -> None:
    stream = io.BytesIO(pickle.dumps([sorted, PurePosixPath, OrderedDict()], protocol=protocol) + b"behind")
    assert list(wanted_globals(stream)) == ["builtins.sorted", "pathlib.PurePosixPath", "collections.OrderedDict"]
    assert stream.read() == b"behind"


@pytest.mark.parametrize("protocol", range(6))
def test_names_that_the_pickle_remembers_are_told(protocol: int) -> None:
    wanted = [torch.HalfStorage, torch.FloatStorage, {"Size": 1, "torch": 2}, torch.Size, os.system, os.stat]
    names = list(wanted_globals(io.BytesIO(pickle.dumps(wanted, protocol=protocol))))
    assert names == ["torch.HalfStorage", "torch.FloatStorage", "torch.Size", "posix.system", "posix.stat"]


def test_the_scan_runs_nothing(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    stream = io.BytesIO(pickle.dumps(Planted(planted), protocol=2))
    names = list(wanted_globals(stream))
    assert "builtins.getattr" in names  # how pickle reaches an attribute of a class
    assert not planted.exists()
    pickle.loads(stream.getvalue())
    assert planted.exists()  # so this pickle really was live


def test_the_instance_opcode_names_its_global() -> None:
    assert list(wanted_globals(io.BytesIO(b"(S'true'\nios\nsystem\n."))) == ["os.system"]


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"\x80\x02X\xff\xff\xff\xff", b"hello", b"cos\nsys"])
def test_what_is_cut_short_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        list(wanted_globals(io.BytesIO(content)))


def test_refused_globals_are_named_once_in_order() -> None:
    wanted = ["torch._utils._rebuild_tensor_v2", "posix.system", "argparse.Namespace", "posix.system", "builtins.eval"]
    assert refused_globals(wanted) == ["posix.system", "builtins.eval"]


@pytest.mark.parametrize(
    "name",
    ["torch.Tensor", "builtins.bytearray", "builtins.getattr", "torch._utils._rebuild_meta_tensor_no_storage", "torch"],
)
def test_what_could_allocate_or_reach_further_is_not_allowed(name: str) -> None:
    assert refused_globals([name]) == [name]


def test_the_two_lists_are_disjoint() -> None:
    assert not TENSOR_GLOBALS & HARMLESS_GLOBALS.keys()


@pytest.mark.parametrize("name", HARMLESS_GLOBALS)
@pytest.mark.parametrize("arguments", [b")", b"(K\x07X\x01\x00\x00\x00xt"], ids=["bare", "with arguments"])
def test_each_harmless_type_loads_without_being_imported(name: str, arguments: bytes) -> None:
    module, _, attribute = name.rpartition(".")
    state = b"" if HARMLESS_GLOBALS[name] is OrderedDict else b"(K\x01X\x01\x00\x00\x00ytb"
    arguments = b")" if HARMLESS_GLOBALS[name] is OrderedDict else arguments
    instance = f"c{module}\n{attribute}\n".encode() + arguments + b"R" + state
    if name == "collections.defaultdict":
        instance = f"c{module}\n{attribute}\n".encode() + arguments + b"R"
    content = _legacy_file(b"\x80\x02}X\x04\x00\x00\x00args" + instance + b"s.")
    loaded = decode(content, "checkpoint.pth")
    assert isinstance(loaded, dict)
    assert type(loaded["args"]).__module__ in ("mobilevit_tools.models.pickles", "collections")


def test_what_training_scripts_leave_behind_loads() -> None:
    leftovers = {
        "args": argparse.Namespace(lr=1e-3, output=Path("runs") / "1", device=torch.device("cuda:0"), dtype=torch.half),
        "best": np.float64(78.4),
        "step": np.int64(3),
        "history": defaultdict(list, loss=[np.float32(0.5)]),
        "rng": {"numpy": np.arange(4, dtype=np.uint32), "torch": torch.get_rng_state()},
        "shape": torch.Size([1, 2]),
        "tags": {"a", "b"},
        "version": torch.__version__,
        "weight": torch.nn.Parameter(torch.ones(2)),
    }
    for legacy in (False, True):
        buffer = io.BytesIO()
        torch.save(leftovers, buffer, _use_new_zipfile_serialization=not legacy)
        loaded = decode(buffer.getvalue(), "checkpoint.pth")
        assert isinstance(loaded, dict)
        assert loaded.keys() == leftovers.keys()
        assert torch.equal(loaded["weight"], torch.ones(2))


def test_a_training_run_of_mmengine_loads_without_its_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, "mmengine", ModuleType("mmengine"))
    monkeypatch.setitem(sys.modules, "mmengine.logging", ModuleType("mmengine.logging"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    losses = module.HistoryBuffer()
    losses._log_history, losses._count_history, losses.max_length = np.array([0.5, 0.25]), np.ones(2, int), 1_000_000
    buffer = io.BytesIO()
    content = {
        "meta": {"mmengine_version": "0.10.7", "epoch": 3, "seed": np.int64(7)},
        "state_dict": {"weight": torch.ones(2)},
        "message_hub": {"log_scalars": OrderedDict({"train/loss": losses}), "runtime_info": OrderedDict(iter=9)},
    }
    torch.save(content, buffer)
    for name in ("mmengine.logging.history_buffer", "mmengine.logging", "mmengine"):
        monkeypatch.delitem(sys.modules, name)
    loaded = decode(buffer.getvalue(), "epoch_3.pth")
    assert isinstance(loaded, dict)
    assert torch.equal(loaded["state_dict"]["weight"], torch.ones(2))
    assert not vars(loaded["message_hub"]["log_scalars"]["train/loss"])


def _legacy_file(obj: bytes) -> bytes:
    """Return a file in torch.save's first format around a hand-written pickle."""
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=False)
    empty = pickle.dumps({}, protocol=2)
    assert buffer.getvalue().count(empty) == 1
    return buffer.getvalue().replace(empty, obj)
