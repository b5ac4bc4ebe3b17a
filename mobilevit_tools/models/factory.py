"""Build a model with weights: the bundled ones, a checkpoint's, or random ones where that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.data.contract import TaskName
from mobilevit_tools.data.labels import check_label_count
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.builder import OwnModel, TrainedWeights
from mobilevit_tools.models.cards import UNSTATED, ModelCard, WeightsCard
from mobilevit_tools.models.frozen import freeze
from mobilevit_tools.models.heads.registry import HeadCard, head_in
from mobilevit_tools.models.learnt import Learnt, read_learnt
from mobilevit_tools.models.names import is_registered, resolve
from mobilevit_tools.models.options import OptionValue, split_class_count
from mobilevit_tools.models.own import find_own_model
from mobilevit_tools.models.provenance import Weights, provenance
from mobilevit_tools.models.returned import Returned, outputs_in_words
from mobilevit_tools.models.shipped import adapter, build, head_keys
from mobilevit_tools.process_state import restoring

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.models.branches import Fused
    from mobilevit_tools.models.checkpoint import Checkpoint
    from mobilevit_tools.models.loading import Fit
    from mobilevit_tools.models.own_build import BuiltModel

RANDOM_SEED = 0
"""Random weights are always the same ones, so that an artifact made of them can be verified later."""
WEIGHTS_FOLDER = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for export: the module in evaluation mode and everything that is known of it.

    Attributes:
        name: Its name, without a path.
        card: Its card.
        module: The module, with its weights, in evaluation mode.
        num_classes: Its class count; 0 where it returns no logits.
        labels: Class names in index order, where they are known.
        preprocessing: Its input.
        weights: Where its weights came from.
        returns: Whether it returns logits, an embedding (one vector an image), features (a list of tensors), or one map
            of scores.
        license: Under what its weights, or the architecture alone, may be used.
        outputs: How many tensors it returns.
        output_names: Their names, where they are the model's own.
        fused: What became of branches that only training needs; None where there were none.
        task: What its outputs mean, once :func:`mobilevit_tools.tasks.registry.settle` has settled it.
        upsampled: Whether it resizes its map of scores to the input's size.
        learnt: What its quantized form has learnt, where its checkpoint is a fine-tuned one.
    """

    name: str
    card: ModelCard
    module: nn.Module
    num_classes: int
    labels: tuple[str, ...] | None
    preprocessing: Preprocessing
    weights: Weights
    returns: Returned
    license: str
    outputs: int = 1
    output_names: tuple[str, ...] = ()
    fused: Fused | None = None
    task: TaskName | None = None
    upsampled: bool = False
    learnt: Learnt | None = None


@dataclass(frozen=True)
class _Asked:
    """What is asked of a model beside its name: the arguments of :func:`load_model`."""

    num_classes: int | None
    checkpoint: str | Path | None
    ema: bool | None
    random_weights: bool
    input_size: tuple[int, int] | None
    options: dict[str, OptionValue]


def check_input_size(card: ModelCard, size: tuple[int, int], patch_size: object = None) -> None:
    """Refuse an input size that the architecture cannot take.

    Args:
        card: The architecture.
        size: Height and width.
        patch_size: The patch size, where the architecture was given one; its sides' multiple is then that.

    Raises:
        BadInputError: Height or width is not a positive multiple of the architecture's own.
    """
    multiple = patch_size if isinstance(patch_size, int) and patch_size > 0 else card.size_multiple
    if any(side <= 0 or side % multiple for side in size):
        nearest = tuple(max(multiple, round(side / multiple) * multiple) for side in size)
        raise BadInputError(
            f"{card.name} takes inputs whose height and width are multiples of {multiple}, not {size[0]}x{size[1]}.",
            hint=f"Try --input-size {nearest[0]}x{nearest[1]}.",
            code="input_size",
        )


def load_model(
    name: str,
    *,
    num_classes: int | None = None,
    checkpoint: str | Path | None = None,
    ema: bool | None = None,
    random_weights: bool = False,
    input_size: tuple[int, int] | None = None,
    options: Mapping[str, OptionValue] | None = None,
) -> LoadedModel:
    """Build ``name`` (``arch`` or ``arch.tag``) in evaluation mode and load its weights strictly.

    The arguments are those of :func:`create_model`; ``input_size`` is its ``img_size``, ``options`` is a mapping.

    Raises:
        BadInputError: No such model, an unusable checkpoint, or a size that the architecture cannot take.
        UsageError: No weights were given and random ones not allowed, or options contradict each other.
    """
    learnt = None if checkpoint is None else find_learnt(checkpoint)
    if learnt is not None and not learnt.record.weights_inside:
        checkpoint = None  # the model has its weights itself
    loaded = _load(name, _Asked(num_classes, checkpoint, ema, random_weights, input_size, dict(options or {})))
    if learnt is not None:
        learnt.check(loaded.module, name)
    return replace(loaded, learnt=learnt)


