"""What the shell completes: names of models, targets and devices. None of it imports a framework."""

from __future__ import annotations

from mobilevit_tools.targets.registry import TARGETS


def complete_model(incomplete: str) -> list[str]:
    """Return the bundled models, with and without their weights, that begin so, and prefixes of other sources."""
    from mobilevit_tools.api.models import models
    from mobilevit_tools.models.sources.registry import SOURCES

    names = [model.name for model in models().models] + [f"{source.prefix}:" for source in SOURCES.values()]
    return [name for name in names if name.startswith(incomplete)]


def complete_target(incomplete: str) -> list[str]:
    """Return the targets that begin so."""
    return [name for name in TARGETS if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Return the kinds of device that begin so; which of them are ready takes too long to find out."""
    from mobilevit_tools.devices.registry import DEVICES

    return [name for name in DEVICES if name.startswith(incomplete)]
