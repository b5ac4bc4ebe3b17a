"""Pieces that several verbs render."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from mobilevit_tools.verification.parity import Parity
    from mobilevit_tools.verification.tolerances import Tolerance

STYLES = {
    "passed": "green",
    "not verified": "yellow",
    "failed": "bold red",
    "error": "bold red",
    "regressed": "red",
    "not comparable": "red",
}


def number(value: float | None, pattern: str) -> str:
    """Format a number, or a dash for none."""
    return "-" if value is None else format(value, pattern)


def spread(interval: tuple[float, float] | None) -> str:
    """Format an interval to stand behind its value, or nothing for none."""
    return f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""


def size(count: int) -> str:
    """Format bytes as megabytes (10^6)."""
    return f"{count / 1e6:.2f} MB"


def status(parity: Parity) -> str:
    """Return a parity's verdict as markup."""
    return verdict(parity.status)


def verdict(word: str) -> str:
    """Return the verdict on an artifact or a cell as markup."""
    words = word.replace("_", " ")
    return f"[{STYLES[words]}]{words}[/]"


def parity_table(console: Console, parity: Parity, gate: Tolerance | None = None) -> None:
    """Print every input's figures, the worst of each, and the gate."""
    table = Table(box=None, header_style="bold")
    table.add_column("input")
    for heading in ("max-abs / max", "SNR (dB)", "cosine", "top-1"):
        table.add_column(heading, justify="right")
    for row in parity.results:
        same = {None: "-", True: "same", False: "near-tie" if row.name in parity.near_ties else "changed"}
        table.add_row(
            escape(row.name),
            number(row.distance.max_abs_rel, ".2e"),
            number(row.distance.snr_db, ".1f"),
            number(row.distance.cosine, ".7f"),
            same[row.same_top1],
        )
    table.add_section()
    table.add_row(
        "worst",
        number(parity.max_abs_rel, ".2e"),
        number(parity.snr_db, ".1f"),
        number(parity.cosine, ".7f"),
        number(parity.top1_agreement, ".1%"),
        style="bold",
    )
    if gate is not None:
        table.add_row(
            "gate",
            "-" if gate.max_abs_rel is None else f"<= {gate.max_abs_rel:.0e}",
            f">= {gate.snr_db:.0f}",
            f">= {gate.cosine}",
            f">= {gate.top1_agreement:.0%}",
            style="dim",
        )
    console.print(table)
