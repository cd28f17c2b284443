"""The compiled loop over motion lines: modal state in, rows of instructions out.

It handles lines with G0-G3, axis words and F, nothing else; every other line is handed to Python
(marlin.py, rs274.py), which calls `move` for the motion in it. Lengths are millimetres here; the reader
converts whole columns.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.gcode import arcs

Array = np.ndarray[Any, Any]

# modal state, one float64 each
POSITION = 0  # three native coordinates [mm]
OFFSET = 3  # three offsets of G92: native = written + offset [mm]
E_WRITTEN = 6  # filament coordinate as written [mm]
UNIT = 7  # millimetres in the file's unit of length
FEED = 8  # [mm/min], NaN before the first F
RELATIVE = 9  # 1 = G91
E_RELATIVE = 10  # 1 = M83
CENTRE_ABSOLUTE = 11  # 1 = G90.1
PLANE = 12  # as program.Plane
MODE = 13  # motion code in force, -1 = none
MARLIN = 14  # 1 = Marlin's rules, 0 = RS274's
FEED_SCALE = 15  # M220
FLOW_SCALE = 16  # M221
HAND_OVER = 17  # 1 = every line with words goes to Python: canned cycles, G93, G95, unknown origins, nothing moved yet
STATE_SIZE = 18

# words of a motion line
SLOT_LETTERS = "XYZEFIJKRP"
X, Y, Z, E, F, I, J, K, R, P = range(10)  # noqa: E741 - the words' names
_SLOT_OF = np.full(256, -1, np.int64)
for _slot, _letter in enumerate(SLOT_LETTERS):
    _SLOT_OF[ord(_letter)] = _slot

# columns of a row
(OP, LINE, ROW_X, ROW_Y, ROW_Z, ROW_FEED, EXTRUDE, CENTRE_1, CENTRE_2, TURNS, TARGET, VALUE) = range(12)
ROW_SIZE = 12

# results of `move`; those from FIRST_PROBLEM on are problems, of which the first are arcs' own
NOTHING, WRITTEN, FIRST_PROBLEM = 0, 1, 10
WORD_NOT_ALLOWED, CENTRE_TWICE, CENTRE_OFF_PLANE, BAD_TURNS = 20, 21, 22, 23
PROBLEMS = {
    FIRST_PROBLEM + arcs.NO_CENTRE: "an arc needs a centre (I J K) or a radius (R)",
    FIRST_PROBLEM + arcs.CENTRE_IS_START: "the arc's centre is its start",
    FIRST_PROBLEM
    + arcs.RADIUS_MISMATCH: "the arc's end is not on the circle of its start (0.5 mm, or 0.005 mm and 0.1 %)",
    FIRST_PROBLEM + arcs.RADIUS_TOO_SMALL: "the arc's radius is smaller than half the way to its end",
    FIRST_PROBLEM + arcs.ENDS_AT_START: "an arc with a radius cannot end where it starts",
    WORD_NOT_ALLOWED: "a straight move has no I J K R P",
    CENTRE_TWICE: "an arc has a centre or a radius, not both",
    CENTRE_OFF_PLANE: "the arc's centre has a word outside its plane",
    BAD_TURNS: "the number of turns (P) must be a whole number, at least 1",
}

_LARGEST_TURNS = 1000.0


@compiled
def _arc(mode: int, slots: Array, seen: int, state: Array, target: Array, row: Array) -> int:
    """Check an arc and write its centre, turns and plane into the row. FOUND is 0; else a problem."""
    plane = int(state[PLANE])
    axis_1 = (plane * 2) % 3  # XY: 0 1, ZX: 2 0, YZ: 1 2
    axis_2 = (axis_1 + 1) % 3
    unit = state[UNIT]
    offsets = (seen >> I) & 7
    allowed = (1 << axis_1) | (1 << axis_2)
    if offsets & ~allowed:
        return CENTRE_OFF_PLANE
    has_radius = seen >> R & 1
    if has_radius and offsets:
        return CENTRE_TWICE
    if not has_radius and not offsets:
        return FIRST_PROBLEM + arcs.NO_CENTRE
    start_1 = state[POSITION + axis_1]
    start_2 = state[POSITION + axis_2]
    if has_radius:
        status, center_1, center_2 = arcs.centre_from_radius(
            start_1, start_2, target[axis_1], target[axis_2], slots[R] * unit, mode == 2
        )
    else:
        if state[CENTRE_ABSOLUTE] == 1.0:
            if offsets != allowed:
                return FIRST_PROBLEM + arcs.NO_CENTRE
            center_1 = slots[I + axis_1] * unit + state[OFFSET + axis_1]
            center_2 = slots[I + axis_2] * unit + state[OFFSET + axis_2]
        else:
            center_1 = start_1 + (slots[I + axis_1] * unit if offsets >> axis_1 & 1 else 0.0)
            center_2 = start_2 + (slots[I + axis_2] * unit if offsets >> axis_2 & 1 else 0.0)
        status = arcs.check_centre(start_1, start_2, target[axis_1], target[axis_2], center_1, center_2)
    if status != arcs.FOUND:
        return FIRST_PROBLEM + status
    turns = 1.0
    if seen >> P & 1:  # RS274: begun turns; Marlin: whole circles before the arc
        turns = slots[P] + state[MARLIN]
        if not 1.0 <= turns <= _LARGEST_TURNS or turns != math.floor(turns):
            return BAD_TURNS
    row[CENTRE_1] = center_1
    row[CENTRE_2] = center_2
    row[TURNS] = turns if mode == 3 else -turns
    row[TARGET] = plane
    return arcs.FOUND


@compiled
def move(mode: int, slots: Array, seen: int, state: Array, row: Array) -> int:
    """Carry out one motion line: G`mode` with the words `seen` (bit mask) in `slots`.

    Writes `row` and the state and returns WRITTEN; NOTHING when the line moves nothing (it may still set feed
    and mode); else a problem, with the state unchanged.
    """
    unit = state[UNIT]
    moves = (seen & 0b1111) != 0  # X Y Z E
    if mode < 2 and seen >> I != 0:
        return WORD_NOT_ALLOWED
    if mode >= 2 and seen >> I != 0:
        moves = True
    feed = max(slots[F] * unit, 0.0) if seen >> F & 1 else state[FEED]
    if not moves:
        state[FEED] = feed
        state[MODE] = mode
        return NOTHING
    target = np.empty(3)
    for axis in range(3):
        target[axis] = state[POSITION + axis]
        if seen >> axis & 1:
            origin = target[axis] if state[RELATIVE] == 1.0 else state[OFFSET + axis]
            target[axis] = origin + slots[axis] * unit
    row[:] = 0.0
    if mode >= 2:
        problem = _arc(mode, slots, seen, state, target, row)
        if problem != arcs.FOUND:
            return problem
    fed = 0.0
    if seen >> E & 1:
        if state[RELATIVE] == 1.0 or state[E_RELATIVE] == 1.0:
            fed = slots[E] * unit
        else:
            fed = slots[E] * unit - state[E_WRITTEN]
        state[E_WRITTEN] += fed
    for axis in range(3):
        state[POSITION + axis] = target[axis]
        row[ROW_X + axis] = target[axis]
    state[FEED] = feed
    state[MODE] = mode
    row[OP] = 3 if mode >= 2 else (1 if mode == 0 and fed == 0.0 else 2)
    row[EXTRUDE] = fed * state[FLOW_SCALE]
    if mode == 0 and state[MARLIN] == 0.0:
        row[ROW_FEED] = np.nan
    elif math.isnan(feed):
        row[ROW_FEED] = np.nan if row[OP] == 1 else 0.0
    else:
        row[ROW_FEED] = feed * state[FEED_SCALE]
    return WRITTEN


@compiled
def _motion_words(letters: Array, values: Array, first: int, last: int, slots: Array, state: Array) -> tuple[int, int]:
    """(motion code, mask of words seen); code -1 when the line is not a plain motion line."""
    seen = 0
    mode = -1
    for word in range(first, last):
        value = values[word]
        if math.isnan(value):
            return -1, 0
        if letters[word] == 71:  # G
            if mode >= 0 or not (value == 0.0 or value == 1.0 or value == 2.0 or value == 3.0):
                return -1, 0
            mode = int(value)
            continue
        slot = _SLOT_OF[letters[word]]
        if slot < 0 or seen >> slot & 1 or (slot == E and state[MARLIN] == 0.0):
            return -1, 0
        slots[slot] = value
        seen |= 1 << slot
    if mode < 0 and state[MARLIN] == 0.0 and seen & 0b111:
        mode = int(state[MODE])
    return mode, seen


@compiled
def run(
    line: int,
    first_line: int,
    letters: Array,
    values: Array,
    first_word: Array,
    status: Array,
    flags: Array,
    skipped: Array,
    state: Array,
    rows: Array,
    count: int,
) -> tuple[int, int]:
    """Interpret lines from `line` on until one is not plain motion.

    `first_line` is the number of the token arrays' first line; `skipped[10 * code]` marks M codes without
    effect. Returns (that line, or the number of lines; rows used). `rows` needs room for every line left.
    """
    slots = np.zeros(len(SLOT_LETTERS))
    for index in range(line, len(status)):
        first = first_word[index]
        last = first_word[index + 1]
        if flags[index] != 0:
            return index, count
        if first < last and letters[first] == 78:  # N
            first += 1
        if first == last:
            if status[index] != 0:
                return index, count
            continue
        if letters[first] == 77:  # M
            code = 10.0 * values[first]
            if 0.0 <= code < len(skipped) and skipped[int(code + 0.5)]:
                continue
            return index, count
        if status[index] != 0 or state[HAND_OVER] == 1.0:
            return index, count
        mode, seen = _motion_words(letters, values, first, last, slots, state)
        if mode < 0:
            return index, count
        result = move(mode, slots, seen, state, rows[count])
        if result == WRITTEN:
            rows[count, LINE] = first_line + index
            count += 1
        elif result != NOTHING:
            return index, count
    return len(status), count
