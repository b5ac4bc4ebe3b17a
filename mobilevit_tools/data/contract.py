"""What an app must know to use an artifact; it is stored inside the artifact itself as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.documents import DocumentKind, parse, typed
from mobilevit_tools.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTRACT_SCHEMA = 1
METADATA_KEY = "mobilevit_tools.contract"
METHOD_NAME = METADATA_KEY.replace(".", "_")
"""What formats that store functions in place of metadata call the one that returns the contract."""

INPUT_NAME = "image"
"""What the one input of every artifact is called."""
KEPT_KEY = "mobilevit_tools.fp16_keep"
"""Under it, a half-precision artifact names the operators that deliberately stayed in float32."""
MAX_CONTRACT_BYTES = 16 * 1024 * 1024
_KIND = DocumentKind("a contract", BadInputError.code, "Export the model again.", max_bytes=MAX_CONTRACT_BYTES)

InputKind = Literal["tensor", "image"]
OutputKind = Literal[
    "logits",
    "probabilities",
    "features",
    "embedding",
    "score_map",
    "class_map",
    "boxes",
    "detections",
    "objects",
]
"""What outputs hold: a score for each class (one alone is no classifier's), their softmax, maps, one vector, a score
for each class at each place (B, classes, H, W), the class at each place (B, H, W), boxes (B, N, 4) in pixels of the
input with scores (B, N, classes), what is detected (B, K, 6): a box, its score, which is 0 behind the last one, and
its class, or objects: confidences (1, K, classes), of which each box has that of its best class alone, and coordinates
(1, K, 4), centre and size as shares of the input, for as many boxes as are found."""
TaskName = Literal["classify", "segment", "detect", "embed", "raw"]
"""What outputs mean; see :mod:`mobilevit_tools.tasks.registry`."""
_TASKS: dict[OutputKind, TaskName] = {
    "logits": "classify",
    "probabilities": "classify",
    "features": "raw",
    "embedding": "embed",
    "score_map": "segment",
    "class_map": "segment",
    "boxes": "detect",
    "detections": "detect",
    "objects": "detect",
}
BOXES = ("boxes", "scores")
"""The outputs of a detector, in order."""
SUPPRESSED: tuple[OutputKind, ...] = ("detections", "objects")
"""Outputs of a detector whose artifact chooses among its boxes by itself."""
DECISIONS: tuple[OutputKind, ...] = ("class_map", *SUPPRESSED)
"""Outputs that hide the numbers that they are made from."""
CLASS_SCORES: tuple[OutputKind, ...] = ("logits", "probabilities")


@dataclass(frozen=True)
class Contract:
    """The agreement between an artifact and its caller.

    Attributes:
        model: The model's name, as ``mvt models`` lists it.
        preprocessing: How an image becomes the input.
        input: ``tensor`` for a normalised NCHW float tensor, ``image`` where the artifact normalises by itself.
        output: What the outputs hold.
        task: What they mean; None takes what such outputs mean as a rule.
        classes: How many classes there are; 0 where there are none, or an older version did not say.
        upsampled: Whether the artifact resizes its maps to the input's size.
        labels: Class names in index order, or None where they are unknown.
        license: Under what the weights, or the architecture alone, may be used.
        outputs: The outputs' names, where they are the model's own; else what the outputs hold names them.
        schema: The version of this layout.
    """

    model: str
    preprocessing: Preprocessing
    input: InputKind = "tensor"
    output: OutputKind = "logits"
    labels: tuple[str, ...] | None = None
    license: str = ""
    outputs: tuple[str, ...] = ()
    task: TaskName | None = None
    classes: int = 0
    upsampled: bool = False
    schema: int = CONTRACT_SCHEMA

    @property
    def means(self) -> TaskName:
        """What the outputs mean."""
        return self.task or _TASKS[self.output]

    def to_json(self) -> str:
        """Serialise to one line of JSON with stable key order."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Read what :meth:`to_json` wrote.

        Raises:
            BadInputError: The text is not such a contract, or one of a newer schema, or one that no image can be
                prepared by.
        """
        source = "The artifact's contract"
        contract = typed(cls, parse(text, source, _KIND), source, _KIND)
        if contract.schema != CONTRACT_SCHEMA:
            raise BadInputError(
                f"The artifact's contract has schema {contract.schema}; this version reads {CONTRACT_SCHEMA}.",
                hint="Use the version of mobilevit-tools that exported it, or export it again.",
            )
        return contract

    def check_logits(self, logits: NDArray[Any], images: int) -> None:
        """Refuse an output that is not one row of logits for each image, a number for each label.

        Raises:
            BadInputError: The artifact computes something else than its contract says.
        """
        if logits.ndim != 2 or len(logits) != images or logits.dtype.kind not in "fiu":
            shape = "x".join(map(str, logits.shape))
            raise BadInputError(
                f"The artifact's output ({shape}, {logits.dtype}) is not a row of logits for each of {images} images.",
                code="no_logits",
            )
        if self.labels and logits.shape[1] != len(self.labels):
            raise BadInputError(
                f"The artifact's contract names {len(self.labels)} classes, and its output has {logits.shape[1]}.",
                hint="Export the model again.",
                code="class_count",
            )
