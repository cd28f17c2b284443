"""What a motion line does: modal state and words in, one row out. Lengths are millimetres here (columns.py: rows).

The compiled loop (lines.py) carries out plain lines with it; Python (marlin.py, rs274.py) the others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from industriverse_core.compiled import compiled, inlined
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
HAND_OVER = 17  # 1 = every motion line is for Python: canned cycles, G93, G95, unknown origins, nothing moved yet
LINE_NUMBER = 18  # the last accepted N of a line with a checksum, NaN before the first
STATE_SIZE = 19

# words of a motion line
SLOT_LETTERS = "XYZEFIJKRP"
X, Y, Z, E, F, I, J, K, R, P = range(10)  # noqa: E741 - the words' names

# A row is one instruction as float64, in the order of program.COLUMNS, lengths in mm, feed in mm/min.
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
def _arc(mode: int, slots: Array, seen: int, state: Array, row: Array) -> int:
    """Check an arc to the row's position; write its centre, turns and plane into the row. FOUND, or a problem."""
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
    end_1 = row[ROW_X + axis_1]
    end_2 = row[ROW_X + axis_2]
    if has_radius:
        status, center_1, center_2 = arcs.centre_from_radius(start_1, start_2, end_1, end_2, slots[R] * unit, mode == 2)
    else:
        if state[CENTRE_ABSOLUTE] == 1.0:
            if offsets != allowed:
                return FIRST_PROBLEM + arcs.NO_CENTRE
            center_1 = slots[I + axis_1] * unit + state[OFFSET + axis_1]
            center_2 = slots[I + axis_2] * unit + state[OFFSET + axis_2]
        else:
            center_1 = start_1 + (slots[I + axis_1] * unit if offsets >> axis_1 & 1 else 0.0)
            center_2 = start_2 + (slots[I + axis_2] * unit if offsets >> axis_2 & 1 else 0.0)
        status = arcs.check_centre(start_1, start_2, end_1, end_2, center_1, center_2)
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


@inlined
def move(mode: int, slots: Array, seen: int, state: Array, row: Array) -> int:
    """Carry out one motion line: G`mode` with the words `seen` (bit mask) in `slots`.

    Writes `row` and the state and returns WRITTEN; NOTHING when the line moves nothing (it may still set feed
    and mode); else a problem, with the state unchanged.
    """
    unit = state[UNIT]
    if mode < 2 and seen >> I != 0:
        return WORD_NOT_ALLOWED
    written_feed = max(slots[F] * unit, 0.0)
    feed = written_feed if seen >> F & 1 else state[FEED]
    if seen & 0b1111 == 0 and seen >> I == 0:  # no X Y Z E, nothing of an arc
        state[FEED] = feed
        state[MODE] = mode
        return NOTHING
    relative = state[RELATIVE] == 1.0
    row[:] = 0.0
    for axis in range(3):  # values are computed first and chosen then: a choice is faster than a jump
        position = state[POSITION + axis]
        offset = state[OFFSET + axis]
        target = (position if relative else offset) + slots[axis] * unit
        row[ROW_X + axis] = target if seen >> axis & 1 else position
    if mode >= 2:
        problem = _arc(mode, slots, seen, state, row)
        if problem != arcs.FOUND:
            return problem
    written = state[E_WRITTEN]
    fed = slots[E] * unit - (0.0 if relative or state[E_RELATIVE] == 1.0 else written)
    fed = fed if seen >> E & 1 else 0.0
    state[E_WRITTEN] = written + fed
    for axis in range(3):
        state[POSITION + axis] = row[ROW_X + axis]
    state[FEED] = feed
    state[MODE] = mode
    traverse = mode == 0 and fed == 0.0
    row[OP] = 3 if mode >= 2 else (1 if traverse else 2)
    row[EXTRUDE] = fed * state[FLOW_SCALE]
    if mode == 0 and state[MARLIN] == 0.0:
        row[ROW_FEED] = np.nan
    elif math.isnan(feed):
        row[ROW_FEED] = np.nan if traverse else 0.0
    else:
        row[ROW_FEED] = feed * state[FEED_SCALE]
    return WRITTEN
