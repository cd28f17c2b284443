"""Lines that Python has carried out before and that do the same again: sliced files repeat few texts often.

Thousands of lines say M204 S800 or M106 S127. Python reads each text once; the compiled loop repeats its rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode.columns import Array

# Marlin's commands whose rows depend on their words and the unit of length alone. A test compares both ways.
REPEATABLE = frozenset(("G4", "M106", "M107", "M201", "M203", "M204", "M205", "M400", "M572", "M900"))
MAX_TEXT = 40  # bytes of a line that is kept
MAX_TEXTS = 2048
MAX_ROWS_OF_A_LINE = 8
_PLACES = 4 * MAX_TEXTS  # of the hash table: never more than a quarter full
_FNV_OFFSET, _FNV_PRIME, _HASH_BITS = 2166136261, 16777619, 0xFFFFFFFF  # FNV-1a, 32 bits


class Repeats(NamedTuple):
    """Texts of lines and the rows that each gave.

    Attributes:
        place: hash table of the texts' numbers, -1 = free, shape (_PLACES,).
        text: the lines' bytes, shape (MAX_TEXTS, MAX_TEXT).
        length: their lengths.
        row_count: how many rows each gives.
        rows: op, target and value of each row, shape (MAX_TEXTS, MAX_ROWS_OF_A_LINE, 3).
        used: number of texts, shape (1,).
    """

    place: Array
    text: Array
    length: Array
    row_count: Array
    rows: Array
    used: Array


def no_repeats() -> Repeats:
    """An empty table."""
    return Repeats(
        place=np.full(_PLACES, -1, np.int64),
        text=np.zeros((MAX_TEXTS, MAX_TEXT), np.uint8),
        length=np.zeros(MAX_TEXTS, np.int64),
        row_count=np.zeros(MAX_TEXTS, np.int64),
        rows=np.zeros((MAX_TEXTS, MAX_ROWS_OF_A_LINE, 3)),
        used=np.zeros(1, np.int64),
    )


def forget(known: Repeats) -> None:
    """Empty the table: the unit of length has changed."""
    if known.used[0]:
        known.place[:] = -1
        known.used[0] = 0


def remember(known: Repeats, data: Array, at: int, rows: Array) -> None:
    """Keep the line at data[at] with its rows, if there is room and it is short. It must not be known yet."""
    number = int(known.used[0])
    length, place = _locate(known.place, known.text, known.length, data, at)
    if number == MAX_TEXTS or length < 0 or len(rows) > MAX_ROWS_OF_A_LINE:
        return
    known.place[place] = number
    known.text[number, :length] = data[at : at + length]
    known.length[number] = length
    known.row_count[number] = len(rows)
    known.rows[number, : len(rows)] = rows[:, [it.OP, it.TARGET, it.VALUE]]
    known.used[0] = number + 1


@compiled
def _locate(place: Array, text: Array, lengths: Array, data: Array, at: int) -> tuple[int, int]:
    """(length of the line at data[at], its place or the free one for it); length -1 when it is too long to be kept."""
    key = _FNV_OFFSET
    length = 0
    while data[at + length] != 10:
        if length == MAX_TEXT:
            return -1, 0
        key = ((key ^ int(data[at + length])) * _FNV_PRIME) & _HASH_BITS
        length += 1
    found = key % _PLACES
    while place[found] >= 0 and not _same(text[place[found]], lengths[place[found]], data, at, length):
        found = (found + 1) % _PLACES
    return length, found


@compiled
def _same(text: Array, text_length: int, data: Array, at: int, length: int) -> bool:
    index = 0
    while index < length and text[index] == data[at + index]:
        index += 1
    return index == length == text_length


@compiled
def find(place: Array, text: Array, lengths: Array, data: Array, at: int) -> int:
    """Number of the text of the line at data[at], -1 when it is not known; the arrays are those of Repeats."""
    length, found = _locate(place, text, lengths, data, at)
    return int(place[found]) if length >= 0 else -1


@compiled
def set_row(rows: Array, text: int, index: int, state: Array, row: Array) -> None:
    """The row `index` of a text, at the present position; all but its line."""
    row[:] = 0.0
    row[it.OP] = rows[text, index, 0]
    row[it.TARGET] = rows[text, index, 1]
    row[it.VALUE] = rows[text, index, 2]
    for axis in range(3):
        row[it.ROW_X + axis] = state[it.POSITION + axis]
