"""G-code text to a program: chunks of lines through the tokeniser and the compiled loop, the rest by tables."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode import klipper, marlin, rs274, tokens
from industriverse_core.gcode.metadata import detect_dialect, read_metadata
from industriverse_core.gcode.offsets import Frames, Stored
from industriverse_core.gcode.session import TEXT_LENGTH, RefusedError, Session, Words, malformed, unsupported
from industriverse_core.gcode.tokens import Array, Tokens
from industriverse_core.program import COLUMNS, Program, normalise
from industriverse_core.units import MM, MM_PER_MIN, filament_area_m2

CHUNK_BYTES = 4 << 20
MAX_LINES = 30_000_000  # more than 512 MB of sliced text have; keeps a hostile file from taking memory and hours
DIALECTS = ("marlin", "rs274")
MAX_CONTROL_SHARE = 0.01
MAX_NON_ASCII_SHARE = 0.3
_COMMAND_LETTERS = "GMT"
_STATUS = {
    tokens.BAD_NUMBER: "a number cannot be read",
    tokens.TOO_LARGE: "a number is too large",
    tokens.BAD_CHARACTER: "a character has no meaning",
    tokens.UNCLOSED_COMMENT: "a comment does not end",
    tokens.BAD_CHECKSUM: "the checksum does not match",
}


def read(data: bytes, name: str, dialect: str | None, stored: Stored | None = None) -> Program:
    """See read_gcode."""
    if dialect is not None and dialect not in DIALECTS:
        raise ValueError(f"dialect {dialect!r}, want one of {DIALECTS}")
    _refuse_non_text(data, name)
    body = data.removeprefix(b"\xef\xbb\xbf")
    session = Session(dialect or detect_dialect(body), frames=Frames.at_start(stored or Stored()))
    chunks: list[dict[str, Array]] = []
    metadata = read_metadata(body, name, session.dialect)
    area_m2 = filament_area_m2(metadata.filament_diameter_m)
    array = np.frombuffer(body, np.uint8)
    start = lines = commands = 0
    while start < len(body):
        stop = body.find(b"\n", start + CHUNK_BYTES) + 1 or len(body)
        words = tokens.tokenise(array, start, stop)
        if lines + len(words) > MAX_LINES:
            raise InputError(
                ErrorCode.FILE_TOO_LARGE, f"{name}: more than {MAX_LINES} lines.", "Split the program or slice coarser."
            )
        commands += _count_commands(words)
        if not session.ended:
            _interpret(session, body, words, lines + 1)
        lines += len(words)
        chunks.append(_columns(session.take_rows(), area_m2))
        start = stop
    if not commands:
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{name}: no G, M or T command in it; its first line is {_first_line(body)!r}.",
            "Give a G-code file (PrusaSlicer, Cura, CAM) or an Industrial Bytecode file.",
        )
    columns = {column: np.concatenate([chunk[column] for chunk in chunks]) for column in COLUMNS}
    return Program(columns, replace(metadata, source_line_count=lines), tuple(session.notes))


def _refuse_non_text(data: bytes, name: str) -> None:
    """Raise InputError for bytes that are no text."""
    if data.startswith(b"GCDE"):
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{name}: is binary G-code (.bgcode), which is not read.",
            "Switch off binary G-code in the slicer's printer settings and export again.",
        )
    counts = tokens.count_bytes(np.frombuffer(data, np.uint8))
    control = counts[:9].sum() + counts[14:32].sum() + counts[127]
    if counts[0] or control > MAX_CONTROL_SHARE * len(data) or counts[128:].sum() > MAX_NON_ASCII_SHARE * len(data):
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{name}: is not a text file (it begins with {data[:16]!r}).",
            "Give a G-code file (PrusaSlicer, Cura, CAM) or an Industrial Bytecode file.",
        )


def _count_commands(words: Tokens) -> int:
    """Words like G1, M104, T0."""
    used = int(words.first_word[-1])
    letters = np.isin(words.letters[:used], [ord(letter) for letter in _COMMAND_LETTERS])
    return int(np.count_nonzero(letters & np.isfinite(words.values[:used])))


def _first_line(body: bytes) -> str:
    line = next((line for line in body[:4096].splitlines() if line.strip()), b"")
    return line[:60].decode("utf-8", errors="replace")


def _columns(rows: Array, area_m2: float) -> dict[str, Array]:
    """Columns in SI on the program's grid from rows in millimetres and mm/min."""
    scale = {
        "x_m": MM,
        "y_m": MM,
        "z_m": MM,
        "feed_m_s": MM_PER_MIN,
        "extrude_m3": MM * area_m2,
        "center_1_m": MM,
        "center_2_m": MM,
    }
    return normalise({name: rows[:, index] * scale.get(name, 1.0) for index, name in enumerate(COLUMNS)})


