from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from coremltools.libmilstoragepython import _BlobStorageWriter as Writer
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml.blob import WeightFile
from mobilevit_tools.runtimes.coreml.dtypes import BY_NAME
from tests.runtimes.coreml.building import PROPERTY

STORED = [
    "fp16",
    "fp32",
    "int4",
    "int8",
    "int16",
    "int32",
    "uint1",
    "uint2",
    "uint3",
    "uint4",
    "uint6",
    "uint8",
    "uint16",
]


def _written(path: Path, dtype: str, values: np.ndarray) -> int:
    writer = Writer(str(path))
    name = {"fp32": "float"}.get(dtype, dtype)
    data = values.view(np.uint16) if dtype == "fp16" else values
    offset = int(getattr(writer, f"write_{name}_data")(np.ascontiguousarray(data)))
    del writer
    return offset


@PROPERTY
@given(dtype=st.sampled_from(STORED), count=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_stored_type_reads_back(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, count: int, seed: int
) -> None:
    element, rng = BY_NAME[dtype], np.random.default_rng(seed)
    if element.is_float:
        values = rng.standard_normal(count).astype(element.storage)
    else:
        low = -(1 << (element.bits - 1)) if dtype.startswith("int") else 0
        values = rng.integers(low, low + (1 << element.bits), count).astype(element.storage)
    path = tmp_path_factory.mktemp("blob") / "weight.bin"
    offset = _written(path, dtype, values)
    np.testing.assert_array_equal(WeightFile(path).array(offset, element, count), values)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weight.bin"
    assert _written(path, "fp32", np.arange(10, dtype=np.float32)) == 64
    return path


def test_a_constant_of_another_type_or_size_is_refused(weights: Path) -> None:
    file = WeightFile(weights)
    with pytest.raises(BadInputError, match="not of the type"):
        file.array(64, BY_NAME["int32"], 10)
    with pytest.raises(BadInputError, match="do not make 11 elements"):
        file.array(64, BY_NAME["fp32"], 11)
    with pytest.raises(BadInputError, match="no constant at offset 72"):
        file.array(72, BY_NAME["fp32"], 1)
    with pytest.raises(BadInputError, match="too small"):
        file.array(1 << 60, BY_NAME["fp32"], 10)


@pytest.mark.parametrize("name", ["string", "bool", "int64"])
def test_a_constant_of_a_type_that_no_file_holds_is_refused(weights: Path, name: str) -> None:
    data = bytearray(weights.read_bytes())
    struct.pack_into("<IQ", data, 64 + 4, 0, 0)
    weights.write_bytes(data)
    with pytest.raises(BadInputError, match=f"not of the type that the program gives it: {name}"):
        WeightFile(weights).array(64, BY_NAME[name], 0)


def test_a_record_that_points_past_the_end_is_refused(weights: Path) -> None:
    data = bytearray(weights.read_bytes())
    struct.pack_into("<Q", data, 64 + 16, len(data) - 8)
    weights.write_bytes(data)
    with pytest.raises(BadInputError, match="too small") as caught:
        WeightFile(weights).array(64, BY_NAME["fp32"], 10)
    assert "cut short" in str(caught.value.hint)


def test_an_unknown_version_is_refused(weights: Path) -> None:
    data = bytearray(weights.read_bytes())
    struct.pack_into("<I", data, 4, 9)
    weights.write_bytes(data)
    with pytest.raises(BadInputError, match="no weight file of the version"):
        WeightFile(weights)
