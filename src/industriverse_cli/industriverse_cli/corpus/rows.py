"""What the folder tool asks of each file, and the columns of the table that it answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from industriverse_cli.choosing import AUTO
from industriverse_core.artefacts import Subsystem
from industriverse_core.errors import CoreError

if TYPE_CHECKING:
    import pyarrow

INTERVALS = ("time_s", "motion_time_s", "energy_j", "peak_power_w", "heat_j", "material_kg")

Row = dict[str, Any]
COLUMNS: Mapping[str, str] = {
    "path": "string", "bytes": "int64", "mtime_ns": "int64",
    "ok": "bool", "error_code": "int32", "error": "string", "message": "string",
    "program_digest": "string", "dialect": "string", "slicer": "string", "slicer_machine": "string",
    "slicer_material": "string", "slicer_time_s": "float64", "layer_height_m": "float64",
    "machine": "string", "machine_from": "string", "material": "string",
    "source_lines": "int64", "instructions": "int64", "unread_lines": "int64",
    "time_s": "float64", "motion_time_s": "float64", "energy_j": "float64", "peak_power_w": "float64",
    "heat_j": "float64", "filament_m": "float64", "material_kg": "float64",
    **{f"energy_{part.name.lower()}_j": "float64" for part in Subsystem},
    **{f"{name}_{end}": "float64" for name in INTERVALS for end in ("low", "high")},
    "price": "float64", "currency": "string", "carbon_kg": "float64",
    "gate_verdict": "string", "gate_errors": "int64", "gate_warnings": "int64", "gate_rule": "string",
    "gate_message": "string", "voxel_file": "string", "voxels": "int64",
    "wall_s": "float64", "cpu_s": "float64",
}  # fmt: skip
MEASURED = ("wall_s", "cpu_s")  # what differs from run to run


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked of each file; two runs with the same settings give the same rows.

    Attributes:
        folder, output: what is read, where results go.
        machine: a profile's name or file, or choosing.AUTO.
        material: a material's name or file; "" = as each file says.
        voxel_mm, voxel_height_mm: None = the usual sizes.
        max_bytes: larger files are refused.
        memory_bytes: what one worker may allocate.
    """

    folder: Path
    output: Path
    machine: str
    material: str
    tariff: str
    gates: bool
    intervals: bool
    voxels: bool
    voxel_mm: float | None
    voxel_height_mm: float | None
    max_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Task:
    """One file: its path below the folder, and what tells whether it was changed (-1: it cannot be looked at)."""

    name: str
    size: int
    mtime_ns: int


def settings_key(settings: Settings) -> bytes:
    """Digest of all that decides a row besides the file: options, profiles, materials, prices and version."""
    from industriverse_core.digest import digest_of
    from industriverse_core.machine import load_machine, machine_names
    from industriverse_core.material import load_material, material_names
    from twin_node.tariff import load_tariff

    options = {
        name: str(value) for name, value in asdict(settings).items() if name not in ("folder", "output", "memory_bytes")
    }
    machines = machine_names() if settings.machine == AUTO else [settings.machine]
    materials = [settings.material] if settings.material else material_names()
    documents = [
        *(load_machine(name) for name in machines), *(load_material(name) for name in materials),
        load_tariff(settings.tariff),
    ]  # fmt: skip
    return digest_of([version("industriverse_cli"), options, [item.model_dump() for item in documents]])


def shown(name: str) -> str:
    """A file name as text that every format can hold; bytes that are no UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def first_row(task: Task) -> Row:
    """A row of which only the file is known."""
    return {**dict.fromkeys(COLUMNS), "path": shown(task.name), "bytes": task.size, "mtime_ns": task.mtime_ns}


def refuse(row: Row, error: CoreError) -> Row:
    """The row of a file that could not be done; keeps what was found out before."""
    row |= {"ok": False, "error_code": int(error.code), "error": error.code.name, "message": shown(str(error))}
    return row


def schema() -> pyarrow.Schema:
    """The table's columns; the unit is the last part of the name."""
    import pyarrow

    types = {"string": pyarrow.string(), "int64": pyarrow.int64(), "int32": pyarrow.int32()}
    types |= {"float64": pyarrow.float64(), "bool": pyarrow.bool_()}
    return pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