def _interpret(session: Session, body: bytes, words: Tokens, first_line: int) -> None:
    """Append the instructions of these lines to the session."""
    line = 0
    while line < len(words) and not session.ended:
        session.reserve(len(words) - line)
        line, session.count = it.run(
            line,
            first_line,
            words.letters,
            words.values,
            words.first_word,
            words.status,
            words.flags,
            session.skipped,
            session.state,
            session.rows,
            session.count,
        )
        if line < len(words):
            session.line = first_line + line
            at = int(words.line_start[line])
            session.raw = body[at : min(at + 4 * TEXT_LENGTH, int(words.line_start[line + 1]))]
            _other_line(session, words, line)
            line += 1


def _other_line(session: Session, tokens_: Tokens, index: int) -> None:
    """Carry out a line that is not plain motion. A refused line changes nothing but adds one UNKNOWN."""
    first, last = int(tokens_.first_word[index]), int(tokens_.first_word[index + 1])
    letters = tokens_.letters[first:last].tobytes().decode()
    values = tokens_.values[first:last].tolist()
    mark = session.mark()
    try:
        _carry_out(session, letters, values, int(tokens_.status[index]), int(tokens_.flags[index]))
    except RefusedError as refusal:
        session.undo(mark)
        session.refuse(refusal.kind, refusal.reason)


def _carry_out(session: Session, letters: str, values: list[float], status: int, flags: int) -> None:
    """One line as letters and numbers. Raises RefusedError."""
    if flags & tokens.BLOCK_DELETE:
        session.ignore("/", "the block-delete mark is ignored and the line is carried out")
    if flags & tokens.CHECKSUM and status != tokens.BAD_CHECKSUM:
        _check_line_number(session, letters, values)
    if letters.startswith("N"):
        letters, values = letters[1:], values[1:]
    if session.dialect == "marlin" and klipper.carry_out(session):
        return
    command = _name(letters[0], values[0]) if letters and letters[0] in _COMMAND_LETTERS else ""
    rules = marlin if session.dialect == "marlin" else rs274
    if command in rules.FORBIDDEN:
        raise RefusedError("forbidden", f"{command} {rules.FORBIDDEN[command]}")
    if session.dialect == "marlin" and command in marlin.IGNORED:
        _ignore_command(session, command, flags)
        return
    if not letters and status == tokens.OK:
        if flags & tokens.PERCENT and session.earlier + session.count:
            session.ended = True
        return
    if letters.startswith("O"):
        raise unsupported("subroutines and loops (O words)")
    if status == tokens.EXPRESSION:
        raise unsupported("parameters and expressions")
    if status != tokens.OK:
        raise malformed(_STATUS[status])
    if session.dialect == "marlin":
        _marlin_line(session, command, letters, values)
    else:
        _rs274_line(session, letters, values)


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
    expected = session.line_number + 1.0
    sets_number = len(values) > 1 and letters[1] == "M" and values[1] == 110.0
    if not math.isnan(expected) and values[0] != expected and not sets_number:
        raise malformed(f"line number {values[0]:g}, {expected:g} is next")
    session.line_number = values[0]


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
