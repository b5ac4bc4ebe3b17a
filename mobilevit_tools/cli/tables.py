"""Pieces that several verbs render."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobilevit_tools.devices import Partitioning
    from mobilevit_tools.quantization.share import QuantizedShare
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
NAMED = 3
"""How many layers are named where many are not quantized; the manifest names the largest."""


def number(value: float | None, pattern: str) -> str:
    """Format a number, or a dash for none."""
    return "-" if value is None else format(value, pattern)


def spread(interval: tuple[float, float] | None) -> str:
    """Format an interval to stand behind its value, or nothing for none."""
    return f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""


def size(count: int) -> str:
    """Format bytes as megabytes (10^6)."""
    return f"{count / 1e6:.2f} MB"


def quantized_notes(share: QuantizedShare) -> Iterator[str]:
    """Yield sentences on how much of an artifact is quantized, and what is not."""
    yield (
        f"quantized: {share.weights:.1%} of the weights, {share.macs:.1%} of the MACs with weights, "
        f"{share.quantized} of {share.layers} layers"
    )
    for asked, what in ((False, "in floating point"), (True, "kept in floating point for accuracy or range")):
        named = [
            f"{each.name} ({each.kind}, {each.weights:.1%} of the weights, {each.macs:.1%} of the MACs)"
            for each in share.floating
            if each.asked is asked
        ]
        more = [f"{len(named) - NAMED} more"] if len(named) > NAMED else []
        if named:
            yield f"{what}: {', '.join([*named[:NAMED], *more])}"


def status(parity: Parity) -> str:
    """Return a parity's verdict as markup."""
    return verdict(parity.status)


def verdict(word: str) -> str:
    """Return the verdict on an artifact or a cell as markup."""
    words = word.replace("_", " ")
    return f"[{STYLES[words]}]{words}[/]"


def parity_table(console: Console, parity: Parity, gate: Tolerance | None = None) -> None:
    """Print every input's figures, the worst of each, the gate, and what else the verdict rests on."""
    table = Table(box=None, header_style="bold")
    table.add_column("input")
    for heading in ("max-abs / max", f"{gate.ratio if gate else 'SNR'} (dB)", "cosine", "top-1"):
        table.add_column(heading, justify="right")
    for row in parity.results:
        if row.kind == "held-out":
            continue
        same = {None: "-", True: "same", False: "near-tie" if row.name in parity.near_ties else "changed"}
        top1 = same[row.same_top1] if row.pixels is None else f"{row.pixels.same:.3%} of pixels"
        table.add_row(
            escape(row.name),
            number(row.distance.max_abs_rel, ".2e"),
            number(row.distance.snr_db, ".1f"),
            number(row.distance.cosine, ".7f"),
            top1,
        )
    table.add_section()
    table.add_row(
        "worst",
        number(parity.max_abs_rel, ".2e"),
        number(parity.snr_db, ".1f"),
        number(parity.cosine, ".7f"),
        number(parity.top1_agreement, ".1%")
        if parity.pixel_agreement is None
        else f"{parity.pixel_agreement:.3%} of pixels",
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
    for note in parity_notes(parity):
        console.print(escape(note), highlight=False, soft_wrap=True)


def parity_notes(parity: Parity) -> Iterator[str]:
    """Yield sentences on what a verdict rests on beside the gate's figures."""
    if parity.held_out and parity.top1_agreement is not None:
        same = sum(result.same_top1 is True for result in parity.results if result.kind == "held-out")
        yield f"same top-1 on {same} of {parity.held_out} photos held out of calibration"
    if parity.pixel_agreement is not None:
        tied = max((result.pixels.near_ties for result in parity.results if result.pixels), default=0.0)
        yield (
            f"class map: same class as the model at {parity.pixel_agreement:.4%} of the pixels; "
            f"near-ties: at most {tied:.4%} of the pixels of an input"
        )
    if parity.constant_model:
        yield (
            "the model gives the same output for every input, as untrained ones with zeros in their last layer do: "
            "agreement proves little before it has trained weights"
        )
    own = [(each, each.conditioning) for each in parity.ill_conditioned if each.conditioning]
    for each, known in own:
        noise = each.kind == "stress" and known.is_noise
        yield (
            f"the model is ill-conditioned on {each.name}: PyTorch float32 is at "
            f"{number(known.float32.snr_db, '.1f')} dB from its own float64 there, and the artifact at "
            f"{number(each.distance.snr_db, '.1f')} dB" + ("; this input has no meaning" if noise else "")
        )
    if parity.float32 is not None:
        yield (
            f"the same conversion in float32: {parity.float32.status.replace('_', ' ')}, "
            f"{number(parity.float32.snr_db, '.1f')} dB"
        )


def add_partitioning(table: Table, found: Partitioning) -> None:
    """Add rows on what an accelerator takes, and what it leaves to the CPU and why."""
    table.add_row(
        "partitions", str(found.partitions), f"{number_of(sum(found.taken.values()), 'operators')} on the accelerator"
    )
    for name, count in found.outside.items():
        table.add_row("on the CPU", f"{count} {escape(name)}", escape(found.reasons.get(name, "")))