def find_learnt(checkpoint: str | Path) -> Learnt | None:
    """Return what a fine-tuned checkpoint has learnt; None where a checkpoint is none.

    Raises:
        BadInputError: It cannot be read or fetched.
    """
    from mobilevit_tools.models import hub

    source = str(checkpoint)
    return read_learnt(hub.download(source) if source.startswith(hub.SCHEME) else Path(source), source)


def _load(name: str, asked: _Asked) -> LoadedModel:
    if asked.ema is not None and asked.checkpoint is None:
        raise UsageError(
            "--ema and --no-ema require a checkpoint.",
            hint="Pass --checkpoint PATH, or omit --ema.",
            code="ema_without_checkpoint",
        )
    own = None if is_registered(name) else find_own_model(name)
    if own is None:
        options, num_classes = split_class_count(asked.options, asked.num_classes)
        asked = replace(asked, options=options, num_classes=num_classes)
    if asked.num_classes is not None and asked.num_classes < 1:
        raise UsageError(f"A classifier needs at least one class, not {asked.num_classes}.", code="class_count")
    return _load_shipped(name, asked) if own is None else _load_own(own, asked)


def _load_shipped(name: str, asked: _Asked) -> LoadedModel:
    import torch

    card, bundled = resolve(name)
    options = asked.options
    head = head_in(options)
    if head is not None:
        card = head.describe(card)
    _check_one_source(name, card, bundled, head, asked)
    preprocessing = bundled.preprocessing if bundled else card.preprocessing
    size = asked.input_size or preprocessing.input_size
    check_input_size(card, size, options.get("patch_size"))
    preprocessing = replace(preprocessing, input_size=size)

    loaded = _read_weights(card, bundled, asked.checkpoint, asked.ema)
    if loaded is None and not asked.random_weights:
        raise _no_weights(name, [f"{card.name}.{tag}" for tag in card.weights])
    classes = _class_count(card, head, loaded, asked.num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        module = build(card, classes, size, options)
    fit = None
    if loaded is not None:
        from mobilevit_tools.models.loading import load_strictly

        surplus = head_keys(card, module, classes, size, options)
        fit = load_strictly(module, loaded, surplus=surplus, adapt=adapter(card, module))
    freeze(module, name)
    return LoadedModel(
        name=name,
        card=card,
        module=module,
        num_classes=classes,
        labels=bundled.labels if bundled else None,
        preprocessing=preprocessing,
        weights=provenance(loaded, fit),
        returns="features" if head or options.get("features_only") else "logits",
        license=bundled.license if bundled else card.license,
        outputs=len(getattr(module, "feature_channels", ())) if options.get("features_only") else 1,
    )


def _check_one_source(
    name: str, card: ModelCard, bundled: WeightsCard | None, head: HeadCard | None, asked: _Asked
) -> None:
    """Refuse weights from two sources, and bundled ones that lack the head."""
    if head is not None and bundled is not None:
        raise UsageError(
            f"The weights of {name} are for a classifier and do not include the head {head.name}.",
            hint=f"Give {card.name} with --checkpoint PATH, or with --random-weights.",
            code="no_weights",
        )
    if sum((bundled is not None, asked.checkpoint is not None, asked.random_weights)) > 1:
        raise UsageError("Choose one source of weights: a tag in the name, a checkpoint, or random weights.")


def _class_count(card: ModelCard, head: HeadCard | None, loaded: Checkpoint | None, asked: int | None) -> int:
    """Return the class count: the checkpoint's, or what is asked for, or the card's."""
    counted = None
    if loaded is not None:
        counted = head.class_count(loaded) if head else loaded.class_count(card.classifier)
    if asked is not None and counted is not None and asked != counted:
        raise BadInputError(
            f"The checkpoint has {counted} classes, not {asked}.",
            hint="Use a matching checkpoint, or omit the class count: it is read from the checkpoint.",
            code="class_count",
        )
    return counted or asked or card.num_classes


def _load_own(own: OwnModel, asked: _Asked) -> LoadedModel:
    from mobilevit_tools.models.checkpoint import read_checkpoint
    from mobilevit_tools.models.own_build import build_own_model

    if asked.checkpoint is not None and asked.random_weights:
        raise UsageError("Choose one source of weights: a checkpoint, or random weights.")
    trained, checkpoint = None, asked.checkpoint
    if checkpoint is None and not asked.random_weights:
        if own.trained is None:
            raise _no_weights(own.name, [])
        trained = own.trained()
        checkpoint = trained.checkpoint
    loaded = None if checkpoint is None else read_checkpoint(str(checkpoint), ema=asked.ema)
    num_classes, scores = asked.num_classes, not asked.options.get("features_only")
    if loaded is not None and own.classifier is not None and num_classes is None and scores:
        num_classes = loaded.class_count(own.classifier)
    built = build_own_model(
        own,
        num_classes=num_classes,
        input_size=asked.input_size,
        options=asked.options,
        seed=RANDOM_SEED,
        load=None if loaded is None else partial(_load_into, own, loaded),
    )
    freeze(built.module, own.name)
    return with_labels(
        LoadedModel(
            name=own.name,
            card=built.card,
            module=built.module,
            num_classes=built.num_classes,
            labels=None,
            preprocessing=built.preprocessing,
            weights=provenance(loaded, built.fit),
            returns=built.returns,
            # The source states the licence of its own weights, which says nothing about those of a checkpoint.
            license=built.card.license if trained or not (loaded and own.trained) else UNSTATED,
            outputs=built.outputs,
            output_names=built.output_names,
            fused=built.fused,
        ),
        _labels_of(built, trained),
    )


def _labels_of(built: BuiltModel, trained: TrainedWeights | None) -> Sequence[str] | None:
    """Return the labels that a function states, or else those of the trained weights, where the classes are theirs."""
    if built.labels is not None or trained is None or trained.labels is None:
        return built.labels
    return trained.labels if built.returns == "logits" and built.num_classes == len(trained.labels) else None


def _load_into(own: OwnModel, loaded: Checkpoint, module: nn.Module) -> Fit:
    from mobilevit_tools.models.loading import load_strictly

    return load_strictly(module, loaded, adapt=None if own.adapt is None else own.adapt(module))


def with_labels(loaded: LoadedModel, labels: Sequence[str] | None) -> LoadedModel:
    """Return the model with class names; None leaves those that it has.

    Raises:
        BadInputError: It has no classes, or another number of them.
    """
    if labels is None:
        return loaded
    if {"segment", "detect"} & {loaded.task, loaded.card.task}:
        if loaded.num_classes:
            check_label_count(labels, loaded.num_classes)
        return replace(loaded, labels=tuple(labels))  # until the task is settled, nobody knows how many there are
    if loaded.returns != "logits":
        has = outputs_in_words(loaded.returns, loaded.outputs)
        raise BadInputError(
            f"{loaded.name} has {has}, not one of logits: it has no classes for {len(labels)} labels.",
            hint="Omit the labels, or return only the logits (batch, classes); a segmenter's card "
            'says task="segment".',
            code="label_count",
        )
    check_label_count(labels, loaded.num_classes)
    return replace(loaded, labels=tuple(labels))


def _no_weights(name: str, tagged: Sequence[str]) -> UsageError:
    return UsageError(
        f"{name} has no weights.",
        hint="Pass --checkpoint PATH, or --random-weights to export an untrained model"
        + (f"; {', '.join(tagged)} comes with trained weights." if tagged else "."),
        code="no_weights",
    )


@restoring
def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    checkpoint: str | Path | None = None,
    ema: bool | None = None,
    random_weights: bool = False,
    img_size: int | tuple[int, int] | None = None,
    **options: OptionValue,
) -> nn.Module:
    """Build a model in evaluation mode and load its weights strictly.

    Args:
        name: ``arch`` or ``arch.tag``, as ``mvt models`` lists them, ``timm:NAME``, ``hf:OWNER/NAME``, a function
            ``path/to/net.py:build``, or a name that an installed package registers (see
            :mod:`mobilevit_tools.models.own`).
        num_classes: The class count; by default the checkpoint's, or the card's.
        checkpoint: A path or an ``hf://owner/repo/file`` address.
        ema: Take the exponential moving average of the weights (True), the raw weights (False), or the average
            where there is one (None).
        random_weights: Allow random weights; exclusive with ``checkpoint`` and with a tag.
        img_size: Height and width, or one number for both; by default the card's.
        options: Passed to the architecture's builder.

    Returns:
        A module that takes (B, 3, H, W) and gives logits (B, classes), or maps with ``features_only=True``.

    Raises:
        BadInputError: No such model, an unusable checkpoint, or a size that the architecture cannot take.
        UsageError: No weights were given and random ones not allowed, or options contradict each other.

    Example:
        >>> model = mvt.create_model("couplformer_kct2", random_weights=True)
        >>> model(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    return load_model(
        name,
        num_classes=num_classes,
        checkpoint=checkpoint,
        ema=ema,
        random_weights=random_weights,
        input_size=(img_size, img_size) if isinstance(img_size, int) else img_size,
        options=options,
    ).module


def _read_weights(
    card: ModelCard, bundled: WeightsCard | None, checkpoint: str | Path | None, ema: bool | None
) -> Checkpoint | None:
    from mobilevit_tools.models.checkpoint import read_checkpoint

    if bundled is not None:
        stored = read_checkpoint(str(WEIGHTS_FOLDER / bundled.file))
        return replace(stored, source=f"{card.name}.{bundled.tag}")
    return None if checkpoint is None else read_checkpoint(str(checkpoint), ema=ema)
