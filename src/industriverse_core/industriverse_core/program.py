"""The machine program: Industrial Bytecode 1.0 as columns, its Arrow file and its digest.

docs/bytecode.md is the specification. In short: one numpy array a field; modal state resolved; absolute
coordinates in metres; every instruction knows its source line. Positions start at the origin and a HOME puts
the homed axes back there. Normalising twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from industriverse_core.digest import Digest, digest_columns
from industriverse_core.errors import ErrorCode, InputError

FORMAT = "industrial-bytecode"
VERSION = "1.0"
DIGEST_TAG = b"IBC1"
GRID_M = 1e-9  # coordinates and speeds lie on this grid, so that writing and reading G-code changes nothing
GRID_M3 = 1e-15
EXACT_STEPS = 2**50  # three roundings of 2^-53 each stay below half a step: normalising again finds the same one
MAX_FILE_BYTES = 2 << 30


class Op(IntEnum):
    """Canonical machining functions (NIST RS274/NGC) and the additive ones it lacks."""

    NOP = 0
    STRAIGHT_TRAVERSE = 1  # x y z feed(NaN = machine's rapid)
    STRAIGHT_FEED = 2  # x y z feed, extrude
    ARC_FEED = 3  # x y z feed, extrude, center_1, center_2, turns, target = plane
    DWELL = 4  # value = seconds
    START_SPINDLE_CLOCKWISE = 5  # value = rad/s
    START_SPINDLE_COUNTERCLOCKWISE = 6
    STOP_SPINDLE_TURNING = 7
    CHANGE_TOOL = 8  # target = tool number
    FLOOD_ON = 9
    MIST_ON = 10
    COOLANT_OFF = 11
    PROGRAM_STOP = 12
    OPTIONAL_PROGRAM_STOP = 13
    PROGRAM_END = 14
    USE_TOOL_LENGTH_OFFSET = 15  # value = metres along z; z is the tool's tip from here on
    ORIENT_SPINDLE = 16  # value = rad; the spindle stops at this angle and holds it
    # additive
    HOME = 32  # target = bit mask of axes (1 x, 2 y, 4 z)
    LEVEL_BED = 33
    SET_HEATER = 34  # target = Heater, value = degC (0 = off)
    WAIT_HEATER = 35  # target = Heater, value = degC; sets the target, then waits; turns = 1: for cooling too
    SET_FAN = 36  # target = fan, value = 0..1
    MOTORS_OFF = 37  # target = bit mask of motors (1 x, 2 y, 4 z, 8 filament)
    SET_LIMIT = 38  # target = Limit, value in SI
    SET_PRESSURE_ADVANCE = 39  # value = s
    UNKNOWN = 255  # a line that the reader did not carry out; its text is in the note with this instruction


class Heater(IntEnum):
    """Values as in HeaterReading.msg."""

    HOTEND = 1
    BED = 2
    CHAMBER = 3


class Limit(IntEnum):
    """What a SET_LIMIT changes in the controller's planner."""

    ACCELERATION_X = 1  # [m/s^2]
    ACCELERATION_Y = 2
    ACCELERATION_Z = 3
    ACCELERATION_E = 4  # filament
    SPEED_X = 11  # [m/s]
    SPEED_Y = 12
    SPEED_Z = 13
    SPEED_E = 14
    PRINT_ACCELERATION = 21  # [m/s^2] M204 P (or S)
    TRAVEL_ACCELERATION = 22  # M204 T
    RETRACT_ACCELERATION = 23  # M204 R
    JERK_X = 31  # [m/s] instantaneous speed change (M205)
    JERK_Y = 32
    JERK_Z = 33
    JERK_E = 34
    JUNCTION_DEVIATION = 35  # [m] M205 J
    MINIMUM_CRUISE_RATIO = 41  # [-] Klipper's setting of this name
    TOOLHEAD_SPEED = 42  # [m/s] Klipper's VELOCITY
    SQUARE_CORNER_VELOCITY = 43  # [m/s] Klipper's setting of this name


class Plane(IntEnum):
    """Plane of an arc: the two axes of its centre, in this order."""

    XY = 0
    ZX = 1
    YZ = 2


MOTION_OPS = (Op.STRAIGHT_TRAVERSE, Op.STRAIGHT_FEED, Op.ARC_FEED)

