"""``mvt bench``: benchmarks of this toolkit's own promises."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mobilevit_tools.cli.arguments import (
    AsJson,
    CheckpointOption,
    ClassOrderOption,
    InputSize,
    Model,
    Models,
    Options,
    Rigor,
    Targets,
    Threads,
    Verbosity,
)
from mobilevit_tools.cli.bench_tables import (
    render_export,
    render_precisions,
    render_rewrites,
    render_runtimes,
    render_zoo,
)
from mobilevit_tools.cli.completion import complete_model, complete_target
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.cli.verbs import Verb
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.targets.registry import STANDARD, TARGETS, host_targets

bench = typer.Typer(
    name="bench",
    help="Run benchmarks of rewrites, precisions, exports and many models.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@bench.command(cls=Verb)
def rewrites(
    models: Annotated[
        list[str],
        typer.Argument(help="Models, as `mvt models` lists them.", show_default=False, autocompletion=complete_model),
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            autocompletion=complete_target,
            help=f"{', '.join(host_targets())}. Repeatable. Default: all.",
        ),
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option("--threads", min=1, help="Threads of one inference. Repeatable. Default: 1.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="host: latency; count: instructions. Default: host."),
    ] = None,
    input_size: InputSize = None,
    rigor: Rigor = "default",
    each: Annotated[bool, typer.Option("--each", help="Also measure without each single rewrite.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Measure models with and without deployment rewrites, alternately, with intervals."""
    with command_output("bench rewrites", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.bench import bench_rewrites

        result = bench_rewrites(
            models,
            targets=target,
            devices=device or ("host",),
            threads=threads or (1,),
            input_size=parse_size(input_size),
            rigor=rigor,
            each=each,
            progress=output.progress,
        )
        output.show(result, render_rewrites)


@bench.command(cls=Verb)
def precisions(
    model: Model,
    calibration: Annotated[Path, typer.Option("--calibration", help="Folder of calibration photos.")],
    eval_data: Annotated[
        Path, typer.Option("--eval", help="Labelled photos, not used for calibration: an ImageFolder or a CSV.")
    ],
    class_order: ClassOrderOption = None,
    checkpoint: CheckpointOption = None,
    calibration_size: Annotated[int, typer.Option("--calibration-size", help="Number of calibration photos.")] = 200,
    target: Targets = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision", help="Precisions to compare with fp32. Repeatable. Default: all that the target has."
        ),
    ] = None,
    threads: Threads = 1,
    rigor: Rigor = "default",
    count: Annotated[bool, typer.Option("--count", help="Also count instructions with the count device.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Measure a model in every precision: size, top-1, agreement, latency against fp32, instructions."""
    with command_output("bench precisions", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.precision_bench import bench_precisions
        from mobilevit_tools.data.class_order import parse_class_order

        result = bench_precisions(
            model,
            calibration=calibration,
            eval_data=eval_data,
            class_order=None if class_order is None else parse_class_order(class_order),
            checkpoint=checkpoint,
            calibration_size=calibration_size,
            targets=target or STANDARD,
            precisions=precision,
            threads=threads,
            rigor=rigor,
            count=count,
            progress=output.progress,
        )
        output.show(result, render_precisions)


@bench.command(cls=Verb)
def runtimes(
    models: Models,
    target: Targets = None,
    reference: Annotated[
        str, typer.Option("--reference", help="The target that the others are measured against.")
    ] = STANDARD[0],
    precision: Annotated[str, typer.Option("--precision", help="A precision of all targets.")] = "fp32",
    threads: Threads = 1,
    rigor: Rigor = "default",
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Compare runtimes: size, parity, delegation, and latency measured alternately with one of them."""
    with command_output("bench runtimes", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.runtimes_bench import bench_runtimes

        result = bench_runtimes(
            models,
            targets=target or tuple(TARGETS),
            reference=reference,
            precision=precision,
            threads=threads,
            rigor=rigor,
            progress=output.progress,
        )
        output.show(result, render_runtimes)


@bench.command(cls=Verb)
def zoo(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models. Default: compact ones of timm.", show_default=False, autocompletion=complete_model
        ),
    ] = None,
    target: Targets = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", help="Precisions, where a target has them. Repeatable. Default: fp32."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="int8: folder of calibration photos.")
    ] = None,
    calibration_size: Annotated[int, typer.Option("--calibration-size", help="Number of calibration photos.")] = 200,
    input_size: InputSize = None,
    option: Options = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Also compare each with the target's own lowering, measured alternately.")
    ] = False,
    rigor: Rigor = "quick",
    timeout: Annotated[float, typer.Option("--timeout", help="Time limit per export, in seconds.")] = 900.0,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Export and verify many models: pass rate, parity, delegation and speed by target."""
    with command_output("bench zoo", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.zoo import ZOO, bench_zoo

        result = bench_zoo(
            models or ZOO,
            targets=target or STANDARD,
            precisions=precision or ("fp32",),
            calibration=calibration,
            calibration_size=calibration_size,
            input_size=parse_size(input_size),
            options=option or (),
            latency=latency,
            rigor=rigor,
            timeout_s=timeout,
            progress=output.progress,
        )
        output.show(result, render_zoo)


@bench.command(cls=Verb)
def export(
    models: Models,
    target: Targets = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Python interpreter of an environment with another version, to compare with."),
    ] = None,
    together: Annotated[
        bool,
        typer.Option("--together", help="Also compare the wall time of one export to all targets with the slowest's."),
    ] = False,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each is measured.")] = 6,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Measure the CPU time of exports, alternately with another installed version, with intervals."""
    with command_output("bench export", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.export_bench import bench_export

        result = bench_export(
            models,
            targets=target or STANDARD,
            against=against,
            together=together,
            rounds=rounds,
            progress=output.progress,
        )
        output.show(result, render_export)
