"""Every target by its name, and which of them an artifact is of.

The descriptions are the modules of this package. An installed package adds one through the entry-point group
``mobilevit_tools.targets``: ``name = "package.module:TARGET"``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.several import several
from mobilevit_tools.targets import coreai, coreml, executorch, litert, ncnn, onnx
from mobilevit_tools.targets._base import Target

ALL = "all"
ENTRY_POINT_GROUP = "mobilevit_tools.targets"


def _described() -> Iterator[Target]:
    yield from (onnx.TARGET, coreml.TARGET, executorch.TARGET, coreai.TARGET, litert.TARGET, ncnn.TARGET)
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        yield entry.load()


TARGETS: Mapping[str, Target] = MappingProxyType({target.name: target for target in _described()})
STANDARD = tuple(name for name, target in TARGETS.items() if target.extra is None)
"""The targets that ``all`` stands for: those that need no extra. It means the same whatever is installed."""
DEPLOYMENTS = tuple(deployment for target in TARGETS.values() for deployment in target.deployments)
"""Every target, with each of its backends where it has several."""
SUFFIXES: Mapping[str, Target] = MappingProxyType(
    {suffix: target for target in TARGETS.values() for suffix in target.suffixes}
)
"""The target of each suffix that an artifact can have."""


def find_target(name: str) -> Target:
    """Return the target of that name.

    Raises:
        UsageError: No such target; the hint names the nearest ones.
    """
    target = TARGETS.get(name)
    if target is None:
        if "," in name:
            raise UsageError(
                f"{name!r} is several targets in one.", hint="Repeat --target, once for each.", code="unknown_target"
            )
        nearest = get_close_matches(name, TARGETS, n=2, cutoff=0.4)
        raise UsageError(
            f"There is no target named {name!r}.",
            hint=f"Did you mean {' or '.join(nearest)}?" if nearest else f"Targets: {', '.join(TARGETS)}, all.",
            code="unknown_target",
        )
    return target


def no_such_backend(name: str, targets: Sequence[str]) -> UsageError:
    """Return the error of a backend that none of the targets has."""
    asked = targets[0] if len(targets) == 1 else f"None of {', '.join(targets)}"
    verb = "has no" if len(targets) == 1 else "has a"
    having = {target.name: [each.name for each in target.backends] for target in TARGETS.values() if target.backends}
    right = [target for target, names in having.items() if name in names]
    listed = [f"{', '.join(names)} (--target {target})" for target, names in having.items()]
    hint = f"It is one of --target {' and '.join(right)}." if right else f"Backends: {'; '.join(listed)}."
    return UsageError(f"{asked} {verb} backend named {name!r}.", hint=hint)


def named_targets(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the targets that are asked for, each once.

    ``all`` stands for those that need no extra; others are named beside it.

    Raises:
        UsageError: There is no such target, also beside ``all``.
    """
    names = several(names)
    for name in names:
        if name != ALL:
            find_target(name)
    return tuple(dict.fromkeys(each for name in names for each in (STANDARD if name == ALL else (name,))))


def target_of(artifact: Path) -> Target:
    """Return the target of an artifact, judged by its suffix.

    Raises:
        BadInputError: There is nothing at ``artifact``, or it is no artifact that mvt knows.
    """
    suffix = artifact.suffix.lower()
    target = SUFFIXES.get(suffix)
    if not artifact.exists():
        raise BadInputError(
            f"There is no artifact at {artifact}.",
            hint=f"Pass {_artifact_in(artifact.parent) or 'a path that `mvt export` printed'}.",
            code="no_such_artifact",
        )
    if target is None:
        raise BadInputError(
            f"{artifact} is not an artifact: its suffix is not one of {', '.join(SUFFIXES)}.",
            hint=f"Pass {_artifact_in(artifact) or 'a file that `mvt export` wrote'}.",
            code="not_an_artifact",
        )
    is_folder = suffix in target.folders
    if not (artifact.is_dir() if is_folder else artifact.is_file()):  # a pipe would be waited for
        expected = "a folder" if is_folder else "a file"
        raise BadInputError(
            f"{artifact} is not {expected}, as {artifact.suffix} artifacts are.", code="not_an_artifact"
        )
    return target


def _artifact_in(folder: Path) -> Path | None:
    """Return the artifact in an export's folder; None where there is none or several."""
    found = [path for path in folder.iterdir() if path.suffix in SUFFIXES] if folder.is_dir() else []
    return found[0] if len(found) == 1 else None


def host_targets() -> tuple[str, ...]:
    """Return the targets whose own runtime is on this machine, so that a latency here is one."""
    return tuple(name for name, target in TARGETS.items() if target.runs_here)


def targets_on(device: str) -> tuple[str, ...]:
    """Return the targets whose artifacts a kind of device runs."""
    return tuple(
        name for name, target in TARGETS.items() if device in target.devices and (device != "host" or target.runs_here)
    )
