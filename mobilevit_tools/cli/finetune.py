"""``mvt finetune``: a quantized model learns from its own float model, without labels."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.api.finetune_state import DEFAULT_MINUTES, DEFAULT_STEPS, STATE_SUFFIX
from mobilevit_tools.cli.arguments import (
    AsJson,
    CheckpointOption,
    Ema,
    InputSize,
    Mean,
    Model,
    Options,
    Quiet,
    RandomWeights,
    Std,
    Verbosity,
    finite,
)
from mobilevit_tools.cli.completion import complete_target
from mobilevit_tools.cli.output import Output, command_output
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.normalization import parse_channels
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE
from mobilevit_tools.targets.registry import TARGETS
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from mobilevit_tools.api.finetune import FinetuneResult
    from mobilevit_tools.quantization.nearness import Nearness

_LEARNS = "; ".join(f"{name}: {', '.join(each.learns)}" for name, each in TARGETS.items() if each.learns)


def finetune(
    model: Model,
    precision: Annotated[str, typer.Option("--precision", help=f"{_LEARNS}.")],
    target: Annotated[
        str,
        typer.Option("--target", "-t", autocompletion=complete_target, help="The target that the checkpoint is for."),
    ],
    calibration: Annotated[Path, typer.Option("--calibration", help="Folder of photos. They need no labels.")],
    output: Annotated[Path, typer.Option("--output", help="The checkpoint to write, .safetensors.")],
    backend: Annotated[str | None, typer.Option("--backend", help="The target's backend.")] = None,
    checkpoint: CheckpointOption = None,
    ema: Ema = None,
    random_weights: RandomWeights = False,
    num_classes: Annotated[int | None, typer.Option("--num-classes", min=1, help="Default: the checkpoint's.")] = None,
    input_size: InputSize = None,
    mean: Mean = None,
    std: Std = None,
    option: Options = None,
    calibration_size: Annotated[
        int, typer.Option("--calibration-size", min=1, help="Number of photos to calibrate on and to learn from.")
    ] = DEFAULT_SIZE,
    calibration_method: Annotated[
        str | None, typer.Option("--calibration-method", help="int8: how measured values become ranges.")
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", callback=finite, help="Time limit of the learning.")
    ] = DEFAULT_MINUTES,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of 8 photos.")] = DEFAULT_STEPS,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the photos' order and changes.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu or cuda. Default: cuda if present.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing checkpoint.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Fine-tune a model for one target and precision, from unlabelled photos.

    An interrupted run leaves OUTPUT.state; the same command continues from it.
    """
    render = _render_path if quiet else _render
    with command_output("finetune", as_json=as_json, verbosity=verbose) as out:
        size = parse_size(input_size)
        from mobilevit_tools.api.finetune import finetune as learn
        from mobilevit_tools.models.options import parse_options

        out.left_behind = f"what was learnt so far is kept in {output}{STATE_SUFFIX} once learning has begun"
        result = learn(
            model,
            precision=precision,
            target=target,
            calibration=calibration,
            output=output,
            backend=backend,
            checkpoint=checkpoint,
            ema=ema,
            random_weights=random_weights,
            num_classes=num_classes,
            input_size=size,
            mean=parse_channels(mean, "mean"),
            std=parse_channels(std, "standard deviation"),
            options=parse_options(option or []),
            calibration_size=calibration_size,
            calibration_method=calibration_method,
            minutes=minutes,
            steps=steps,
            seed=seed,
            device=device,
            overwrite=overwrite,
            progress=out.progress,
        )
        out.show(result, render)
        _tell_next(out, result, model, calibration, quiet=quiet or as_json)


def _render_path(console: Console, result: FinetuneResult) -> None:
    console.print(str(result.checkpoint), highlight=False, markup=False, soft_wrap=True)


def _render(console: Console, result: FinetuneResult) -> None:
    table = Table(box=None, header_style="bold")
    table.add_column(f"{result.target} {result.precision}, against float")
    for heading in ("SQNR dB", "worst photo, dB", "agreement"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, near in (("before", result.before), ("after", result.after)):
        table.add_row(label, *_figures(near))
    console.print(table)
    over = "" if result.finished else "; the time was over"
    console.print(
        f"{number_of(result.steps, 'steps')} in {result.seconds:.0f} s on {result.device}{over}; "
        f"judged on {number_of(result.after.photos, 'photos')} in PyTorch's arithmetic",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"wrote {escape(str(result.checkpoint))}", highlight=False, soft_wrap=True)


def _figures(near: Nearness) -> tuple[str, str, str]:
    agreement = "-" if near.agreement is None else f"{near.agreement:.1%}"
    return f"{near.snr_db:.1f}", f"{near.worst_snr_db:.1f}", agreement


def _tell_next(output: Output, result: FinetuneResult, model: str, calibration: Path, *, quiet: bool) -> None:
    if quiet:
        return
    command = ["mvt", "export", model, "--checkpoint", str(result.checkpoint), "--target", result.target]
    command += ["--precision", result.precision, "--calibration", str(calibration)]
    output.log.print(f"next: {escape(shlex.join(command))}", highlight=False, soft_wrap=True)
