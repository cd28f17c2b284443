"""ports: the serial ports of this computer, and which controllers speak there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import Json
from industriverse_cli.output import columns, console, print_json
from industriverse_core.errors import CoreError, ErrorCode, InputError, MachineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from machine_node.ports import Found

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PORT]...", help="Ports to probe. Default: all serial devices.", show_default=False),
]
Probe = Annotated[
    bool, typer.Option("--probe", help="Ask what speaks there. Opening a port resets most boards: not while one works.")
]
Baud = Annotated[
    int, typer.Option(metavar="RATE", min=0, max=4_000_000, help="Baud rate to try; 0 = the usual ones, 25 s a port.")
]


def ports(names: Names = None, probe: Probe = False, baud: Baud = 0, json: Json = False) -> None:
    """List the serial ports, under names that last; with --probe also the controllers: family, firmware, baud rate.

    The questions move and heat nothing. Exit status 1: a named port cannot be opened, or no controller was found.

    Example: industriverse ports --probe /dev/ttyACM0
    """
    from machine_node.ports import BAUDS, serial_ports

    if not probe and (names or baud):
        raise InputError(
            ErrorCode.USAGE, "a port or a baud rate was named, but nothing shall be asked.", "Add --probe."
        )
    if not probe:
        _list(json)
        return
    wanted = names or [port.name for port in serial_ports()]
    _probe(wanted, (baud,) if baud else BAUDS, json)


def _list(json: bool) -> None:
    from machine_node.ports import serial_ports

    found = serial_ports()
    if json:
        fields = ("name", "device", "by_id", "by_path", "description", "vendor_id", "product_id")
        print_json({"ports": [{field: getattr(port, field) for field in fields} for port in found]})
        return
    if not found:
        console().print("no serial port: nothing is plugged in, or it has no driver")
        return
    table = columns("port", "device", "USB id", "description")
    for port in found:
        usb = "-" if port.vendor_id is None else f"{port.vendor_id:04x}:{port.product_id or 0:04x}"
        table.add_row(port.name, port.device, usb, port.description or "-")
    console().print(table)


def _probe(names: Sequence[str], bauds: Sequence[int], json: bool) -> None:
    """One named port that has no controller is an error; of several, it is enough when one has."""
    from machine_node.ports import probe

    results: list[tuple[str, Found | CoreError]] = []
    for name in names:
        try:
            results.append((name, probe(name, bauds)))
        except MachineError as error:
            results.append((name, error))
    found = [result for _, result in results if not isinstance(result, CoreError)]
    if len(results) == 1 and isinstance(results[0][1], CoreError):
        raise results[0][1]
    if not results or (not found and json):
        raise MachineError(
            ErrorCode.NO_REPLY, f"no controller was found at {len(results)} ports.", "Switch it on and plug it in."
        )
    if json:
        print_json({"controllers": [_row(name, result) for name, result in results]})
        return
    table = columns("port", "controller", "firmware", ">baud")
    for name, result in results:
        if isinstance(result, CoreError):
            table.add_row(name, "-", result.message.removeprefix(f"serial port {name}: "), "-")
        else:
            table.add_row(name, result.family.value, result.firmware or "-", str(result.baud))
    console().print(table)
    if not found:
        raise typer.Exit(1)


def _row(name: str, result: Found | CoreError) -> dict[str, Any]:
    if isinstance(result, CoreError):
        return {"port": name, "error": {"code": int(result.code), "message": result.message}}
    return {"port": name, "family": result.family.value, "firmware": result.firmware, "baud": result.baud}
