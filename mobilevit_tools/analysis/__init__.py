"""Facts of a traced graph: multiply-accumulates, memory, stages."""
