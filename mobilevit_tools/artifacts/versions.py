"""With what artifacts are made and judged."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from mobilevit_tools.targets.registry import TARGETS

_TOOLS = ("mobilevit-tools", "torch", "numpy", "pillow")


def tool_versions() -> dict[str, str]:
    """Return the versions of the packages that make and judge artifacts."""
    versions = {"python": platform.python_version()}
    for name in (*_TOOLS, *(package.name for target in TARGETS.values() for package in target.packages)):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
