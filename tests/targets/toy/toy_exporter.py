from __future__ import annotations

import torch

from mobilevit_tools.exporters._base import Lowering
from mobilevit_tools.exporters.io_names import example_input


def trace(module, spec, contract):
    return None


def lower(module, spec, contract, path, quantization=None, *, half=None):
    program = torch.export.export(module, (example_input(contract, spec.batch),), strict=False)
    torch.export.save(program, path, extra_files={"contract": contract.to_json(), "flavour": spec.options.flavour})
    return Lowering()
