"""Write a golden bundle: an artifact with one input, what PyTorch answers to it, and how far an app may be from that.

Everything numeric is raw and little-endian, so that an app needs no library to read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from mobilevit_tools.artifacts.manifest import Manifest
from mobilevit_tools.bundle.contents import Golden, GoldenDecoding, GoldenInput, GoldenOutput
from mobilevit_tools.bundle.snippets import decoders_of, render, snippets_of
from mobilevit_tools.data.contract import CLASS_SCORES, OutputKind
from mobilevit_tools.data.labels import unique_labels
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.tasks.probabilities import softmax
from mobilevit_tools.tasks.registry import load_task
from mobilevit_tools.verification.tolerances import GATES, Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.exporters._base import ExportSpec
    from mobilevit_tools.runtimes._base import Session
    from mobilevit_tools.tasks.decoding import Decodes
    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.reference import Reference

BUNDLE_FOLDER = "bundle"
GOLDEN_NAME = "golden.json"
PICTURE_NAME = "expected.png"
DECODED_NAME = "decoded.bin"

_SOFTMAX_GAIN = 0.5
"""A softmax halves every difference of its logits at least, in the largest and in the Euclidean norm: the rows of its
Jacobian, diag(p) - p p^T, sum to 2 p (1 - p) in absolute values, and it is symmetric."""


def write_bundle(
    artifact: Path, manifest: Manifest, session: Session, reference: Reference, inputs: Sequence[VerificationInput]
) -> Path:
    """Write the bundle of one artifact into the folder ``bundle`` beside it and return that path.

    Args:
        artifact: The artifact; where the file system can, the bundle's copy is a second name of the same bytes.
        manifest: What is known of it.
        session: The artifact, loaded.
        reference: Runs the PyTorch float32 model.
        inputs: The inputs of the verification; the most colourful photo among them is stored.
    """
    spec, contract = manifest.spec, manifest.contract
    bundle = artifact.parent / BUNDLE_FOLDER
    bundle.mkdir()
    _share(artifact, bundle / artifact.name)
    photo = max((item for item in inputs if item.pixels is not None), key=_fitness)
    batch = session.inputs[0].batch
    raw = [np.repeat(output, batch, axis=0) for output in reference(photo.tensor)]
    answers = [info for info in session.outputs if info.kind != "label"]
    golden = Golden(
        artifact=manifest.artifact,
        model=contract.model,
        target=spec.target,
        backend=spec.backend,
        precision=spec.precision,
        parity=manifest.parity.status,
        preprocessing=contract.preprocessing,
        input=_write_input(bundle, session, photo, batch),
        outputs=tuple(
            _write_output(
                bundle / f"expected.{index}.bin",
                info.name,
                values,
                holds=contract.output,
                by_label=len(answers) < len(session.outputs),
                gate=_limits_on(photo, manifest),
            )
            for index, (info, values) in enumerate(zip(answers, raw, strict=True))
        ),
        labels=tuple(unique_labels(contract.labels)) if contract.labels else None,
        top1=_top1(raw[0], contract.output),
        snippets=tuple(snippets_of(spec)),
        tools=manifest.tools,
        picture=_write_picture(bundle, [each[0] for each in raw], photo, contract),
        decoding=_write_decoded(bundle, [each[0] for each in raw], spec, contract),
    )
    templates = snippets_of(spec)
    if golden.decoding is not None:
        templates |= decoders_of(spec, golden.decoding.how.kind)
    for name, template in templates.items():
        bundle.joinpath(name).write_text(render(template, golden), encoding="utf-8")
    text = json.dumps(jsonable(golden), indent=2, sort_keys=True)
    bundle.joinpath(GOLDEN_NAME).write_text(text + "\n", encoding="utf-8")
    return bundle


def _write_picture(
    bundle: Path, outputs: Sequence[NDArray[np.floating]], photo: VerificationInput, contract: Contract
) -> str | None:
    draw = getattr(load_task(contract.means), "picture", None)
    if draw is None or photo.pixels is None:
        return None
    bundle.joinpath(PICTURE_NAME).write_bytes(draw(outputs, photo.pixels[0], contract))
    return PICTURE_NAME


def _write_decoded(
    bundle: Path, outputs: Sequence[NDArray[np.floating]], spec: ExportSpec, contract: Contract
) -> GoldenDecoding | None:
    task = load_task(contract.means)
    if not hasattr(task, "decoding"):
        return None
    how, values = cast("Decodes", task).decoding(outputs, contract)
    dtype: Literal["float32", "int32"] = "float32" if values.dtype == np.float32 else "int32"
    return GoldenDecoding(
        how=how,
        code=tuple(decoders_of(spec, how.kind)),
        file=DECODED_NAME,
        dtype=dtype,
        shape=values.shape,
        sha256=_write(bundle / DECODED_NAME, values.astype("<f4" if dtype == "float32" else "<i4")),
    )


def _top1(raw: NDArray[np.floating], holds: OutputKind) -> int | None:
    return None if holds not in CLASS_SCORES or raw.shape[1] < 2 else int(raw[0].argmax())


def allowed(raw: NDArray[np.floating], gate: Limits, *, holds: OutputKind) -> tuple[float, float]:
    """Turn a gate into absolute bounds on one output: of the largest difference, and of the Euclidean norm of all.

    An artifact that meets the gate on these logits or maps meets the bounds; as in the gate, the offset that logits
    share does not count. Where an app sees probabilities only, they are the gate's bounds on the logits through the
    softmax, which at least halves both.

    Args:
        raw: The reference's logits or maps, before any softmax.
        gate: The gate of the artifact's precision.
        holds: What the app sees; probabilities are the softmax of ``raw``.
    """
    values = raw.astype(np.float64)
    if holds in CLASS_SCORES and values.ndim == 2 and values.shape[1] > 1:
        values -= values.mean(axis=1, keepdims=True)
    values = values.ravel()
    gain = _SOFTMAX_GAIN if holds == "probabilities" else 1.0
    l2 = gain * float(np.linalg.norm(values)) * 10 ** (-gate.snr_db / 20)
    if gate.max_abs_rel is None:
        return l2, l2  # no value can differ by more than all together
    return gain * float(np.abs(values).max()) * gate.max_abs_rel, l2


def _limits_on(photo: VerificationInput, manifest: Manifest) -> Limits:
    """Return what the artifact was held against on one input: the gate, where the model is well-conditioned."""
    relaxed = [each.conditioning for each in manifest.parity.ill_conditioned if each.name == photo.name]
    return relaxed[0].limits if relaxed and relaxed[0] else GATES[manifest.spec.precision]


def _fitness(item: VerificationInput) -> tuple[bool, float]:
    """Prefer photos, and colour: an app that swaps red and blue gets a grey photo right."""
    pixels = np.zeros((1, 3, 1, 1)) if item.pixels is None else item.pixels.astype(np.float64)
    return item.kind == "photo", float(np.abs(pixels[:, 0] - pixels[:, 2]).mean())


def _write_output(
    path: Path,
    name: str,
    raw: NDArray[np.floating],
    *,
    holds: OutputKind,
    by_label: bool,
    gate: Limits,
) -> GoldenOutput:
    expected = softmax(raw) if holds == "probabilities" else raw
    max_abs, l2 = allowed(raw, gate, holds=holds)
    return GoldenOutput(
        name=name,
        file=path.name,
        shape=expected.shape,
        holds=holds,
        by_label=by_label,
        max_abs=max_abs,
        l2=l2,
        sha256=_write(path, expected.astype("<f4")),
    )


def _write_input(bundle: Path, session: Session, photo: VerificationInput, batch: int) -> GoldenInput:
    from PIL import Image

    if photo.pixels is None:
        raise ValueError("a normalised input has no pixels to show")
    pixels = photo.pixels[0].transpose(1, 2, 0)
    Image.fromarray(pixels).save(bundle / "input.png")
    info = session.inputs[0]
    image = info.kind == "image"
    if image:
        opaque = np.full((*pixels.shape[:2], 1), 255, dtype=np.uint8)
        values: NDArray[np.float32] | NDArray[np.uint8] = np.concatenate([pixels[..., ::-1], opaque], axis=-1)
    else:
        values = np.repeat(photo.tensor, batch, axis=0).astype("<f4")
    return GoldenInput(
        name=info.name,
        file="input.bin",
        dtype="uint8" if image else "float32",
        shape=values.shape,
        layout="HWC, BGRA" if image else "NCHW",
        sha256=_write(bundle / "input.bin", values),
        image="input.png",
        source=photo.name,
    )


def _write(path: Path, values: NDArray[Any]) -> str:
    """Write values as they lie in memory and return their digest."""
    raw = np.ascontiguousarray(values).tobytes()
    path.write_bytes(raw)
    return hashlib.sha256(raw).hexdigest()


def _share(source: Path, target: Path) -> None:
    """Give an artifact a second name; copy it where the file system has no hard links."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link)
    else:
        _link(source, target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
