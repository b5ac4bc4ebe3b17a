"""What every exporter takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, cast

from mobilevit_tools.errors import MissingDependencyError, UsageError
from mobilevit_tools.runtimes.pieces import Piece
from mobilevit_tools.targets._base import TargetOptions
from mobilevit_tools.targets.precisions import FLOATING
from mobilevit_tools.targets.registry import find_target

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn
    from torch.export import ExportedProgram

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.quantization._base import Quantization
    from mobilevit_tools.quantization.share import Layer


@dataclass(frozen=True)
class ExportSpec:
    """What to make of a model; the same for every target.

    Attributes:
        target: The target.
        backend: The target's backend; None takes its default.
        precision: Arithmetic and weights of the artifact.
        batch: Images per inference.
        rewrites: Names of the deployment rewrites to apply; None takes those of the target, empty none.
        fp16_keep: Half precision: operators or modules to keep in float32; None takes what the preflight finds.
        options: The target's own options; by default what their class has as defaults.
        class_map: Give the class of each pixel in place of a segmenter's scores.

    Raises:
        UsageError: The target does not have this backend, precision or option.
    """

    target: str
    backend: str | None = None
    precision: str = "fp32"
    batch: int = 1
    rewrites: tuple[str, ...] | None = None
    fp16_keep: tuple[str, ...] | None = None
    options: TargetOptions = TargetOptions()
    class_map: bool = False

    def __post_init__(self) -> None:
        """Fill in the default backend and refuse what the target cannot do."""
        target = find_target(self.target)
        if self.backend is None and target.backends:
            object.__setattr__(self, "backend", target.backends[0].name)
        if self.backend is not None and target.backend(self.backend) is None:
            offered = ", ".join(each.name for each in target.backends) or "no choice of backends"
            raise UsageError(f"{self.target} has no backend named {self.backend!r}.", hint=f"It has {offered}.")
        offered_precisions = target.precisions_of(self.backend)
        if self.precision not in offered_precisions:
            raise UsageError(
                f"{self.target}{f' with {self.backend}' if self.backend else ''} has no precision named "
                f"{self.precision!r}.",
                hint=f"It has {', '.join(offered_precisions)}.",
                code="unsupported_precision",
            )
        if self.batch < 1:
            raise UsageError(f"A batch holds at least one image, not {self.batch}.", hint="Give 1 or more.")
        options = target.options.of(self.options).settled(self.precision)
        options.check(precision=self.precision, batch=self.batch)
        object.__setattr__(self, "options", options)
        if self.fp16_keep is not None and self.arithmetic != "fp16":
            raise UsageError(
                f"--fp16-keep has no effect on {self.variant}, which computes in float32.",
                hint="Omit --fp16-keep, or pass --precision fp16.",
            )

    @property
    def arithmetic(self) -> str:
        """What is left in floating point computes in this precision: ``fp32`` or ``fp16``."""
        if self.precision in FLOATING:
            return self.precision
        return find_target(self.target).quantized_arithmetic

    @property
    def deployment(self) -> str:
        """The target with its backend, where it has one, such as ``executorch-xnnpack``."""
        return f"{self.target}-{self.backend}" if self.backend else self.target

    @property
    def file_name(self) -> str:
        """The artifact's own name, such as ``model.onnx``."""
        return f"model{find_target(self.target).suffix}"

    @property
    def variant(self) -> str:
        """A folder name that tells this artifact from the model's others, such as ``executorch-xnnpack-fp32``."""
        return f"{self.deployment}-{self.precision}"


@dataclass(frozen=True)
class Delegation:
    """How much of a program its backend took over.

    Attributes:
        calls: Calls into the backend for one inference.
        outside: Operators that stayed outside, and how often each.
        macs_share: The share of the multiply-accumulates that the backend does; None where the program has none.
        pieces: The calls and what runs between them, in order of execution; empty where nothing tells.
    """

    calls: int
    outside: Mapping[str, int] = field(default_factory=dict)
    macs_share: float | None = None
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Lowering:
    """What an exporter says of the artifact that it wrote.

    Attributes:
        delegation: How much its backend took over; None where that does not apply.
        asked: Names of the artifact's operators that are to stay in floating point though the others are quantized.
        layers: Its operators with weights, where nothing can read them from the artifact.
    """

    delegation: Delegation | None = None
    asked: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Half:
    """What of a program stays in float32 where the artifact computes in half precision.

    Attributes:
        program: What the exporter traced in float32.
        keep: Names of its operators that stay in float32.
    """

    program: ExportedProgram
    keep: tuple[str, ...]


class Exporter(Protocol):
    """The two stages that a target's module must have; between them, half precision and quantization are planned."""

    def trace(self, module: nn.Module, spec: ExportSpec, contract: Contract) -> ExportedProgram | None:
        """Return the float32 program that is to compute in half precision; None where the target rounds by itself."""

    def lower(
        self,
        module: nn.Module,
        spec: ExportSpec,
        contract: Contract,
        path: Path,
        quantization: Quantization | None = None,
        *,
        half: Half | None = None,
    ) -> Lowering:
        """Write the artifact of ``module`` to ``path``, which does not exist yet, quantized where that is asked for.

        Where it computes in half precision, all does but what ``half`` keeps.
        """


def check_packages(name: str, *more: str) -> None:
    """Refuse a target that cannot be exported to here.

    Args:
        name: The target.
        more: Further packages without which it cannot be, such as its runtime's.

    Raises:
        MissingDependencyError: A package that it needs is not installed.
    """
    target = find_target(name)
    for package in (*target.exporting, *more):
        if find_spec(package) is None:
            raise MissingDependencyError(
                f"Exporting to {name} needs {package}, which is not installed.", hint=target.install(package)
            )


def load_exporter(name: str) -> Exporter:
    """Import the exporter of a target.

    Raises:
        MissingDependencyError: A package that it needs is not installed.
    """
    check_packages(name)
    target = find_target(name)
    return cast("Exporter", target.load(target.exporter))
