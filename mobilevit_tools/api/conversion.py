"""Is the conversion itself right? The same conversion in float32, before a reduced precision is judged.

A reduced precision hides what a conversion got wrong: half precision's gate lets a tanh GELU pass that became exact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mobilevit_tools.api.drift import find_drift, said_of
from mobilevit_tools.data.contract import BOXES, SUPPRESSED
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.refusals import naming_refusals
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.runtimes.registry import open_made
from mobilevit_tools.verification.parity import Float32Check, Parity
from mobilevit_tools.verification.running import verify_session
from mobilevit_tools.verification.tolerances import GATES

if TYPE_CHECKING:
    from mobilevit_tools.artifacts.manifest import ModelRecord
    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.exporters._base import Exporter
    from mobilevit_tools.models.factory import LoadedModel
    from mobilevit_tools.rewrites._base import Rewritten
    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.reference import TorchReference

_CHECKED: dict[str, Float32Check] = {}
"""What was found in this process, by what was converted: precisions of one model share it where their rewrites are the
same."""


@dataclass(frozen=True)
class Conversion:
    """One model on its way to one target.

    Attributes:
        loaded: The model.
        record: What the manifest says of it.
        rewritten: What is lowered: the model after its rewrites, in float32 and not quantized.
        spec: What was asked for.
        contract: What an app must know of the artifact.
        exporter: The target's exporter.
        reference: The PyTorch model.
        inputs: What it is judged on.
    """

    loaded: LoadedModel
    record: ModelRecord
    rewritten: Rewritten
    spec: ExportSpec
    contract: Contract
    exporter: Exporter
    reference: TorchReference
    inputs: Sequence[VerificationInput]

    @property
    def plain(self) -> ExportSpec:
        """The same conversion in float32."""
        return replace(self.spec, precision="fp32", fp16_keep=None)

    @property
    def key(self) -> str:
        """Tells conversions apart: the model, what it computes, how it was rewritten, and what is asked for."""
        digest = hashlib.sha256()
        for item in self.inputs:
            digest.update(item.tensor.tobytes())
        for output in self.reference(self.inputs[0].tensor):
            digest.update(output.tobytes())
        asked = (self.record, self.rewritten.applied, self.plain, self.contract)
        return json.dumps([digest.hexdigest(), *map(jsonable, asked)], sort_keys=True)


def check_conversion(conversion: Conversion) -> Float32Check:
    """Convert in float32 into a temporary folder, and judge that by the gate of float32; once for each conversion.

    What the converter refuses in float32 is not verified.
    """
    key = conversion.key
    if key not in _CHECKED:
        _CHECKED[key] = _check(conversion)
    return _CHECKED[key]


def scores_of(contract: Contract) -> Contract:
    """Return the contract of an artifact that gives scores in place of the decisions that they make."""
    if contract.output in SUPPRESSED:
        return replace(contract, output="boxes", outputs=BOXES)
    return replace(contract, output="score_map") if contract.output == "class_map" else contract


def _check(conversion: Conversion) -> Float32Check:
    spec, contract = conversion.plain, scores_of(conversion.contract)
    with TemporaryDirectory(prefix="mvt-float32-") as folder:
        path = Path(folder) / spec.file_name
        try:
            with naming_refusals(contract, spec, conversion.rewritten.module):
                conversion.exporter.lower(conversion.rewritten.module, spec, contract, path)
        except BadInputError as error:
            return Float32Check("not_verified", reason=error.message)
        with open_made(path) as session:
            parity = verify_session(session, conversion.reference, conversion.inputs, GATES["fp32"])
    if parity.status == "failed":
        parity = with_drift(parity, conversion)
    return Float32Check(
        status=parity.status,
        max_abs_rel=parity.max_abs_rel,
        snr_db=parity.snr_db,
        cosine=parity.cosine,
        reason=parity.reason,
        margins=parity.margins,
        drift=parity.drift,
    )


def with_drift(parity: Parity, conversion: Conversion) -> Parity:
    """Add to a failed parity in float32 the first operator that drifts, where it can be found."""
    drift = find_drift(
        conversion.rewritten.module,
        conversion.exporter,
        conversion.plain,
        conversion.contract,
        _worst_input(parity, conversion.inputs),
    )
    return parity if drift is None else replace(parity, drift=drift, reason=f"{parity.reason}; {said_of(drift)}")


def _worst_input(parity: Parity, inputs: Sequence[VerificationInput]) -> VerificationInput:
    """Return an input on which it is wrong: a photo before noise, and noise before what no photo is like."""
    found = {result.name: result for result in parity.results}
    wrong = [
        item
        for item in inputs
        if item.name in found
        and found[item.name].conditioning is None
        and not GATES["fp32"].met_by(found[item.name].distance)
    ]
    order = ("photo", "noise", "stress")
    return min(wrong or inputs, key=lambda item: order.index(item.kind))


def with_check(parity: Parity, check: Float32Check) -> Parity:
    """Add to the parity of a reduced precision what was found in float32; it fails where that failed."""
    if check.status != "failed":
        return replace(parity, float32=check)
    own = f"; and in the reduced precision: {parity.reason}" if parity.status == "failed" else ""
    return replace(
        parity,
        status="failed",
        float32=check,
        reason=f"the conversion is wrong, not the precision: in float32, {check.reason}{own}",
    )
