"""What each kind of file is and what the commands do with it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path

from mobilevit_tools.errors import BadInputError, MvtError
from tools.mutation.mutators import mutate

MODEL = "couplformer_kct2"
"""The smallest model: 0.2 M parameters, 32 x 32 pixels."""
PHOTO_SUFFIXES = (".jpg", ".png", ".webp", ".tiff", ".gif", ".bmp")


class WrongError(AssertionError):
    """A damaged file was used as if it were whole."""


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        make: Writes whole files into a folder, given a folder of exported artifacts, and returns them.
        use: Does what the commands do with a file, given the whole one that it was.
        text: Whether it is text.
        native: Whether its reader is native code that a damaged file can end: the commands run it in a process of its
            own, and here one process takes many files.
    """

    make: Callable[[Path, Path], list[Path]]
    use: Callable[[Path, Path], None]
    text: bool = False
    native: bool = False


def damaged(original: Path, folder: Path, rng: random.Random, *, text: bool) -> Path:
    """Write a damaged copy of a file, or of a folder with one damaged file in it."""
    copy = folder / f"damaged{original.suffix}"
    shutil.rmtree(copy, ignore_errors=True)
    if original.is_dir():
        shutil.copytree(original, copy)
        victim = rng.choice(sorted(file for file in copy.rglob("*") if file.is_file()))
        victim.write_bytes(mutate(victim.read_bytes(), rng, text=victim.suffix == ".json"))
    else:
        copy.write_bytes(mutate(original.read_bytes(), rng, text=text))
    return copy


