from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_what_coremltools_looks_for_is_not_imported_and_can_be_afterwards() -> None:
    code = (
        "import sys; from mobilevit_tools.targets.coreml_imports import prepare; prepare();"
        "unused = 'sklearn', 'torchao', 'transformers', 'coremltools.optimize.torch', 'torch.distributed.fsdp';"
        "print('coremltools' in sys.modules, [name for name in unused if name in sys.modules]);"
        "import sklearn; print(sklearn.__name__);"
        "from coremltools.optimize.torch import palettization; print(palettization.__name__)"
    )
    assert run(code).splitlines() == ["True []", "sklearn", "coremltools.optimize.torch.palettization"]


def test_what_is_imported_already_stays() -> None:
    code = (
        "import sys, executorch; from mobilevit_tools.targets.coreml_imports import prepare; prepare(); prepare();"
        "print(sys.modules['executorch'] is executorch)"
    )
    assert run(code) == "True"


def test_loading_the_exporter_and_the_runtime_goes_that_way() -> None:
    code = (
        "import sys; from mobilevit_tools.targets.registry import find_target; target = find_target('coreml');"
        "target.load(target.exporter); target.load(target.runtime); target.load(target.weights);"
        "print('sklearn' in sys.modules)"
    )
    assert run(code) == "False"