COLUMNS: dict[str, np.dtype[Any]] = {
    "op": np.dtype("u1"),
    "line": np.dtype("<i4"),  # source line, 1-based; 0 = none. Not part of the digest
    "x_m": np.dtype("<f8"),  # end point
    "y_m": np.dtype("<f8"),
    "z_m": np.dtype("<f8"),
    "feed_m_s": np.dtype("<f8"),  # along the path (filament alone: of the filament); NaN = rapid
    "extrude_m3": np.dtype("<f8"),  # filament volume fed during the move; negative = retracted
    "center_1_m": np.dtype("<f8"),  # arc centre in the plane, absolute
    "center_2_m": np.dtype("<f8"),
    "turns": np.dtype("<i2"),  # arc: > 0 counter-clockwise, |turns| = number of (begun) turns; see WAIT_HEATER
    "target": np.dtype("<i4"),
    "value": np.dtype("<f8"),
}
DIGESTED = tuple(name for name in COLUMNS if name != "line")


@dataclass(frozen=True, slots=True)
class SourceNote:
    """Something the reader saw that is not an instruction: an unknown, forbidden, malformed or ignored word."""

    kind: str  # 'unknown', 'forbidden', 'malformed', 'unsupported', 'ignored'
    line: int
    text: str  # the command as written, at most 80 characters
    reason: str = ""
    instruction: int = -1


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known about a program besides its instructions. `filament_diameter_m` and the work system are meaning."""

    name: str = ""
    dialect: str = "marlin"  # 'marlin' or 'rs274'
    generator: str = ""
    material: str = ""  # as the slicer names it, e.g. PLA
    machine: str = ""  # printer model as the slicer names it
    filament_diameter_m: float = 1.75e-3
    nozzle_diameter_m: float = 0.0
    layer_height_m: float = 0.0
    slicer_time_s: float = 0.0
    slicer_filament_m: float = 0.0  # before the printer's own flow factor (M221)
    source_line_count: int = 0
    work_system: str = ""  # G54 to G59.3: coordinates count from its origin; '' = G54 on a mill, the bed's on a printer
    start_line: int = 0  # of the first line that counts on the tool being at the origin before it; 0 = none does
    work_origin: str = ""  # that origin in machine coordinates, as words of G10 L2 [mm], where the program sets it


Record = TypeVar("Record", SourceNote, Metadata)


@dataclass(frozen=True)
class Program:
    """A machine program.

    Attributes:
        columns: one array for each name of COLUMNS, all of the same length and of that dtype.
        metadata: see Metadata.
        notes: what the reader saw besides instructions, by line.
    """

    columns: Mapping[str, np.ndarray]
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[SourceNote, ...] = ()

    def __post_init__(self) -> None:
        length = len(self.columns["op"])
        for name, dtype in COLUMNS.items():
            column = self.columns[name]
            if column.dtype != dtype or column.shape != (length,):
                raise ValueError(f"column {name}: {column.dtype}{column.shape}, want {dtype}({length},)")

    def __len__(self) -> int:
        return len(self.columns["op"])

    def __getattr__(self, name: str) -> np.ndarray:
        """Columns read as attributes: program.x_m."""
        if name in COLUMNS:
            return self.columns[name]
        raise AttributeError(name)

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of what the program does (docs/bytecode.md); names, lines and notes do not count.

        Computed once: every stage asks for it, and columns are never changed in place.
        """
        meaning: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "filament_diameter_m": self.metadata.filament_diameter_m,
            "unknown": [note.text for note in self.notes if note.kind != "ignored"],
        }
        if self.metadata.work_system not in ("", "G54"):
            meaning["work_system"] = self.metadata.work_system
        if self.metadata.work_origin:
            meaning["work_origin"] = self.metadata.work_origin
        return digest_columns(DIGEST_TAG, meaning, {name: self.columns[name] for name in DIGESTED})

    def is_motion(self) -> np.ndarray:
        """Boolean mask of the instructions that move an axis or the filament."""
        op = self.columns["op"]
        return (op >= Op.STRAIGHT_TRAVERSE) & (op <= Op.ARC_FEED)

    def positions_m(self) -> np.ndarray:
        """End point of each instruction, shape (n, 3) [m]."""
        return np.column_stack([self.columns["x_m"], self.columns["y_m"], self.columns["z_m"]])

    def starts_m(self) -> np.ndarray:
        """Start point of each instruction, shape (n, 3) [m]; the first starts at the origin."""
        return np.vstack([np.zeros((1, 3)), self.positions_m()[:-1]]) if len(self) else np.zeros((0, 3))


