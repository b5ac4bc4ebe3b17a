"""What a checkpoint's keys say: what wrapped the model, what a trainer keeps beside it, which weights are averages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

LISTED_KEYS = 10
"""How many keys an error lists."""
_INSERTED = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
"""What compilation, data parallelism, sharding and activation checkpointing insert where they wrap a submodule."""
_COUNTERS = ("num_batches_tracked", "n_averaged", "steps", "total_ops", "total_params")
"""What trainers, averages and profilers count; no layer computes with it in evaluation mode."""
_OF_TRAINING = re.compile(r"(.*[._])?(criterion|loss|losses|metrics?|accuracy)([._].*)?", re.IGNORECASE)
"""Keys of what a trainer keeps inside of the module that it trains."""
_AVERAGED = ("ema", "averaged", "swa")


def class_rows(state_dict: Mapping[str, Tensor], classifier: str) -> int | None:
    """Return the rows of the linear layer ``classifier`` under whatever prefix; None where there is no such layer."""
    rows: Counter[tuple[int, int]] = Counter()
    for keys in forms(state_dict):
        for name in (f"{classifier}.weight", f"{classifier}.bias"):
            for key, tensor in keys.items():
                if (key == name or key.endswith(f".{name}")) and tensor.ndim:
                    prefix = key.removesuffix(name)
                    around = sum(other.startswith(prefix) for other in keys)
                    rows[tensor.shape[0], -len(prefix)] = around
    return max(rows, key=lambda each: (rows[each], each[1]))[0] if rows else None


def is_of_training(key: str) -> bool:
    """Tell whether a key names what a trainer keeps beside a model: a loss, or a metric."""
    return _OF_TRAINING.fullmatch(key) is not None


def holds_average(keys: Iterable[str]) -> bool:
    """Tell whether some of a state dict's keys are under a prefix that names a moving average."""
    return any(is_average(key.rpartition(".")[0]) for key in keys)


def forms(state_dict: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors under their own keys, and then without what wrappers insert inside of keys."""
    yield dict(state_dict)
    cleaned = {".".join(part for part in key.split(".") if part not in _INSERTED): key for key in state_dict}
    if len(cleaned) == len(state_dict) and cleaned.keys() != state_dict.keys():
        yield {key: state_dict[old] for key, old in cleaned.items()}


def is_average(prefix: str) -> bool:
    """Tell whether a dotted prefix names a moving average."""
    return any(word in _AVERAGED for part in prefix.lower().split(".") for word in part.split("_"))


def counts(key: str) -> bool:
    """Tell whether a key names what trainers, averages or profilers count."""
    return key.rpartition(".")[2] in _COUNTERS
