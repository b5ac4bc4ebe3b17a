"""``mvt eval``: how often is an artifact right?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import Artifact, AsJson, CheckpointOption, ClassOrderOption, Ema, Threads, Verbosity
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.errors import UsageError
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from mobilevit_tools.verification.evaluations import (
        DetectEvalResult,
        EvalResult,
        RetrievalEvalResult,
        SegmentEvalResult,
    )

SHOWN_CLASSES = 5
SHOWN_CONFUSIONS = 5
SHOWN_UNREADABLE = 10


def evaluate(
    artifact: Artifact,
    data: Annotated[
        Path,
        typer.Argument(
            help="An ImageFolder (one folder a class), or a CSV of path,label; segment, detect: photos.",
            show_default=False,
        ),
    ],
    masks: Annotated[
        Path | None,
        typer.Option("--masks", help="segment: folder with one PNG of class indices per photo, named like the photo."),
    ] = None,
    coco: Annotated[
        Path | None,
        typer.Option("--coco", help="detect: boxes of the photos, a COCO annotation file (instances_*.json)."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="The reference model.")] = None,
    checkpoint: CheckpointOption = None,
    ema: Ema = None,
    reference: Annotated[
        bool, typer.Option("--reference/--no-reference", help="Whether to run the PyTorch model on the same photos.")
    ] = True,
    class_order: ClassOrderOption = None,
    threads: Threads = 1,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Measure accuracy on labelled photos (or mIoU, mAP, recall), and agreement with the PyTorch model."""
    with command_output("eval", as_json=as_json, verbosity=verbose, on_failure=_render) as output:
        unused = {"--model": model, "--checkpoint": checkpoint, "--no-ema" if ema is False else "--ema": ema}
        given = [option for option, value in unused.items() if value is not None]
        if given and not reference:
            raise UsageError(
                f"--no-reference conflicts with {' and '.join(given)} would say which.",
                hint="Use one or the other.",
            )
        from mobilevit_tools.api.evaluate import evaluate as measure
        from mobilevit_tools.data.class_order import parse_class_order

        result = measure(
            artifact,
            data,
            masks=masks,
            coco=coco,
            model=model,
            checkpoint=checkpoint,
            ema=ema,
            reference=reference,
            class_order=None if class_order is None else parse_class_order(class_order),
            threads=threads,
            progress=output.progress,
        )
        output.show(result, _render)


def _render(console: Console, result: EvalResult | SegmentEvalResult | DetectEvalResult | RetrievalEvalResult) -> None:
    from mobilevit_tools.verification.evaluations import DetectEvalResult, RetrievalEvalResult, SegmentEvalResult

    if isinstance(result, SegmentEvalResult):
        _render_segmenter(console, result)
    elif isinstance(result, DetectEvalResult):
        _render_detector(console, result)
    elif isinstance(result, RetrievalEvalResult):
        _render_embedding(console, result)
    else:
        _render_classifier(console, result)
    if result.unreadable:
        console.print(
            f"[yellow]not read:[/] {number_of(len(result.unreadable), 'photos')}, excluded from the figures above",
            highlight=False,
        )
        for entry in result.unreadable[:SHOWN_UNREADABLE]:
            console.print(f"  {escape(entry.reason)}", highlight=False, soft_wrap=True)


def _figures() -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    return table


