"""What ends, hangs or upsets the process of an artifact is one clear error in ours."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.runtimes.frames import FrameError, read_frame, write_frame
from mobilevit_tools.runtimes.isolated import IsolatedSession
from mobilevit_tools.runtimes.registry import load_session, open_session


def child(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """Write a module for the child to run."""
    (folder / "stand_in.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, sys.path)]))
    return "stand_in"


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("import os; os.abort()", "crash", "signal SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "crash", "signal SIGKILL, possibly out of memory"),
        ("raise SystemExit(7)", "crash", "exit status 7"),
        ("print('hello', flush=True)", "crash", "exit status"),
        ("import time; time.sleep(60)", "hang", "took more than 2 s"),
    ],
)
def test_a_death_and_silence_are_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, code: str, said: str
) -> None:
    module = child(tmp_path, monkeypatch, body)
    with pytest.raises(BadInputError, match=said) as caught:
        IsolatedSession(tmp_path / "model.pte", 1, patience_s=2.0, module=module)
    assert caught.value.error_code == code
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert "\n" not in caught.value.message


def test_an_artifact_in_a_process_of_its_own_is_the_same_artifact(exported: Path) -> None:
    path = exported / "onnx-fp32/model.onnx"
    array = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    with open_session(path) as apart, load_session(path) as here:
        assert isinstance(apart, IsolatedSession)
        for fact in ("inputs", "outputs", "contract", "described", "metadata", "notes", "unverifiable", "arithmetics"):
            assert getattr(apart, fact) == getattr(here, fact)
        assert apart.operators() == here.operators()
        assert apart.operator_uses() == here.operator_uses()
        np.testing.assert_array_equal(apart.run(array)[0], here.run(array)[0])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool", "uint8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_arrive_as_they_were_sent(dtype: str, shape: tuple[int, ...]) -> None:
    sent = np.arange(6).astype(dtype)[: int(np.prod(shape))].reshape(shape)
    stream = io.BytesIO()
    write_frame(stream, {"result": {}}, [sent])
    stream.seek(0)
    header, (received,) = read_frame(stream)
    assert header == {"result": {}}
    assert (received.dtype, received.shape) == (sent.dtype, sent.shape)
    np.testing.assert_array_equal(received, sent)


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[]\n",
        b"{}\n",
        b'{"arrays": [{"dtype": "O", "shape": [1]}]}\n',
        b'{"arrays": [{"dtype": "<f4", "shape": [-1]}]}\n',
        b'{"arrays": [{"dtype": "<f4", "shape": [4611686018427387904]}]}\n',
        b'{"arrays": [{"dtype": "nonsense", "shape": [1]}]}\n',
    ],
)
def test_what_is_no_message_is_refused_before_anything_is_allocated(line: bytes) -> None:
    with pytest.raises(FrameError):
        read_frame(io.BytesIO(line))
    with pytest.raises(FrameError):
        write_frame(io.BytesIO(), {}, [np.array([object()])])
