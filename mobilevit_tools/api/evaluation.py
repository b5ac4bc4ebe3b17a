"""What one evaluation measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mobilevit_tools.progress import Progress
    from mobilevit_tools.tasks._base import Answering
    from mobilevit_tools.verification.reference import Reference


@dataclass(frozen=True)
class Evaluation:
    """What is measured.

    Attributes:
        artifact: The artifact.
        sha256: Its digest.
        data: The photos.
        reference: The PyTorch model; None where it is not run.
        progress: Told of every photo.
    """

    artifact: Answering
    sha256: str
    data: Path
    reference: Reference | None
    progress: Progress

    def model(self, pixels: NDArray[np.uint8]) -> NDArray[Any] | None:
        """Return what the PyTorch model gives for a photo's pixels (3, H, W), without a batch; None without it."""
        if self.reference is None:
            return None
        tensor = self.artifact.contract.preprocessing.normalize(pixels[None])
        return np.asarray(self.reference(tensor)[0][0])
