"""Operators that ExecuTorch cannot run, in others that it can.

Of executorch 1.5.1: there is no kernel of adaptive max pooling, and a program fails where a delegate and a portable
kernel meet in another order in memory than the usual.
"""

from __future__ import annotations

import torch

from mobilevit_tools.forms._base import Forms
from mobilevit_tools.forms.layouts import convert, copy
from mobilevit_tools.forms.norms import batch_norm, group_norm, instance_norm, layer_norm
from mobilevit_tools.forms.pooling import adaptive_max_pool

_aten = torch.ops.aten

FORMS: Forms = {
    _aten.adaptive_max_pool1d.default: adaptive_max_pool,
    _aten.adaptive_max_pool2d.default: adaptive_max_pool,
    _aten.contiguous.default: copy,
    _aten.clone.default: copy,
    _aten.to.dtype: convert,
    _aten.to.dtype_layout: convert,
}

NORMS: Forms = {
    _aten.batch_norm.default: batch_norm,
    _aten.group_norm.default: group_norm,
    _aten.instance_norm.default: instance_norm,
    _aten.layer_norm.default: layer_norm,
}
"""Norms whose deviation the portable kernels take from a mean of squares: some 60 dB where a map is flat."""
