"""Export the bundled model to every target, verify each artifact, profile what runs here, and print one table."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not spin on shared cores

from rich.table import Table

import mobilevit_tools as mvt
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.cli.tables import number, size, status
from mobilevit_tools.errors import UsageError

MODEL = "care_s0.imagenette"
FOLDER = "demo-out"  # of its own: it is overwritten and cleaned away, and `out` is where people's exports go


def main() -> None:
    """Run the demo."""
    with command_output("demo") as output:
        output.left_behind = f"artifacts that were finished are kept in {FOLDER}, and nothing else was left behind"
        exported = mvt.export(MODEL, output=FOLDER, overwrite=True, progress=output.progress)
        table = Table(box=None, header_style="bold", title=f"{MODEL}, 160x160, batch 1", title_justify="left")
        table.add_column("target")
        for heading in ("size", "SNR dB", "latency here, 1 thread"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("parity")
        for artifact in exported.artifacts:
            try:
                latency = mvt.profile(artifact.path, progress=output.progress).latency_ms
            except UsageError:  # Core ML has no latency off macOS
                latency = None
            measured = "on Apple's systems only"
            if latency is not None and latency.interval is not None:
                measured = f"{latency.p50:.2f} ms ({latency.interval[0]:.2f} to {latency.interval[1]:.2f})"
            table.add_row(
                f"{artifact.target} {artifact.precision}",
                size(artifact.size_bytes),
                number(artifact.parity.snr_db, ".1f"),
                measured,
                status(artifact.parity),
            )
        output.console.print(table)
        first, command = exported.artifacts[0].path, os.path.relpath(Path(sys.executable).with_name("mvt"))
        output.console.print(f"next: {command} inspect {first}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
