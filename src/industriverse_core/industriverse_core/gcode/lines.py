"""The compiled loop over lines: bytes in, rows out, in one pass.

It carries out lines that are common and simple: blank lines and comments, G0-G3 with axis words and F, G92 E,
M codes that are known to change nothing, and lines that Python has carried out before (repeats.py). At every other
line it stops, and Python reads that line (reader.py). Both ways give the same program.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled, index_type, inlined
from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode import repeats, tokens
from industriverse_core.gcode.columns import ARC_FEED, Array, Columns, put, put_arc, put_value

Index = index_type()
MAX_ROWS_OF_A_LINE = repeats.MAX_ROWS_OF_A_LINE  # `run` stops when there is no room for that many

# what a byte can begin, from COMMENT on outside words; below: the slot of a word (interpreter.SLOT_LETTERS)
G_WORD, M_WORD, N_WORD, SPACE, END, COMMENT, BRACKET, STAR, OTHER = range(20, 29)
_KIND = np.full(256, OTHER, np.int64)
for _letters, _kinds in (
    (it.SLOT_LETTERS, range(len(it.SLOT_LETTERS))), ("G", [G_WORD]), ("M", [M_WORD]), ("N", [N_WORD]),
    (" \t\v\f\r", [SPACE] * 5), ("\n", [END]), (";", [COMMENT]), ("(", [BRACKET]), ("*", [STAR]),
):  # fmt: skip
    for _letter, _kind in zip(_letters, _kinds, strict=True):
        _KIND[ord(_letter)] = _KIND[ord(_letter.lower())] = _kind

# what a line is: a motion code 0 to 3, or one of these
SET_POSITION, NO_CODE, SKIPPED, FOR_PYTHON = 92, -1, -2, -3


@compiled
def _code(data: Array, at: int) -> tuple[int, int]:
    """(motion code or SET_POSITION, position behind it) of the number behind a G; FOR_PYTHON for another code."""
    value, at, status = tokens.number(data, at)
    if status == tokens.OK and (value == 0.0 or value == 1.0 or value == 2.0 or value == 3.0 or value == 92.0):
        return int(value), at
    return FOR_PYTHON, at


@compiled
def _skipped_code(data: Array, at: int, skipped: Array) -> tuple[int, int]:
    """(SKIPPED, end of line) for an M code without effect whose number is at data[at]; else FOR_PYTHON."""
    value, at, status = tokens.number(data, at)
    code = 10.0 * value
    if status != tokens.OK or not 0.0 <= code < len(skipped) - 0.5 or not skipped[int(code + 0.5)]:
        return FOR_PYTHON, at
    while data[at] != tokens.LINE_FEED and data[at] != 59:
        if data[at] == 42:  # a checksum is looked at in Python
            return FOR_PYTHON, at
        at += 1
    return SKIPPED, tokens.line_end(data, at)


@compiled
def _bracket_end(data: Array, at: int) -> int:
    """Position behind the comment in brackets at data[at]; of the line feed when it does not end."""
    while data[at] != 41 and data[at] != tokens.LINE_FEED:
        at += 1
    return at if data[at] == tokens.LINE_FEED else at + 1


@compiled
def _numbered(data: Array, start: int, star: int, line_number: float, state: Array) -> bool:
    """Whether the checksum at data[star] is right and the line's number is the next one."""
    last = state[it.LINE_NUMBER]
    is_next = line_number == last + 1.0 or (math.isnan(last) and not math.isnan(line_number))
    return is_next and tokens.checksum(data, start, star) == tokens.OK


@inlined
def _common_words(data: Array, at: int, slots: Array) -> tuple[int, int, int]:
    """Read a line as slicers write them, G1 X1 Y1 E1 ; or a comment: (position of its end, code, mask of words).

    It takes nothing that `_words` would not take; it is only faster. FOR_PYTHON for every other line.
    """
    if data[Index(at)] == 59:
        return tokens.line_end(data, at), NO_CODE, 0
    if data[at] != 71 or not 48 <= data[at + 1] <= 51 or data[at + 2] != 32:
        return at, FOR_PYTHON, 0
    code = int(data[at + 1]) - 48
    seen = 0
    at += 3
    while True:
        kind = _KIND[data[Index(at)]]
        if kind >= G_WORD:
            break
        letter = at
        value, at, status = tokens.number(data, at + 1)
        if status != tokens.OK or seen >> kind & 1 or tokens.is_exponent(data, letter, at):
            return at, FOR_PYTHON, seen
        slots[Index(kind)] = value
        seen |= 1 << kind
        if data[Index(at)] == tokens.LINE_FEED:
            return at, code, seen
        if data[Index(at)] != 32:
            break
        at += 1
    if data[at] == 59 or data[at] == 13:
        end = tokens.line_end(data, at)
        if data[at] == 59 or end == at + 1:
            return end, code, seen
    return at, FOR_PYTHON, seen


