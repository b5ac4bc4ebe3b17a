"""The examples of the public API run, each as it is shown."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mobilevit_tools

FINDER = doctest.DocTestFinder(recurse=False)
FUNCTIONS = [name for name in mobilevit_tools.__all__ if not inspect.isclass(getattr(mobilevit_tools, name))]
SHOWN = [*FUNCTIONS, "Card", "MvtError"]


def run(name: str, thing: object, known: dict[str, object]) -> dict[str, object]:
    """Run the examples in a docstring, and return what names they leave."""
    (test,) = FINDER.find(thing, name, module=False, globs=known)
    assert test.examples, f"{name} shows no example"
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
    assert not result.failed, "".join(said)
    return test.globs


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """What the package's own example leaves, in a folder with the photos that it speaks of."""
    folder = tmp_path_factory.mktemp("examples")
    for label, color in (("cat", 40), ("dog", 120), ("horse", 220)):
        (folder / "photos" / label).mkdir(parents=True)
        Image.fromarray(np.full((40, 48, 3), color, np.uint8)).save(folder / "photos" / label / "1.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(folder))
        yield run("mobilevit_tools", mobilevit_tools, {})


@pytest.mark.parametrize("name", SHOWN)
def test_the_examples_of(name: str, known: dict[str, object]) -> None:
    run(name, getattr(mobilevit_tools, name), dict(known))
