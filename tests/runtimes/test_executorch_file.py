from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from pathlib import Path
from mobilevit_tools.runtimes.executorch_file import decode

path = Path(sys.argv[1])
alone = [decode(path), decode(path)]
print([name for name in sys.modules if name.startswith("executorch.exir") or name == "torchao"])
import executorch.exir
print(callable(executorch.exir.to_edge), "torchao" in sys.modules)
print(len({repr(each.program) for each in (*alone, decode(path))}))
"""


def test_a_program_is_decoded_without_the_exporter_which_can_be_imported_afterwards(exported: Path) -> None:
    path = exported / "executorch-xnnpack-fp32" / "model.pte"
    run = [sys.executable, "-c", CODE, path]
    ran = subprocess.run(run, check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines() == ["[]", "True True", "1"]