@compiled
def _words(data: Array, start: int, slots: Array, skipped: Array, state: Array) -> tuple[int, int, int, float]:
    """Read one line: (position of its end, what it is, mask of the words in `slots`, N of a right checksum or NaN)."""
    at = start
    code = NO_CODE
    seen = 0
    line_number = math.nan
    while True:
        kind = _KIND[data[at]]
        if kind < G_WORD:
            letter = at
            at += 1
            while data[at] == 32 or data[at] == 9:
                at += 1
            value, at, status = tokens.number(data, at)
            if status != tokens.OK or seen >> kind & 1 or tokens.is_exponent(data, letter, at):
                return at, FOR_PYTHON, seen, math.nan
            slots[kind] = value
            seen |= 1 << kind
        elif kind == SPACE:
            at += 1
        elif kind in (END, COMMENT):
            return tokens.line_end(data, at), code, seen, math.nan
        elif kind == G_WORD and code == NO_CODE:
            code, at = _code(data, at + 1)
            if code == FOR_PYTHON:
                return at, FOR_PYTHON, seen, math.nan
        elif kind == BRACKET:
            at = _bracket_end(data, at)
            if data[at] == tokens.LINE_FEED:
                return at, FOR_PYTHON, seen, math.nan
        elif kind == M_WORD and code == NO_CODE and seen == 0:
            code, at = _skipped_code(data, at + 1, skipped)
            return at, code, seen, math.nan
        elif kind == N_WORD and code == NO_CODE and seen == 0 and math.isnan(line_number):
            line_number, at, status = tokens.number(data, at + 1)
            if status != tokens.OK:
                return at, FOR_PYTHON, seen, math.nan
        elif kind == STAR and _numbered(data, start, at, line_number, state):
            return tokens.line_end(data, at), code, seen, line_number
        else:
            return at, FOR_PYTHON, seen, math.nan


@compiled
def _rare(code: int, slots: Array, seen: int, state: Array, row: Array) -> int:
    """Carry out a line that does not say G0-G3: it.WRITTEN or it.NOTHING, else the line is for Python."""
    marlin = state[it.MARLIN] == 1.0
    if code == SKIPPED or (code == NO_CODE and seen == 0):
        return it.NOTHING
    if state[it.HAND_OVER] == 1.0 or (seen >> it.E & 1 and not marlin):
        return it.FIRST_PROBLEM
    if code == NO_CODE and seen & 0b111 and not marlin and state[it.MODE] >= 0.0:  # the motion code in force
        return it.move(int(state[it.MODE]), slots, seen, state, row)
    if code == SET_POSITION and seen == 1 << it.E and state[it.MODE] >= 0.0:  # before the first motion: Python
        state[it.E_WRITTEN] = slots[it.E] * state[it.UNIT]
        return it.NOTHING
    return it.FIRST_PROBLEM


@compiled
def run(
    data: Array, at: int, stop: int, line: int, state: Array, skipped: Array, known: repeats.Repeats,
    columns: Columns, count: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Carry out lines from data[at], which has number `line`, up to data[stop], the start of another line.

    Returns (position, number of the line there, rows used): at `stop`, at a line for Python, or where `columns`
    are full. A line longer than tokens.MAX_LINE_BYTES is for Python.
    """
    slots = np.zeros(len(it.SLOT_LETTERS))
    row = np.zeros(it.ROW_SIZE)
    op, lines, x, y, z, feed, extrude, center_1, center_2, turns, target, value = columns
    place, texts, lengths, row_counts, rows, _ = known
    room = len(op) - MAX_ROWS_OF_A_LINE
    plain = state[it.HAND_OVER] != 1.0
    forbidden = 0 if state[it.MARLIN] == 1.0 else 1 << it.E
    while at < stop and count <= room:
        end, code, seen = _common_words(data, at, slots)
        line_number = math.nan
        if code == FOR_PYTHON:
            end, code, seen, line_number = _words(data, at, slots, skipped, state)
        if 0 <= code <= 3 and plain and not seen & forbidden:
            result = it.move(code, slots, seen, state, row)
        else:
            result = _rare(code, slots, seen, state, row)
        row[it.LINE] = line
        if result == it.WRITTEN:
            put(op, lines, x, y, z, feed, extrude, count, row)
            if row[it.OP] == ARC_FEED:
                put_arc(center_1, center_2, turns, target, count, row)
            count += 1
        elif result != it.NOTHING:
            text = repeats.find(place, texts, lengths, data, at)
            if text < 0:
                return at, line, count
            for index in range(row_counts[text]):
                repeats.set_row(rows, text, index, state, row)
                row[it.LINE] = line
                put(op, lines, x, y, z, feed, extrude, count, row)
                put_value(target, value, count, row)
                count += 1
            end = at + lengths[text]
        if end - at > tokens.MAX_LINE_BYTES:
            return at, line, count
        if not math.isnan(line_number):
            state[it.LINE_NUMBER] = line_number
        at = end + 1
        line += 1
    return at, line, count
