"""What a report is made of: artifacts, and everything that was measured, checked or evaluated of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mobilevit_tools.artifacts.manifest import Manifest
from mobilevit_tools.exporters._base import Delegation
from mobilevit_tools.profiling.result import ComparisonResult, ProfileResult
from mobilevit_tools.rewrites.applied import AppliedRewrite
from mobilevit_tools.verification.evaluations import Evaluated
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.result import VerifyResult


@dataclass(frozen=True)
class Failure:
    """Something that was asked for and did not come about.

    Attributes:
        what: The cell or the command.
        code: The error's identifier.
        message: What happened, in a sentence.
        hint: What to do next.
        command: The command that failed, to be typed again.
        gate: Whether it was a numeric gate.
    """

    what: str
    code: str
    message: str
    hint: str | None = None
    command: str | None = None
    gate: bool = False


@dataclass(frozen=True)
class Artifact:
    """One artifact and all that is known of it.

    Attributes:
        label: A name that no other artifact of the report has.
        model: Its model; empty where nothing says.
        target: Its target.
        backend: Its backend; None where the target has no choice.
        precision: Its precision; empty where nothing says.
        path: Where it is.
        aliases: Other paths by which it was measured, before it was copied to where it is.
        size_bytes: Its size; None where nothing says.
        sha256: Its digest; None where nothing says.
        parity: How right it is; None where nothing says.
        delegation: How much its backend took over; None where that does not apply.
        rewrites: The deployment rewrites that were applied.
        random_weights: Whether its weights are random; None where nothing says.
        manifest: Its manifest; None where there was none to read.
        seconds: How long its export took, by step; empty where nothing says.
        verifications: Later verifications of it.
        profiles: Measurements of it.
        evaluations: Evaluations of it.
    """

    label: str
    model: str
    target: str
    backend: str | None
    precision: str
    path: Path
    size_bytes: int | None
    parity: Parity | None
    delegation: Delegation | None
    rewrites: tuple[AppliedRewrite, ...]
    random_weights: bool | None
    manifest: Manifest | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    aliases: tuple[Path, ...] = ()
    verifications: tuple[VerifyResult, ...] = ()
    profiles: tuple[ProfileResult, ...] = ()
    evaluations: tuple[Evaluated, ...] = ()
    sha256: str | None = None

    @property
    def deployment(self) -> str:
        """The target with its backend, where it has one."""
        return f"{self.target}-{self.backend}" if self.backend else self.target

    def has_other_bytes(self, told: ProfileResult | Evaluated) -> bool:
        """Tell whether what was measured or evaluated is not what is here now, by its digest or else its size."""
        if None not in (told.sha256, self.sha256):
            return told.sha256 != self.sha256
        return isinstance(told, ProfileResult) and told.size_bytes != (self.size_bytes or 0)

    @property
    def own_evaluations(self) -> tuple[Evaluated, ...]:
        """Those evaluations that are of the bytes that it has now."""
        return tuple(each for each in self.evaluations if not self.has_other_bytes(each))


@dataclass(frozen=True)
class Evidence:
    """Everything that the runs of a report hold.

    Attributes:
        artifacts: The artifacts, by model, target, precision and path.
        comparisons: Pairs that were measured in turns.
        failures: What failed.
    """

    artifacts: tuple[Artifact, ...]
    comparisons: tuple[ComparisonResult, ...]
    failures: tuple[Failure, ...]
