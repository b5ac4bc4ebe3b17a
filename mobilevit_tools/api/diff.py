"""Tell what changed between two artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.api.given import given_artifact
from mobilevit_tools.artifacts.artifact import Artifact
from mobilevit_tools.comparison.facts import Change, diff_manifests
from mobilevit_tools.comparison.graph import GraphDiff, diff_graphs
from mobilevit_tools.comparison.latency import LatencyDiff, diff_latency
from mobilevit_tools.comparison.subject import Subject, find_subject
from mobilevit_tools.comparison.weights import WeightsDiff, diff_weights
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.process_state import restoring
from mobilevit_tools.profiling.baseline import read_profile
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.result import Result
from mobilevit_tools.runtimes.registry import open_session


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        path: What was given.
        artifact: The artifact; None where only its manifest is here.
        target: What it was exported to.
        size_bytes: Its size.
        sha256: Its digest.
        has_manifest: Whether it has a manifest.
    """

    path: Path
    artifact: Path | None
    target: str
    size_bytes: int
    sha256: str
    has_manifest: bool


@dataclass(frozen=True, repr=False)
class DiffResult(Result, command="diff"):
    """What changed from ``a`` to ``b``.

    Attributes:
        a: The first.
        b: The second.
        identical: Whether the two artifacts are the same, byte by byte.
        graph: Operators, inputs and outputs that differ; None where not both artifacts are here.
        weights: Stored weights that differ; None where not both artifacts are here.
        changes: What the manifests say differently, by section (model, export, contract, parity, rewrites,
            quantization, kept in float32, delegation, tools); empty where not both have one.
        latency: Their measurements side by side; None where none were given.
        notes: What could not be compared, a sentence each.
    """

    a: Side
    b: Side
    identical: bool
    graph: GraphDiff | None
    weights: WeightsDiff | None
    changes: Mapping[str, tuple[Change, ...]]
    latency: LatencyDiff | None
    notes: tuple[str, ...]


@restoring
def diff(
    a: str | Path,
    b: str | Path,
    *,
    profiles: tuple[str | Path, str | Path] | None = None,
    progress: Progress = silent,
) -> DiffResult:
    """Compare two artifacts, of one target or of two.

    Args:
        a: An artifact, the folder that an export made for it, or its ``manifest.json``.
        b: The other.
        profiles: What ``mvt profile --json`` printed for each; None compares no latency.
        progress: Told of every step.

    Raises:
        BadInputError: One of the two, or a measurement, cannot be read, or is of another artifact.
        MissingDependencyError: The runtime of one of the two is not installed.

    Example:
        >>> mvt.diff(artifact, artifact.parent).identical
        True
    """
    one, other = find_subject(given_artifact(a, "diff").path), find_subject(given_artifact(b, "diff").path)
    latency = None
    if profiles is not None:
        first, second = (_profile_of(Path(path), side) for path, side in zip(profiles, (one, other), strict=True))
        latency = diff_latency(first, second)
    graph, weights = None, None
    if one.artifact is not None and other.artifact is not None:
        with (
            Artifact(one.artifact).naming_changes(),
            Artifact(other.artifact).naming_changes(),
            progress("Comparing the graphs"),
            open_session(one.artifact) as x,
            open_session(other.artifact) as y,
        ):
            graph = diff_graphs(x, y)
        with progress("Comparing the weights"):
            weights = diff_weights(one.target, one.artifact, other.target, other.artifact)
    return DiffResult(
        a=_side(one),
        b=_side(other),
        identical=one.sha256 == other.sha256,
        graph=graph,
        weights=weights,
        changes=diff_manifests(one.manifest, other.manifest) if one.manifest and other.manifest else {},
        latency=latency,
        notes=_notes(one, other),
    )


def _profile_of(path: Path, side: Subject) -> ProfileResult:
    profile = read_profile(path)
    # A measurement that was stored before there were digests tells its size alone.
    if profile.size_bytes != side.size_bytes or profile.sha256 not in (None, side.sha256):
        raise BadInputError(
            f"{path} was measured on a different file than {side.path}.",
            hint="Profile the artifact that you compare.",
            code="other_artifact",
        )
    return profile


def _side(subject: Subject) -> Side:
    return Side(
        subject.path,
        subject.artifact,
        subject.target,
        subject.size_bytes,
        subject.sha256,
        has_manifest=subject.manifest is not None,
    )


def _notes(a: Subject, b: Subject) -> tuple[str, ...]:
    notes = [
        f"Only the manifest of {each.path} was found: graphs and weights were not compared."
        for each in (a, b)
        if each.artifact is None
    ]
    notes += [f"{each.path} has no manifest: manifests were not compared." for each in (a, b) if each.manifest is None]
    notes += [
        f"{each.path} does not match the digest in its manifest."
        for each in (a, b)
        if each.manifest is not None and each.manifest.artifact.sha256 != each.sha256
    ]
    return tuple(notes)
