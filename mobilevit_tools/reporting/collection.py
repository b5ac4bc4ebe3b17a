"""Bring together what belongs to one artifact, whoever told of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mobilevit_tools.exporters.manifest import Manifest
from mobilevit_tools.profiling.result import ComparisonResult, ProfileResult
from mobilevit_tools.reporting.evidence import Artifact, Evaluation, Evidence, ExportedEntry, ExportedModel, Failure
from mobilevit_tools.reporting.evidence import Verification as Verified

_KNOWN_BY = 3
"""How many last parts of a path `mvt export` chooses: model, variant and file. Where a run was copied from another
machine, its measurements are joined to its artifacts by them."""

_Item = TypeVar("_Item")


@dataclass
class _Entry:
    """An artifact while more is being learnt of it."""

    path: Path
    model: str = ""
    target: str = ""
    precision: str = ""
    size_bytes: int | None = None
    manifest: Manifest | None = None
    exported: ExportedEntry | None = None
    random_weights: bool | None = None
    aliases: list[Path] = field(default_factory=list)
    verifications: list[Verified] = field(default_factory=list)
    profiles: list[ProfileResult] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)

    @property
    def variant(self) -> str:
        deployment = self.target
        if (made := self.manifest.spec if self.manifest else self.exported) is not None and made.backend:
            deployment = f"{self.target}-{made.backend}"
        return " ".join(part for part in (deployment, self.precision) if part)

    @property
    def name(self) -> str:
        return f"{self.model} {self.variant}".strip()

    def artifact(self, label: str) -> Artifact:
        made, manifest = self.exported, self.manifest
        known = manifest or made
        return Artifact(
            label=label,
            model=self.model,
            target=self.target,
            backend=manifest.spec.backend if manifest else made.backend if made else None,
            precision=self.precision,
            path=self.path,
            size_bytes=self.size_bytes,
            parity=known.parity if known else None,
            delegation=known.delegation if known else None,
            rewrites=known.rewrites if known else (),
            random_weights=self.random_weights,
            manifest=manifest,
            seconds=made.seconds if made else {},
            aliases=tuple(dict.fromkeys(self.aliases)),
            verifications=tuple(self.verifications),
            profiles=tuple(self.profiles),
            evaluations=tuple(self.evaluations),
        )


class Collection:
    """What was read so far. The same artifact may be told of several times; the same measurement counts once."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._by_tail: dict[tuple[str, ...], list[_Entry]] = {}
        self._comparisons: list[ComparisonResult] = []
        self._failures: list[Failure] = []

    def add_manifest(self, folder: Path, manifest: Manifest) -> None:
        """Learn of the artifact that a manifest in ``folder`` describes."""
        entry = self._entry(folder / manifest.artifact.file, manifest.artifact.size_bytes)
        entry.manifest = manifest
        entry.model, entry.target, entry.precision = manifest.model.name, manifest.spec.target, manifest.spec.precision
        entry.size_bytes = manifest.artifact.size_bytes
        entry.random_weights = manifest.model.weights.random

    def add_export(self, export: ExportedModel) -> None:
        """Learn of the artifacts of one export."""
        for made in export.artifacts:
            entry = self._entry(made.path, made.size_bytes)
            entry.exported = made
            if entry.manifest is None:
                entry.model, entry.target, entry.precision = export.model, made.target, made.precision
                entry.size_bytes, entry.random_weights = made.size_bytes, export.random_weights

    def add_verification(self, verification: Verified) -> None:
        """Learn of a later verification."""
        entry = self._entry(verification.artifact)
        entry.model = entry.model or verification.model
        entry.precision = entry.precision or verification.precision
        _add(entry.verifications, verification)

    def add_profile(self, profile: ProfileResult) -> None:
        """Learn of a measurement."""
        entry = self._entry(profile.artifact, profile.size_bytes)
        entry.target = entry.target or profile.target
        if entry.size_bytes is None:
            entry.size_bytes = profile.size_bytes
        _add(entry.profiles, profile)

    def add_comparison(self, comparison: ComparisonResult) -> None:
        """Learn of two artifacts that were measured in turns."""
        self.add_profile(comparison.a)
        self.add_profile(comparison.b)
        _add(self._comparisons, comparison)

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Learn of an evaluation."""
        _add(self._entry(evaluation.artifact).evaluations, evaluation)

    def add_failure(self, failure: Failure) -> None:
        """Learn that something failed."""
        _add(self._failures, failure)

    def evidence(self) -> Evidence:
        """Return everything, in an order that depends on the runs' contents alone."""
        entries = sorted(self._entries.values(), key=lambda each: (each.name, str(each.path)))
        models = {entry.model for entry in entries}
        names = [entry.variant if len(models) == 1 else entry.name for entry in entries]
        labels = _told_apart(names, [entry.path for entry in entries])
        artifacts = tuple(entry.artifact(label) for entry, label in zip(entries, labels, strict=True))
        return Evidence(artifacts, tuple(self._comparisons), tuple(self._failures))

    def _entry(self, path: Path, size_bytes: int | None = None) -> _Entry:
        key = os.path.abspath(path)  # noqa: PTH100 - links are left alone: the path may be another machine's
        if key in self._entries:
            return self._entries[key]
        tail = path.parts[-_KNOWN_BY:]
        alike = [
            entry
            for entry in self._by_tail.get(tail, ())
            if None in (size_bytes, entry.size_bytes) or size_bytes == entry.size_bytes
        ]
        # Where this machine has both, they are two artifacts, however alike their names.
        if len(tail) == _KNOWN_BY and len(alike) == 1 and _exists(path) != _exists(alike[0].path):
            alike[0].aliases.append(path)
            return alike[0]
        entry = self._entries[key] = _Entry(path)
        self._by_tail.setdefault(tail, []).append(entry)
        return entry


def _told_apart(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Add to names that occur several times what their paths do not have in common."""
    groups: dict[str, list[Path]] = {}
    for name, path in zip(names, paths, strict=True):
        groups.setdefault(name, []).append(path)
    labels = []
    for name, path in zip(names, paths, strict=True):
        alike = groups[name]
        if len(alike) == 1:
            labels.append(name or str(path))
            continue
        first = _shared([each.parts for each in alike])
        last = _shared([each.parts[first:][::-1] for each in alike])
        own = "/".join(path.parts[first : len(path.parts) - last]) or str(path)
        labels.append(f"{name} ({own})" if name else own)
    return labels


def _shared(parts: Sequence[tuple[str, ...]]) -> int:
    """Return how many parts all begin with."""
    count = 0
    while all(count < len(each) for each in parts) and len({each[count] for each in parts}) == 1:
        count += 1
    return count


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False


def _add(known: list[_Item], item: _Item) -> None:
    if item not in known:
        known.append(item)
