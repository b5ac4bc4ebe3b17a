"""Why an operator stays outside a delegate, as far as its backend's description tells."""

from __future__ import annotations

from mobilevit_tools.targets._base import load
from mobilevit_tools.targets.registry import TARGETS

UNKNOWN = "the delegate has no kernel for it, or none for these arguments"


def reason(operator: str, backend: str | None) -> str:
    """Say why ``operator`` stays outside of a backend.

    Args:
        operator: Its name as programs spell it: ``aten.expand_copy.default``, ``aten::elu.out`` or bare.
        backend: The backend as ``--backend`` takes it, or as programs call it, such as ``XnnpackBackend``; None where
            it is not known.
    """
    known = (each for target in TARGETS.values() for each in target.backends)
    path = next((each.reasons for each in known if backend in (each.name, each.delegate)), None)
    if backend is None or path is None:
        return UNKNOWN
    parts = [part for part in operator.replace("::", ".").split(".") if part not in {"aten", "dim_order_ops"}]
    return str(load(path).get(parts[0], UNKNOWN)) if parts else UNKNOWN
