from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="the `litert` extra is not installed; make test-targets")

import mobilevit_tools
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.contract import MAX_CONTRACT_BYTES
from mobilevit_tools.devices import RunRequest, open_device
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.litert_files import CONTRACT_FILE, read_contract
from mobilevit_tools.runtimes.registry import open_session
from tests.optional import artifact, exported

pytestmark = pytest.mark.targets


def test_what_it_tells() -> None:
    with open_session(artifact("litert")) as session:
        assert [(each.name, each.shape, each.dtype) for each in session.inputs] == [
            ("image", (1, 3, 16, 16), "float32")
        ]
        assert [(each.name, each.shape, each.dtype) for each in session.outputs] == [("logits", (1, 3), "float32")]
        assert session.contract is not None
        uses = {use.type: use for use in session.operator_uses()}
        assert (uses["CONV_2D"].count, uses["CONV_2D"].precisions) == (1, {"fp32": 1})
        assert "DELEGATE" not in uses
        assert sum(use.macs or 0 for use in uses.values()) == exported("litert").artifacts[0].macs
        assert [note for note in session.notes if note.startswith("XNNPACK takes ")]
        pieces = session.pieces()
        assert [piece.delegated for piece in pieces].count(True) >= 1
        assert sum(piece.macs or 0 for piece in pieces) == exported("litert").artifacts[0].macs
        assert sum(sum(piece.operators.values()) for piece in pieces) == sum(use.count for use in uses.values())


def test_it_runs_the_same_each_time_and_refuses_another_size() -> None:
    with open_session(artifact("litert")) as session:
        with pytest.raises(BadInputError, match="takes 1x3x16x16, not 1x3x8x16"):
            session.run(np.zeros((1, 3, 8, 16), np.float32))
        array = np.ones((1, 3, 16, 16), np.float32)
        once = session.run(array)[0]
        session.run(-array)
        session.prepare(array)()
        np.testing.assert_array_equal(session.run(array)[0], once)
        assert not np.array_equal(session.run(-array)[0], once)


def test_predict_knows_the_labels() -> None:
    (prediction,) = mobilevit_tools.predict(artifact("litert"), [verification_photos()[0]]).predictions
    assert {each.label for each in prediction.top} == {"cat", "dog", "horse"}


def test_profile_measures_it_on_this_host() -> None:
    profile = mobilevit_tools.profile(artifact("litert"), rigor="quick")
    assert (profile.device, profile.threads) == ("host", 1)


def test_its_operators_are_timed_inside_xnnpack() -> None:
    with open_session(artifact("litert")) as session:
        calls = sum(piece.delegated for piece in session.pieces())
    times = mobilevit_tools.profile(artifact("litert"), rigor="quick", per_op=True).per_op
    assert times is not None
    kinds = Counter(each.kind for each in times if each.delegate)
    assert (kinds["Convolution"], kinds["GELU"], kinds["Fully Connected"]) == (1, 1, 2)
    assert {each.call for each in times if each.delegate} == set(range(1, calls + 1))
    assert len({each.name for each in times}) == len(times)


def test_an_emulated_phone_computes_the_same() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    with open_session(artifact("litert")) as session:
        here = np.concatenate([session.run(image[None])[0] for image in noise])
    with open_device("arm64") as device:
        result = device.measure(RunRequest(artifact("litert"), noise))
    np.testing.assert_allclose(result.outputs, here, rtol=1e-4, atol=1e-6)
    assert result.timing is None


@pytest.mark.parametrize("kept", [0, 100, 1000])
def test_a_damaged_model_is_bad_input(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(artifact("litert").read_bytes()[:kept])
    with pytest.raises(BadInputError) as caught:
        open_session(path)
    assert caught.value.error_code in {"crash", "unloadable_artifact"}


def test_a_model_of_others_has_no_contract(tmp_path: Path) -> None:
    path = Path(shutil.copy(artifact("litert"), tmp_path / "model.tflite"))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    with open_session(path) as session:
        assert session.contract is None
        assert session.run(np.ones((1, 3, 16, 16), np.float32))[0].shape == (1, 3)


def test_a_contract_that_unpacks_to_more_than_any_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CONTRACT_FILE, " " * (MAX_CONTRACT_BYTES + 1))
    with pytest.raises(BadInputError, match="larger than"):
        read_contract(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_contract_is_no_missing_one(tmp_path: Path, method: int) -> None:
    path = tmp_path / "model.tflite"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(CONTRACT_FILE, '{"model": "net"}' * 8)
    content = path.read_bytes()
    begin, end = content.index(CONTRACT_FILE.encode()) + len(CONTRACT_FILE), content.index(b"PK\x01\x02")
    refused = 0
    for place in range(begin, end):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:  # the method may have a spare bit there
            assert read_contract(path) == '{"model": "net"}' * 8
        except BadInputError:
            refused += 1
    assert refused > (end - begin) / 2


def test_an_archive_whose_directory_is_damaged_is_told_of(tmp_path: Path) -> None:
    path = Path(shutil.copy(artifact("litert"), tmp_path / "model.tflite"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))
    with pytest.raises(BadInputError, match="damaged"):
        open_session(path)
