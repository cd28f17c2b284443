"""Opens the doors that are wanted, all of them or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from industriverse_core.errors import ErrorCode, ProfileError
from machine_node.doors.address import LOOPBACK, address_of, library_missing
from machine_node.doors.http_door import NAME as MTCONNECT
from machine_node.doors.http_door import MtconnectDoor
from machine_node.doors.model import CellModel, CellView
from machine_node.doors.mtconnect import Agent

OPCUA_PORT, MTCONNECT_PORT, FOXGLOVE_PORT = 4840, 5000, 8765  # the usual ones


class Door(Protocol):
    """What a door has in common with the others."""

    name: str
    url: str
    period_s: float
    failure: BaseException | None  # a bug that has ended its thread

    def update(self, view: CellView, utc_s: float) -> None:
        """Show this view from now on; never waits for a client."""

    def close(self) -> None:
        """Stop listening."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which doors are to be opened. Port 0 = shut."""

    host: str = LOOPBACK
    opcua_port: int = 0
    mtconnect_port: int = 0
    foxglove_port: int = 0
    opcua_nodesets: str = ""
    opcua_password_file: str = ""
    cell_dir: str = ""  # where the OPC UA server's certificate lies, off loopback


def open_doors(wanted: Wanted, model: CellModel, utc_s: float) -> tuple[Door, ...]:
    """Open all doors that are wanted. Raises CoreError, and leaves none open, where one cannot be opened."""
    makers: tuple[tuple[int, Callable[[], Door]], ...] = (
        (wanted.mtconnect_port, lambda: _mtconnect(wanted, model, utc_s)),
        (wanted.opcua_port, lambda: _opcua(wanted, model)),
        (wanted.foxglove_port, lambda: _foxglove(wanted, model)),
    )
    if not any(port for port, _ in makers):
        raise ProfileError(
            ErrorCode.BAD_PARAMETER,
            "no side door is to be opened.",
            f"Set a port: opcua_port ({OPCUA_PORT}), mtconnect_port ({MTCONNECT_PORT}) or foxglove_port "
            f"({FOXGLOVE_PORT}).",
        )
    opened: list[Door] = []
    try:
        for port, make in makers:
            if port:
                opened.append(make())
    except BaseException:
        for door in opened:
            door.close()
        raise
    return tuple(opened)


def _mtconnect(wanted: Wanted, model: CellModel, utc_s: float) -> Door:
    return MtconnectDoor(Agent(model, utc_s), address_of(MTCONNECT, wanted.host, wanted.mtconnect_port))


def _opcua(wanted: Wanted, model: CellModel) -> Door:
    try:
        from machine_node.doors.opcua import NAME, OpcuaDoor, access_of
    except ImportError as error:
        raise library_missing("OPC UA", "asyncua", error) from error
    address = address_of(NAME, wanted.host, wanted.opcua_port)
    access = None if address.is_loopback else access_of(wanted.opcua_password_file, wanted.cell_dir)
    return OpcuaDoor(model, address, wanted.opcua_nodesets, access)


def _foxglove(wanted: Wanted, model: CellModel) -> Door:
    try:
        from machine_node.doors.foxglove_door import NAME, FoxgloveDoor
    except ImportError as error:
        raise library_missing("Foxglove", "foxglove-sdk", error) from error
    return FoxgloveDoor(model, address_of(NAME, wanted.host, wanted.foxglove_port))
