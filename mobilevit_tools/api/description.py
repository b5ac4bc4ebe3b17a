"""What an export says of a model: its record in the manifest, and its contract with an app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mobilevit_tools.artifacts.manifest import ModelRecord
from mobilevit_tools.data.contract import Contract, OutputKind

if TYPE_CHECKING:
    from mobilevit_tools.exporters._base import ExportSpec
    from mobilevit_tools.models.factory import LoadedModel
    from mobilevit_tools.models.options import OptionValue


def describe_model(loaded: LoadedModel, options: Mapping[str, OptionValue]) -> ModelRecord:
    """Return the record of a loaded model; its MACs are counted at its own input size."""
    from mobilevit_tools.analysis.macs import count_macs
    from mobilevit_tools.models.own_ranges import stored_values

    return ModelRecord(
        name=loaded.name,
        num_classes=loaded.num_classes,
        options=dict(options),
        params=sum(parameter.numel() for parameter in loaded.module.parameters()) + stored_values(loaded.module),
        macs=count_macs(loaded.module, (1, 3, *loaded.preprocessing.input_size)).total,
        weights=loaded.weights,
        reconstruction=loaded.card.reconstruction,
    )


def contract_of(loaded: LoadedModel, spec: ExportSpec) -> Contract:
    """Return what an app must know of the artifact that ``spec`` asks for."""
    image = spec.options.takes_image
    output: OutputKind = "class_map" if spec.class_map else _output_of(loaded, image=image)
    suppressed = spec.options.suppressed if output == "boxes" else None
    return Contract(
        model=loaded.name,
        preprocessing=loaded.preprocessing,
        input="image" if image else "tensor",
        output=suppressed or output,
        task=loaded.task,
        classes=loaded.num_classes,
        upsampled=loaded.upsampled,
        labels=loaded.labels,
        license=loaded.license,
        outputs=() if output == "probabilities" or suppressed else loaded.output_names,
    )


def _output_of(loaded: LoadedModel, *, image: bool) -> OutputKind:
    if loaded.returns != "logits":
        return loaded.returns
    # The softmax of one logit is 1, whatever the model says.
    return "probabilities" if image and loaded.num_classes > 1 and loaded.outputs == 1 else "logits"
