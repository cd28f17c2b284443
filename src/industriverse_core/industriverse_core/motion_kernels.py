"""The planner's loops over a whole program, compiled by numba. Imported lazily by motion.py: numba is heavy.

Three passes. `prepare` cuts the rows of a program into blocks and gives each its speed, acceleration and highest entry
speed, as the family of the controller does (motion_marlin.py, motion_grbl.py, motion_klipper.py). The look-ahead goes
from the last block to the first: can it still stop? `finish` goes from the first to the last: can it be that fast
already? It makes the trapezoids and adds the blocks of a row together.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core import motion_blocks as mb
from industriverse_core.compiled import compiled_ieee as compiled
from industriverse_core.motion_arcs import ARC_SIZE, LENGTH, arc_point, begin_arc
from industriverse_core.motion_blocks import GRBL, KLIPPER, MARLIN, Before, Block, Rates, Unit
from industriverse_core.motion_grbl import grbl_block
from industriverse_core.motion_klipper import klipper_block
from industriverse_core.motion_marlin import marlin_block
from industriverse_core.program import Op

Array = np.ndarray

TRAVERSE, ARC = int(Op.STRAIGHT_TRAVERSE), int(Op.ARC_FEED)
DWELL, SET_LIMIT, SET_ADVANCE = int(Op.DWELL), int(Op.SET_LIMIT), int(Op.SET_PRESSURE_ADVANCE)
HUGE = 1e300  # the inverse of a limit of zero
DURATION, END, ENTRY, CRUISE, EXIT, ACCELERATION = range(6)  # [s], [s], [m/s], [m/s], [m/s], [m/s^2]
COLUMNS = 6


@compiled
def count_blocks(
    op: Array, x: Array, y: Array, z: Array, c1: Array, c2: Array, turns: Array, target: Array, family: int,
    settings: Array, most: int,
) -> tuple[int, int]:  # fmt: skip
    """Blocks that `prepare` may make of the program, and the first row with which arcs have more than `most`, or -1."""
    arc, start, end = np.zeros(ARC_SIZE), np.zeros(3), np.zeros(3)
    count = segments = 0
    for i in range(len(op)):
        code = op[i]
        if TRAVERSE <= code < ARC:
            count += 1
        elif code == ARC:
            end[0], end[1], end[2] = x[i], y[i], z[i]
            if i > 0:
                start[0], start[1], start[2] = x[i - 1], y[i - 1], z[i - 1]
            parts = begin_arc(
                family, start, end, c1[i], c2[i], turns[i], target[i], settings[mb.ARC_RESOLUTION],
                settings[mb.CIRCLE_SEGMENTS], arc,
            )  # fmt: skip
            count += parts
            segments += parts
            if segments > most:
                return count, i
    return count, -1


@compiled
def _inverse(limit: float) -> float:
    return 1.0 / limit if limit > 0.0 else HUGE


@compiled
def rates_of(limits: Array, settings: Array) -> Rates:
    """The limits in force and the machine's settings as the families' functions take them."""
    v, a, j = mb.SPEED_LIMIT, mb.ACCELERATION_LIMIT, mb.JERK_LIMIT
    return (
        _inverse(limits[v]), _inverse(limits[v + 1]), _inverse(limits[v + 2]), _inverse(limits[v + 3]),
        _inverse(limits[a]), _inverse(limits[a + 1]), _inverse(limits[a + 2]), _inverse(limits[a + 3]),
        _inverse(limits[j]), _inverse(limits[j + 1]), _inverse(limits[j + 2]), _inverse(limits[j + 3]),
        limits[j], limits[j + 1], limits[j + 2], limits[j + 3],
        limits[mb.PRINT_ACCELERATION], limits[mb.TRAVEL_ACCELERATION], limits[mb.RETRACT_ACCELERATION],
        limits[mb.PRESSURE_ADVANCE], limits[mb.JUNCTION_DEVIATION], settings[mb.RAPID], settings[mb.CORNER_SQUARED],
        settings[mb.SMOOTHING],
    )  # fmt: skip


@compiled
def _change_limit(family: int, run: Array, target: int, value: float, limits: Array, settings: Array) -> int:
    """Carry out one SET_LIMIT; returns 0 or why not.

    Klipper reads its own limits and M204: S, or P and T together, of which the lower counts; `run` remembers both
    within one run of SET_LIMITs.
    """
    if not 0.0 <= value < math.inf:
        return mb.NO_LIMIT
    if family != KLIPPER:
        if 0 <= target < mb.PRESSURE_ADVANCE:
            limits[target] = value
    elif target == mb.PRINT_ACCELERATION or target == mb.TRAVEL_ACCELERATION:
        run[0 if target == mb.PRINT_ACCELERATION else 1] = value
        if run[0] >= 0.0 and run[1] >= 0.0:
            limits[mb.PRINT_ACCELERATION] = min(run[0], run[1])
    elif target == mb.TOOLHEAD_SPEED:
        limits[mb.SPEED_LIMIT] = limits[mb.SPEED_LIMIT + 1] = settings[mb.RAPID] = value
    elif target == mb.SQUARE_CORNER:
        settings[mb.CORNER_SQUARED] = value**2
    elif target == mb.CRUISE_RATIO:
        settings[mb.SMOOTHING] = 1.0 - value
    return 0


@compiled
def prepare(
    op: Array, x: Array, y: Array, z: Array, feed: Array, extrude: Array, c1: Array, c2: Array, turns: Array,
    target: Array, value: Array, filament_per_m3: float, synchronising: Array, family: int, settings: Array,
    limits: Array, blocks: Array, owner: Array, stops: Array, length: Array,
) -> tuple[int, int, int]:  # fmt: skip
    """Cut the program's rows (columns as in program.py) into blocks.

    Args:
        synchronising: for each op, whether motion stops there; shape (256,).
        settings, limits: see motion_blocks.py; both are changed by the program's SET_LIMITs.
        blocks, owner, stops: out, for each block: see motion_blocks.py, its row, whether it starts from rest.
        length: out, for each row [m]; given as zeros.

    Returns (number of blocks, first row that cannot be planned or -1, why).
    """
    start, end, arc, run = np.zeros(3), np.zeros(3), np.zeros(ARC_SIZE), np.zeros(2)
    rates = rates_of(limits, settings)
    before: Before = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    x0 = y0 = z0 = 0.0
    at_rest, b, why = True, 0, 0
    for i in range(len(op)):
        code = op[i]
        if TRAVERSE <= code <= ARC:
            parts, whole, fed = 1, -1.0, extrude[i] * filament_per_m3
            if code == ARC:
                start[0], start[1], start[2] = x0, y0, z0
                end[0], end[1], end[2] = x[i], y[i], z[i]
                parts = begin_arc(
                    family, start, end, c1[i], c2[i], turns[i], target[i], settings[mb.ARC_RESOLUTION],
                    settings[mb.CIRCLE_SEGMENTS], arc,
                )  # fmt: skip
                whole, fed = arc[LENGTH] / parts, fed / parts
            for part in range(1, parts + 1):
                x1, y1, z1 = x[i], y[i], z[i]
                if part < parts:
                    arc_point(arc, target[i], part, end)
                    x1, y1, z1 = end[0], end[1], end[2]
                piece, unit, path = _direction(x1 - x0, y1 - y0, z1 - z0, fed, whole)
                x0, y0, z0 = x1, y1, z1
                if piece > 0.0:
                    block = _block(family, unit, piece, feed[i], path, at_rest, before, rates)
                    _store(family, blocks, b, piece, block)
                    why, before = block[0], block[6]
                    owner[b], stops[b] = i, at_rest
                    length[i] += piece
                    at_rest = False
                    b += 1
                if not piece < math.inf:
                    why = mb.NOT_FINITE
                if why != 0:
                    return b, i, why
            continue
        x0, y0, z0 = x[i], y[i], z[i]
        at_rest = at_rest or synchronising[code]
        if code == SET_LIMIT:
            if i == 0 or op[i - 1] != SET_LIMIT:
                run[0] = run[1] = -1.0
            why = _change_limit(family, run, target[i], value[i], limits, settings)
            rates = rates_of(limits, settings)
        elif code == SET_ADVANCE:
            limits[mb.PRESSURE_ADVANCE] = value[i]
            rates = rates_of(limits, settings)
        elif code == DWELL and not 0.0 <= value[i] < math.inf:
            why = mb.NO_TIME
        if why != 0:
            return b, i, why
    return b, -1, 0


@compiled
def _block(
    family: int, unit: Unit, length: float, feed: float, path: bool, at_rest: bool, before: Before, rates: Rates
) -> Block:
    """One block, as the family plans it."""
    if family == MARLIN:
        return marlin_block(unit, feed, path, at_rest, before, rates)
    if family == GRBL:
        return grbl_block(unit, feed, at_rest, before, rates)
    return klipper_block(unit, length, feed, path, at_rest, before, rates)


@compiled
def _store(family: int, blocks: Array, b: int, length: float, block: Block) -> None:
    blocks[mb.LENGTH, b], blocks[mb.NOMINAL, b], blocks[mb.ACCELERATION, b] = length, block[1], block[2]
    blocks[mb.ENTRY, b] = block[3]
    if family == KLIPPER:
        blocks[mb.SMOOTHED, b], blocks[mb.SMOOTHED_GAIN, b] = block[4], block[5]


@compiled
def _direction(dx: float, dy: float, dz: float, filament: float, whole: float) -> tuple[float, Unit, bool]:
    """Length [m] and direction of a straight piece, and whether the tool moves.

    The length is `whole` where that is known (0 or more; arcs), else the distance; the filament's where nothing else
    moves.
    """
    distance = math.sqrt(dx * dx + dy * dy + dz * dz)
    if distance == 0.0 and not math.isnan(whole):
        length = abs(filament)
        return length, (0.0, 0.0, 0.0, math.copysign(1.0, filament)), False
    length = distance if whole < 0.0 else whole
    share = 1.0 / distance
    return length, (dx * share, dy * share, dz * share, filament / length), True


@compiled
def look_ahead(blocks: Array, stops: Array, count: int, horizon: int) -> None:
    """Lower each block's ENTRY [m^2/s^2] until it can stop: where motion stops, and at the end of what is seen.

    The controller sees only `horizon` blocks ahead and must be able to stop at the end of them. Without a nearer limit
    the squared speed there is the sum of 2 a s over the horizon.
    """
    seen = after = 0.0
    last = count
    for b in range(count - 1, -1, -1):
        gain = 2.0 * blocks[mb.ACCELERATION, b] * blocks[mb.LENGTH, b]
        seen += gain
        if last - b > horizon:
            last -= 1
            seen -= 2.0 * blocks[mb.ACCELERATION, last] * blocks[mb.LENGTH, last]
        after = min(min(blocks[mb.ENTRY, b], after + gain), seen)
        blocks[mb.ENTRY, b] = after
        if stops[b]:
            after = seen = 0.0
            last = b


@compiled
def finish(
    op: Array, value: Array, blocks: Array, owner: Array, stops: Array, count: int, family: int, length: Array,
    columns: Array,
) -> None:  # fmt: skip
    """Trapezoid of each block, blocks of a row added together, and the rows' clock.

    Args:
        columns: out, shape (COLUMNS, rows), given as zeros; see the constants.
    """
    squared = blocks[mb.ENTRY, 0] if count > 0 else 0.0
    v0 = math.sqrt(squared)
    top = v1 = clock = 0.0
    b = 0
    for row in range(len(op)):
        if b < count and owner[b] == row:
            begin, first, time = b, v0, 0.0
            while b < count and owner[b] == row:
                if family == KLIPPER:
                    v0, top, v1, step = _klipper_trapezoid(blocks, b)
                    first = v0 if b == begin else first
                else:
                    leaving = _leaving_squared(blocks, stops, count, b, squared)
                    following = math.sqrt(leaving)
                    top, v1, step = _trapezoid(blocks, b, v0, following)
                    v0, squared = following, leaving
                    if b + 1 < count and stops[b + 1]:
                        squared = blocks[mb.ENTRY, b + 1]
                        v0 = math.sqrt(squared)
                time += step
                b += 1
            if b - begin > 1:
                first, top, v1 = _one_trapezoid(
                    first, v1, length[row], time, blocks[mb.ACCELERATION, begin], blocks[mb.NOMINAL, begin]
                )
            columns[DURATION, row], columns[ENTRY, row], columns[CRUISE, row] = time, first, top
            columns[EXIT, row], columns[ACCELERATION, row] = v1, blocks[mb.ACCELERATION, begin]
            clock += time
        elif op[row] == DWELL:
            columns[DURATION, row] = value[row]
            clock += value[row]
        columns[END, row] = clock


@compiled
def _leaving_squared(blocks: Array, stops: Array, count: int, b: int, squared: float) -> float:
    """Squared speed [m^2/s^2] at the end of block `b`, entered at `squared`: 0 before a stop."""
    if b + 1 == count or stops[b + 1]:
        return 0.0
    reached = squared + 2.0 * blocks[mb.ACCELERATION, b] * blocks[mb.LENGTH, b]
    return float(min(blocks[mb.ENTRY, b + 1], reached))


@compiled
def _trapezoid(blocks: Array, b: int, v0: float, following: float) -> tuple[float, float, float]:
    """Cruise and exit speed [m/s] and duration [s] of a block: accelerate, cruise, brake; a triangle when short.

    Marlin may let the next block enter, within its jerk, faster than this one goes: `following` may exceed its exit.
    """
    a, nominal = blocks[mb.ACCELERATION, b], blocks[mb.NOMINAL, b]
    v1 = min(following, nominal)
    peak = a * blocks[mb.LENGTH, b] + 0.5 * (v0 * v0 + v1 * v1)  # speed squared at which both ramps meet
    top = max(min(nominal, math.sqrt(peak)), max(v0, v1))  # the last for rounding
    return top, v1, ((2.0 * top - v0 - v1) * top + max(0.0, peak - top * top)) / (a * top)


@compiled
def _klipper_trapezoid(blocks: Array, b: int) -> tuple[float, float, float, float]:
    """Entry, cruise and exit speed [m/s] and duration [s] of a block whose speeds the look-ahead has set."""
    a, length = blocks[mb.ACCELERATION, b], blocks[mb.LENGTH, b]
    entry, cruise, leaving = blocks[mb.ENTRY, b], blocks[mb.SMOOTHED, b], blocks[mb.SMOOTHED_GAIN, b]
    v0, top, v1 = math.sqrt(entry), math.sqrt(cruise), math.sqrt(leaving)
    flat = max(0.0, a * length - cruise + 0.5 * (entry + leaving))
    return v0, top, v1, ((2.0 * top - v0 - v1) * top + flat) / (a * top)


@compiled
def _one_trapezoid(
    v0: float, v1: float, length: float, time: float, acceleration: float, nominal: float
) -> tuple[float, float, float]:
    """Entry, cruise and exit speed [m/s] of one trapezoid with the length and duration of a chain of blocks.

    Its cruise speed v solves (2 v - v0 - v1) / a + (length - (2 v^2 - v0^2 - v1^2) / (2 a)) / v = time. A chain that is
    slower in its middle than at an end has no such trapezoid; it gets its mean speed throughout.
    """
    sum_ = v0 + v1 + acceleration * time
    product = acceleration * length + 0.5 * (v0 * v0 + v1 * v1)
    root = sum_ * sum_ - 4.0 * product
    if root >= 0.0:
        top = 2.0 * product / (sum_ + math.sqrt(root))
        if max(v0, v1) <= top <= nominal:
            return v0, top, v1
    mean = length / time
    return mean, mean, mean
