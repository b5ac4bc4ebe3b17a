"""What XNNPACK's lowering gets wrong, lacks or leaves outside, in forms that it computes as torch does.

Of executorch 1.5.1: a softmax of a map runs over the channels where the delegate keeps the map channels-last; GELU's
tanh approximation becomes the exact GELU; average pooling with a divisor of its own, equal to the kernel's size, loses
it where it pads; PReLU of any rank but 4, and a maximum over other axes than those of a map, fail to lower. Attention
as one operator comes apart into pieces that stay outside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mobilevit_tools.forms._base import Forms
from mobilevit_tools.forms.activations import prelu, tanh_gelu
from mobilevit_tools.forms.attention import flat_softmax, scaled_products
from mobilevit_tools.forms.pooling import largest, overridden_average

_aten = torch.ops.aten


def _prelu(x: Tensor, weight: Tensor) -> Any:
    return NotImplemented if x.dim() == 4 else prelu(x, weight)


FORMS: Forms = {
    _aten.softmax.int: flat_softmax,
    _aten.scaled_dot_product_attention.default: scaled_products,
    _aten.gelu.default: tanh_gelu,
    _aten.prelu.default: _prelu,
    _aten.max.dim: largest,
    _aten.avg_pool2d.default: overridden_average,
}
