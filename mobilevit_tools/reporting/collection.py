"""Bring together what belongs to one artifact, whoever told of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mobilevit_tools.artifacts.exported import ExportedArtifact, ExportResult
from mobilevit_tools.artifacts.manifest import Manifest
from mobilevit_tools.documents import printable
from mobilevit_tools.paths import shared_parts
from mobilevit_tools.profiling.result import ComparisonResult, ProfileResult
from mobilevit_tools.reporting.evidence import Artifact, Evidence, Failure
from mobilevit_tools.verification.evaluations import Evaluated
from mobilevit_tools.verification.result import VerifyResult

_KNOWN_BY = 3
"""How many last parts of a path `mvt export` chooses: model, variant and file. Where a run was copied from another
machine, its measurements are joined to its artifacts by them."""

_Item = TypeVar("_Item")


@dataclass
class _Entry:
    """An artifact while more is being learnt of it."""

    path: Path
    where: tuple[str, ...]
    model: str = ""
    target: str = ""
    precision: str = ""
    size_bytes: int | None = None
    manifest: Manifest | None = None
    exported: ExportedArtifact | None = None
    random_weights: bool | None = None
    aliases: list[Path] = field(default_factory=list)
    verifications: list[VerifyResult] = field(default_factory=list)
    profiles: list[ProfileResult] = field(default_factory=list)
    evaluations: list[Evaluated] = field(default_factory=list)

    @property
    def sha256(self) -> str | None:
        """Its digest: the manifest's or, without one, what is told of it first and does not contradict its size."""
        if self.manifest is not None:
            return self.manifest.artifact.sha256
        told = [each.sha256 for each in self.profiles if each.size_bytes == self.size_bytes]
        told += [each.sha256 for each in self.evaluations]
        return next((digest for digest in told if digest is not None), None)

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
            sha256=self.sha256,
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
        self._by_tail: dict[tuple[str, ...], list[str]] = {}
        self._comparisons: list[ComparisonResult] = []
        self._failures: list[Failure] = []

    def add_manifest(self, folder: Path, manifest: Manifest) -> None:
        """Learn of the artifact that a manifest in ``folder`` describes."""
        stated = manifest.artifact
        entry = self._entries[self._key(folder / stated.file, stated.size_bytes, stated.sha256)]
        entry.manifest = manifest
        entry.model, entry.target, entry.precision = manifest.model.name, manifest.spec.target, manifest.spec.precision
        entry.size_bytes = stated.size_bytes
        entry.random_weights = manifest.model.weights.random

    def add_export(self, export: ExportResult, source: str, detail: str = "", origin: str = "") -> list[str]:
        """Learn of the artifacts of one export; return their keys.

        An artifact that was thrown away is not the file that has its path now: it is known by what told of it.

        Args:
            export: The export.
            source: What told of it.
            detail: What tells it from other exports of the same variant there, for people.
            origin: All that it was made from, where that is known.
        """
        keys = []
        for made in export.artifacts:
            if made.kept:
                keys.append(self._key(made.path, made.size_bytes))
            else:
                keys.append(f"{source}: {origin or export.model}: {made.path}, {made.size_bytes}")
                self._entries.setdefault(keys[-1], _Entry(made.path, (*Path(source).parts, detail)))
            entry = self._entries[keys[-1]]
            entry.exported = made
            if entry.manifest is None:
                entry.model, entry.target, entry.precision = export.model, made.target, made.precision
                entry.size_bytes, entry.random_weights = made.size_bytes, export.random_weights
        return keys

    def add_verification(self, verification: VerifyResult) -> None:
        """Learn of a later verification."""
        entry = self._entries[self._key(verification.artifact)]
        entry.model = entry.model or verification.model
        entry.precision = entry.precision or verification.precision
        _add(entry.verifications, verification)

    def add_profile(self, profile: ProfileResult, key: str | None = None) -> None:
        """Learn of a measurement, of the artifact of that key or else of the one that has its path."""
        entry = self._entries[key or self._key(profile.artifact, profile.size_bytes, profile.sha256)]
        entry.target = entry.target or profile.target
        if entry.size_bytes is None:
            entry.size_bytes = profile.size_bytes
        _add(entry.profiles, profile)

    def add_comparison(self, comparison: ComparisonResult) -> None:
        """Learn of two artifacts that were measured in turns."""
        self.add_profile(comparison.a)
        self.add_profile(comparison.b)
        _add(self._comparisons, comparison)

    def add_evaluation(self, evaluation: Evaluated, key: str | None = None) -> None:
        """Learn of an evaluation, of the artifact of that key or else of the one that has its path."""
        entry = self._entries[key or self._key(evaluation.artifact, sha256=evaluation.sha256)]
        _add(entry.evaluations, evaluation)

    def add_failure(self, failure: Failure) -> None:
        """Learn that something failed."""
        _add(self._failures, failure)

    def evidence(self) -> Evidence:
        """Return everything, in an order that depends on the runs' contents alone."""
        entries = sorted(self._entries.values(), key=lambda each: (each.name, str(each.path), each.where))
        models = {entry.model for entry in entries}
        names = [entry.variant if len(models) == 1 else entry.name for entry in entries]
        labels = _told_apart(names, entries)
        artifacts = tuple(entry.artifact(label) for entry, label in zip(entries, labels, strict=True))
        return Evidence(artifacts, tuple(self._comparisons), tuple(self._failures))

    def _key(self, path: Path, size_bytes: int | None = None, sha256: str | None = None) -> str:
        """Return the key of the artifact that a path stands for; one that nothing was known of is made."""
        key = os.path.abspath(path)  # noqa: PTH100 - links are left alone: the path may be another machine's
        if key in self._entries:
            return key
        tail = _as_told(path)[-_KNOWN_BY:]
        moved = self._moved(path, size_bytes, sha256) if len(tail) == _KNOWN_BY else None
        if moved is not None:
            self._entries[moved].aliases.append(path)
            return moved
        self._entries[key] = _Entry(path, path.parts)
        self._by_tail.setdefault(tail, []).append(key)
        return key

    def _moved(self, path: Path, size_bytes: int | None, sha256: str | None) -> str | None:
        """Return the key of the artifact that a path of another machine stands for; None where there is a doubt."""
        told = _as_told(path)
        alike = sorted(
            (shared_parts([told[::-1], _as_told(other.path)[::-1]]), key)
            for key in self._by_tail.get(told[-_KNOWN_BY:], ())
            for other in [self._entries[key]]
            if (None in (size_bytes, other.size_bytes) or size_bytes == other.size_bytes)
            and (None in (sha256, other.sha256) or sha256 == other.sha256)
        )
        if not alike or (len(alike) > 1 and alike[-1][0] == alike[-2][0]):
            return None
        key = alike[-1][1]
        # Where this machine has both, they are two artifacts, however alike their names.
        return key if _exists(path) != _exists(self._entries[key].path) else None


def _told_apart(names: Sequence[str], entries: Sequence[_Entry]) -> list[str]:
    """Add to names that occur several times what their places do not have in common, and else a number."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for name, entry in zip(names, entries, strict=True):
        groups.setdefault(name, []).append(entry.where)
    labels: list[str] = []
    for name, entry in zip(names, entries, strict=True):
        alike = groups[name]
        label = name or printable(str(entry.path))
        if len(alike) > 1:
            first = shared_parts(alike)
            last = shared_parts([where[first:][::-1] for where in alike])
            parts = [part for part in entry.where[first : len(entry.where) - last] if part]
            own = printable(str(Path(*parts))) if parts else ""
            label = f"{name} ({own})" if name and own else own or label
        labels.append(label if label not in labels else f"{label} {labels.count(label) + 1}")
    return labels


def _as_told(path: Path) -> tuple[str, ...]:
    """Return a path's parts as they read in JSON that tells of it."""
    return tuple(map(printable, path.parts))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False


def _add(known: list[_Item], item: _Item) -> None:
    if item not in known:
        known.append(item)
