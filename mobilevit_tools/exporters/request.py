"""What one export is asked for, as one object: from the command line, Python, a smoke test, a sweep and a manifest."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from mobilevit_tools.data.class_order import ClassOrder, parse_class_order
from mobilevit_tools.data.contract import TaskName
from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.normalization import parse_channels
from mobilevit_tools.quantization._base import check_calibrated
from mobilevit_tools.rewrites.registry import select_rewrites
from mobilevit_tools.targets._base import TargetOptions
from mobilevit_tools.targets.precisions import FLOATING
from mobilevit_tools.targets.registry import TARGETS, find_target, no_such_backend
from mobilevit_tools.tasks.registry import find_task
from mobilevit_tools.verification.tolerances import gates_of


@dataclass(frozen=True)
class ExportRequest:
    """What to make one artifact of, and how. All of it is checked when the object is made.

    Attributes:
        model: A model, as ``mvt export`` takes it.
        target: The export target.
        precision: The precision.
        backend: The target's backend; None takes its default.
        checkpoint: The model's weights; None takes the bundled ones.
        ema: Take the checkpoint's moving average (True), its raw weights (False), or the average if there (None).
        random_weights: Whether the weights may be random.
        num_classes: The class count; None takes the checkpoint's.
        labels: A file of class names; None takes the checkpoint's.
        input_size: ``224`` or ``192x256``; None takes the model's own.
        mean: The channels' mean on the 0-1 scale, ``0.5`` or ``0.5,0.4,0.3``; None takes the model's own.
        std: Their standard deviation, likewise.
        options: Options of the model's builder, each ``name=value``.
        batch: Images per inference.
        target_options: The target's own options; by default none is asked for.
        rewrites: Names of the deployment rewrites to apply; None takes those of the target, empty none.
        fp16_keep: Half precision: what to keep in float32; None takes what the preflight finds.
        calibration: A folder of photos for precisions that are calibrated.
        calibration_size: How many of them to use; None takes the default.
        calibration_method: How measured values become ranges; None takes the target's default.
        least_quantized: Percent of the weights, and of the multiply-accumulates with them, that must be quantized in a
            quantized artifact; None takes the default.
        gates: Stricter gates, each ``PRECISION:FIGURE=VALUE``; those of other precisions are left out.
        max_drop: Points of top-1 that a quantized artifact may lose.
        eval_data: Labelled photos on which they are measured.
        class_order: How folders of these photos without labels' names are classes; None leaves it to the predictions.
        task: What the outputs mean; None leaves it to the model's card, or to what they hold.
        upsample: Segmentation: resize the map to the input's size.
        class_map: Segmentation: give the class of each pixel in place of the scores.

    Raises:
        UsageError: The target cannot do this, the arguments contradict each other, or a text would be taken for an
            option of ``mvt``.
    """

    model: str
    target: str
    precision: str = "fp32"
    backend: str | None = None
    checkpoint: str | None = None
    ema: bool | None = None
    random_weights: bool = False
    num_classes: int | None = None
    labels: str | None = None
    input_size: str | None = None
    options: tuple[str, ...] = ()
    batch: int = 1
    target_options: TargetOptions = TargetOptions()
    rewrites: tuple[str, ...] | None = None
    fp16_keep: tuple[str, ...] | None = None
    calibration: str | None = None
    calibration_size: int | None = None
    calibration_method: str | None = None
    least_quantized: float | None = None
    gates: tuple[str, ...] = ()
    max_drop: float | None = None
    eval_data: str | None = None
    class_order: ClassOrder | None = None
    task: TaskName | None = None
    upsample: bool = False
    class_map: bool = False
    mean: str | None = None
    std: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be asked for."""
        self._check_texts()
        own = self.own_options
        nothing_asked = own == type(own)()  # then the target can be replaced
        object.__setattr__(self, "target_options", TargetOptions() if nothing_asked else own)
        if self.rewrites is not None:
            object.__setattr__(self, "rewrites", select_rewrites(self.rewrites))
        _ = self.spec
        object.__setattr__(self, "gates", gates_of(self.precision, self.gates))
        parse_size(self.input_size)
        parse_channels(self.mean, "mean")
        parse_channels(self.std, "standard deviation")
        check_calibrated(
            [self.precision],
            calibration=self.calibration,
            calibration_size=self.calibration_size,
            calibration_method=self.calibration_method,
        )
        if self.calibration_size is not None and self.calibration_size < 1:
            raise UsageError("A calibration takes at least one photo.")
        if self.least_quantized is not None:
            if self.precision in FLOATING:
                raise UsageError(
                    f"Nothing is quantized in {self.precision}.",
                    hint="Omit --least-quantized, or use a quantized precision.",
                )
            if not 0 <= self.least_quantized <= 100:
                raise UsageError(f"--least-quantized takes percent, from 0 to 100, not {self.least_quantized:g}.")
        if self.max_drop is not None and (self.eval_data is None or self.precision in FLOATING):
            raise UsageError(
                "--max-drop requires labelled photos and a quantized precision.",
                hint="Pass --max-drop POINTS, --eval DIR and a quantized --precision together.",
            )
        if self.task is not None:
            find_task(self.task)
        if self.class_order is not None:
            parse_class_order(self.class_order)
            if self.eval_data is None:
                raise UsageError("--class-order requires labelled photos.", hint="Give --eval DIR.")

    def _check_texts(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and (not text or text.startswith("-") or "\0" in text):
                    raise UsageError(f"{text!r} is no {field.name.replace('_', ' ')}.", code="bad_request")

    @property
    def own_options(self) -> TargetOptions:
        """The target's own options, in its own class."""
        return find_target(self.target).options.of(self.target_options)

    @property
    def spec(self) -> ExportSpec:
        """What to make of the model, whichever it is."""
        return ExportSpec(
            self.target,
            backend=self.backend,
            precision=self.precision,
            batch=self.batch,
            rewrites=self.rewrites,
            fp16_keep=self.fp16_keep,
            options=self.own_options,
            class_map=self.class_map,
        )

    def arguments(self) -> tuple[str, ...]:
        """Return the arguments of ``mvt export`` that ask for the same."""
        return (self.model, *self._flags())

    @property
    def command(self) -> str:
        """The command that asks for the same, as a shell reads it."""
        return shlex.join(["mvt", "export", *self.arguments()])

    def _flags(self) -> Iterator[str]:
        yield from ("--target", self.target, "--precision", self.precision)
        of_model = ("backend", "checkpoint", "num_classes", "labels", "input_size", "mean", "std")
        for name in (*of_model, "task", "upsample", "class_map"):
            yield from _flag(name, getattr(self, name))
        yield from ("--ema",) if self.ema else ("--no-ema",) if self.ema is False else ()
        yield from _flag("random_weights", self.random_weights)
        for choice in self.options:
            yield from ("--option", choice)
        yield from _flag("batch", None if self.batch == 1 else self.batch)
        for field in fields(self.own_options):
            value = getattr(self.own_options, field.name)
            yield from _flag(field.name, None if value == field.default else value)
        yield from ("--no-rewrites",) if self.rewrites == () else _flag("rewrites", self.rewrites)
        yield from _flag("fp16_keep", self.fp16_keep)
        for name in ("calibration", "calibration_size", "calibration_method", "least_quantized", "max_drop"):
            yield from _flag(name, getattr(self, name))
        for gate in self.gates:
            yield from ("--gate", gate)
        if self.max_drop is not None:
            yield from _flag("eval", self.eval_data)
            yield from _flag("class_order", self.class_order)


def _flag(name: str, value: object) -> tuple[str, ...]:
    option = f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return ()
    if value is True:
        return (option,)
    return (option, ",".join(value) if isinstance(value, tuple) else str(value))


def requests_for(
    targets: Sequence[str], *, backend: str | None, target_options: Mapping[str, Any], **common: Any
) -> tuple[ExportRequest, ...]:
    """Return a request for each target: what all of them take goes to all, what only some take to those.

    Args:
        targets: Names of targets.
        backend: A backend; targets without one of that name take their default.
        target_options: Options of some targets' own, by name; one that is None or False was not asked for.
        common: The other fields of :class:`ExportRequest`.

    Raises:
        UsageError: None of the targets takes an option that was asked for, or one of them cannot do what was.
    """
    asked = {name: value for name, value in target_options.items() if value is not None and value is not False}
    chosen = [find_target(name) for name in targets]
    if backend is not None and not any(target.backend(backend) for target in chosen):
        raise no_such_backend(backend, targets)
    taken = {target.name: {each.name for each in fields(target.options)} for target in TARGETS.values()}
    for name in asked:
        takers = [target for target, known in taken.items() if name in known]
        if not takers:
            near = get_close_matches(name, {each for known in taken.values() for each in known}, n=1)
            raise UsageError(
                f"No target has an option named {name!r}.",
                hint=f"Did you mean {near[0]}?" if near else "Options of targets: mvt export --help.",
            )
        if not set(takers) & set(targets):
            raise UsageError(
                f"--{name.replace('_', '-')} is not for {' or '.join(targets)}.",
                hint=f"Omit it; it is for {' and '.join(takers)}.",
            )
    return tuple(
        ExportRequest(
            target=target.name,
            backend=backend if target.backend(backend) else None,
            target_options=target.options.read({name: asked[name] for name in asked if name in taken[target.name]}),
            **common,
        )
        for target in chosen
    )