def _sure(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"95 % interval {interval[0]:.2%} to {interval[1]:.2%}, "


def _render_segmenter(console: Console, result: SegmentEvalResult) -> None:
    from mobilevit_tools.cli.tables import number

    table = _figures()
    sure = _sure(result.interval)
    table.add_row(
        "mIoU", f"{result.miou:.2%}", f"{sure}{number_of(result.images, 'photos')}, at the artifact's input size"
    )
    table.add_row("pixels", f"{result.pixel_accuracy:.2%}", "of the right class")
    if result.agreement is not None:
        own = number(result.reference_miou, ".2%")
        table.add_row("agreement", f"{result.agreement:.2%}", f"of pixels with PyTorch fp32, whose own mIoU is {own}")
    console.print(table)
    shown = sorted((each for each in result.classes if each.iou is not None), key=lambda each: each.iou or 0.0)
    weakest = ", ".join(f"{escape(each.label)} {number(each.iou, '.1%')}" for each in shown[:SHOWN_CLASSES])
    console.print(f"weakest classes: {weakest}", highlight=False)


def _render_detector(console: Console, result: DetectEvalResult) -> None:
    from mobilevit_tools.cli.tables import number

    table = _figures()
    own = "" if result.reference_mean_ap is None else f", that of PyTorch fp32 {result.reference_mean_ap:.2%}"
    table.add_row("mAP", f"{result.mean_ap:.2%}", f"{_sure(result.interval)}{number_of(result.images, 'photos')}{own}")
    table.add_row("AP50", f"{result.ap50:.2%}", "at an overlap of 0.5; mAP is the mean from 0.5 to 0.95")
    table.add_row("AP75", f"{result.ap75:.2%}", "")
    sizes = (result.ap_small, result.ap_medium, result.ap_large)
    table.add_row("sizes", " / ".join(number(each, ".2%") for each in sizes), "small, medium, large")
    table.add_row("recall", f"{result.recall:.2%}", f"with 100 boxes a photo; {result.detections:,} were found")
    console.print(table)
    shown = sorted((each for each in result.classes if each.ap is not None), key=lambda each: each.ap or 0.0)
    weakest = ", ".join(f"{escape(each.label)} {number(each.ap, '.1%')}" for each in shown[:SHOWN_CLASSES])
    console.print(f"weakest classes: {weakest}", highlight=False)


def _render_embedding(console: Console, result: RetrievalEvalResult) -> None:
    from mobilevit_tools.cli.tables import number

    table = _figures()
    sure = f"{_sure(result.interval)}{number_of(result.images, 'photos')}"
    table.add_row("recall@1", f"{result.recall_at_1:.2%}", sure)
    table.add_row("recall@5", f"{result.recall_at_5:.2%}", "one of the five nearest is of the same class")
    if result.cosine is not None:
        own = number(result.reference_recall_at_1, ".2%")
        table.add_row("cosine", f"{result.cosine:.6f}", f"least with PyTorch fp32, whose own recall@1 is {own}")
    console.print(table)


def _render_classifier(console: Console, result: EvalResult) -> None:
    from mobilevit_tools.cli.tables import number

    table = _figures()
    table.add_row("top-1", f"{result.top1:.2%}", f"{_sure(result.interval)}{number_of(result.images, 'photos')}")
    table.add_row("top-5", f"{result.top5:.2%}", "")
    if result.agreement is not None:
        own = number(result.reference_top1, ".2%")
        table.add_row("agreement", f"{result.agreement:.2%}", f"same top-1 as PyTorch fp32, whose own top-1 is {own}")
    threads = f"thread{'s' * (result.threads > 1)}"
    table.add_row("speed", f"{result.images_per_second:.1f} images/s", f"inference alone, {result.threads} {threads}")
    table.add_row("labels", "", escape(result.label_rule))
    console.print(table)
    missed = sorted(
        (entry for entry in result.classes if entry.correct < entry.images), key=lambda each: each.correct / each.images
    )
    if missed:
        weakest = ", ".join(f"{escape(each.label)} {each.correct}/{each.images}" for each in missed[:SHOWN_CLASSES])
        console.print(f"weakest classes: {weakest}", highlight=False)
    for mistake in result.confusions[:SHOWN_CONFUSIONS]:
        console.print(
            f"{mistake.count} x {escape(mistake.truth)} taken for {escape(mistake.predicted)}", highlight=False
        )
    if result.non_finite:
        console.print(f"[bold red]not finite:[/] the outputs of {result.non_finite} photos", highlight=False)
