"""Options of a model's builder, as people type them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mobilevit_tools.errors import UsageError

OptionValue = str | int | float | bool | None

_WORDS: dict[str, OptionValue] = {"true": True, "false": False, "none": None}


def parse_options(pairs: Sequence[str]) -> dict[str, OptionValue]:
    """Read ``name=value`` pairs; numbers, ``true``, ``false`` and ``none`` become what they look like.

    Raises:
        UsageError: A pair has no ``=`` or no name.
    """
    options = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.isidentifier():
            raise UsageError(
                f"{pair!r} is not a model option.",
                hint="Use name=value, such as head=semantic_fpn. The output folder or file is --output.",
                code="model_option",
            )
        options[name] = _value(text)
    return options


def _value(text: str) -> OptionValue:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def split_class_count(
    options: Mapping[str, OptionValue], num_classes: int | None
) -> tuple[dict[str, OptionValue], int | None]:
    """Return options without the class count, which people may type among them, and that count.

    Args:
        options: Options of a model's builder.
        num_classes: The class count that was given apart from them; None where it was not.

    Raises:
        UsageError: It is not a number, or given twice and differently.
    """
    rest = dict(options)
    count = rest.pop("num_classes", num_classes)
    if count is not None and type(count) is not int:
        raise UsageError(f"num_classes is a number of classes, not {count!r}.", code="model_option")
    if num_classes is not None and count != num_classes:
        raise UsageError(
            f"The number of classes was given twice: {num_classes} and {count}.",
            hint="Give it once.",
            code="class_count",
        )
    return rest, count


def option_texts(options: Mapping[str, OptionValue]) -> tuple[str, ...]:
    """Return options as people type them: the inverse of :func:`parse_options`.

    Raises:
        UsageError: A name or value cannot be typed, such as a text that would be read as a number.
    """
    texts = tuple(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()
    )
    for text, (name, value) in zip(texts, options.items(), strict=True):
        if parse_options([text]) != {name: value}:
            raise UsageError(f"The model option {name} cannot be {value!r}.", code="model_option")
    return texts
