"""Cell descriptions, and the one function that turns a description into processes.

`./cell up` (supervisor.py) and `ros2 launch` (cell.launch.py) both start what `processes` returns.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from industriverse_core.documents import Document, document_names, load_document, named_document
from industriverse_core.errors import ErrorCode, ProfileError
from industriverse_core.machine import load_machine, with_stock
from industriverse_core.safety import Safety
from industriverse_core.store import CellPaths

Value = str | int | float | bool


class VirtualMachine(Document):
    """A machine that exists as a process on a pseudo-terminal."""

    speed: float = Field(default=1.0, ge=1.0, le=100.0, description="physics per real time")
    seed: int = Field(default=0, ge=0)
    control: str = Field(default="", description="unix socket that takes faults (industriverse virtual fault)")


class Machine(Document):
    """The cell's machine: virtual, or real at a serial port."""

    profile: str
    virtual: VirtualMachine | None = None
    stock: str = Field(default="", description="a mill's blank: x0,y0,z0,x1,y1,z1 in mm, or a YAML file")
    port: str = Field(default="", description="serial port of a real machine, e.g. /dev/serial/by-id/...")
    meter_port: str = Field(default="", description="power meter: serial port, modbus://... or mqtt://...")
    accelerometer_port: str = Field(default="", description="serial port of the accelerometer")
    envelope: str = Field(default="", description="energy map of the machine, a .npz file; empty = none")

    @model_validator(mode="after")
    def _either(self) -> Machine:
        if (self.virtual is None) == (not self.port):
            raise ValueError("needs either 'virtual' or 'port'")
        return self


class Doors(Document):
    """Side doors of the cell: other software looks at it. Port 0 = shut."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    opcua_port: int = Field(default=0, ge=0, le=65535)
    mtconnect_port: int = Field(default=0, ge=0, le=65535)
    foxglove_port: int = Field(default=0, ge=0, le=65535)
    opcua_nodesets: str = Field(default="", description="folder with OPC Foundation's nodesets; empty = own types")
    opcua_password_file: str = Field(default="", description="file with the password that OPC UA clients need")

    @model_validator(mode="after")
    def _some(self) -> Doors:
        if not (self.opcua_port or self.mtconnect_port or self.foxglove_port):
            raise ValueError("needs a port of at least one door")
        return self


class CellDescription(Document):
    """One cell. `id` is its ROS namespace and the name of its data folder."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    title: str
    machine: Machine
    approval: Literal["automatic", "operator"] = "operator"
    programs: str = Field(default="", description="folder of program files that a sentence can name")
    tariff: str = "default"
    job: str = Field(default="", description="what `./cell up` runs as a demonstration")
    doors: Doors | None = Field(default=None, description="for other software; nobody listens where it is left out")
    safety: Safety | None = Field(default=None, description="people around the machine; left out: nobody is watched")
    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """Where the description was read from; the shield reads the section `safety` from there again."""
        return self._file


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a cell. ROS nodes have parameters; others have arguments."""

    name: str
    package: str
    executable: str
    module: str
    is_node: bool = True
    arguments: tuple[str, ...] = ()
    parameters: dict[str, Value] = field(default_factory=dict)
    essential: bool = True  # the cell cannot go on where it cannot be started


def cells_folder() -> Path:
    """Where the cell descriptions lie: the installed share folder, else the source tree."""
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return Path(get_package_share_directory("industriverse_bringup")) / "config" / "cells"
    except PackageNotFoundError:
        return Path(__file__).parents[1] / "config" / "cells"


def load_cell(name: str) -> CellDescription:
    """A description by name or by the path of a YAML file. Raises ProfileError (BAD_CELL)."""
    path = named_document(name, cells_folder(), "cell", ErrorCode.BAD_CELL)
    cell = load_document(path, CellDescription, ErrorCode.BAD_CELL)
    cell._file = path.resolve()  # noqa: SLF001 - of this module's own class
    return cell


def cell_names() -> list[str]:
    """Descriptions that ship."""
    return document_names(cells_folder())


def processes(cell: CellDescription, cell_dir: Path, speed: float | None = None) -> tuple[Process, ...]:
    """Every process of a cell, in the order of starting; the machine's node is the last to become active.

    Args:
        cell: the description.
        cell_dir: data folder of the cell.
        speed: replaces the virtual machine's speed; ignored for a real machine.
    Raises ProfileError for an unknown or wrong machine profile, InputError for a stock that is no box.
    """
    # a wrong profile or stock is said once, here, not by every node
    machine_id = with_stock(load_machine(cell.machine.profile), cell.machine.stock, "machine.stock").id
    virtual, paths = cell.machine.virtual, CellPaths(cell_dir)
    port, meter_port, time_scale = cell.machine.port, cell.machine.meter_port, 1.0
    accelerometer = cell.machine.accelerometer_port
    started: list[Process] = []
    if virtual is not None:
        time_scale = virtual.speed if speed is None else speed
        port, meter_port = str(paths.machine_tty), str(paths.meter_tty)
        accelerometer = str(paths.accelerometer_tty)
        started.append(_virtual_machine(cell, paths, time_scale))
    common: dict[str, Value] = {
        "machine": cell.machine.profile,
        "cell_dir": str(cell_dir),
        "use_sim_time": virtual is not None,
    }
    if cell.doors is not None:
        parameters = {**common, **cell.doors.model_dump()}
        started.append(
            Process("doors", "machine_node", "doors_node", "machine_node.doors.node", True, (), parameters, False)
        )
    own: tuple[tuple[str, dict[str, Value]], ...] = (
        ("shield", {"stock": cell.machine.stock, "cell_file": _safety_file(cell), "envelope": cell.machine.envelope}),
        ("twin", {"tariff": cell.tariff, "stock": cell.machine.stock, "cell_file": _safety_file(cell)}),
        ("intent", {"programs_dir": str(_programs_folder(cell))}),
        ("conductor", {"approval": cell.approval}),
        ("machine", {"port": port, "meter_port": meter_port, "time_scale": time_scale}),
    )
    started += [
        Process(name, f"{name}_node", f"{name}_node", f"{name}_node.node", parameters={**common, **parameters})
        for name, parameters in own
    ]
    started.append(_hub(cell, common, machine_id, accelerometer))
    return tuple(started)


def _safety_file(cell: CellDescription) -> str:
    """The description's file for the shield; "" where nobody is watched. Raises ProfileError where it has none."""
    if cell.safety is None:
        return ""
    if cell.file is None:
        seen = f"cell '{cell.id}' watches people, and was not read from a file."
        raise ProfileError(ErrorCode.BAD_CELL, seen, "Read it with load_cell.")
    return str(cell.file)


