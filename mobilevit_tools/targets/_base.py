"""The form of a target's description. A description names code by dotted paths and imports no framework."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from mobilevit_tools.errors import UsageError
from mobilevit_tools.targets.precisions import FLOATING

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

    from mobilevit_tools.data.contract import OutputKind

LEAST_SNR_DB = 60.0
"""How alike a device and this machine compute the same artifact, unless the target says otherwise.

Two processors differ in the order of their sums, far above this; a wrong kernel is far below."""


@dataclass(frozen=True)
class Package:
    """A package that mvt can use.

    Attributes:
        name: Its distribution name.
        purpose: What needs it.
        tested: The release series that mvt is tested with, as prefixes of the version.
        extra: The extra that brings it; None where ``pip install mobilevit-tools`` does.
        module: What Python imports it as, where that is not its name.
    """

    name: str
    purpose: str
    tested: tuple[str, ...]
    extra: str | None = None
    module: str | None = None

    @property
    def install(self) -> str:
        """The command that brings it, where it is of an extra."""
        return f"pip install 'mobilevit-tools[{self.extra}]'" if self.extra else f"pip install {self.name}"


@dataclass(frozen=True)
class BadPair:
    """Two versions that do not work together, by prefix; an empty prefix stands for any version."""

    first: tuple[str, str]
    second: tuple[str, str]
    symptom: str
    remedy: str


@dataclass(frozen=True)
class Backend:
    """One of several backends of a target.

    Attributes:
        name: The name that ``--backend`` takes.
        summary: What can be done with it, and where.
        quantizes: Whether it has precisions other than fp32 and fp16.
        apps: The systems whose apps can run its artifacts: ``apple``, ``android``.
        rewrites: The rewrites that it asks for beside those that every target gets.
        declines: The rewrites that every target gets and that it does not want.
        delegate: What programs call it; None where everything is left to the target's own kernels.
        reasons: Dotted path of a mapping from operators to why they stay outside; None where that is not known.
    """

    name: str
    summary: str
    quantizes: bool = True
    apps: tuple[str, ...] = ("apple", "android")
    rewrites: tuple[str, ...] = ()
    declines: tuple[str, ...] = ()
    delegate: str | None = None
    reasons: str | None = None


@dataclass(frozen=True)
class NativeRunner:
    """How the native runner of a target's artifacts is built from C++.

    Attributes:
        package: The Python package whose wheel carries the runtime's shared libraries.
        folder: Where in that package they are; empty where they lie beside its modules.
        source: The runner's file in ``devices/native``.
        libraries: The shared libraries to link and to ship.
        headers: Dotted path of a function that returns the folders of the runtime's headers; None where the source
            declares by itself what it uses.
        defines: Preprocessor symbols.
        debian: The Debian package that brings the headers, and the folder in it that is wanted; None where the Python
            package has them.
    """

    package: str
    folder: str
    source: str
    libraries: tuple[str, ...]
    headers: str | None = None
    defines: tuple[str, ...] = ()
    debian: tuple[str, str] | None = None


@dataclass(frozen=True)
class TargetOptions:
    """What one target takes and others do not; each field of a subclass is one option of the command line.

    A field's metadata has its ``help``. Where the default is None, it follows from the rest (:meth:`settled`).
    """

    def settled(self, precision: str) -> Self:  # noqa: ARG002
        """Return the same with every default that depends on the precision filled in."""
        return self

    def check(self, *, precision: str, batch: int) -> None:
        """Refuse values that are impossible, or do not go with each other or the rest of an export.

        Raises:
            UsageError: They do not.
        """

    @property
    def takes_image(self) -> bool:
        """Whether the artifact takes an image and normalises it by itself, in place of a normalised tensor."""
        return False

    @property
    def free_batch(self) -> bool:
        """Whether the artifact takes any number of images at once."""
        return False

    @property
    def suppressed(self) -> OutputKind | None:
        """What a detector's artifact gives that chooses among its boxes by itself; None where it does not."""
        return None

    @classmethod
    def of(cls, given: TargetOptions) -> Self:
        """Return options as those of this class: these, those that JSON states, or the defaults where nothing is asked.

        Raises:
            UsageError: They are another target's, or JSON states what this class does not have.
        """
        if isinstance(given, _Stated):
            return cls.read(given.values)
        if isinstance(given, cls):
            return given
        if type(given) is not TargetOptions:
            raise UsageError(f"{type(given).__name__} belong to another target.", hint=f"Give {cls.__name__}.")
        return cls()

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Make options of names and values.

        Raises:
            UsageError: A name is unknown, or a value is of another type.
        """
        known = {each.name: each for each in fields(cls)}
        for name, value in given.items():
            if name not in known:
                raise UsageError(f"There is no option {name!r} here.", hint=f"There are {', '.join(known) or 'none'}.")
            types = str(known[name].type).split(" | ")
            if type(value).__name__.replace("NoneType", "None") not in types:
                raise UsageError(f"The option {name} takes {' or '.join(types)}, not {value!r}.")
        return cls(**given)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: type, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read JSON as values that :meth:`of` turns into options, once the target is known."""
        from pydantic_core import core_schema

        values = core_schema.dict_schema(core_schema.str_schema())
        return core_schema.no_info_after_validator_function(_Stated, values)


