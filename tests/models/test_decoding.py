"""Damage, disguise and attack: each file is refused with one sentence that says what it is, and nothing of it runs."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import resource
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.models.decoding import decode

WEIGHTS = {"layer.weight": torch.arange(400.0).reshape(20, 20), "layer.steps": torch.tensor(3)}


def saved(obj: object, *, legacy: bool = False, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(obj, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def rezipped(
    content: bytes, edit: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """Rewrite an archive, each record through ``edit``; None drops it."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            if (body := edit(name, old.read(name))) is not None:
                new.writestr(name, body)
    return target.getvalue()


def refusal(content: bytes) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        decode(content, "some/file.pth")
    error = caught.value
    assert error.exit_code is ExitCode.BAD_INPUT
    assert error.message.startswith("some/file.pth ")
    assert "\n" not in error.message
    return error


@pytest.mark.parametrize(
    "content",
    [saved(WEIGHTS), saved(WEIGHTS, legacy=True), save_safetensors(WEIGHTS)],
    ids=["zip", "legacy", "safetensors"],
)
def test_each_format_is_recognised_by_its_content(content: bytes) -> None:
    loaded = decode(content, "file-without-suffix")
    assert isinstance(loaded, Mapping)
    assert loaded.keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded[key], WEIGHTS[key]) for key in WEIGHTS)


class Runs:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "name"), [(os.system, "posix.system"), (eval, "builtins.eval"), (exec, "builtins.exec")]
)
def test_a_pickle_that_wants_to_run_code_is_refused_by_name(
    function: Callable[..., object], name: str, legacy: bool, tmp_path: Path
) -> None:
    planted = tmp_path / "planted"
    command = f"touch {planted}" if function is os.system else f"open({str(planted)!r}, 'w')"
    content = saved({"state_dict": WEIGHTS, "args": Runs(function, command)}, legacy=legacy)
    error = refusal(content)
    assert error.error_code == "unsafe_checkpoint"
    assert f"would execute {name}; it was not executed" in error.message
    assert not planted.exists()
    torch.load(io.BytesIO(content), weights_only=False)
    assert planted.exists()  # so this checkpoint really was live


def test_a_pickle_that_slips_through_the_scan_does_not_run_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "planted"
    monkeypatch.setattr("mobilevit_tools.models.pickles.refused_globals", lambda _wanted: [])
    for function in (os.system, exec):
        refusal(saved(Runs(function, f"touch {planted}" if function is os.system else f"open({str(planted)!r}, 'w')")))
    assert not planted.exists()


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_newer_pickle_protocol_is_said_and_nobody_is_accused(protocol: int, legacy: bool) -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    weights = {"half": torch.ones(2).half(), "weight": parameter, "float": torch.ones(3)}
    error = refusal(saved(weights, legacy=legacy, protocol=protocol))
    assert f"was saved with pickle protocol {protocol}, which torch's safe loader does not read." in error.message
    assert error.error_code == "pickle_protocol"
    assert "torch.save(weights, 'weights.pth')" in (error.hint or "")
    live = refusal(saved({"a": weights, "b": Runs(os.system, "true")}, legacy=legacy, protocol=protocol))
    assert live.message == "some/file.pth is a pickle that would execute posix.system; it was not executed."


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_protocol_3_loads(legacy: bool) -> None:
    loaded = decode(saved(WEIGHTS, legacy=legacy, protocol=3), "weights.pth")
    assert isinstance(loaded, Mapping)
    assert torch.equal(loaded["layer.weight"], WEIGHTS["layer.weight"])


