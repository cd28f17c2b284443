"""The loops that merge a program's instructions into steps, compiled by numba. Imported lazily: numba is heavy."""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.program import Heater, Op
from twin_node.steps import WAIT_BED, WAIT_HOTEND, WAIT_NONE

Array = np.ndarray

TRAVERSE, ARC = int(Op.STRAIGHT_TRAVERSE), int(Op.ARC_FEED)
DWELL, HOME, LEVEL_BED, MOTORS_OFF = int(Op.DWELL), int(Op.HOME), int(Op.LEVEL_BED), int(Op.MOTORS_OFF)
SET_HEATER, WAIT_HEATER, SET_FAN = int(Op.SET_HEATER), int(Op.WAIT_HEATER), int(Op.SET_FAN)
CLOCKWISE, COUNTERCLOCKWISE = int(Op.START_SPINDLE_CLOCKWISE), int(Op.START_SPINDLE_COUNTERCLOCKWISE)
SPINDLE_OFF, SPINDLE_HELD = int(Op.STOP_SPINDLE_TURNING), int(Op.ORIENT_SPINDLE)
COOLANT_OFF, END = int(Op.COOLANT_OFF), int(Op.PROGRAM_END)
FLOOD, MIST = int(Op.FLOOD_ON), int(Op.MIST_ON)
HOTEND, BED = int(Heater.HOTEND), int(Heater.BED)

# rows of what is in force during a step
HOTEND_TARGET, BED_TARGET, FAN, MOTORS, SPINDLE, COOLANT, WAIT, COOLS = range(8)
STATE_SIZE = 8
# rows of what adds up over a step's instructions; of SPEED it is the highest
MOTION_S, HOMING_S, DWELL_S, PATH_M, SPEED_M_S, MELTED_M3, REMOVED_M3 = range(7)
SUM_SIZE = 7


@compiled
def cut(
    op: Array, target: Array, value: Array, turns: Array, duration_s: Array, homing_s: float, leveling_s: float,
    spindle_max: float, longest_s: float, first: Array, states: Array,
) -> int:  # fmt: skip
    """Where steps begin: where what is in force changes, at waits and behind them, and when `longest_s` is full.

    Args: the program's columns and their planned durations, shape (n,); out: `first`, the first instruction of each
    step, and `states`, shape (STATE_SIZE, at least as many). Returns how many.
    """
    state = np.zeros(STATE_SIZE)
    count, used_s, is_open = 0, 0.0, False
    for i in range(len(op)):
        code = op[i]
        if TRAVERSE <= code <= ARC:
            changed, seconds = state[MOTORS] == 0.0, duration_s[i]
            state[MOTORS] = 1.0
        else:
            changed, seconds = _command(code, target[i], value[i], turns[i], spindle_max, state), 0.0
            if code == DWELL:
                seconds = duration_s[i]
            elif code == HOME:
                seconds = homing_s
            elif code == LEVEL_BED:
                seconds = leveling_s
        waits = state[WAIT] != WAIT_NONE
        if changed or waits or not is_open or (used_s > 0.0 and used_s + seconds > longest_s):
            first[count] = i
            states[:, count] = state
            count += 1
            used_s = 0.0
        used_s += seconds
        is_open = not waits
        if waits:
            state[WAIT] = state[COOLS] = 0.0
    return count


@compiled
def _command(code: int, target: int, value: float, turns: int, spindle_max: float, state: Array) -> bool:
    """Carry out an instruction that is no move. Returns whether it changes what is in force."""
    which, new = -1, 0.0
    if code in (SET_HEATER, WAIT_HEATER):
        if target in (HOTEND, BED):
            which, new = (HOTEND_TARGET if target == HOTEND else BED_TARGET), value
            if code == WAIT_HEATER:
                state[WAIT] = WAIT_HOTEND if target == HOTEND else WAIT_BED
                state[COOLS] = 1.0 if turns > 0 else 0.0
    elif code == SET_FAN:
        which, new = FAN, 0.0 if math.isnan(value) else min(max(value, 0.0), 1.0)
    elif code in (HOME, LEVEL_BED, MOTORS_OFF):
        which, new = MOTORS, 0.0 if code == MOTORS_OFF else 1.0
    elif code in (CLOCKWISE, COUNTERCLOCKWISE):
        which, new = SPINDLE, abs(value) / spindle_max
    elif code in (SPINDLE_OFF, SPINDLE_HELD):
        which = SPINDLE
    elif code in (FLOOD, MIST, COOLANT_OFF):
        which, new = COOLANT, 0.0 if code == COOLANT_OFF else 1.0
    elif code == END:
        changed = state[SPINDLE] != 0.0 or state[COOLANT] != 0.0
        state[SPINDLE] = state[COOLANT] = 0.0
        return bool(changed)
    if which < 0 or state[which] == new:
        return False
    state[which] = new
    return True


@compiled
def add_up(
    op: Array, x: Array, y: Array, z: Array, extrude_m3: Array, duration_s: Array, length_m: Array, cruise_m_s: Array,
    removed_m3: Array, homing_s: float, leveling_s: float, first: Array, sums: Array,
) -> None:  # fmt: skip
    """Fill `sums`, shape (SUM_SIZE, m), for the m steps that begin at `first`; `removed_m3` may be empty.

    Melted is what leaves the nozzle for good: the increments of the running maximum of what was fed.
    """
    fed = melted = xb = yb = zb = 0.0
    for step in range(len(first)):
        motion = homing = dwell = path = speed = removed = 0.0
        before = melted
        for i in range(first[step], first[step + 1] if step + 1 < len(first) else len(op)):
            code = op[i]
            if TRAVERSE <= code <= ARC:
                motion += duration_s[i]
                if code == ARC or x[i] != xb or y[i] != yb or z[i] != zb:
                    path += length_m[i]
                    speed = max(speed, cruise_m_s[i])
            elif code == DWELL:
                dwell += duration_s[i]
            elif code == HOME:
                homing += homing_s
            elif code == LEVEL_BED:
                homing += leveling_s
            xb, yb, zb = x[i], y[i], z[i]
            fed += extrude_m3[i]
            if not fed <= melted:  # NaN too
                melted = fed
            if len(removed_m3):
                removed += removed_m3[i]
        sums[MOTION_S, step], sums[HOMING_S, step], sums[DWELL_S, step] = motion, homing, dwell
        sums[PATH_M, step], sums[SPEED_M_S, step] = path, speed
        sums[MELTED_M3, step], sums[REMOVED_M3, step] = melted - before, removed
