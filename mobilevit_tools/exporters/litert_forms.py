"""What litert-torch 0.10.0 writes in operators that XNNPACK does not take, in forms that it takes.

ELU becomes a comparison and a choice, each of which ends a delegated part.
"""

from __future__ import annotations

import torch

from mobilevit_tools.forms import activations
from mobilevit_tools.forms._base import Forms

_aten = torch.ops.aten
FORMS: Forms = {_aten.elu.default: activations.exponential_elu, _aten.celu.default: activations.continuous_elu}