def _hub(cell: CellDescription, common: dict[str, Value], machine_id: str, accelerometer: str) -> Process:
    """The recorder. A cell without it works, and knows less afterwards."""
    parameters: dict[str, Value] = {
        "machines": cell.machine.profile,
        "accelerometers": f"{machine_id}={accelerometer}" if accelerometer else "",
        **{name: value for name, value in common.items() if name != "machine"},
    }
    return Process("hub", "machine_node", "hub_node", "machine_node.hub.node", parameters=parameters, essential=False)


def _virtual_machine(cell: CellDescription, paths: CellPaths, speed: float) -> Process:
    assert cell.machine.virtual is not None
    arguments = (
        *("--machine", cell.machine.profile),
        *("--link", str(paths.machine_tty)),
        *("--meter-link", str(paths.meter_tty)),
        *("--accelerometer-link", str(paths.accelerometer_tty)),
        *("--speed", str(speed)),
        *("--seed", str(cell.machine.virtual.seed)),
        f"--stock={cell.machine.stock}",  # it may begin with a minus
        *("--journal", str(paths.machine_journal)),
        "--ros-clock",
        *(("--control", cell.machine.virtual.control) if cell.machine.virtual.control else ()),
    )
    return Process("virtual_machine", "machine_node", "virtual_machine", "machine_node.virtual.main", False, arguments)


def _programs_folder(cell: CellDescription) -> Path:
    """The folder of programs; a relative one is relative to $INDUSTRIVERSE_ROOT, else to the current folder."""
    return Path(os.environ.get("INDUSTRIVERSE_ROOT", ".")) / cell.programs
