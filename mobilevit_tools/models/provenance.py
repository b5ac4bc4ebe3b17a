"""Where a model's weights came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilevit_tools.models.checkpoint import Checkpoint
    from mobilevit_tools.models.loading import Fit

IN_MEMORY = "<memory>"
"""The source of weights that were in a module, not in a file."""


@dataclass(frozen=True)
class Weights:
    """Where a model's weights came from.

    Attributes:
        source: A bundled tag, a path, a URL, ``<memory>`` for those of a module, or None for random weights.
        sha256: Digest of the checkpoint file or of the module's weights, or None for random weights.
        ema: Whether the exponential moving average was taken; None where the file tells of none.
        left_out: Keys of the checkpoint that are of no part of the model, such as a loss's.
    """

    source: str | None
    sha256: str | None
    ema: bool | None
    left_out: tuple[str, ...] = ()

    @property
    def random(self) -> bool:
        """Whether the weights are random."""
        return self.source is None


def provenance(loaded: Checkpoint | None, fit: Fit | None) -> Weights:
    """Say it of what was loaded, or of random weights where nothing was."""
    if loaded is None or fit is None:
        return Weights(None, None, None)
    return Weights(loaded.source, loaded.sha256, loaded.ema if fit.ema is None else fit.ema, fit.strangers)
