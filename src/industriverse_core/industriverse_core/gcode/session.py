"""What one reading remembers: modal state, rows of instructions, notes. Shared by both dialects' codes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np

from industriverse_core.controller import Firmware
from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode.offsets import Frames
from industriverse_core.program import Heater, Op, Plane, SourceNote

NOTES_OF_A_KIND = 1000  # further ones are counted, not kept; the instruction stays UNKNOWN
TEXT_LENGTH = 80
Words = dict[str, float]  # letter -> number; NaN = the letter alone


class RefusedError(Exception):
    """A line that is not carried out: it becomes an UNKNOWN instruction with a note of this kind."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def malformed(reason: str) -> RefusedError:
    """The line breaks the rules of its dialect."""
    return RefusedError("malformed", reason)


def unsupported(reason: str) -> RefusedError:
    """The line is legal, but this reader does not carry it out."""
    return RefusedError("unsupported", reason)


@dataclass(frozen=True, slots=True)
class Cycle:
    """The canned cycle in force and the words that stay (lengths in mm).

    Attributes:
        code: 73 to 89.
        context: unit, distance mode and plane in which the words were written; they stay no longer than these.
        initial: the drilling axis' native position before the first of consecutive cycles.
        words: R, the drilling axis' word (as 'depth'), Q, P.
    """

    code: int
    context: tuple[float, float, float]
    initial: float
    words: Words


# what a refused line must not change, besides `state` and the rows
_UNDONE = (
    "spindle", "spindle_rpm", "tool", "selected_tool", "work_offset", "frames", "moved", "feed_mode",
    "retract_mode", "cycle", "filament_said", "placed", "start_line", "tool_lengths", "tool_offset",
)  # fmt: skip
_remembered = attrgetter(*_UNDONE)