def normalise(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns with their exact dtypes, on the grid, without -0.0 and with one NaN. Idempotent."""
    out = {}
    for name, dtype in COLUMNS.items():
        column = np.asarray(columns[name]).astype(dtype)
        if dtype.kind == "f":
            column = _on_grid(column, GRID_M3 if name == "extrude_m3" else GRID_M)
        out[name] = column
    return out


def _on_grid(column: np.ndarray, grid: float) -> np.ndarray:
    """Nearest multiples of the grid, as the floats that round(1 / grid) divides to; NaN made one."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is far off the grid stays as it is
        steps = np.round(column / grid)
    exact = np.abs(steps) < EXACT_STEPS
    out = np.where(exact, steps / round(1.0 / grid), column) + 0.0
    out[np.isnan(out)] = np.nan
    return out


def build_program(
    rows: Iterable[Mapping[str, float]], metadata: Metadata | None = None, notes: tuple[SourceNote, ...] = ()
) -> Program:
    """A program from rows of named values; absent fields are 0, an absent position stays where it was.

    For tests and small generated programs. The G-code reader fills columns directly.
    """
    table = list(rows)
    columns = {name: np.zeros(len(table), dtype) for name, dtype in COLUMNS.items()}
    last = {"x_m": 0.0, "y_m": 0.0, "z_m": 0.0}
    for index, row in enumerate(table):
        for name, value in {**last, **row}.items():
            columns[name][index] = value
        last = {name: row.get(name, value) for name, value in last.items()}
    return Program(normalise(columns), metadata or Metadata(), notes)


# --- file -----------------------------------------------------------------------------------------------


def write_program(program: Program, path: Path) -> None:
    """Write one Arrow IPC file, whole or not at all (temporary file, fsync, rename)."""
    import pyarrow as pa

    from industriverse_core.files import replace_file

    table = pa.table({name: program.columns[name] for name in COLUMNS})
    notes = [[note.kind, note.line, note.text, note.reason, note.instruction] for note in program.notes]
    schema_metadata = {
        b"format": FORMAT.encode(),
        b"version": VERSION.encode(),
        b"metadata": json.dumps({name: getattr(program.metadata, name) for name in Metadata.__slots__}).encode(),
        b"notes": json.dumps(notes).encode(),
        b"digest": program.digest.hex().encode(),
    }
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema.with_metadata(schema_metadata)) as writer:
        writer.write_table(table)
    replace_file(path, sink.getvalue())


def read_program(path: Path, expected: Digest | None = None, file_sha256: bytes | None = None) -> Program:
    """Read an Arrow file.

    The digest is computed anew from the content: a changed meaning gives InputError(DIGEST_MISMATCH), as does a
    program whose digest is not `expected`. With `file_sha256` any changed byte of the file does, also one that
    means nothing (source lines, notes, padding). A file that is no bytecode gives BYTECODE_BROKEN.
    """
    import pyarrow as pa

    from industriverse_core.files import read_bytes

    data = read_bytes(path, MAX_FILE_BYTES)
    if file_sha256 is not None and hashlib.sha256(data).digest() != file_sha256:
        raise InputError(
            ErrorCode.DIGEST_MISMATCH,
            f"{path}: the file is not the one that was checked (SHA-256).",
            "The file was changed after it was written; compile and check the program again.",
        )
    try:
        table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
        table.validate(full=True)  # lengths inside a damaged file can point outside its buffers
        header = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            raise ValueError(f"format {header.get('format')!r} version {header.get('version')!r}")
        wanted_schema = pa.schema([(name, pa.from_numpy_dtype(dtype)) for name, dtype in COLUMNS.items()])
        if not table.schema.equals(wanted_schema) or any(column.null_count for column in table.columns):
            raise ValueError("other columns than specified")
        columns = {name: table.column(name).to_numpy() for name in COLUMNS}
        metadata = _checked(Metadata(**json.loads(header["metadata"])))
        notes = tuple(_checked(SourceNote(*note)) for note in json.loads(header["notes"]))
        program = Program(normalise(columns), metadata, notes)
        stored = bytes.fromhex(header["digest"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(
            ErrorCode.BYTECODE_BROKEN,
            f"{path}: not a readable Industrial Bytecode {VERSION} file ({reason}).",
            "Compile the program again from its G-code.",
        ) from error
    wanted = stored if expected is None else expected
    if program.digest != wanted:
        raise InputError(
            ErrorCode.DIGEST_MISMATCH,
            f"{path}: the content has digest {program.digest.hex()[:12]}, {wanted.hex()[:12]} was checked.",
            "The file was changed after it was written; compile and check the program again.",
        )
    return program


def _checked(record: Record) -> Record:
    """The record, when every field has the type that it is declared with; else TypeError."""
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
    for item in fields(record):
        value: object = getattr(record, item.name)
        if isinstance(value, bool) or not isinstance(value, kinds[str(item.type)]):
            raise TypeError(f"{item.name} is {value!r}"[:80])
    return record


def renamed(program: Program, name: str) -> Program:
    """The same program under another name."""
    return replace(program, metadata=replace(program.metadata, name=name))
