"""The figures of a cell that are compared and shown."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Self

from mobilevit_tools.matrix.cell import CellResult

HEADINGS = ("size MB", "SNR dB", "calls", "outside", "instructions", "seconds")


@dataclass(frozen=True)
class Figures:
    """What is known of a cell; None for what is not.

    Attributes:
        size_bytes: Size of the artifact.
        snr_db: Its worst signal-to-noise ratio against PyTorch.
        calls: Calls into its backend.
        outside: Operators that its backend did not take.
        instructions: Instructions of one inference.
    """

    size_bytes: int | None
    snr_db: float | None
    calls: int | None
    outside: int | None
    instructions: int | None

    @classmethod
    def of(cls, result: CellResult) -> Self:
        """Read them."""
        made = result.artifact
        delegation = None if made is None else made.delegation
        return cls(
            size_bytes=None if made is None else made.size_bytes,
            snr_db=None if made is None else made.parity.snr_db,
            calls=None if delegation is None else delegation.calls,
            outside=None if delegation is None else sum(delegation.outside.values()),
            instructions=None if result.profile is None else result.profile.instructions,
        )

    def texts(self, seconds: float) -> tuple[str, ...]:
        """Return them under :data:`HEADINGS`, a dash for what is not known."""
        megabytes = None if self.size_bytes is None else self.size_bytes / 1e6
        values = (megabytes, *astuple(self)[1:], seconds)
        return tuple(
            "-" if value is None else format(value, pattern)
            for value, pattern in zip(values, (".2f", ".1f", "d", "d", ",d", ".1f"), strict=True)
        )
