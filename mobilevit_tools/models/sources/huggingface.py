"""Image models of transformers: ``hf:OWNER/NAME`` on the Hugging Face Hub, or a folder of ``save_pretrained()``.

Nothing of a repository is run: a configuration is data that names a class of transformers, weights are safetensors.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevit_tools.errors import BadInputError, MissingDependencyError, UsageError, first_line
from mobilevit_tools.models.builder import OwnModel, TrainedWeights
from mobilevit_tools.models.references import is_folder
from mobilevit_tools.models.sources.huggingface_processor import Processor, read_processor
from mobilevit_tools.models.sources.repository import Repository
from mobilevit_tools.models.sources.torchvision import make_importable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mobilevit_tools.models.loading import Adapt
    from mobilevit_tools.models.options import OptionValue

PREFIX = "hf:"
IMAGE = "pixel_values"
CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_CLASSIFIER = "ForImageClassification"
_ADDRESS = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", re.ASCII)


def find_model(name: str) -> OwnModel:
    """Return how to build the model of a repository or a folder.

    Raises:
        BadInputError: There is none, it is no image model, or it needs code of its own.
        MissingDependencyError: transformers cannot be imported.
    """
    folder = is_folder(name)
    if folder and not Path(name).expanduser().is_dir():
        raise BadInputError(
            f"There is no folder {name}.", hint="A model on the Hub is hf:OWNER/NAME.", code="unknown_model"
        )
    if not folder and not _ADDRESS.fullmatch(name):
        raise BadInputError(
            f"{name!r} is not the name of a repository.", hint="Write hf:OWNER/NAME.", code="unknown_model"
        )
    recipe = _Recipe(name, Repository(name, Path(name).expanduser() if folder else None))
    return OwnModel(
        name=PREFIX + (Path(name).expanduser().resolve().name if folder else name),
        builder=recipe.build,
        trained=recipe.trained,
        adapt=recipe.adapter,
    )


class _Recipe:
    """How transformers builds one model, and what it makes of a checkpoint for it."""

    def __init__(self, name: str, repository: Repository) -> None:
        self.name = PREFIX + name
        self.repository = repository
        raw = repository.json(CONFIG)
        if raw is None:
            raise BadInputError(
                f"{self.name} has no {CONFIG}.", hint="Only models of transformers are supported.", code="unknown_model"
            )
        self.raw = raw
        self.kind: Any = _model_class(self.name, raw)

    def build(
        self, num_classes: int | None = None, img_size: tuple[int, int] | None = None, **options: OptionValue
    ) -> tuple[nn.Module, Mapping[str, object]]:
        """Build the model with random weights, and its card."""
        config = self._config(num_classes, img_size, options)
        processor = read_processor(self.name, self.repository, config)
        module: nn.Module = self.kind(config)
        return processor.around(module), self._card(config, processor)

    def _config(self, num_classes: int | None, img_size: tuple[int, int] | None, options: Mapping[str, object]) -> Any:
        transformers = _transformers()
        kind = transformers.CONFIG_MAPPING[self.raw["model_type"]]
        changes: dict[str, object] = dict(options)
        try:
            config = kind.from_dict({key: value for key, value in self.raw.items() if key != "auto_map"})
        except Exception as error:  # whatever a configuration that fits no class of its name makes of itself
            raise BadInputError(
                f"The {CONFIG} of {self.name} is not a valid configuration of {kind.__name__}: {first_line(error)}.",
                code="own_model",
            ) from error
        unknown = [name for name in changes if not hasattr(config, name)]
        if unknown:
            raise UsageError(
                f"{self.name} has no option named {unknown[0]!r}.",
                hint=f"Options are the fields of {kind.__name__}.",
                code="model_option",
            )
        if num_classes is not None:
            changes["num_labels"] = num_classes
        if img_size is not None and hasattr(config, "image_size"):
            height, width = img_size
            square = height == width and not isinstance(config.image_size, list | tuple)
            changes["image_size"] = height if square else [height, width]
        for name, value in changes.items():
            setattr(config, name, value)
        return config

    def adapter(self, module: nn.Module) -> Adapt:
        """Return what makes a checkpoint that transformers reads one of the module's own layout."""
        model = Processor.inside(module)
        own = {key: tensor.shape for key, tensor in module.state_dict().items()}
        prefix = "" if model is module else "model."

        def adapt(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            if {key: tensor.shape for key, tensor in tensors.items()} == own:
                return tensors
            plain = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
            return {prefix + key: tensor for key, tensor in self._as_transformers_loads(model, plain).items()}

        return adapt

    def _as_transformers_loads(self, model: Any, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the model's tensors as transformers fills them, which knows the names of its former versions.

        What it would leave random is missing in the result; what it would leave out stays in it.
        """
        import torch

        try:
            with torch.random.fork_rng(devices=[]):
                filled, told = self.kind.from_pretrained(
                    None, config=model.config, state_dict=dict(tensors), output_loading_info=True
                )
        except Exception:  # what does not fit at all; the strict comparison says how
            return tensors
        random = {*told["missing_keys"], *(key for key, *_ in told["mismatched_keys"])}
        unused = {key: tensors[key] for key in told["unexpected_keys"] if key in tensors}
        return {key: tensor for key, tensor in filled.state_dict().items() if key not in random} | unused

    def trained(self) -> TrainedWeights:
        """Find the weights in the repository.

        Raises:
            BadInputError: There are none in safetensors, or the Hub cannot be reached.
        """
        address = self.repository.address_of(_WEIGHTS)
        if address is None:
            raise BadInputError(
                f"{self.name} has no weights in safetensors.",
                hint="Give a file with --checkpoint, such as hf://OWNER/NAME/pytorch_model.bin.",
                code="no_weights",
            )
        return TrainedWeights(address)

    def _card(self, config: Any, processor: Processor) -> Mapping[str, object]:
        return {
            "title": self.kind.__name__,
            "license": self.repository.license() or "",
            "labels": _labels(config) if _CLASSIFIER in self.kind.__name__ else None,
            **processor.card(),
        }


def _transformers() -> Any:
    make_importable()
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            f"transformers cannot be imported: {first_line(error)}.",
            hint="pip install 'mobilevit-tools[transformers]'",
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _model_class(name: str, raw: Mapping[str, Any]) -> Any:
    """Return the class of transformers that a configuration names.

    Raises:
        BadInputError: It names none, or one that does not take an image alone.
    """
    transformers = _transformers()
    named = raw.get("architectures") or []
    kind: Any = getattr(transformers, str(named[0]), None) if isinstance(named, list) and named else None
    if raw.get("model_type") not in transformers.CONFIG_MAPPING or (named and kind is None):
        own = " It requires custom code (trust_remote_code), which mvt does not run." if raw.get("auto_map") else ""
        what = named[0] if named else raw.get("model_type")
        raise BadInputError(f"transformers has no model {what!r}, which {name} is.{own}", code="unknown_model")
    if kind is None:
        kind = transformers.MODEL_MAPPING.get(transformers.CONFIG_MAPPING[raw["model_type"]])
    if not _is_model(kind):
        raise BadInputError(f"{name} is not a transformers model.", code="unknown_model")
    first = next(iter(list(inspect.signature(kind.forward).parameters)[1:]), None)
    if kind.main_input_name != IMAGE or first != IMAGE:
        raise BadInputError(
            f"{name} is a {kind.__name__}, which takes {kind.main_input_name}, not only an image.",
            hint="Wrap its image encoder in a module and pass path/to/file.py:function.",
            code="own_model",
        )
    return kind


def _is_model(kind: object) -> bool:
    return inspect.isclass(kind) and issubclass(kind, _transformers().PreTrainedModel)


def _labels(config: Any) -> list[str] | None:
    """Return the class names in index order; None where they are transformers' placeholders."""
    named = dict(config.id2label or {})
    labels = [str(named.get(index, "")) for index in range(len(named))]
    return None if not all(labels) or all(re.fullmatch(r"LABEL_\d+", label) for label in labels) else labels
