"""``mvt verify``: does an artifact still compute its model?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import Artifact, AsJson, CheckpointOption, Ema, Gates, Images, Verbosity, photos_in
from mobilevit_tools.cli.completion import complete_device
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.errors import UsageError
from mobilevit_tools.targets.registry import SUFFIXES

if TYPE_CHECKING:
    from mobilevit_tools.verification.result import VerifyResult


def verify(
    artifact: Artifact,
    model: Annotated[str | None, typer.Option("--model", help="The reference model.")] = None,
    checkpoint: CheckpointOption = None,
    ema: Ema = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Apply the gate of this precision. Default: the artifact's.")
    ] = None,
    gate: Gates = None,
    images: Images = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            autocompletion=complete_device,
            help="Device to run on; see `mvt devices`. Default: this process.",
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Compare an artifact with its PyTorch model; exit code 4 if they differ, 5 if it cannot run."""
    with command_output("verify", as_json=as_json, verbosity=verbose, on_failure=_render) as output:
        from mobilevit_tools.api.verify import verify as check

        with _hinting_at_weights(model):
            result = check(
                artifact,
                model=model,
                checkpoint=checkpoint,
                ema=ema,
                precision=precision,
                gates=gate or (),
                images=photos_in(images),
                device=device,
                progress=output.progress,
            )
        output.show(result, _render)


@contextmanager
def _hinting_at_weights(model: str | None) -> Iterator[None]:
    """Put the refusal of a model without weights in this verb's words: it has no option for random ones."""
    try:
        yield
    except UsageError as error:
        if error.error_code != "no_weights":
            raise
        raise UsageError(
            f"{model or 'The model of the artifact'} has no weights to compare with.",
            hint="Give --checkpoint PATH, or --model with a name for which `mvt models` lists weights.",
            code="no_weights",
        ) from error


def _render(console: Console, result: VerifyResult) -> None:
    from mobilevit_tools.cli.tables import add_partitioning, number, parity_table, status

    parity_table(console, result.parity, result.gate)
    if result.native is not None:
        console.print(f"{SUFFIXES[result.artifact.suffix.lower()].title} itself, on this system:")
        parity_table(console, result.native, result.gate)
    if result.device is not None:
        apart = "no comparison"
        if result.difference is not None:
            apart = (
                f"{number(result.difference.max_abs_rel, '.2e')}, {number(result.difference.snr_db, '.1f')} dB apart"
            )
        if result.agreement is not None:
            apart += f", same top-1 on {result.agreement:.1%}"
        console.print(f"ran on {escape(result.device)}; from this machine: {apart}", highlight=False, soft_wrap=True)
    if result.partitioning is not None:
        table = Table(box=None, show_header=False)
        add_partitioning(table, result.partitioning)
        console.print(table)
    if result.digest_matches is False:
        console.print("[yellow]The artifact does not match the digest in its manifest.[/]")
    reason = f": {escape(result.parity.reason)}" if result.parity.reason else ""
    console.print(
        f"{escape(str(result.artifact))} against {escape(result.model)} in PyTorch fp32, gate of {result.precision}: "
        f"{status(result.parity)}{reason}",
        highlight=False,
        soft_wrap=True,
    )