def test_a_live_pickle_outside_any_archive_is_refused_by_name_too(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    error = refusal(pickle.dumps(Runs(os.system, f"touch {planted}")))
    assert "posix.system" in error.message
    assert not planted.exists()


def test_a_whole_model_is_refused_with_the_way_out() -> None:
    error = refusal(saved({"model": torch.nn.Linear(2, 2)}))
    assert "torch.nn.modules.linear.Linear" in error.message
    assert error.hint is not None
    assert "model.state_dict()" in error.hint


def test_types_that_torch_would_load_but_a_checkpoint_never_needs_are_refused() -> None:
    bomb = b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R."
    content = rezipped(saved(WEIGHTS), lambda name, body: bomb if name.endswith("data.pkl") else body)
    assert "builtins.bytearray" in refusal(content).message


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_any_cut_is_noticed(legacy: bool) -> None:
    content = saved(WEIGHTS, legacy=legacy)
    for length in [*range(16, len(content), 97), len(content) - 1]:
        error = refusal(content[:length])
        assert error.error_code == "damaged_checkpoint", length
        assert "truncated or damaged" in error.message
        assert error.hint == "Copy or download it again and compare its digest."


def test_a_cut_safetensors_file_is_noticed() -> None:
    content = save_safetensors(WEIGHTS)
    for length in (9, 60, len(content) - 1):
        assert "truncated or damaged checkpoint: safetensors says" in refusal(content[:length]).message


def test_a_flipped_bit_in_a_tensor_is_noticed() -> None:
    content = bytearray(saved(WEIGHTS))
    position = bytes(content).index(WEIGHTS["layer.weight"].numpy().tobytes())
    content[position + 200] ^= 1
    assert decode_unchecked(bytes(content))["layer.weight"].shape == (20, 20)  # torch.load itself does not mind
    assert "checksum of its record archive/data/0 is wrong" in refusal(bytes(content)).message


def test_an_archive_saved_without_checksums_loads() -> None:
    torch.serialization.set_crc32_options(False)
    try:
        content = saved(WEIGHTS)
    finally:
        torch.serialization.set_crc32_options(True)
    assert isinstance(decode(content, "file.pth"), dict)


def test_a_compressed_archive_is_refused_before_it_expands() -> None:
    content = rezipped(saved({"w": torch.zeros(1_000_000)}), lambda _name, body: body, zipfile.ZIP_DEFLATED)
    assert len(content) < 100_000
    assert refusal(content).error_code == "checkpoint_expands"


def test_compression_is_refused_even_where_nothing_expands() -> None:
    content = rezipped(saved({"w": torch.rand(1000)}), lambda _name, body: body, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        expanded = sum(entry.file_size for entry in archive.infolist())
    assert expanded <= len(content)
    assert refusal(content).error_code == "checkpoint_expands"


def test_records_that_share_their_bytes_are_refused() -> None:
    """The directory of such an archive lists more bytes than the file has, without any compression."""
    content = saved({f"w{index}": torch.full((50_000,), float(index)) for index in range(3)})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        first, *others = (entry for entry in archive.infolist() if "/data/" in entry.filename)
    kept = content[: first.header_offset + 200_000 + 1000]
    directory = content[content.index(b"PK\x01\x02") :]
    for other in others:
        directory = directory.replace(
            other.header_offset.to_bytes(4, "little"), first.header_offset.to_bytes(4, "little")
        )
    start = content.index(b"PK\x01\x02").to_bytes(4, "little")
    content = kept + directory.replace(start, len(kept).to_bytes(4, "little"))
    assert refusal(content).error_code == "checkpoint_expands"


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("claimed", [10**9, 10**13], ids=["4 GB", "40 TB"])
def test_a_tensor_that_claims_to_be_huge_costs_no_memory(legacy: bool, claimed: int) -> None:
    number = b"\x8a\x06" + claimed.to_bytes(6, "little")
    content = saved({"w": torch.arange(1000.0)}, legacy=legacy)
    assert b"M\xe8\x03" in content
    content = (
        content.replace(b"M\xe8\x03", number)
        if legacy
        else rezipped(content, lambda _name, body: body.replace(b"M\xe8\x03", number))
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(content).error_code == "damaged_checkpoint"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 42931109\n", "is a Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "is a web page"),
        (b"<HTML><head></head></HTML>", "is a web page"),
        (b"step,loss\n1,0.5\n", "is a text file"),
        ("ein Text mit Umlauten: äöü\n".encode() * 500, "is a text file"),
        (b"\x1f\x8b\x08\x00\x00\x00", "is a gzip archive"),
        (b"\x89PNG\r\n\x1a\n\x00", "is a PNG image"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b"\x1c\x00\x00\x00ET12\x00\x00", "is an exported program"),
        (b"\x1c\x00\x00\x00TFL3\x00\x00", "is an exported program"),
        (bytes(1000), "contains only zeros"),
        (bytes(range(1, 256)) * 5, "is not in a known checkpoint format"),
        (pickle.dumps({"a": 1}), "is a Python pickle that torch.save did not write"),
        (pickle.dumps({"a": 1}, protocol=2), "is a Python pickle that torch.save did not write"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_called_what_it_is(content: bytes, said: str) -> None:
    error = refusal(content)
    assert error.message.startswith(f"some/file.pth {said}")
    assert error.error_code == "not_a_checkpoint"


def test_a_tar_archive_is_called_what_it_is(tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "inner").write_bytes(b"x" * 600)
    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        archive.add(tmp_path / "inner", "inner")
    assert "is a tar archive" in refusal((tmp_path / "model.tar").read_bytes()).message


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_archive_is_called_what_it_is() -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.ones(1)), buffer)
    assert "is a TorchScript archive" in refusal(buffer.getvalue()).message


def test_a_foreign_zip_archive_is_called_what_it_is() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("Data/model.mlmodel", b"x")
    assert (
        "is a zip archive that torch.save did not write (it holds Data/model.mlmodel)"
        in refusal(buffer.getvalue()).message
    )


def test_a_garbled_pickle_is_damage_and_never_an_internal_error() -> None:
    content = saved(WEIGHTS)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickled = archive.read("archive/data.pkl")
    for position in range(2, len(pickled) - 1, 5):
        garbled = pickled[:position] + bytes([pickled[position] ^ 0x15]) + pickled[position + 1 :]
        changed = rezipped(content, lambda name, body, new=garbled: new if name.endswith("data.pkl") else body)
        with contextlib.suppress(BadInputError):
            decode(changed, "some/file.pth")


def decode_unchecked(content: bytes) -> dict[str, Tensor]:
    return torch.load(io.BytesIO(content), weights_only=True)