def _pth(folder: Path, _: Path) -> list[Path]:
    import torch

    from mobilevit_tools import create_model

    torch.manual_seed(0)
    state = create_model(MODEL, random_weights=True).state_dict()
    torch.save({"state_dict": state, "epoch": 3, "args": {"lr": 0.1}}, folder / "zip.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    return [folder / "zip.pth", folder / "old.pth"]


def _safetensors(folder: Path, _: Path) -> list[Path]:
    from safetensors.torch import save_file

    from mobilevit_tools import create_model

    save_file(create_model(MODEL, random_weights=True).state_dict(), folder / "model.safetensors")
    return [folder / "model.safetensors"]


def _use_checkpoint(path: Path, _: Path) -> None:
    from mobilevit_tools.models.factory import load_model

    load_model(MODEL, checkpoint=path)


def _artifact(name: str) -> Callable[[Path, Path], list[Path]]:
    def make(_: Path, exported: Path) -> list[Path]:
        return [exported / name]

    return make


@cache
def _answers(whole: Path) -> tuple[list[object], dict[bytes, list[object]]]:
    """Return inputs for an artifact and what it gives for each, by the input's bytes."""
    from mobilevit_tools.runtimes.registry import load_session
    from mobilevit_tools.verification.inputs import build_inputs

    with load_session(whole) as session:
        inputs = build_inputs(session.contract.preprocessing, ())
        image = session.inputs[0].kind == "image"
        inputs = [item for item in inputs if not image or item.pixels is not None]
        answers = {item.tensor.tobytes(): session.run(item.pixels if image else item.tensor) for item in inputs}
    return inputs, answers


def _use_artifact(path: Path, whole: Path) -> None:
    import numpy as np

    from mobilevit_tools.runtimes.registry import load_session
    from mobilevit_tools.targets._base import load
    from mobilevit_tools.targets.registry import target_of
    from mobilevit_tools.verification.running import verify_session
    from mobilevit_tools.verification.tolerances import GATES

    inputs, answers = _answers(whole)
    with load_session(path) as session:
        session.operators()
        session.operator_uses()
        load(target_of(path).weights)(path)
        judged = verify_session(session, lambda tensor: answers[tensor.tobytes()], inputs[:-1], GATES["fp32"])
        held_out = inputs[-1]
        if judged.status == "passed":
            array = held_out.pixels if session.inputs[0].kind == "image" else held_out.tensor
            ours, theirs = session.run(array)[0], answers[held_out.tensor.tobytes()][0]
            if not np.allclose(ours, theirs, rtol=1e-2, atol=1e-2 * float(np.abs(theirs).max())):
                raise WrongError("the damaged artifact passed, and computes something else")


def _manifest(folder: Path, exported: Path) -> list[Path]:
    shutil.copy(exported / "onnx-fp32/manifest.json", folder / "manifest.json")
    return [folder / "manifest.json"]


def _use_manifest(path: Path, whole: Path) -> None:
    from mobilevit_tools.cli import main

    beside = path.parent / "folder" / "manifest.json"
    beside.parent.mkdir(exist_ok=True)
    shutil.copy(path, beside)
    printed = StringIO()
    with redirect_stdout(printed):
        code = main(["diff", str(whole), str(beside), "--json"])
    said = json.loads(printed.getvalue())
    if code:
        raise (BadInputError if code == BadInputError.exit_code else MvtError)(said["error"]["message"])


def _baseline(folder: Path, _: Path) -> list[Path]:
    from mobilevit_tools.jsonable import envelope
    from tests.matrix.samples import passed

    path = folder / "smoke.json"
    path.write_text(json.dumps(envelope("smoke", {"cells": [passed()]}), default=str))
    return [path]


def _use_baseline(path: Path, whole: Path) -> None:
    from mobilevit_tools.matrix.baseline import Margins, check_comparable, compare_with_baseline, read_baseline

    cells = read_baseline(whole)
    stored = read_baseline(path)
    check_comparable(stored, [cell.cell for cell in cells.values()], path)
    compare_with_baseline(stored, list(cells.values()), Margins(), path)


def _sweep(folder: Path, _: Path) -> list[Path]:
    path = folder / "sweep.toml"
    path.write_text(
        'targets = ["onnx", "executorch-xnnpack"]\nprecisions = ["fp32", "fp16"]\ndevices = ["none", "host"]\n'
        f'timeout = 60.0\n[[models]]\nname = "{MODEL}"\nrandom_weights = true\ninput_size = "32"\n'
        '[[exclude]]\ntarget = "onnx"\nprecision = ["fp16"]\n'
    )
    _use_sweep(path, path)
    return [path]


def _use_sweep(path: Path, _: Path) -> None:
    from mobilevit_tools.sweeping.expand import expand
    from mobilevit_tools.sweeping.labels import labels_of
    from mobilevit_tools.sweeping.plan import read_plan

    labels_of(expand(read_plan(path), path.parent))


def _labels(folder: Path, _: Path) -> list[Path]:
    names = [f"n{index:08d} class {index}, kind" for index in range(10)]
    (folder / "labels.txt").write_text("\n".join(names))
    (folder / "labels.json").write_text(json.dumps(names))
    (folder / "index.json").write_text(json.dumps({index: [f"n{index}", name] for index, name in enumerate(names)}))
    return [folder / "labels.txt", folder / "labels.json", folder / "index.json"]


def _use_labels(path: Path, _: Path) -> None:
    from mobilevit_tools.data.labels import check_label_count, read_labels

    check_label_count(read_labels(path), 10)


def _photos(folder: Path, _: Path) -> list[Path]:
    from PIL import Image

    from mobilevit_tools.data.bundled import verification_photos

    with Image.open(verification_photos()[0]) as image:
        small = image.convert("RGB").resize((48, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in PHOTO_SUFFIXES:
        small.save(folder / f"photo{suffix}", exif=exif)
    return [folder / f"photo{suffix}" for suffix in PHOTO_SUFFIXES]


def _use_photo(path: Path, _: Path) -> None:
    from mobilevit_tools.data.images import load_image
    from mobilevit_tools.data.preprocessing import Preprocessing

    recipe = Preprocessing((32, 32))
    recipe.normalize(recipe.pixels(load_image(path))[None])


KINDS: Mapping[str, Kind] = {
    "pth": Kind(_pth, _use_checkpoint),
    "safetensors": Kind(_safetensors, _use_checkpoint),
    "onnx": Kind(_artifact("onnx-fp32/model.onnx"), _use_artifact, native=True),
    "mlpackage": Kind(_artifact("coreml-fp32/model.mlpackage"), _use_artifact),
    "pte": Kind(_artifact("executorch-xnnpack-fp32/model.pte"), _use_artifact, native=True),
    "manifest": Kind(_manifest, _use_manifest, text=True),
    "baseline": Kind(_baseline, _use_baseline, text=True),
    "sweep": Kind(_sweep, _use_sweep, text=True),
    "labels": Kind(_labels, _use_labels, text=True),
    "photos": Kind(_photos, _use_photo),
}
