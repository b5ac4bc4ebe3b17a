"""Whether there is a model of a name, found out before a long run begins with it."""

from __future__ import annotations

from mobilevit_tools.models.names import is_registered, resolve
from mobilevit_tools.models.own import check_file, find_own_model
from mobilevit_tools.models.references import is_file_reference, split_file


def check_known(name: str) -> None:
    """Refuse a name that no model has. It builds none, and runs nobody's file.

    Args:
        name: A model, as ``mvt export`` takes it.

    Raises:
        BadInputError: There is no such model or file.
        MissingDependencyError: The package that a source needs is not installed.
        UsageError: There is no such source.
    """
    if is_file_reference(name):
        check_file(split_file(name)[0])
    elif is_registered(name) or find_own_model(name) is None:
        resolve(name)
