"""``mvt export``: from a trained model to verified artifacts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import (
    AsJson,
    CheckpointOption,
    ClassOrderOption,
    Ema,
    Gates,
    Images,
    InputSize,
    Mean,
    Model,
    Options,
    Quiet,
    RandomWeights,
    Std,
    Verbosity,
    finite,
    photos_in,
)
from mobilevit_tools.cli.completion import complete_target
from mobilevit_tools.cli.output import Output, command_output
from mobilevit_tools.cli.target_help import BACKEND_HELP, by_target, tell_targets
from mobilevit_tools.cli.target_options import for_targets, takes_target_options
from mobilevit_tools.errors import UsageError
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.normalization import parse_channels
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE
from mobilevit_tools.quantization.share import LEAST_QUANTIZED
from mobilevit_tools.targets.precisions import CALIBRATED
from mobilevit_tools.targets.registry import ALL, TARGETS
from mobilevit_tools.tasks.registry import TASKS, find_task
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from mobilevit_tools.artifacts.exported import ExportedArtifact, ExportResult
    from mobilevit_tools.precision.record import Preflight


PRECISION_HELP = by_target(lambda target: target.precisions)
CALIBRATION_HELP = by_target(lambda target: target.calibration_methods)


@takes_target_options(after="batch")
def export(
    model: Model,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            callback=tell_targets,
            autocompletion=complete_target,
            is_eager=True,  # it needs no model
            help=f"{', '.join(TARGETS)}, all (those without an extra), or help for details. Repeatable. Default: all.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", help="Output folder.")] = Path("out"),
    checkpoint: CheckpointOption = None,
    ema: Ema = None,
    random_weights: RandomWeights = False,
    num_classes: Annotated[int | None, typer.Option("--num-classes", min=1, help="Default: the checkpoint's.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Class names: one per line in index order, or a JSON list.")
    ] = None,
    input_size: InputSize = None,
    mean: Mean = None,
    std: Std = None,
    option: Options = None,
    precision: Annotated[str, typer.Option("--precision", help=PRECISION_HELP)] = "fp32",
    backend: Annotated[str | None, typer.Option("--backend", help=BACKEND_HELP)] = None,
    batch: Annotated[int, typer.Option("--batch", help="Images per inference.")] = 1,
    rewrites: Annotated[
        str | None, typer.Option("--rewrites", help="Deployment rewrites, comma-separated. Default: the target's.")
    ] = None,
    no_rewrites: Annotated[bool, typer.Option("--no-rewrites", help="Do not rewrite the model.")] = False,
    fp16_keep: Annotated[
        str | None,
        typer.Option(
            "--fp16-keep", help="fp16: operators or modules to keep in float32, comma-separated; '' for none."
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help=f"{', '.join(CALIBRATED)}: folder of calibration photos.")
    ] = None,
    calibration_size: Annotated[
        int | None,
        typer.Option(
            "--calibration-size",
            help=f"{', '.join(CALIBRATED)}: number of calibration photos. Default: {DEFAULT_SIZE}.",
        ),
    ] = None,
    calibration_method: Annotated[
        str | None,
        typer.Option("--calibration-method", help=f"{', '.join(CALIBRATED)}: {CALIBRATION_HELP}"),
    ] = None,
    gate: Gates = None,
    least_quantized: Annotated[
        float | None,
        typer.Option(
            "--least-quantized",
            callback=finite,
            help=f"Required percentage of quantized weights and of quantized MACs. Default: {LEAST_QUANTIZED:g}.",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            min=0,
            callback=finite,
            help="Maximum loss of top-1 in percentage points; sensitive operators stay in floating point.",
        ),
    ] = None,
    eval_data: Annotated[
        Path | None, typer.Option("--eval", help="Labelled photos for --max-drop: an ImageFolder or a CSV.")
    ] = None,
    class_order: ClassOrderOption = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help=f"Task of the model: {', '.join(TASKS)}. Default: from the model's card or output shape."
        ),
    ] = None,
    upsample: Annotated[
        bool, typer.Option("--upsample", help="segment: resize the scores to the input size inside the artifact.")
    ] = False,
    class_map: Annotated[
        bool, typer.Option("--class-map", help="segment: return the class of each pixel instead of the scores.")
    ] = False,
    images: Images = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing artifacts.")] = False,
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Keep artifacts that fail their gate.")] = False,
    bundle: Annotated[
        bool,
        typer.Option("--bundle", help="Add a golden bundle: an input, its expected output, Swift and Kotlin code."),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", min=1, help="Maximum number of processes. Default: depends on idle cores and free memory."
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
    **target_options: Any,
) -> None:
    """Export a model, verify every artifact, and write a manifest for each."""
    render = _render_paths if quiet else partial(_render, times=verbose > 0)
    with command_output("export", as_json=as_json, verbosity=verbose, on_failure=render, quiet=quiet) as out:
        size, photos = parse_size(input_size), photos_in(images)
        if no_rewrites and rewrites is not None:
            raise UsageError("--no-rewrites and --rewrites cannot be combined.", hint="Use one of them.")
        from mobilevit_tools.api.export import export as make
        from mobilevit_tools.data.class_order import parse_class_order
        from mobilevit_tools.models.options import parse_options

        with _telling_what_was_finished(out, output, model):
            result = make(
                model,
                targets=target or ALL,
                output=output,
                checkpoint=checkpoint,
                ema=ema,
                random_weights=random_weights,
                num_classes=num_classes,
                labels=labels,
                input_size=size,
                mean=parse_channels(mean, "mean"),
                std=parse_channels(std, "standard deviation"),
                backend=backend,
                precision=precision,
                batch=batch,
                rewrites=() if no_rewrites else None if rewrites is None else _names(rewrites),
                fp16_keep=None if fp16_keep is None else _names(fp16_keep),
                calibration=calibration,
                calibration_size=calibration_size,
                calibration_method=calibration_method,
                least_quantized=least_quantized,
                gates=gate or (),
                max_drop=max_drop,
                eval_data=eval_data,
                class_order=None if class_order is None else parse_class_order(class_order),
                task=None if task is None else find_task(task).name,
                upsample=upsample,
                class_map=class_map,
                images=photos,
                options=parse_options(option or []),
                overwrite=overwrite,
                keep_failed=keep_failed,
                bundle=bundle,
                jobs=jobs,
                progress=out.progress,
                **for_targets(target_options, target or [ALL]),
            )
        out.show(result, render)


@contextmanager
def _telling_what_was_finished(out: Output, output: Path, model: str) -> Iterator[None]:
    """Have an interruption tell of the artifacts that were finished before it, where there are any."""
    from mobilevit_tools.models.references import folder_name

    folder = output / folder_name(model)
    before = _finished(folder)
    try:
        yield
    except BaseException:  # a library may have turned the interruption into its own error
        if _finished(folder) - before:
            out.left_behind = f"finished artifacts are kept in {output}; no partial files remain"
        raise


def _finished(folder: Path) -> set[tuple[Path, int, int]]:
    """Return the manifests in a folder, each with what tells it from one that it replaced."""
    found = ((path, path.stat()) for path in folder.glob("[!.]*/manifest.json"))
    return {(path, stat.st_ino, stat.st_mtime_ns) for path, stat in found}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _render_paths(console: Console, result: ExportResult) -> None:
    for artifact in result.artifacts:
        if artifact.parity.status == "failed" and not artifact.path.exists():
            continue  # it was removed, and whoever reads the paths would look for it
        console.print(str(artifact.path), highlight=False, markup=False, soft_wrap=True)


def _render(console: Console, result: ExportResult, *, times: bool) -> None:
    from mobilevit_tools.cli.tables import number, size, status
    from mobilevit_tools.verification.tolerances import GATES

    ratios = {GATES[artifact.precision].ratio for artifact in result.artifacts}
    unbounded = {precision for precision, gate in GATES.items() if gate.max_abs_rel is None}
    _render_weights(console, result)
    table = Table(box=None, header_style="bold")
    table.add_column("artifact", overflow="fold")
    made = result.artifacts
    columns = {
        "size": [size(each.size_bytes) for each in made],
        "max-abs": ["-" if each.precision in unbounded else number(each.parity.max_abs_rel, ".1e") for each in made],
        f"{'/'.join(sorted(ratios))} dB": [number(each.parity.snr_db, ".1f") for each in made],
        "outside": ["-" if each.delegation is None else str(sum(each.delegation.outside.values())) for each in made],
        "time": [f"{each.seconds['total']:.0f} s" for each in made],
        "quantized": [number(each.quantized.weights if each.quantized else None, ".1%") for each in made],
    }
    shown = {heading: cells for heading, cells in columns.items() if set(cells) != {"-"}}
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("parity", no_wrap=True)
    for each, *cells in zip(made, *shown.values(), strict=True):
        name = "-".join(part for part in (each.target, each.backend, each.precision) if part)
        table.add_row(name, *cells, status(each.parity))
    console.print(table)
    for artifact in result.artifacts:
        _render_details(console, artifact, times=times)
    kept = [artifact for artifact in result.artifacts if artifact.kept]
    for artifact in result.artifacts:
        if artifact.parity.status == "not_verified":
            console.print(
                f"{artifact.target} was not verified: {escape(artifact.parity.reason or '')}", highlight=False
            )
    for artifact in kept:
        for path in (artifact.path, artifact.bundle):
            if path is not None:
                console.print(f"wrote {escape(str(path))}", highlight=False, soft_wrap=True)
    if kept:
        console.print(f"next: {escape(_next_command(kept))}", style="cyan", highlight=False, soft_wrap=True)


def _render_weights(console: Console, result: ExportResult) -> None:
    if result.random_weights:
        console.print("[bold yellow]random weights:[/] predictions of these artifacts are meaningless", highlight=False)
    if result.ema is not None:
        which = "moving average (EMA)" if result.ema else "raw (not the moving average)"
        console.print(f"weights: the checkpoint's {which}", highlight=False)
    if result.left_out:
        shown = ", ".join(result.left_out[:5]) + (", ..." if len(result.left_out) > 5 else "")
        console.print(f"weights: ignored, not part of the model: {escape(shown)}", highlight=False)
    fused = result.fused
    if fused is not None and fused.left is not None:
        console.print(f"[bold yellow]training branches not fused:[/] {escape(fused.left)}", highlight=False)
    elif fused is not None:
        places = f"{fused.places} {'place' if fused.places == 1 else 'places'}"
        console.print(
            f"training branches fused by the model's own method: {places}, {fused.saved_params:,} parameters fewer, "
            f"checked in float64 ({fused.difference:.0e})",
            highlight=False,
        )


def _next_command(kept: Sequence[ExportedArtifact]) -> str:
    """Return what to type next: measure the last artifact that can be measured here, or else look at the last."""
    # One that passed was run here, so its backend is here, too; Core ML may have been run by the reference alone.
    passed = [each for each in kept if each.parity.status == "passed" and TARGETS[each.target].runs_here]
    verb, chosen = ("profile", passed[-1]) if passed else ("inspect", kept[-1])
    return shlex.join(["mvt", verb, str(chosen.path)])


def _render_details(console: Console, artifact: ExportedArtifact, *, times: bool) -> None:
    from mobilevit_tools.cli.tables import parity_notes, quantized_notes

    for rewrite in artifact.rewrites:
        saved = f", {rewrite.saved_params:,} parameters fewer" if rewrite.saved_params > 0 else ""
        places = f"{rewrite.places} place{'' if rewrite.places == 1 else 's'}"
        console.print(f"[dim]{artifact.target}: {rewrite.summary}: {places}{saved}[/]", highlight=False)
    if artifact.rewrites:
        console.print(
            f"[dim]{artifact.target}: checked in float64: outputs change by {artifact.rewrite_difference:.0e}[/]",
            highlight=False,
        )
    notes = [] if artifact.quantized is None else quantized_notes(artifact.quantized)
    for note in (*notes, *parity_notes(artifact.parity)):
        console.print(f"{artifact.target}: {escape(note)}", highlight=False, soft_wrap=True)
    if times:
        console.print(f"{artifact.target}: {_shares(artifact.seconds)}", highlight=False)
    if artifact.preflight is not None and artifact.preflight.keep:
        _render_kept(console, artifact.target, artifact.preflight)
    if artifact.quantization is not None and artifact.quantization.search:
        _render_trade(console, artifact)


def _shares(seconds: Mapping[str, float]) -> str:
    """Say where the time went, the longest step first."""
    total = seconds["total"]
    steps = sorted(((took, step) for step, took in seconds.items() if step != "total"), reverse=True)
    return f"{total:.1f} s: " + ", ".join(f"{step} {took:.1f} s ({took / total:.0%})" for took, step in steps)


def _render_kept(console: Console, target: str, preflight: Preflight) -> None:
    why = f" (in half precision: {escape(preflight.plain)})" if preflight.plain else ""
    console.print(
        f"{target}: {number_of(len(preflight.keep), 'operators')} kept in float32{why}", highlight=False, soft_wrap=True
    )
    for module in dict.fromkeys(each.module for each in preflight.keep):
        members = [each for each in preflight.keep if each.module == module]
        names = ", ".join(each.name for each in members)
        console.print(f"[dim]  {escape(module or 'the model')}: {escape(names)}[/]", highlight=False, soft_wrap=True)


def _render_trade(console: Console, artifact: ExportedArtifact) -> None:
    from mobilevit_tools.cli.tables import number, size, spread

    record = artifact.quantization
    if record is None:
        return
    table = Table(box=None, header_style="bold", title=f"{artifact.target}: operators kept in floating point")
    for heading in ("kept", "size", "latency ms", "of the first (95 %)", "top-1", "agreement", "drop"):
        table.add_column(heading, justify="right", no_wrap=True)
    for step in record.search:
        table.add_row(
            str(step.kept),
            size(step.size_bytes),
            number(step.latency_ms, ".2f"),
            number(step.relative_latency, ".2f") + spread(step.relative_interval),
            f"{step.top1:.2%}",
            f"{step.agreement:.2%}",
            f"{step.drop:.2f}",
            style="bold" if step.kept == len(record.kept) else None,
        )
    console.print(table)
    for weight in record.kept:
        console.print(f"[dim]kept: {escape(weight.removesuffix('.weight'))}[/]", highlight=False)
