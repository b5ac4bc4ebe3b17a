"""Tell people what a file is when it is not a checkpoint."""

from __future__ import annotations

_DOWNLOAD_HINT = "Download the file itself: on GitHub its raw address, on the Hugging Face Hub its `resolve` address."
_SAVE_HINT = "Load it where it was created and save its weights with torch.save(model.state_dict(), 'weights.pth')."
_PROGRAM_HINT = "`mvt inspect` and `mvt verify` take exported programs."
_UNPACK_HINT = "Unpack it and pass the checkpoint inside."

_SIGNATURES: tuple[tuple[int, bytes, str, str | None], ...] = (
    (0, b"version https://git-lfs", "is a Git LFS pointer, not the checkpoint", "Run `git lfs pull`."),
    (0, b"\x1f\x8b", "is a gzip archive", _UNPACK_HINT),
    (0, b"BZh", "is a bzip2 archive", _UNPACK_HINT),
    (0, b"\xfd7zXZ", "is an xz archive", _UNPACK_HINT),
    (0, b"7z\xbc\xaf", "is a 7-Zip archive", _UNPACK_HINT),
    (257, b"ustar", "is a tar archive", _UNPACK_HINT),
    (0, b"\x89HDF", "is an HDF5 file, as Keras writes them", None),
    (0, b"\x93NUMPY", "is a NumPy array", None),
    (4, b"ET12", "is an exported program, not a checkpoint", _PROGRAM_HINT),
    (4, b"TFL3", "is an exported program, not a checkpoint", _PROGRAM_HINT),
    (0, b"\x89PNG", "is a PNG image", None),
    (0, b"\xff\xd8\xff", "is a JPEG image", None),
    (0, b"%PDF", "is a PDF document", None),
    (0, b"\x80\x02", "is a Python pickle that torch.save did not write, or a damaged checkpoint", _SAVE_HINT),
    (0, b"\x80\x03", "is a Python pickle that torch.save did not write", _SAVE_HINT),
    (0, b"\x80\x04", "is a Python pickle that torch.save did not write", _SAVE_HINT),
    (0, b"\x80\x05", "is a Python pickle that torch.save did not write", _SAVE_HINT),
)


def describe(content: bytes) -> tuple[str, str | None]:
    """Return what the content of a file that is no checkpoint is, as the rest of a sentence, and a hint."""
    if not content:
        return "is empty", "Copy or download it again."
    for offset, signature, what, hint in _SIGNATURES:
        if content.startswith(signature, offset):
            return what, hint
    start = content[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "is a web page, not a checkpoint", _DOWNLOAD_HINT
    if _is_text(content[:4096]):
        return "is a text file, not a checkpoint", "Give a .pth, .pt, .pth.tar or .safetensors file."
    if not any(content):
        return "contains only zeros", "Copy or download it again."
    return "is not in a known checkpoint format", "Give a .pth, .pt, .pth.tar or .safetensors file."


def describe_archive(names: list[str]) -> tuple[str, str | None]:
    """Return what a zip archive without torch.save's ``data.pkl`` is, as the rest of a sentence, and a hint."""
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        return "is a TorchScript archive: a program, not just weights", _SAVE_HINT
    if any(name.endswith((".npy", "/.npy")) for name in names):
        return "is a NumPy archive", None
    if "archive_format" in inside:
        return "is a program of torch.export, not a checkpoint", _SAVE_HINT
    shown = ", ".join(sorted(names)[:3]) or "nothing"
    return f"is a zip archive that torch.save did not write (it holds {shown})", _UNPACK_HINT


def _is_text(sample: bytes) -> bool:
    try:
        text = sample.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(sample) - 3:  # the sample may end inside a character
            return False
        text = sample[: error.start].decode("utf-8")
    return all(character.isprintable() or character.isspace() for character in text)