@dataclass(slots=True)
class Session:
    """Mutable state of one reading."""

    dialect: str
    firmware: Firmware = "prusa"
    state: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(it.STATE_SIZE))
    rows: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty((1024, it.ROW_SIZE)))
    count: int = 0
    earlier: int = 0  # rows that were taken away by take_rows
    line: int = 0
    raw: bytes = b""  # the present line's bytes, or their beginning
    skipped: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(20_000, np.bool_))
    notes: list[SourceNote] = field(default_factory=list)
    noted: Counter[str] = field(default_factory=Counter)
    ignored: set[str] = field(default_factory=set)
    filament_said: str = ""  # M82 or M83, when said since the last G90 or G91
    targets_c: dict[Heater, float] = field(default_factory=dict)
    spindle: Op = Op.STOP_SPINDLE_TURNING
    spindle_rpm: float = 0.0
    tool: int = 0
    selected_tool: int = -1
    work_offset: str = ""
    frames: Frames = field(default_factory=Frames)
    moved: bool = False  # whether a move was carried out (RS274: its first is carried out in Python)
    feed_mode: str = "G94"
    retract_mode: str = ""  # G98, G99; '' before the first
    cycle: Cycle | None = None  # the canned cycle in force
    cycle_rows: int = 0
    tool_lengths: dict[int, float] = field(default_factory=dict)  # [mm]; replaced, never changed
    tool_offset: float = 0.0  # of the length in force [mm]: positions are those of the tool's tip
    placed: int = 0  # axes (1 x, 2 y, 4 z) that stand where the program has sent them
    start_line: int = 0  # see Metadata
    ended: bool = False

    def __post_init__(self) -> None:
        self.state[it.UNIT] = self.state[it.FEED_SCALE] = self.state[it.FLOW_SCALE] = 1.0
        self.state[it.FEED] = math.nan
        self.state[it.MODE] = -1.0
        self.state[it.MARLIN] = 1.0 if self.dialect == "marlin" else 0.0
        self.state[it.HAND_OVER] = 1.0 - self.state[it.MARLIN]

    def frame(self) -> tuple[str, str]:
        """The work system of which the origin is the program's frame, '' = none was said; and its origin in machine
        coordinates as words of G10 L2 [mm], where the program itself states it."""
        if self.dialect == "marlin":
            return self.work_offset, ""
        placed = zip("XYZ", self.frames.placed, strict=True)
        words = [
            f"{letter}{value + 0.0:.6f}".rstrip("0").rstrip(".") for letter, value in placed if not math.isnan(value)
        ]
        return self.frames.frame, " ".join(words)

    def place(self, axes: int) -> None:
        """These axes were sent to a place in a known system."""
        self.placed |= axes

    def count_on_start(self, axes: int) -> None:
        """The line counts on where these axes stand; note the first for which the program has not said it."""
        if axes & ~self.placed and not self.start_line:
            self.start_line = self.line

    def mark(self) -> tuple[Any, ...]:
        """The present state, for `undo`."""
        return self.count, self.state.copy(), _remembered(self), dict(self.targets_c)

    def undo(self, mark: tuple[Any, ...]) -> None:
        """Take back what was carried out since `mark`: a refused line does nothing."""
        self.count, state, values, targets_c = mark
        self.state[:] = state
        for name, value in zip(_UNDONE, values, strict=True):
            setattr(self, name, value)
        self.targets_c = targets_c

    def reserve(self, rows: int) -> None:
        """Make room for that many more rows."""
        wanted = self.count + rows
        if wanted > len(self.rows):
            larger = np.empty((max(wanted, 2 * len(self.rows)), it.ROW_SIZE))
            larger[: self.count] = self.rows[: self.count]
            self.rows = larger

    def take_rows(self) -> np.ndarray[Any, Any]:
        """The rows so far, which are then forgotten (they still count as instructions)."""
        rows = self.rows[: self.count].copy()
        self.earlier += self.count
        self.count = 0
        return rows

    def emit(self, op: Op, target: int = 0, value: float = 0.0, turns: int = 0) -> None:
        """Append an instruction that moves nothing, at the present position."""
        self.reserve(1)
        x, y, z = self.state[it.POSITION : it.POSITION + 3].tolist()
        self.rows[self.count] = (op, self.line, x, y, z, 0.0, 0.0, 0.0, 0.0, turns, target, value)
        self.count += 1

    def straight(self, op: Op, target: tuple[float, float, float], feed: float) -> None:
        """Append a straight move to native coordinates [mm] at a feed [mm/min]."""
        self.reserve(1)
        self.rows[self.count] = (op, self.line, *target, feed, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        self.state[it.POSITION : it.POSITION + 3] = target
        self.count += 1
        self.moved = True

    def refuse(self, kind: str, reason: str) -> None:
        """Append an UNKNOWN instruction and its note."""
        self.note(kind, reason, instruction=self.earlier + self.count)
        self.emit(Op.UNKNOWN)

    def ignore(self, name: str, reason: str) -> None:
        """Note once for a code that it changes nothing."""
        if name not in self.ignored:
            self.ignored.add(name)
            self.note("ignored", reason)

    def note(self, kind: str, reason: str, instruction: int = -1) -> None:
        """Keep a note about the present line, unless there are many of its kind."""
        self.noted[kind] += 1
        if self.noted[kind] <= NOTES_OF_A_KIND:
            text = self.raw.decode("utf-8", errors="replace").strip()[:TEXT_LENGTH]
            self.notes.append(SourceNote(kind, self.line, text, reason, instruction))

    def move(self, mode: int, words: Words) -> None:
        """Carry out a G0-G3 with these words. Raises RefusedError."""
        slots = np.zeros(len(it.SLOT_LETTERS))
        seen = 0
        for letter, value in words.items():
            slot = it.SLOT_LETTERS.find(letter)
            if slot < 0 or (letter == "E" and self.dialect == "rs274"):
                raise unsupported(f"a move with the word {letter}")
            if math.isnan(value):
                raise malformed(f"{letter} without a number")
            slots[slot] = value
            seen |= 1 << slot
        self.reserve(1)
        result = it.move(mode, slots, seen, self.state, self.rows[self.count])
        if result == it.WRITTEN:
            self.rows[self.count, it.LINE] = self.line
            self.count += 1
            self.moved = True
        elif result != it.NOTHING:
            raise malformed(it.PROBLEMS[result])


def required(words: Words, letter: str) -> float:
    """The number of a word. Raises RefusedError when it is absent."""
    value = words.get(letter, math.nan)
    if math.isnan(value):
        raise malformed(f"{letter} with a number is needed")
    return value


def whole(words: Words, letter: str, default: int = 0) -> int:
    """A word that counts something, 0 to 999. Raises RefusedError."""
    value = required(words, letter) if letter in words else float(default)
    if not 0.0 <= value < 1000.0 or value != int(value):
        raise malformed(f"{letter} must be a whole number from 0 to 999")
    return int(value)


def not_negative(words: Words, letter: str) -> float:
    """A word that must not be negative. Raises RefusedError."""
    value = required(words, letter)
    if value < 0.0:
        raise malformed(f"{letter} must not be negative")
    return value


# --- codes that both dialects know ----------------------------------------------------------------------


def set_units(session: Session, mm: float) -> None:
    """G20, G21."""
    session.state[it.UNIT] = mm


def set_relative(session: Session, relative: bool) -> None:
    """G90, G91."""
    session.state[it.RELATIVE] = float(relative)


def set_centre_absolute(session: Session, absolute: bool) -> None:
    """G90.1, G91.1."""
    session.state[it.CENTRE_ABSOLUTE] = float(absolute)


def set_plane(session: Session, plane: Plane) -> None:
    """G17, G18, G19."""
    session.state[it.PLANE] = plane


def set_work_offset(session: Session, name: str) -> None:
    """G54 to G59: the first one named is the program's own origin. Raises RefusedError for a second."""
    if session.work_offset not in ("", name):
        raise unsupported(f"a second work offset ({session.work_offset} before): its origin is not known")
    if session.state[it.MODE] >= 0.0 and not session.work_offset and name != "G54":
        raise unsupported(f"{name} behind a move: its origin is not known")
    session.work_offset = name


def end_program(session: Session) -> None:
    """M2, M30: what follows is not part of the program."""
    session.emit(Op.PROGRAM_END)
    session.ended = True
    session.ignore("end", "lines after the program's end do not belong to it")


def set_position(session: Session, words: Words) -> None:
    """G92: give the present position new coordinates. Raises RefusedError."""
    if not words.keys() & set("XYZE"):
        raise unsupported("G92 without axes: controllers differ; name the axes")
    for axis, letter in enumerate("XYZ"):
        if letter in words:
            written = required(words, letter) * session.state[it.UNIT]
            session.state[it.OFFSET + axis] = session.state[it.POSITION + axis] - written
    if "E" in words:
        session.state[it.E_WRITTEN] = required(words, "E") * session.state[it.UNIT]


def spindle(session: Session, op: Op, words: Words) -> None:
    """M3, M4, M5 and a change of S while the spindle turns. Raises RefusedError."""
    if "S" in words:
        session.spindle_rpm = not_negative(words, "S")
    session.spindle = op
    stopped = op is Op.STOP_SPINDLE_TURNING
    session.emit(op, value=0.0 if stopped else session.spindle_rpm * math.tau / 60.0)


def orient(session: Session, angle_rad: float) -> None:
    """M19: stop the spindle at an angle and hold it."""
    session.spindle = Op.STOP_SPINDLE_TURNING
    session.emit(Op.ORIENT_SPINDLE, value=angle_rad)
