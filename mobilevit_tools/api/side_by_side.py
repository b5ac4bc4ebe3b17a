"""All artifacts of one export: some here, others in other processes meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from mobilevit_tools.api.elsewhere import Elsewhere
from mobilevit_tools.api.share import Share
from mobilevit_tools.api.shares import shared_out
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.progress import Progress

if TYPE_CHECKING:
    from mobilevit_tools.api.accuracy_bound import AccuracyBound
    from mobilevit_tools.models.factory import LoadedModel
    from mobilevit_tools.quantization._base import Quantization


class SideBySide:
    """The processes of one export: this one, with the largest share of the work, and others.

    Args:
        targets: The export's targets.
        processes: The most processes that there may be.
        progress: Told of every step.

    Attributes:
        made: The artifacts by their place in the export, also those that were finished before an error.
    """

    def __init__(self, targets: Sequence[str], processes: int, progress: Progress) -> None:
        self.made: dict[int, ExportedArtifact] = {}
        self._own, *self._others = shared_out(targets, processes)
        self._progress = progress
        self._elsewhere: list[Elsewhere] = []

    def __enter__(self) -> Self:
        """Start the other processes; they import while this one still prepares what they need."""
        with suppress(OSError):  # the system may have none to spare
            for _ in self._others:
                self._elsewhere.append(Elsewhere(self._progress))
        return self

    def __exit__(self, *_: object) -> None:
        """End those that still run, and take what they have finished."""
        with ExitStack() as stack:
            for each in self._elsewhere:
                stack.callback(each.stop)
        for each in self._elsewhere:
            self.made.update(each.made)

    def make_all(
        self,
        whole: Share,
        loaded: LoadedModel,
        plans: Sequence[Quantization | None],
        *,
        bound: AccuracyBound | None,
    ) -> None:
        """Make all artifacts.

        What another process made nothing of, for lack of memory or whatever else, is made here after the rest.

        Args:
            whole: The artifacts.
            loaded: The model.
            plans: How each is quantized.
            bound: How much accuracy quantization may cost.

        Raises:
            MvtError: As :func:`~mobilevit_tools.api.artifact.make_artifact` does.
        """
        from mobilevit_tools.models.in_memory import digest_of

        digest = digest_of(loaded.module) if self._others else None
        for each, chosen in zip(self._elsewhere, self._others, strict=False):
            each.begin(whole.of(chosen, digest))
        for index in self._own:
            self.made.update(whole.of([index]).make(loaded, plans, self._progress, bound=bound))
            _raise_first(self._elsewhere)
        left = [index for share in self._others[len(self._elsewhere) :] for index in share]
        left += [index for each in self._elsewhere for index in each.left()]
        _raise_first(self._elsewhere)
        self.made.update(whole.of(sorted(left)).make(loaded, plans, self._progress, bound=bound))


def _raise_first(elsewhere: Sequence[Elsewhere]) -> None:
    for each in elsewhere:
        if each.error is not None:
            raise each.error
