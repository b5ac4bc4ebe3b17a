"""The figures of a cell that are compared and shown."""

from __future__ import annotations

from collections.abc import Mapping
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
        """Read them; a result may come from a file, and that need not hold what this version writes."""
        artifact = result.artifact or {}
        parity, delegation = parity_of(artifact), _mapping(artifact.get("delegation"))
        outside = delegation.get("outside")
        return cls(
            size_bytes=_integer(artifact.get("size_bytes")),
            snr_db=_number(parity.get("snr_db")),
            calls=_integer(delegation.get("calls")),
            outside=sum(_integer(count) or 0 for count in outside.values()) if isinstance(outside, Mapping) else None,
            instructions=_integer((result.profile or {}).get("instructions")),
        )

    def texts(self, seconds: float) -> tuple[str, ...]:
        """Return them under :data:`HEADINGS`, a dash for what is not known."""
        megabytes = None if self.size_bytes is None else self.size_bytes / 1e6
        values = (megabytes, *astuple(self)[1:], seconds)
        return tuple(
            "-" if value is None else format(value, pattern)
            for value, pattern in zip(values, (".2f", ".1f", "d", "d", ",d", ".1f"), strict=True)
        )


def parity_of(artifact: Mapping[str, object] | None) -> Mapping[str, object]:
    """Return what an artifact's verification found; empty where nothing tells."""
    return _mapping((artifact or {}).get("parity"))


def parity_status(result: CellResult) -> str | None:
    """Return the verdict on the artifact's parity; None where there is none."""
    status = parity_of(result.artifact).get("status")
    return status if isinstance(status, str) else None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
