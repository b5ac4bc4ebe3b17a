from __future__ import annotations

import torch

from mobilevit_tools.comparison.stored import weight
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.runtimes._base import Session, TensorInfo, check_input


class ToySession(Session):
    def __init__(self, path):
        extra = {"contract": "", "flavour": ""}
        self._program = torch.export.load(path, extra_files=extra)
        self._module = self._program.module()
        self.contract = Contract.from_json(extra["contract"])
        self.metadata = {"flavour": extra["flavour"]}
        nodes = {node.name: node for node in self._program.graph.nodes}
        placeholder = nodes[self._program.graph_signature.user_inputs[0]]
        output = nodes[self._program.graph_signature.user_outputs[0]]
        self.inputs = (TensorInfo("image", tuple(placeholder.meta["val"].shape), "float32"),)
        self.outputs = (TensorInfo("logits", tuple(output.meta["val"].shape), "float32"),)

    def prepare(self, array):
        check_input(self.inputs, array)
        tensor = torch.from_numpy(array)
        return lambda: self._module(tensor)

    def run(self, array):
        with torch.no_grad():
            return [self.prepare(array)().numpy()]

    def operators(self):
        return {"aten": sum(node.op == "call_function" for node in self._program.graph.nodes)}

    def close(self):
        pass


def open_session(path, *, threads=1):
    torch.set_num_threads(threads)
    return ToySession(path)


def read_weights(path):
    state = torch.export.load(path).state_dict
    return tuple(weight(name, "float32", tuple(each.shape), each.numpy().tobytes()) for name, each in state.items()), ()
