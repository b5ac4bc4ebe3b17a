"""``mvt devices``: where an artifact can be measured, and what each place still needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import AsJson, Quiet
from mobilevit_tools.cli.output import command_output

if TYPE_CHECKING:
    from mobilevit_tools.devices.registry import DeviceList


def devices(quiet: Quiet = False, as_json: AsJson = False) -> None:
    """List the devices, what each measures, and how to prepare those that are not ready.

    With --quiet, only the ready ones.
    """
    with command_output("devices", as_json=as_json, quiet=quiet) as output:
        from mobilevit_tools.devices import probe_devices

        output.show(probe_devices(), _render_ready if quiet else _render)


def _render_ready(console: Console, result: DeviceList) -> None:
    for device in result.devices:
        if device.ready:
            console.print(device.device, highlight=False, markup=False, soft_wrap=True)


def _render(console: Console, result: DeviceList) -> None:
    table = Table(box=None, header_style="bold")
    for heading in ("--device", "status", "measures", "detail"):
        table.add_column(heading)
    for device in result.devices:
        status = "[green]ready[/]" if device.ready else "[yellow]not ready[/]"
        table.add_row(escape(device.device), status, escape(device.meaning), escape(device.detail))
    console.print(table)
    for device in result.devices:
        if device.remedy:
            console.print(f"{escape(device.device)}: [cyan]{escape(device.remedy)}[/]", highlight=False, soft_wrap=True)
