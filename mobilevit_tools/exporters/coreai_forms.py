"""What coreai-torch 0.4.3 has no lowering for, in forms that it has."""

from __future__ import annotations

import torch

from mobilevit_tools.forms import activations
from mobilevit_tools.forms._base import Forms

_aten = torch.ops.aten
FORMS: Forms = {_aten.elu.default: activations.elu, _aten.celu.default: activations.continuous_elu}
