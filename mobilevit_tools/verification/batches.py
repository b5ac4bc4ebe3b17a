"""What an artifact is given in one run: an input, and others beside it where it takes several images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.runtimes._base import TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.verification.inputs import VerificationInput

FREE_BATCH = 3
"""Images per run where the batch is free: a batch of 1, or of the 2 that exporters trace with, may have been fixed."""


@dataclass(frozen=True)
class Batch:
    """The images of one run.

    Attributes:
        rows: For each image the index of its input.
        array: The images, as the artifact takes them.
    """

    rows: tuple[int, ...]
    array: NDArray[Any]


def batches(info: TensorInfo, inputs: Sequence[VerificationInput]) -> Iterator[Batch]:
    """Yield for each input that the artifact can express a batch that begins with it and goes on with the next ones.

    Neighbours differ, so that an artifact that mixes up the images of a batch is found out. Stress inputs are among
    themselves: where ranges are measured over a batch, their values would cost a photo its bits.
    """
    size = info.shape[0] or FREE_BATCH
    arrays = {
        index: array
        for index, item in enumerate(inputs)
        if (array := replace(info, shape=(1, *info.shape[1:])).feed(item.tensor, item.pixels)) is not None
    }
    for first in arrays:
        alike = [index for index in arrays if (inputs[index].kind == "stress") == (inputs[first].kind == "stress")]
        start = alike.index(first)
        rows = tuple(alike[(start + offset) % len(alike)] for offset in range(size))
        yield Batch(rows, np.concatenate([arrays[index] for index in rows]))
