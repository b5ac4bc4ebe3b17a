"""The artifacts that one process makes of a loaded model, and what another process must know to make some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.api.artifact import make_artifact
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.artifacts.manifest import ModelRecord
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.progress import Progress, numbered

if TYPE_CHECKING:
    from mobilevit_tools.api.accuracy_bound import AccuracyBound
    from mobilevit_tools.models.factory import LoadedModel
    from mobilevit_tools.quantization._base import Quantization


@dataclass(frozen=True)
class Share:
    """Some of the artifacts of one export, with all that a process must know that makes them.

    Attributes:
        requests: What all of the export's artifacts are asked for.
        finals: The folder of each.
        chosen: Which of them these are.
        asking: The request that the model is loaded for.
        record: What manifests say of the model.
        digest: The digest of its weights; None for the process that has loaded it.
        labels: Its class names.
        images: Photos to verify with; None for the bundled ones.
        overwrite: Replace what is in the folders.
        keep_failed: Keep artifacts that failed their gate, marked so.
        bundle: Add golden bundles.
    """

    requests: tuple[ExportRequest, ...]
    finals: tuple[Path, ...]
    chosen: tuple[int, ...]
    asking: ExportRequest
    record: ModelRecord
    digest: str | None
    labels: tuple[str, ...] | None
    images: tuple[Path, ...] | None
    overwrite: bool
    keep_failed: bool
    bundle: bool

    def of(self, chosen: Sequence[int], digest: str | None = None) -> Share:
        """Return others of the export's artifacts; another process is given the digest of the weights."""
        return replace(self, chosen=tuple(chosen), digest=digest)

    def make(
        self,
        loaded: LoadedModel,
        plans: Sequence[Quantization | None],
        progress: Progress,
        *,
        bound: AccuracyBound | None = None,
    ) -> Iterator[tuple[int, ExportedArtifact]]:
        """Make one artifact after the other, and yield it with its place in the export.

        Args:
            loaded: The model.
            plans: How each of the export's artifacts is quantized.
            progress: Told of every step.
            bound: How much accuracy quantization may cost.

        Raises:
            MvtError: As :func:`~mobilevit_tools.api.artifact.make_artifact` does.
        """
        count = len(self.requests)
        for index in self.chosen:
            yield (
                index,
                make_artifact(
                    loaded,
                    self.record,
                    self.requests[index],
                    plans[index],
                    self.finals[index],
                    bound=bound,
                    images=self.images,
                    overwrite=self.overwrite,
                    keep_failed=self.keep_failed,
                    bundle=self.bundle,
                    progress=progress if count == 1 else numbered(progress, index + 1, count),
                ),
            )
