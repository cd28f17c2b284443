"""G-code text to a program: the compiled loop (lines.py) over pieces of the text (text.py), the rest by tables."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import numpy as np

from industriverse_core.controller import NOTHING_KNOWN, Controller
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode import klipper, lines, marlin, repeats, rs274, text, tokens
from industriverse_core.gcode.columns import Array, Columns, allocate, append, finished, grown, to_si
from industriverse_core.gcode.metadata import DETECT_BYTES, HEAD_BYTES, TAIL_BYTES, detect_dialect, read_metadata
from industriverse_core.gcode.offsets import Frames
from industriverse_core.gcode.session import TEXT_LENGTH, RefusedError, Session, Words, malformed, unsupported
from industriverse_core.program import Metadata, Program
from industriverse_core.units import filament_area_m2

MAX_LINES = 30_000_000  # more than 512 MB of sliced text have; keeps a hostile file from taking memory and hours
MAX_REFUSED_LINES = 100_000  # a file with more is no program for this reader, and reading on would take minutes
DIALECTS = ("marlin", "rs274")
_COMMAND_LETTERS = "GMT"
_STATUS = {
    tokens.BAD_NUMBER: "a number cannot be read",
    tokens.TOO_LARGE: "a number is too large",
    tokens.BAD_CHARACTER: "a character has no meaning",
    tokens.UNCLOSED_COMMENT: "a comment does not end",
    tokens.BAD_CHECKSUM: "the checksum does not match",
    tokens.EXPONENT: "a number has an exponent",
}


@dataclass(slots=True)
class Reading:
    """One reading under way.

    Attributes:
        columns, count: the rows so far, and how many.
        line: number of the next line.
        has_command: whether a G, M or T word was seen by Python.
        refused: how many lines were not carried out.
        letters, values: scratch for the words of one line.
    """

    name: str
    session: Session
    columns: Columns
    count: int = 0
    line: int = 1
    has_command: bool = False
    refused: int = 0
    known: repeats.Repeats = field(default_factory=repeats.no_repeats)
    letters: Array = field(default_factory=lambda: np.empty(tokens.MAX_LINE_BYTES + 1, np.uint8))
    values: Array = field(default_factory=lambda: np.empty(tokens.MAX_LINE_BYTES + 1))


def read(file: BinaryIO, name: str, dialect: str | None, controller: Controller | None = None) -> Program:
    """See read_gcode; `file` must be able to seek and is read twice."""
    if dialect is not None and dialect not in DIALECTS:
        raise ValueError(f"dialect {dialect!r}, want one of {DIALECTS}")
    head = file.read(DETECT_BYTES)
    text.refuse_non_text(head, name)
    start = len(text.BYTE_ORDER_MARK) if head.startswith(text.BYTE_ORDER_MARK) else 0
    seen = text.survey(file, start, name)
    text.refuse_strange(seen, head, name)
    if seen.lines > MAX_LINES:
        raise InputError(
            ErrorCode.FILE_TOO_LARGE, f"{name}: more than {MAX_LINES} lines.", "Split the program or slice coarser."
        )
    head = head[start:]
    controller = controller or NOTHING_KNOWN
    session = Session(dialect or detect_dialect(head), controller.firmware, frames=Frames.at_start(controller))
    session.tool_lengths = {number: 1e3 * length for number, length in controller.tool_lengths_m.items()}
    session.state[it.LINE_NUMBER] = math.nan
    metadata = read_metadata(head[:HEAD_BYTES], _tail(file, start), name, session.dialect)
    reading = Reading(name, session, allocate(seen.lines + 2 * lines.MAX_ROWS_OF_A_LINE))
    area_m2 = filament_area_m2(metadata.filament_diameter_m)
    for piece in text.pieces(file, start):
        if session.ended:
            break
        first = reading.count
        _carry_out_piece(reading, piece)
        to_si(reading.columns, first, reading.count, area_m2)
    if not (reading.has_command or session.state[it.MODE] >= 0.0):
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{name}: no G, M or T command in it; its first line is {_first_line(head)!r}.",
            text.REMEDY,
        )
    columns = finished(reading.columns, reading.count)
    system, origin = session.frame()
    metadata = replace(
        metadata,
        source_line_count=seen.lines,
        work_system=system,
        work_origin=origin,
        start_line=metadata.start_line or session.start_line,
    )
    return Program(columns, metadata, tuple(session.notes))


def describe(file: BinaryIO, name: str) -> Metadata:
    """See program_metadata; `file` must be able to seek."""
    head = file.read(DETECT_BYTES)
    text.refuse_non_text(head, name)
    start = len(text.BYTE_ORDER_MARK) if head.startswith(text.BYTE_ORDER_MARK) else 0
    head = head[start:]
    return read_metadata(head[:HEAD_BYTES], _tail(file, start), name, detect_dialect(head))


def _tail(file: BinaryIO, start: int) -> bytes:
    """The last bytes of the text, where slicers write their settings; nothing that is in the head already."""
    size = file.seek(0, 2)
    file.seek(min(max(size - TAIL_BYTES, start + HEAD_BYTES), size))
    return file.read(TAIL_BYTES)


def _first_line(body: bytes) -> str:
    line = next((line for line in body[:4096].splitlines() if line.strip()), b"")
    return line[:60].decode("utf-8", errors="replace")


def _carry_out_piece(reading: Reading, piece: Array) -> None:
    """Append the instructions of these lines."""
    session = reading.session
    at = 0
    while at < len(piece) and not session.ended:
        if len(reading.columns.op) - reading.count <= lines.MAX_ROWS_OF_A_LINE:
            reading.columns = grown(reading.columns, reading.count)
        room = len(reading.columns.op) - lines.MAX_ROWS_OF_A_LINE
        at, reading.line, reading.count = lines.run(
            piece, at, len(piece), reading.line, session.state, session.skipped, reading.known,
            reading.columns, reading.count,
        )  # fmt: skip
        if at < len(piece) and reading.count <= room:
            at = _python_line(reading, piece, at)


def _python_line(reading: Reading, piece: Array, at: int) -> int:
    """Carry out the line at piece[at], which is not plain motion; returns the position of the next."""
    session = reading.session
    end = tokens.line_end(piece, at)
    if end - at > tokens.MAX_LINE_BYTES:
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{reading.name}, line {reading.line}: longer than {tokens.MAX_LINE_BYTES} bytes.",
            "Give a file with line ends.",
        )
    count, status, flags = tokens.line_words(piece, at, reading.letters, reading.values)
    letters = reading.letters[:count].tobytes().decode()
    values = reading.values[:count].tolist()
    session.line = reading.line
    session.raw = piece[at : min(at + 4 * TEXT_LENGTH, end)].tobytes()
    session.earlier, session.count = reading.count, 0
    unit = float(session.state[it.UNIT])
    accepted = _accepted(session, letters, values, status, flags)
    rows = session.rows[: session.count]
    if session.state[it.UNIT] != unit:
        repeats.forget(reading.known)
    elif accepted and not flags and _command(letters, values) in repeats.REPEATABLE and session.dialect == "marlin":
        repeats.remember(reading.known, piece, at, rows)
    _append_rows(reading, rows)
    reading.has_command = reading.has_command or _has_command(letters, values)
    _limit_refusals(reading, accepted)
    reading.line += 1
    return end + 1


def _append_rows(reading: Reading, rows: Array) -> None:
    while reading.count + len(rows) > len(reading.columns.op):
        reading.columns = grown(reading.columns, reading.count)
    reading.count = append(reading.columns, reading.count, rows)


def _limit_refusals(reading: Reading, accepted: bool) -> None:
    """Raise InputError when very many lines were not carried out."""
    reading.refused += not accepted
    if reading.refused > MAX_REFUSED_LINES:
        first = next(note for note in reading.session.notes if note.kind != "ignored")
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{reading.name}, line {reading.line}: {reading.refused} lines up to here cannot be carried out, the first "
            f"in line {first.line} ({first.kind}: {first.reason or first.text}).",
            "Check what kind of file this is.",
        )


def _has_command(letters: str, values: list[float]) -> bool:
    """Whether there is a word like G1, M104, T0."""
    return any(
        letter in _COMMAND_LETTERS and not math.isnan(value) for letter, value in zip(letters, values, strict=True)
    )


def _accepted(session: Session, letters: str, values: list[float], status: int, flags: int) -> bool:
    """Carry out a line. One that is refused changes nothing but the line number, and adds one UNKNOWN."""
    mark = session.mark()
    try:
        _carry_out(session, letters, values, status, flags)
    except RefusedError as refusal:
        line_number = session.state[it.LINE_NUMBER]
        session.undo(mark)
        session.state[it.LINE_NUMBER] = line_number
        session.refuse(refusal.kind, refusal.reason)
        return False
    return True


def _command(letters: str, values: list[float]) -> str:
    """The command that the line begins with, behind its line number; '' for none."""
    first = 1 if letters.startswith("N") else 0
    return _name(letters[first], values[first]) if letters[first : first + 1] in (*_COMMAND_LETTERS,) else ""


def _carry_out(session: Session, letters: str, values: list[float], status: int, flags: int) -> None:
    """One line as letters and numbers. Raises RefusedError."""
    if flags & tokens.BLOCK_DELETE:
        session.ignore("/", "the block-delete mark is ignored and the line is carried out")
    if flags & tokens.CHECKSUM and status != tokens.BAD_CHECKSUM:
        _check_line_number(session, letters, values)
    if letters.startswith("N"):
        letters, values = letters[1:], values[1:]
    begins_with_a_name = math.isnan(values[0]) if letters else status != tokens.OK
    if begins_with_a_name and session.dialect == "marlin" and klipper.carry_out(session):
        return
    command = _command(letters, values)
    rules = marlin if session.dialect == "marlin" else rs274
    if command in rules.FORBIDDEN:
        raise RefusedError("forbidden", f"{command} {rules.FORBIDDEN[command]}")
    if session.dialect == "marlin" and command in marlin.IGNORED:
        _ignore_command(session, command, flags)
        return
    if not letters and status == tokens.OK:
        if flags & tokens.PERCENT and session.earlier:
            session.ended = True
        return
    if letters.startswith("O"):
        raise unsupported("subroutines and loops (O words)")
    if session.dialect == "marlin" and _shows_text(command, status) and not _has_command(letters[1:], values[1:]):
        marlin.execute(session, command, _time_of(letters, values, status))
        return
    if status == tokens.EXPRESSION:
        raise unsupported("parameters and expressions")
    if status != tokens.OK:
        unfilled = status == tokens.BAD_CHARACTER and b"{" in session.raw.partition(b";")[0]
        raise malformed("the slicer has not filled in a {placeholder}" if unfilled else _STATUS[status])
    if session.dialect == "marlin":
        _marlin_line(session, command, letters, values)
    else:
        _rs274_line(session, letters, values)


def _shows_text(command: str, status: int) -> bool:
    """Whether what follows a Marlin command is a text, of any characters but a wrong checksum."""
    return command in marlin.WITH_MESSAGE and status != tokens.BAD_CHECKSUM


def _time_of(letters: str, values: list[float], status: int) -> Words:
    """The words of a stop, where all that follows it is a time; any other text is a message."""
    words = dict(zip(letters[1:], values[1:], strict=True))
    is_time = status == tokens.OK and len(letters) == 2 and not math.isnan(values[1]) and words.keys() <= {"S", "P"}
    return words if is_time else {}


def _name(letter: str, value: float) -> str:
    """'M104', 'G92.1'; 'T' for every tool."""
    if letter == "T":
        return "T"
    return f"{letter}{value:g}" if not math.isnan(value) else letter


def _ignore_command(session: Session, command: str, flags: int) -> None:
    """Note a command without effect once; from then on the compiled loop skips it."""
    marlin.check_ignored(session, command)
    session.ignore(command, "changes neither motion nor heat")
    if command[0] == "M" and command not in marlin.LOOKED_AT:
        session.skipped[round(10.0 * float(command[1:]))] = True


def _check_line_number(session: Session, letters: str, values: list[float]) -> None:
    """With checksums, line numbers count up by one (M110 sets them)."""
    if not letters.startswith("N") or math.isnan(values[0]):
        raise malformed("a checksum without a line number")
    expected = float(session.state[it.LINE_NUMBER]) + 1.0
    sets_number = len(values) > 1 and letters[1] == "M" and values[1] == 110.0
    if not math.isnan(expected) and values[0] != expected and not sets_number:
        raise malformed(f"line number {values[0]:g}, {expected:g} is next")
    session.state[it.LINE_NUMBER] = values[0]


def _marlin_line(session: Session, command: str, letters: str, values: list[float]) -> None:
    """One command and its words."""
    if not command:
        raise RefusedError("unknown", "the line does not begin with a G, M or T command")
    words: Words = {} if command != "T" else {"T": values[0]}
    for letter, value in zip(letters[1:], values[1:], strict=True):
        if letter in "GM" and not (command == "G53" and letter == "G"):
            raise unsupported("Marlin reads one command a line")
        if letter in words:
            raise malformed(f"{letter} twice")
        words[letter] = value
    marlin.execute(session, command, words)


def _rs274_line(session: Session, letters: str, values: list[float]) -> None:
    """All codes and words of one line."""
    names: list[str] = []
    words: Words = {}
    for letter, value in zip(letters, values, strict=True):
        if math.isnan(value):
            raise malformed(f"{letter} without a number")
        if letter in "GM":
            names.append(_name(letter, value))
        elif letter in words or letter == "N":
            raise malformed(f"{letter} twice")
        else:
            words[letter] = value
    for name in names:
        if name in rs274.FORBIDDEN:
            raise RefusedError("forbidden", f"{name} {rs274.FORBIDDEN[name]}")
    rs274.execute(session, names, words)
