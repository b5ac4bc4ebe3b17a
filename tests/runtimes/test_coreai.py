from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("coreai", reason="the `coreai` extra is not installed; make test-targets")

import mobilevit_tools
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.isolated import IsolatedSession
from mobilevit_tools.runtimes.registry import open_made, open_session
from tests.optional import artifact

pytestmark = pytest.mark.targets


def test_it_runs_apart_even_when_just_made() -> None:
    with open_made(artifact("coreai")) as session:
        assert isinstance(session, IsolatedSession)


def test_what_it_tells() -> None:
    with open_session(artifact("coreai")) as session:
        assert [(each.name, each.shape, each.dtype) for each in session.inputs] == [
            ("image", (1, 3, 16, 16), "float32")
        ]
        assert [(each.name, each.shape, each.dtype) for each in session.outputs] == [("logits", (1, 3), "float32")]
        assert session.contract is not None
        uses = {use.type: use for use in session.operator_uses()}
        assert uses["conv2d"].count == 1
        assert uses["conv2d"].precisions == {"fp32": 1}
        assert "constant" not in uses
        assert any("not representative" in note for note in session.notes) == (sys.platform != "darwin")
        with pytest.raises(BadInputError, match="takes 1x3x16x16, not 1x3x8x16"):
            session.run(np.zeros((1, 3, 8, 16), np.float32))
        array = np.ones((1, 3, 16, 16), np.float32)
        once = session.run(array)[0]
        session.prepare(array)()
        np.testing.assert_array_equal(session.run(array)[0], once)


def test_half_precision_computes_in_it() -> None:
    with open_session(artifact("coreai", "fp16")) as session:
        uses = {use.type: use for use in session.operator_uses()}
        assert uses["conv2d"].precisions == {"fp16": 1}
        assert session.inputs[0].dtype == session.outputs[0].dtype == "float32"


def test_predict_knows_the_labels() -> None:
    (prediction,) = mobilevit_tools.predict(artifact("coreai"), [verification_photos()[0]]).predictions
    assert {each.label for each in prediction.top} == {"cat", "dog", "horse"}


def test_profile_says_that_this_is_no_system_of_its_apps() -> None:
    profile = mobilevit_tools.profile(artifact("coreai"), rigor="quick")
    assert profile.device == "host"
    assert ("not_its_system" in profile.flags) == (sys.platform != "darwin")


@pytest.mark.parametrize("damage", ["cut", "empty", "metadata"])
def test_a_damaged_asset_is_bad_input(tmp_path: Path, damage: str) -> None:
    path = Path(shutil.copytree(artifact("coreai"), tmp_path / "model.aimodel"))
    program = path / "main.mlirb"
    if damage == "metadata":
        (path / "metadata.json").write_text("{")
    else:
        program.write_bytes(program.read_bytes()[: 1000 if damage == "cut" else 0])
    with pytest.raises(BadInputError) as caught:
        open_session(path)
    assert caught.value.error_code in {"crash", "unloadable_artifact"}
