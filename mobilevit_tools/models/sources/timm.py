"""PyTorch Image Models: ``timm:NAME`` and ``timm:NAME.TAG``, with the weights that timm keeps on the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from mobilevit_tools.errors import BadInputError, MissingDependencyError, UsageError, first_line
from mobilevit_tools.models import hub
from mobilevit_tools.models.builder import OwnModel, TrainedWeights
from mobilevit_tools.models.sources.registry import Offered
from mobilevit_tools.models.sources.torchvision import make_importable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mobilevit_tools.models.loading import Adapt
    from mobilevit_tools.models.options import OptionValue

PREFIX = "timm:"
COUNTED = 64
"""Of so many models that match a pattern, parameters are counted: each has to be built, without values."""
_FILES = ("model.safetensors", "pytorch_model.bin")
_OF_FEATURES = ("features_only", "out_indices", "feature_cls", "output_stride")
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


def find_model(name: str) -> OwnModel:
    """Return how to build ``NAME`` or ``NAME.TAG``.

    Raises:
        BadInputError: timm has no such model or no such weights of it; the hint names the nearest.
        MissingDependencyError: timm cannot be imported.
    """
    recipe = _Recipe(name)
    return OwnModel(
        name=PREFIX + name,
        builder=recipe.build,
        classifier=recipe.classifier,
        trained=recipe.trained if recipe.cfg.has_weights else None,
        adapt=recipe.adapter,
    )


def list_models(pattern: str) -> Iterator[Offered]:
    """Yield timm's models, a line for each tag of weights, that match with or without the tag."""
    timm = _timm()
    names = timm.list_models(include_tags=True)
    found = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name.partition(".")[0], pattern)]
    for name in found:
        cfg = timm.get_pretrained_cfg(name)
        yield Offered(
            name=PREFIX + name,
            family=_family(name),
            params=_count(name) if len(found) <= COUNTED else None,
            input_size=tuple(cfg.input_size[1:]),
            weights=f"{hub.SCHEME}{cfg.hf_hub_id}" if cfg.hf_hub_id else cfg.url or None,
        )


def _timm() -> Any:
    make_importable()
    try:
        import timm
        import timm.models
    except ImportError as error:
        raise MissingDependencyError(
            f"timm cannot be imported: {first_line(error)}.",
            hint="pip install 'mobilevit-tools[timm]'; timm needs a torchvision of torch's version.",
        ) from error
    return timm


def _cfg(name: str) -> Any:
    """Return timm's default configuration of a model, with the weights of its tag."""
    timm = _timm()
    arch, dot, tag = name.partition(".")
    if not timm.is_model(arch):
        nearest = get_close_matches(name, timm.list_models(include_tags=bool(dot)), n=3, cutoff=0.6)
        shown = " or ".join(PREFIX + each for each in nearest)
        raise BadInputError(
            f"timm has no model named {arch!r}.",
            hint=f"Did you mean {shown}?" if nearest else "`mvt models 'timm:*'` lists all of them.",
            code="unknown_model",
        )
    tags = [each for each in timm.models.get_arch_pretrained_cfgs(arch) if each]
    known = [each.partition(".")[2] for each in tags]
    if dot and tag not in known:
        nearest = get_close_matches(tag, known, n=3, cutoff=0.4) or known
        raise BadInputError(
            f"timm has no weights named {tag!r} of {arch}.",
            hint=f"Tags: {', '.join(nearest)}." if nearest else f"It has none: {PREFIX}{arch} with --checkpoint PATH.",
            code="unknown_model",
        )
    cfg = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    if cfg.input_size[0] != 3:
        raise BadInputError(f"{name} takes {cfg.input_size[0]} channels, not an RGB image.", code="own_model")
    return cfg