@dataclass(frozen=True)
class _Stated(TargetOptions):
    """Options as JSON states them, of a target that is not known yet."""

    values: Mapping[str, Any]


def option(default: Any, summary: str) -> Any:
    """Return a field of :class:`TargetOptions` with its default and its help text."""
    return field(default=default, metadata={"help": summary})


@dataclass(frozen=True)
class Target:
    """Everything that the rest of the package has to know of a target.

    Attributes:
        name: The name that ``--target`` takes.
        title: Its name in prose.
        suffixes: The suffixes of its artifacts; an export writes the first.
        folders: Those of them that are folders.
        precisions: The precisions that it has.
        packages: The packages that export to it and run its artifacts.
        exporting: The importable packages without which nothing is exported.
        running: The importable package without which nothing is run.
        exporter: Dotted path of a module with ``lower``, as :class:`~mobilevit_tools.exporters._base.Exporter` says.
        runtime: Dotted path of a module with ``open_session(path, threads) -> Session``.
        weights: Dotted path of a function that reads the weights an artifact stores, for ``mvt diff``.
        layers: Dotted path of a function that reads the operators with weights of an artifact, to tell how much of it
            is quantized; None where its exporter tells.
        prepare: Dotted path of a function to call before any of the target's modules is imported.
        summary: What can be done with it here; None where its backends say that.
        options: Its own options.
        backends: The backends that it has, the default one first; empty where there is no choice.
        calibration_methods: How measured activations become ranges, the default first.
        student: Dotted path of a function that makes a model that learns to be quantized for it, as
            :data:`mobilevit_tools.quantization.student.MakeStudent` says; None where there is none.
        learns: The precisions that it makes one for.
        keeps_ranges: Whether a model that was quantized in training is exported with the ranges that it has.
        quantized_arithmetic: What a quantized artifact leaves in floating point computes in it.
        rewrites: The rewrites that it asks for beside those that every target gets.
        declines: The rewrites that every target gets and that it does not want.
        devices: The kinds of device that run its artifacts.
        host_systems: ``sys.platform`` of the systems whose own runtime it has, so that a latency there is one; empty
            for all. Elsewhere the session models that runtime.
        native_runtime: Whether its runtime is native code, which a damaged artifact can end: artifacts that mvt has not
            just made are then run in a process of their own.
        runs_apart: Whether its runtime may end the process on what its own converter has just made, so that artifacts
            always run in a process of their own.
        own_systems: ``sys.platform`` of the systems that its apps run on, where its runtime is made for others, too: a
            latency on those is told apart; empty where there is nothing to tell apart.
        own_threads: Whether its runtime chooses its threads itself.
        least_snr_db: How alike a device and this machine must compute the same artifact.
        native_runner: How its native runner is built; None where there is none.
        profile_reader: Dotted path of a function that reads the operator times that the runner wrote.
        stage_reader: Dotted path of a function that names the stage of each operator; None where artifacts keep no
            names of the model's.
        graph_reader: Dotted path of a function that reads an artifact's operators as nodes of a graph; None where only
            its calls into a backend are drawn.
        wheels: What a Python on another machine must have installed to run its artifacts, the runtime first.
        bad_pairs: Versions of its packages that are known not to work together.
        pairs: Pairs of packages that are tested together.
        effort: CPU seconds that an export of ``care_s0`` takes beyond loading the model, to tell which targets are
            worth a process of their own.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    precisions: tuple[str, ...]
    packages: tuple[Package, ...]
    exporting: tuple[str, ...]
    running: str
    exporter: str
    runtime: str
    weights: str
    layers: str | None = None
    prepare: str | None = None
    summary: str | None = None
    folders: tuple[str, ...] = ()
    options: type[TargetOptions] = TargetOptions
    backends: tuple[Backend, ...] = ()
    calibration_methods: tuple[str, ...] = ()
    student: str | None = None
    learns: tuple[str, ...] = ()
    keeps_ranges: bool = False
    quantized_arithmetic: str = "fp32"
    rewrites: tuple[str, ...] = ()
    declines: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("host",)
    host_systems: tuple[str, ...] = ()
    native_runtime: bool = False
    runs_apart: bool = False
    own_systems: tuple[str, ...] = ()
    own_threads: bool = False
    least_snr_db: float = LEAST_SNR_DB
    native_runner: NativeRunner | None = None
    profile_reader: str | None = None
    stage_reader: str | None = None
    graph_reader: str | None = None
    wheels: tuple[str, ...] = ()
    bad_pairs: tuple[BadPair, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    effort: float = 10.0

    @property
    def suffix(self) -> str:
        """The suffix of the artifacts that an export writes."""
        return self.suffixes[0]

    def load(self, path: str) -> Any:
        """Import one of its modules, or what a dotted path ``package.module:name`` names in it."""
        if self.prepare is not None:
            load(self.prepare)()
        return load(path) if ":" in path else import_module(path)

    @property
    def runs_here(self) -> bool:
        """Whether this machine has the target's own runtime, so that a latency here is one."""
        return not self.host_systems or sys.platform in self.host_systems

    @property
    def on_own_system(self) -> bool:
        """Whether this is a system that the target's apps run on, so that a latency here says something of them."""
        return not self.own_systems or sys.platform in self.own_systems

    @property
    def extra(self) -> str | None:
        """The extra that brings its packages; None where ``pip install mobilevit-tools`` does."""
        return next((package.extra for package in self.packages if package.extra), None)

    def install(self, package: str) -> str:
        """Return the command that brings an importable package which the target needs."""
        of_extras = (each.install for each in self.packages if each.extra is not None)
        return next(of_extras, f"pip install {package}")

    def missing(self) -> tuple[str, ...]:
        """Return the importable packages that exporting to it and running its artifacts need and that are not here."""
        return tuple(each for each in dict.fromkeys((*self.exporting, self.running)) if find_spec(each) is None)

    @property
    def deployments(self) -> tuple[str, ...]:
        """The target, or where it has backends, the target with each: ``executorch-xnnpack``."""
        return tuple(f"{self.name}-{backend.name}" for backend in self.backends) or (self.name,)

    def backend(self, name: str | None) -> Backend | None:
        """Return its backend of that name; None where there is none."""
        return next((each for each in self.backends if each.name == name), None)

    def precisions_of(self, backend: str | None) -> tuple[str, ...]:
        """Return the precisions that a backend has."""
        found = self.backend(backend)
        return FLOATING if found is not None and not found.quantizes else self.precisions


def load(path: str) -> Any:
    """Import what a dotted path ``package.module:name`` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
