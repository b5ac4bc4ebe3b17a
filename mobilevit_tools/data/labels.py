"""Class names from a file: one a line, or JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.paths import hint_for_missing

MAX_BYTES = 4 * 1024 * 1024
_SYNSET_LINE = re.compile(r"n\d{8}[\s,]+(\S.*)")


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the class names in index order.

    A text file has one name a line; where every line begins with a WordNet synset, as in ``n01440764 tench``, the
    name is what follows. A JSON file has a list of names, or an object from index to name or to a (synset, name) pair.

    Raises:
        BadInputError: The file is missing, too large, or no such list.
    """
    if not path.is_file():
        if not path.exists():
            raise BadInputError(f"{path} does not exist.", hint=hint_for_missing(path), code="no_such_labels")
        what = "is a folder, not a label file" if path.is_dir() else "is not a regular file"
        raise BadInputError(f"{path} {what}.", code="no_such_labels")
    if path.stat().st_size > MAX_BYTES:
        raise BadInputError(
            f"{path} is larger than {MAX_BYTES} bytes, which is too large for a label file.", code="bad_labels"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
        labels = _from_json(json.loads(text)) if path.suffix.lower() == ".json" else _from_lines(text)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _bad(path, str(error)) from error
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    for index, label in enumerate(labels):
        if not label or not label.isprintable():
            raise _bad(path, f"the name of class {index} is empty or has control characters")
    if not labels:
        raise _bad(path, "it is empty")
    return labels


def unique_labels(labels: Sequence[str]) -> list[str]:
    """Tell classes of one name apart by their index: a Core ML classifier's probabilities are a dictionary by name."""
    counts = Counter(labels)
    taken, unique = set(labels), []
    for index, label in enumerate(labels):
        name = label
        while counts[label] > 1 and name in taken:
            name = f"{name} ({index})"
        taken.add(name)
        unique.append(name)
    return unique


def check_label_count(labels: Sequence[str], num_classes: int) -> None:
    """Refuse labels that do not match a model's class count.

    Raises:
        BadInputError: Their number is not ``num_classes``.
    """
    if len(labels) != num_classes:
        raise BadInputError(
            f"There are {len(labels)} labels for {num_classes} classes.",
            hint="Give one label per class, in the order of the model's outputs.",
            code="label_count",
        )


def _from_lines(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    synsets = [_SYNSET_LINE.fullmatch(line) for line in lines]
    return tuple(match[1] if match and all(synsets) else line for match, line in zip(synsets, lines, strict=True))


def _from_json(content: object) -> tuple[str, ...]:
    if isinstance(content, dict):
        indices = [str(index) for index in range(len(content))]
        if set(content) != set(indices):
            raise ValueError("its keys are not the class indices from 0 on")
        content = [content[index] for index in indices]
    if not isinstance(content, list):
        raise TypeError("it is neither a list nor an object")
    names = [entry[1] if isinstance(entry, list) and len(entry) == 2 else entry for entry in content]
    if not all(isinstance(name, str) for name in names):
        raise TypeError("some of its entries are not names")
    return tuple(name.strip() for name in names)


def _bad(path: Path, why: str) -> BadInputError:
    return BadInputError(
        f"{path} is not a list of class names: {why.rstrip('.')}.",
        hint="Use one name per line, or a JSON list.",
        code="bad_labels",
    )
