"""Every file of an own model is given the modules of its own folder, whatever other folders call theirs."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models import neighbours
from mobilevit_tools.models.factory import create_model
from mobilevit_tools.models.own import find_own_model
from mobilevit_tools.models.own_build import build_own_model

NET = """
import torch.nn as nn

from layers_cfg import WIDTH
from parts.registry import BUILDERS, register


@register
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(3, width)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))


def build():
    from layers_cfg import WIDTH as LATE
    from parts.registry import BUILDERS as SAME

    assert LATE == WIDTH and SAME is BUILDERS
    return SAME[-1](LATE), {"input_size": (8, 8)}
"""

REGISTRY = """
BUILDERS = []


def register(builder):
    BUILDERS.append(builder)
    return builder
"""

LATE = """
import torch.nn as nn


class Net(nn.Module):
    def forward(self, x):
        from only_here import pool

        return pool(x)


def build():
    return Net(), {"input_size": (8, 8)}
"""

POOL = """
def pool(x):
    return x.mean((2, 3))
"""

EARLY = "from only_here import pool\n" + LATE.replace("        from only_here import pool\n", "")
WIDTHS = {"ownA": 4, "ownB": 9}


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    before, imported = set(sys.modules), dict(neighbours._IMPORTED)
    yield
    for name in sys.modules.keys() - before:
        if name.partition(".")[0] in ("layers_cfg", "parts", "only_here"):
            del sys.modules[name]
    neighbours._IMPORTED.clear()
    neighbours._IMPORTED.update(imported)


def folder_of(tmp_path: Path, name: str, width: int) -> str:
    folder = tmp_path / name
    (folder / "parts").mkdir(parents=True)
    (folder / "layers_cfg.py").write_text(f"WIDTH = {width}\n")
    (folder / "parts" / "registry.py").write_text(REGISTRY)
    (folder / "net.py").write_text(NET)
    return f"{folder / 'net.py'}:build"


def width_of(name: str) -> int:
    return create_model(name, random_weights=True).fc.out_features


def test_neighbours_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    a, b = folder_of(tmp_path, "ownA", 4), folder_of(tmp_path, "ownB", 9)
    assert [width_of(a), width_of(b), width_of(a), width_of(b)] == [4, 9, 4, 9]
    assert not {"layers_cfg", "parts", "parts.registry"} & sys.modules.keys()  # whose they would be, nobody knows
    assert [entry for entry in sys.path if str(tmp_path) in entry] == []


def test_a_file_found_before_another_is_built_with_its_own_neighbours(tmp_path: Path) -> None:
    found = [find_own_model(folder_of(tmp_path, name, width)) for name, width in (("ownA", 4), ("ownB", 9))]
    given = {"num_classes": None, "input_size": None, "options": {}, "seed": 0, "load": None}
    built = [build_own_model(own, **given) for own in found if own is not None]
    assert [model.num_classes for model in built] == [4, 9]


def test_models_of_two_files_of_one_name_are_pickled_and_exported(tmp_path: Path) -> None:
    models = [create_model(folder_of(tmp_path, name, width), random_weights=True) for name, width in WIDTHS.items()]
    x = torch.rand(1, 3, 8, 8)
    for model, width in zip(models, WIDTHS.values(), strict=True):
        assert type(pickle.loads(pickle.dumps(model))) is type(model)
        for strict in (False, True):
            exported = torch.export.export(model, (x,), strict=strict).module()
            torch.testing.assert_close(exported(x), model(x))
        assert model(x).shape == (1, width)


def test_an_import_inside_of_the_forward_pass_still_works_after_the_build(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(LATE)
    (tmp_path / "only_here.py").write_text(POOL)
    model = create_model(f"{tmp_path / 'net.py'}:build", random_weights=True)
    width_of(folder_of(tmp_path, "ownA", 4))
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 3)


def test_neighbours_stay_a_files_own_when_a_file_elsewhere_fails(tmp_path: Path) -> None:
    a, b = folder_of(tmp_path, "ownA", 4), folder_of(tmp_path, "ownB", 9)
    (tmp_path / "ownB" / "net.py").write_text("import layers_cfg\nraise RuntimeError(layers_cfg.WIDTH)\n")
    assert width_of(a) == 4
    with pytest.raises(BadInputError, match="RuntimeError: 9"):
        width_of(b)
    assert width_of(a) == 4


def test_what_an_environment_below_the_folder_holds_is_no_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "ownA" / ".venv" / "site-packages"
    site.mkdir(parents=True)
    (site / "only_here.py").write_text(POOL)
    (tmp_path / "ownA" / "net.py").write_text(EARLY)
    monkeypatch.syspath_prepend(site)
    create_model(f"{tmp_path / 'ownA' / 'net.py'}:build", random_weights=True)
    assert neighbours._IMPORTED[tmp_path.resolve() / "ownA"] == {}
    assert "only_here" in sys.modules


def test_a_module_name_is_the_paths_own() -> None:
    names = {neighbours.module_name(Path(path)) for path in ("a/net.py", "b/net.py", "a/net.v2.py", "a/other.py")}
    assert len(names) == 4
    assert all(name.isidentifier() for name in names)  # a dot would be a package's, for pickle
    assert neighbours.module_name(Path("a/../a/net.py")) == neighbours.module_name(Path("a/net.py"))
