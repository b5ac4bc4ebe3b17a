"""Look at values inside a traced program while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.fx import GraphModule, Interpreter, Node


class Watching(Interpreter):
    """Runs a graph and shows what some of its operators take and give.

    Args:
        graph: The graph.
        wanted: Tells of a node whether it is one of these.
        see: Takes the node, its positional arguments and its value.
    """

    def __init__(
        self,
        graph: GraphModule,
        wanted: Callable[[Node], bool],
        see: Callable[[Node, tuple[Any, ...], Any], None],
    ) -> None:
        super().__init__(graph)
        self._wanted = {node for node in graph.graph.nodes if wanted(node)}
        self._see = see

    def run_node(self, n: Node) -> Any:
        """Run a node, and show what it takes and gives where that is wanted."""
        if n not in self._wanted:
            return super().run_node(n)
        arguments = tuple(self.fetch_args_kwargs_from_env(n)[0])  # they may be gone afterwards
        value = super().run_node(n)
        self._see(n, arguments, value)
        return value
