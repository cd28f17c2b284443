"""A G-code file as pieces of whole lines, read twice: once to see whether it is text, once to carry it out.

The same buffer serves every piece, so the memory does not depend on the size of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.gcode.tokens import LINE_FEED, MAX_LINE_BYTES

Array = np.ndarray[Any, Any]

BLOCK_BYTES = 1 << 20  # fits into a core's second-level cache together with its rows
CARRIAGE_RETURN = 13
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
MAX_CONTROL_SHARE = 0.01
MAX_NON_ASCII_SHARE = 0.3
REMEDY = "Give a G-code file (PrusaSlicer, Cura, CAM) or an Industrial Bytecode file."


@dataclass(frozen=True, slots=True)
class Survey:
    """What the bytes of a text are, before they are read as G-code."""

    lines: int
    size: int
    control: int  # control characters other than white space
    non_ascii: int
    strange_line: int  # first line with one of either, 0 = none
    return_line: int  # first line with a carriage return that is not at its end, 0 = none


def pieces(file: BinaryIO, start: int) -> Iterator[Array]:
    """The file's bytes from `start` on as uint8 arrays of whole lines, each line with its line feed.

    A last line without line feed gets one. A line that is longer than MAX_LINE_BYTES may come in parts, of which
    the first is longer too. An array is valid until the next one is asked for.
    """
    block = BLOCK_BYTES
    buffer = bytearray(MAX_LINE_BYTES + block + 1)
    view, array = memoryview(buffer), np.frombuffer(buffer, np.uint8)
    file.seek(start)
    kept = 0
    while got := file.readinto(view[kept : kept + block]):  # type: ignore[attr-defined]
        used = kept + got
        end = buffer.rfind(b"\n", kept, used) + 1
        if end == 0 and used > MAX_LINE_BYTES:
            buffer[used] = LINE_FEED
            yield array[: used + 1]
            kept = 0
            continue
        if end:
            yield array[:end]
            view[: used - end] = view[end:used]
        kept = used - end
    if kept:
        buffer[kept] = LINE_FEED
        yield array[: kept + 1]


def survey(file: BinaryIO, start: int, name: str) -> Survey:
    """Count lines and strange bytes. Raises InputError(NOT_A_PROGRAM) at a NUL byte."""
    lines = size = control = non_ascii = strange_line = return_line = 0
    for piece in pieces(file, start):
        if has_strange(piece):
            nul, piece_control, piece_non_ascii = count_strange(piece)
            if nul:
                line = lines + _line_of(piece, piece == 0)
                raise InputError(ErrorCode.NOT_A_PROGRAM, f"{name}, line {line}: a NUL byte; this is not text.", REMEDY)
            strange_line = strange_line or lines + _line_of(piece, is_strange(piece))
            control += piece_control
            non_ascii += piece_non_ascii
        returns = _inner_returns(piece)
        if len(returns) and not return_line:
            return_line = lines + int(np.count_nonzero(piece[: returns[0]] == LINE_FEED)) + 1
        lines += int(np.count_nonzero(piece == LINE_FEED))
        size += len(piece)
    return Survey(lines, size, control, non_ascii, strange_line, return_line)


def _inner_returns(piece: Array) -> Array:
    """Positions of the carriage returns that another byte than a line feed or a carriage return follows."""
    at = np.flatnonzero(piece == CARRIAGE_RETURN)
    after = piece[at + 1]  # a piece ends with a line feed
    inner: Array = at[(after != LINE_FEED) & (after != CARRIAGE_RETURN)]
    return inner


def _line_of(piece: Array, mask: Array) -> int:
    """Number of the line, from 1, with the first byte that the mask marks."""
    return int(np.count_nonzero(piece[: int(np.argmax(mask))] == LINE_FEED)) + 1


def refuse_non_text(head: bytes, name: str) -> None:
    """Raise InputError for a file that its first bytes tell to be no plain text."""
    if head.startswith(b"GCDE"):
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{name}: is binary G-code (.bgcode), which is not read.",
            "Switch off binary G-code in the slicer's printer settings and export again.",
        )
    if head.startswith(UTF16_MARKS):
        raise InputError(
            ErrorCode.NOT_A_PROGRAM, f"{name}, line 1: is UTF-16 text; UTF-8 is read.", "Save the file as UTF-8."
        )


def refuse_strange(seen: Survey, head: bytes, name: str) -> None:
    """Raise InputError for a text with too many bytes that no G-code has, or with lines that are not clear."""
    if seen.control > MAX_CONTROL_SHARE * seen.size or seen.non_ascii > MAX_NON_ASCII_SHARE * seen.size:
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{name}, line {seen.strange_line}: is not a text file (it begins with {head[:16]!r}).",
            REMEDY,
        )
    if seen.return_line:
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{name}, line {seen.return_line}: a carriage return within the line; controllers end a line there, which "
            "would carry out what is read as a comment or as words of one line.",
            "Save the file with LF or CR LF at the end of every line.",
        )


@compiled
def has_strange(data: Array) -> bool:
    """Whether any byte is neither printable ASCII nor white space."""
    found = False
    for byte in data:
        found |= (byte < 9) | ((byte > 13) & (byte < 32)) | (byte > 126)
    return found


@compiled
def is_strange(data: Array) -> Array:
    """Mask of the bytes that are neither printable ASCII nor white space."""
    return (data < 9) | ((data > 13) & (data < 32)) | (data > 126)


@compiled
def count_strange(data: Array) -> tuple[int, int, int]:
    """Number of NUL bytes, control characters other than white space, bytes beyond ASCII."""
    nul = control = non_ascii = 0
    for byte in data:
        nul += byte == 0
        control += byte < 9 or 14 <= byte < 32 or byte == 127
        non_ascii += byte >= 128
    return nul, control, non_ascii
