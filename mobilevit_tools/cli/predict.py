"""``mvt predict``: classify photos with an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import Artifact, AsJson, Threads, Verbosity
from mobilevit_tools.cli.output import command_output

if TYPE_CHECKING:
    from mobilevit_tools.api.predict import PredictResult


def predict(
    artifact: Artifact,
    images: Annotated[list[Path], typer.Argument(help="Photos.", show_default=False)],
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to show.")] = 5,
    threads: Threads = 1,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Classify photos, prepared as the artifact's own contract says."""
    with command_output("predict", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.predict import predict as classify

        output.show(classify(artifact, list(images), top=top, threads=threads), _render)


def _render(console: Console, result: PredictResult) -> None:
    for prediction in result.predictions:
        console.print(escape(str(prediction.image)), highlight=False, soft_wrap=True)
        table = Table(box=None, show_header=False)
        table.add_column(justify="right")
        table.add_column()
        for guess in prediction.top:
            shown = f"output {guess.value:.6g}" if guess.probability is None else f"{guess.probability:.2%}"
            table.add_row(shown, escape(guess.label))
        console.print(table)
