"""``mvt predict``: show photos to an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import Artifact, AsJson, Threads, Verbosity, finite
from mobilevit_tools.cli.output import command_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobilevit_tools.api.predict import Predicted, PredictResult


def predict(
    artifact: Artifact,
    images: Annotated[list[Path], typer.Argument(help="Photos.", show_default=False)],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of classes or neighbours to show.")] = 5,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="segment, detect: output folder for pictures. Default: predictions."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing pictures.")] = False,
    least_score: Annotated[
        float, typer.Option("--least-score", min=0, max=1, callback=finite, help="detect: minimum score of a box.")
    ] = 0.3,
    threads: Threads = 1,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Run an artifact on photos, preprocessed as its contract states: classes, masks, boxes or neighbours."""
    with command_output("predict", as_json=as_json, verbosity=verbose) as out:
        from mobilevit_tools.api.predict import predict as show

        result = show(
            artifact,
            list(images),
            top=top,
            output=output,
            overwrite=overwrite,
            least_score=least_score,
            threads=threads,
        )
        out.show(result, lambda console, shown: _render(console, shown, top))


def _render(console: Console, result: PredictResult, top: int) -> None:
    for prediction in result.predictions:
        console.print(escape(str(prediction.image)), highlight=False, soft_wrap=True)
        table = Table(box=None, show_header=False)
        table.add_column(justify="right")
        table.add_column()
        for figure, name in list(_rows(prediction))[:top]:
            table.add_row(figure, escape(name))
        console.print(table)
        if overlay := getattr(prediction, "overlay", None):
            console.print(f"wrote {escape(str(overlay))}", highlight=False, soft_wrap=True)


def _rows(prediction: Predicted) -> Iterator[tuple[str, str]]:
    """Yield a figure and what it is of, for every line that is shown of a photo."""
    from mobilevit_tools.tasks.shown import DetectPrediction, EmbedPrediction, Prediction, SegmentPrediction

    if isinstance(prediction, Prediction):
        for guess in prediction.top:
            shown = f"output {guess.value:.6g}" if guess.probability is None else f"{guess.probability:.2%}"
            yield shown, guess.label
    elif isinstance(prediction, SegmentPrediction):
        for each in prediction.shares:
            yield f"{each.share:.2%}", each.label
    elif isinstance(prediction, DetectPrediction):
        for thing in prediction.found:
            yield f"{thing.score:.2f}", f"{thing.label}  {', '.join(f'{side:.0f}' for side in thing.box)}"
    elif isinstance(prediction, EmbedPrediction):
        for near in prediction.neighbours:
            yield f"{near.cosine:.4f}", str(near.image)
    else:
        for raw in prediction.outputs:
            size = "x".join(map(str, raw.shape))
            yield raw.name, f"{size}: {raw.min:.4g} to {raw.max:.4g}, mean {raw.mean:.4g}"