class _Recipe:
    """How timm builds one model, and what it makes of a checkpoint for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cfg = _cfg(name)
        named = self.cfg.classifier
        self.classifier: str | None = named if isinstance(named, str | None) else named[0]
        self.options: Mapping[str, object] = {}

    def build(
        self, num_classes: int | None = None, img_size: tuple[int, int] | None = None, **options: OptionValue
    ) -> tuple[nn.Module, Mapping[str, object]]:
        """Build the model with random weights, and its card."""
        given: dict[str, object] = {**options} if num_classes is None else {**options, "num_classes": num_classes}
        resized = img_size is not None and img_size != tuple(self.cfg.input_size[1:])
        try:
            # Models without tables of positions do not know of a size.
            module = self._create({**given, "img_size": img_size}) if resized else self._create(given)
        except TypeError as error:
            if not resized or "img_size" not in str(error):
                raise self._refusal(error) from error
            try:
                module = self._create(given)
            except TypeError as other:
                raise self._refusal(other) from other
        return module, self._card()

    def _create(self, options: Mapping[str, object], **more: object) -> nn.Module:
        module: nn.Module = _timm().create_model(self.name, **options, **more)
        self.options = options
        return module

    def _refusal(self, error: TypeError) -> UsageError:
        return UsageError(
            f"{PREFIX}{self.name} cannot be built with these options: {first_line(error)}.",
            hint="Options are those of timm.create_model().",
            code="model_option",
        )

    def adapter(self, module: nn.Module) -> Adapt:
        """Return what makes a checkpoint that timm reads one of the module's own layout."""
        own = {key: tensor.shape for key, tensor in module.state_dict().items()}

        def adapt(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            if {key: tensor.shape for key, tensor in tensors.items()} == own:
                return tensors
            return self._as_timm_loads(tensors) or tensors

        return adapt

    def _as_timm_loads(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """Return the model's tensors as timm fills them: other names, resized tables, a background class left out.

        Everything has to fit a classifier, from which maps leave the head out; None where it does not.
        """
        import torch

        from mobilevit_tools.models.keys import class_rows

        classifier = {name: value for name, value in self.options.items() if name not in _OF_FEATURES}
        rows = class_rows(tensors, self.classifier) if self.classifier and self.options.get("features_only") else None
        if rows is not None:
            classifier["num_classes"] = rows
        try:
            with torch.random.fork_rng(devices=[]):
                whole = self._filled(classifier, tensors)
                if not self.options.get("features_only"):
                    return whole.state_dict()
                return self._filled(self.options, whole.state_dict()).state_dict()
        except (RuntimeError, KeyError, IndexError, ValueError, AttributeError):  # of what others' converters expect
            return None

    def _filled(self, options: Mapping[str, object], tensors: Mapping[str, Tensor]) -> nn.Module:
        overlay: dict[str, object] = {
            "state_dict": {
                key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
            }
        }
        if "num_classes" in options:  # a head of another size is an error, not a reason to leave it random
            overlay["num_classes"] = options["num_classes"]
        module: nn.Module = _timm().create_model(self.name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
        return module

    def trained(self) -> TrainedWeights:
        """Find the weights of the tag on the Hub.

        Raises:
            BadInputError: They are elsewhere, or the Hub cannot be reached.
        """
        cfg = self.cfg
        if not cfg.hf_hub_id:
            raise BadInputError(
                f"timm has the weights of {self.name} at {cfg.url}, not on the Hugging Face Hub.",
                hint="Download the file and give it with --checkpoint.",
                code="hub_unavailable",
            )
        files = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else _FILES
        found = hub.first_of(cfg.hf_hub_id, files)
        if found is None:
            raise BadInputError(
                f"{cfg.hf_hub_id} on the Hugging Face Hub has none of {', '.join(files)}.",
                hint="Give weights with --checkpoint.",
                code="hub_unavailable",
            )
        return TrainedWeights(found[0], _labels(cfg))

    def _card(self) -> Mapping[str, object]:
        cfg = self.cfg
        papers = [cfg.paper_ids] if isinstance(cfg.paper_ids, str) else cfg.paper_ids or ()
        known = cfg.interpolation in _INTERPOLATIONS
        return {
            "title": f"{self.name.partition('.')[0]} of timm",
            "paper": cfg.paper_name or ", ".join(papers),
            "license": f"weights: {cfg.license}" if cfg.license else "",
            "input_size": tuple(cfg.input_size[1:]),
            "crop_fraction": None if cfg.crop_mode == "squash" else min(cfg.crop_pct, 1.0),
            "interpolation": cfg.interpolation if known else "bicubic",
            "mean": tuple(cfg.mean),
            "std": tuple(cfg.std),
        }


def _labels(cfg: Any) -> tuple[str, ...] | None:
    """Return the class names of trained weights: their own, or ImageNet's where the tag says that they are its."""
    if cfg.label_names:
        described = cfg.label_descriptions or {}
        return tuple(str(described.get(name, name)) for name in cfg.label_names)
    if cfg.num_classes != 1000 or not str(cfg.tag).endswith("in1k"):
        return None
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(index) for index in range(cfg.num_classes))


def _family(name: str) -> str:
    import timm.models

    return str(timm.models.model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2])


def _count(name: str) -> int | None:
    """Return the parameters of a model built without values; None where it does not build so."""
    import torch
    from timm import create_model

    try:
        with torch.device("meta"):
            module: nn.Module = create_model(name)
    except Exception:  # a few compute with the values that they start from
        return None
    return sum(parameter.numel() for parameter in module.parameters())
