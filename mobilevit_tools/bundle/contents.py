"""What a golden bundle says of itself, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mobilevit_tools.artifacts.files import ArtifactFile
from mobilevit_tools.data.contract import OutputKind
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.tasks.decoding import BoxDecoding, MapDecoding
from mobilevit_tools.verification.parity import Status

GOLDEN_SCHEMA = 1


@dataclass(frozen=True)
class GoldenInput:
    """The stored input.

    Attributes:
        name: Its name in the artifact; ExecuTorch knows inputs by their position only.
        file: The raw values, little-endian.
        dtype: ``float32`` for a normalised tensor, ``uint8`` where the artifact takes an image.
        shape: Its sizes.
        layout: ``NCHW`` for a tensor; ``HWC, BGRA`` for an image, which is what a 32BGRA pixel buffer holds.
        sha256: Digest of ``file``.
        image: The same input as a PNG to look at, already resized and cropped.
        source: The photo that it was made of.
    """

    name: str
    file: str
    dtype: Literal["float32", "uint8"]
    shape: tuple[int, ...]
    layout: Literal["NCHW", "HWC, BGRA"]
    sha256: str
    image: str
    source: str


@dataclass(frozen=True)
class GoldenOutput:
    """What the PyTorch float32 model answers, and how far an app may be from it.

    Attributes:
        name: Its name in the artifact; ExecuTorch knows outputs by their position only.
        file: The expected values, raw float32, little-endian.
        shape: Their sizes.
        holds: ``logits``, ``probabilities``, ``features`` or ``embedding``.
        by_label: Whether Core ML gives a dictionary from label to value; ``file`` is in the order of the labels.
        max_abs: The largest difference allowed of any value.
        l2: The largest Euclidean norm allowed of all differences together.
        sha256: Digest of ``file``.
    """

    name: str
    file: str
    shape: tuple[int, ...]
    holds: OutputKind
    by_label: bool
    max_abs: float
    l2: float
    sha256: str


@dataclass(frozen=True)
class GoldenDecoding:
    """How an app reads the outputs, and what that gives for the expected ones.

    Attributes:
        how: The decoding; all of ``code`` is written from it.
        code: Decoders in Python, Kotlin and Swift, which also hold themselves to ``file``.
        file: What the expected outputs of the first image are decoded to, raw, little-endian.
        dtype: ``float32`` for detections: left, top, right, bottom in pixels of the input, score and class, the best
            first. ``int32`` for a class map.
        shape: Its sizes.
        sha256: Digest of ``file``.
    """

    how: BoxDecoding | MapDecoding
    code: tuple[str, ...]
    file: str
    dtype: Literal["float32", "int32"]
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Golden:
    """Everything that ``golden.json`` says.

    Attributes:
        artifact: The artifact beside it, and its digest.
        model: The model's name.
        target: Its target.
        backend: Its backend; None where the target has no choice.
        precision: Its precision.
        parity: What the export's own verification said of the artifact.
        preprocessing: How any other photo becomes an input.
        input: The stored input.
        outputs: The expected outputs, in the artifact's order.
        labels: Class names in index order, as the artifact gives them; None where they are unknown.
        top1: The index of the expected class; None where there are no classes to choose from.
        picture: The expected boxes or classes drawn on the input, as a PNG; None where the task has no such picture.
        snippets: Code that runs the artifact and compares.
        tools: Versions by package.
        decoding: How outputs that are no answer yet become one; None where there is nothing to decode.
        schema: The version of this layout.
    """

    artifact: ArtifactFile
    model: str
    target: str
    backend: str | None
    precision: str
    parity: Status
    preprocessing: Preprocessing
    input: GoldenInput
    outputs: tuple[GoldenOutput, ...]
    labels: tuple[str, ...] | None
    top1: int | None
    snippets: tuple[str, ...]
    tools: Mapping[str, str]
    picture: str | None = None
    decoding: GoldenDecoding | None = None
    schema: int = GOLDEN_SCHEMA
