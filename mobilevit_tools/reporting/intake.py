"""Find and read what people give to a report: folders of artifacts, JSON envelopes, and results of sweeps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mobilevit_tools.artifacts.exported import ExportResult
from mobilevit_tools.artifacts.files import MANIFEST_NAME
from mobilevit_tools.artifacts.manifest import Manifest, is_manifest
from mobilevit_tools.documents import RUN, clean, parse_lines, read_document, typed
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.jsonable import StatedError
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.profiling.result import ComparisonResult, ProfileResult
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE
from mobilevit_tools.reporting.checks import check_evaluation, check_profile, check_size
from mobilevit_tools.reporting.collection import Collection
from mobilevit_tools.reporting.evidence import Evidence, Failure
from mobilevit_tools.targets.registry import SUFFIXES
from mobilevit_tools.verification.evaluations import Evaluated
from mobilevit_tools.verification.result import VerifyResult

RESULTS_NAME = "results.jsonl"
SHOWN = ("export", "verify", "profile", "eval", "smoke")
"""The verbs whose JSON a report shows."""

MAX_FILES = 10_000
_HINT = (
    f"Pass an export folder, the JSON output of mvt {', '.join(SHOWN)} printed with --json, or a sweep's "
    f"{RESULTS_NAME}."
)


def read_runs(runs: Sequence[Path]) -> Evidence:
    """Read every run and bring together what belongs to one artifact.

    Raises:
        BadInputError: A run is missing, holds nothing that a report shows, or is damaged.
    """
    collection = Collection()
    files = [file for run in runs for file in (_files_in(run) if run.is_dir() else [run])]
    if len(files) > MAX_FILES:
        raise BadInputError(f"A report holds up to {MAX_FILES} files, and there are {len(files)}.", code="bad_run")
    # Manifests first: they know most of an artifact, and all else is joined to them.
    for file in sorted(dict.fromkeys(files), key=lambda file: (file.name != MANIFEST_NAME, str(file))):
        _read_file(file, collection)
    return collection.evidence()


def _files_in(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        # Core ML packages have a manifest of their own; hidden folders are unfinished exports.
        folders[:] = [name for name in folders if not name.startswith(".") and Path(name).suffix not in SUFFIXES]
        found += [
            Path(place, name)
            for name in names
            if name == RESULTS_NAME or (name == MANIFEST_NAME and is_manifest(Path(place, name)))
        ]
    if not found:
        raise BadInputError(f"{folder} contains no manifest and no {RESULTS_NAME}.", hint=_HINT, code="empty_run")
    return found


def _read_file(file: Path, collection: Collection) -> None:
    if file.suffix == ".jsonl":
        # A cell that ran again has a line more, with another digest if its checkpoint changed; the last one counts.
        lines = ((source, typed(CellResult, clean(raw), source)) for source, raw in parse_lines(file, RUN))
        for source, result in {result.cell: (source, result) for source, result in lines}.values():
            _add_cell(result, source, str(file), collection)
        return
    raw = clean(read_document(file))
    if not isinstance(raw, dict):
        raise _not_a_run(file)
    if file.name == MANIFEST_NAME:
        manifest = typed(Manifest, raw, str(file))
        check_size(manifest.artifact.size_bytes, str(file))
        collection.add_manifest(file.parent, manifest)
    elif "command" in raw and "status" in raw:
        _add_envelope(raw, str(file), collection)
    else:
        raise _not_a_run(file)


def _not_a_run(file: Path) -> BadInputError:
    return BadInputError(f"{file} contains nothing that a report can show.", hint=_HINT, code="bad_run")


def _add_envelope(raw: dict[str, object], source: str, collection: Collection) -> None:
    command, result = raw["command"], raw.get("result")
    if command not in SHOWN:
        raise BadInputError(
            f"{source} is output of `mvt {command}`, which a report does not show.", hint=_HINT, code="bad_run"
        )
    error = raw.get("error")
    if isinstance(error, dict):
        stated = typed(StatedError, error, source)
        collection.add_failure(
            Failure(f"mvt {command}", stated.code, stated.message, stated.hint, gate=stated.code == "gate_failed")
        )
    if result is None:
        if error is None:
            raise BadInputError(f"{source} has neither a result nor an error.", hint=_HINT, code="bad_run")
        return
    if command == "export":
        export = typed(ExportResult, result, source)
        for entry in export.artifacts:
            check_size(entry.size_bytes, source)
        collection.add_export(export, source)
    elif command == "verify":
        collection.add_verification(typed(VerifyResult, result, source))
    elif command == "eval":
        evaluation: Evaluated = typed(Evaluated, result, source)
        _add_evaluation(evaluation, source, collection)
    elif command == "profile":
        _add_measurement(result, source, collection)
    else:
        for cell in _cells(result, source):
            _add_cell(typed(CellResult, cell, source), source, source, collection)


def _add_measurement(result: object, source: str, collection: Collection) -> None:
    if isinstance(result, dict) and "comparison" in result:
        comparison = typed(ComparisonResult, result, source)
        check_profile(comparison.a, source)
        check_profile(comparison.b, source)
        collection.add_comparison(comparison)
    else:
        _add_profile(typed(ProfileResult, result, source), source, collection)


def _add_profile(profile: ProfileResult, source: str, collection: Collection, key: str | None = None) -> None:
    check_profile(profile, source)
    collection.add_profile(profile, key)


def _add_evaluation(evaluation: Evaluated, source: str, collection: Collection, key: str | None = None) -> None:
    check_evaluation(evaluation, source)
    collection.add_evaluation(evaluation, key)


def _cells(result: object, source: str) -> Iterator[object]:
    cells = result.get("cells") if isinstance(result, dict) else None
    if not isinstance(cells, list):
        raise BadInputError(f"{source} lists no cells.", hint=_HINT, code="bad_run")
    yield from cells


def _add_cell(result: CellResult, source: str, run: str, collection: Collection) -> None:
    cell, key = result.cell, None
    if result.status in ("failed", "error"):
        collection.add_failure(
            Failure(
                cell.name,
                result.code or "error",
                result.message or "It failed without a message.",
                result.hint,
                result.command,
                gate=result.status == "failed",
            )
        )
    if result.artifact is not None:
        check_size(result.artifact.size_bytes, source)
        export = ExportResult(cell.model, cell.random_weights, None, (result.artifact,))
        (key,) = collection.add_export(export, run, _detail(cell), _origin(cell))
    if result.profile is not None:
        _add_profile(result.profile, source, collection, key)
    if result.evaluation is not None:
        _add_evaluation(result.evaluation, source, collection, key)


def _detail(cell: Cell) -> str:
    photos = f"{cell.calibration_size or DEFAULT_SIZE} photos" if cell.calibration else None
    parts = (cell.input_size, *cell.options, cell.checkpoint, cell.calibration, photos)
    return ", ".join(part for part in parts if part)


def _origin(cell: Cell) -> str:
    """Return all of a cell that its artifact depends on: cells that differ in nothing else share it."""
    return cell.command
