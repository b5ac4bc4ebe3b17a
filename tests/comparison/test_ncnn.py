from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ncnn", reason="the `ncnn` extra is not installed; make test-targets")

from mobilevit_tools.comparison.reading import read_apart
from mobilevit_tools.errors import BadInputError
from tests.optional import artifact

pytestmark = pytest.mark.targets


def test_the_weights_are_one_file() -> None:
    ((stored,), notes) = read_apart("ncnn", artifact("ncnn"))
    assert stored.size_bytes == (artifact("ncnn") / "model.bin").stat().st_size
    assert notes == ("ncnn keeps all weights as one: they are compared as a whole.",)


def test_an_artifact_without_weights_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no model\.bin"):
        read_apart("ncnn", tmp_path)
