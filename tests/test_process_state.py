"""A call leaves the process as it was."""

from __future__ import annotations

import inspect
import logging
import os
import random
import warnings

import numpy as np
import pytest
import torch

import mobilevit_tools
from mobilevit_tools.process_state import restored

FUNCTIONS = [each for name in mobilevit_tools.__all__ if inspect.isfunction(each := getattr(mobilevit_tools, name))]


def state() -> list[object]:
    return [
        dict(os.environ),
        list(warnings.filters),
        warnings.showwarning,
        (logging.getLogger().level, list(logging.getLogger().handlers)),
        random.getstate(),
        repr(np.random.get_state()),
        torch.random.get_rng_state().tolist(),
        torch.get_num_threads(),
    ]


def disturb() -> None:
    os.environ["MVT_NEW"] = os.environ["MVT_OLD"] = "2"
    del os.environ["MVT_GONE"]
    warnings.simplefilter("error")
    warnings.showwarning = print  # type: ignore[assignment]
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger().setLevel(logging.DEBUG)
    random.random()
    np.random.rand()
    torch.rand(1)
    torch.set_num_threads(torch.get_num_threads() + 1)


def test_everything_is_put_back_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVT_OLD", "1")
    monkeypatch.setenv("MVT_GONE", "1")
    before, changed = state(), []
    with pytest.raises(ZeroDivisionError), restored():
        disturb()
        changed += state()
        1 / 0  # noqa: B018
    assert all(was != then for was, then in zip(before, changed, strict=True))
    assert state() == before


@pytest.mark.parametrize("call", [each for each in FUNCTIONS if each.__name__ != "list_models"])
def test_every_public_call_restores(call: object) -> None:
    assert inspect.unwrap(call) is not call  # type: ignore[arg-type]


@pytest.mark.parametrize(("module", "shown"), [("copyreg", False), ("torch.export.graph", False), ("nets.mine", True)])
def test_what_torch_says_of_itself_is_not_shown_to_people(module: str, shown: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with restored():
            warnings.warn_explicit("it is deprecated", FutureWarning, f"{module}.py", 1, module=module)
    assert bool(caught) == shown
