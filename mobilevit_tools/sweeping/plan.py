"""The file that describes a sweep: models x targets x precisions x devices, and what to leave out."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mobilevit_tools.data.class_order import ClassOrder
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_PLAN_BYTES = 1 << 20
NO_DEVICE = "none"
"""Among the devices: export and verify only."""


def _argument(text: str) -> str:
    if not text or text.startswith("-") or "\0" in text:
        raise ValueError(f"{text!r} cannot be given to a command")
    return text


def _as_list(given: object) -> object:
    return [given] if isinstance(given, str) else given


Text = Annotated[str, AfterValidator(_argument)]
"""A value that ends up among the arguments of a command: never empty, never to be taken for an option."""

Channels = float | list[float] | Text
"""A number, three of them, or both as ``mvt export`` takes them."""

Patterns = Annotated[tuple[Text, ...], BeforeValidator(_as_list), Field(strict=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelEntry(_Table):
    """A ``[[models]]`` table.

    Attributes:
        name: A model, as ``mvt export`` takes it.
        checkpoint: Its weights: a file, or ``hf://owner/repo/file``.
        random_weights: Whether its weights may be random.
        num_classes: Its class count; by default the checkpoint's.
        labels: A file of class names.
        input_size: ``224`` or ``"192x256"``.
        mean: Mean of the pixels from 0 to 1; by default the model's.
        std: Their standard deviation, likewise.
        options: Options of its builder.
    """

    name: Text
    checkpoint: Text | None = None
    random_weights: bool = False
    num_classes: int | None = Field(default=None, ge=1)
    labels: Text | None = None
    input_size: int | Text | None = None
    mean: Channels | None = None
    std: Channels | None = None
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)


class ExcludeRule(_Table):
    """An ``[[exclude]]`` table: leaves out the cells that match all of its keys.

    A key has a pattern, written as for a shell, or a list of them, of which one must match.

    Attributes:
        model: The model's name.
        target: The target, with or without its backend.
        precision: The precision.
        device: The device; ``none`` for cells without one.
    """

    model: Patterns = ()
    target: Patterns = ()
    precision: Patterns = ()
    device: Patterns = ()


class Plan(_Table):
    """A whole file.

    Attributes:
        models: The models.
        targets: Targets, such as ``onnx`` or ``executorch``, or with a backend: ``executorch-portable``.
        precisions: Precisions, as ``mvt export`` takes them.
        devices: Devices, as ``mvt profile`` takes them; ``none`` exports and verifies only.
        exclude: What to leave out.
        calibration: A folder of photos for the precisions that are calibrated.
        calibration_size: Number of calibration photos.
        eval: Labelled photos on which every artifact is evaluated.
        class_order: How their folders without labels' names are classes: ``index``, ``text`` or ``natural``.
        rigor: The latency protocol's preset.
        threads: Threads of one inference.
        timeout: Seconds that a cell may take.
    """

    models: list[ModelEntry] = Field(min_length=1)
    targets: list[Text] = Field(min_length=1)
    precisions: list[Text] = Field(default=["fp32"], min_length=1)
    devices: list[Text] = Field(default=[NO_DEVICE], min_length=1)
    exclude: list[ExcludeRule] = Field(default_factory=list)
    calibration: Text | None = None
    calibration_size: int = Field(default=DEFAULT_SIZE, ge=1)
    eval: Text | None = None
    class_order: ClassOrder | None = None
    rigor: Text = "quick"
    threads: int = Field(default=1, ge=1)
    timeout: float = Field(default=1800.0, gt=0, strict=False, allow_inf_nan=False)


def read_plan(path: Path) -> Plan:
    """Read a sweep's file.

    Raises:
        BadInputError: It cannot be read, is not TOML, or a key is missing, unknown or of the wrong type.
    """
    try:
        if path.stat().st_size > MAX_PLAN_BYTES:
            raise _bad(f"{path} is larger than {MAX_PLAN_BYTES >> 20} MB, too large for a plan.")
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _bad(f"{path} is not TOML: {error}.") from error
    except ValueError as error:
        raise _bad(f"{path} holds a number of too many digits.") from error
    except RecursionError as error:
        raise _bad(f"{path} is nested too deeply.") from error
    try:
        return Plan.model_validate(raw)
    except ValidationError as error:
        raise _named(path, error.errors()) from error


def _bad(message: str) -> BadInputError:
    return BadInputError(message, hint="A plan is a TOML file; docs/how-to/sweep.md has an example.", code="bad_plan")


def _named(path: Path, errors: list[ErrorDetails]) -> BadInputError:
    """Say what is wrong with one key, the way the file spells it: ``models[1].checkpoint``.

    An unknown key comes first: a misspelt one is also why the right one is missing.
    """
    first = min(errors, key=lambda error: error["type"] != "extra_forbidden")
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).removeprefix(".")
    others = f" ({len(errors) - 1} more like it)" if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys(first["loc"])
        near = get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Keys: {', '.join(known)}."
        return BadInputError(f"{path}: there is no key {key}{others}.", hint=hint, code="bad_plan")
    if first["type"] == "missing":
        return _bad(f"{path}: {key} is missing{others}.")
    said = first["msg"].removeprefix("Value error, ")
    reason = said[0].lower() + said[1:]
    return BadInputError(f"{path}: {key}: {reason}{others}.", code="bad_plan")


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the table in which a key was not known."""
    tables: dict[object, type[BaseModel]] = {"models": ModelEntry, "exclude": ExcludeRule}
    table = tables.get(location[0], Plan) if len(location) > 1 else Plan
    return list(table.model_fields)
