"""The planner's loops over all instructions, compiled by numba. Imported lazily by motion.py: numba is heavy.

Arrays are columns of the program (program.py); a vector of four is (x, y, z, filament) for one metre of path.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.program import Limit, Op, Plane

Array = np.ndarray

TRAVERSE, FEED, ARC = int(Op.STRAIGHT_TRAVERSE), int(Op.STRAIGHT_FEED), int(Op.ARC_FEED)
DWELL, SET_LIMIT = int(Op.DWELL), int(Op.SET_LIMIT)
ZX, YZ = int(Plane.ZX), int(Plane.YZ)
ACCELERATION, SPEED, JERK = int(Limit.ACCELERATION_X), int(Limit.SPEED_X), int(Limit.JERK_X)
PRINT_ACCELERATION, TRAVEL_ACCELERATION = int(Limit.PRINT_ACCELERATION), int(Limit.TRAVEL_ACCELERATION)
RETRACT_ACCELERATION, JUNCTION_DEVIATION = int(Limit.RETRACT_ACCELERATION), int(Limit.JUNCTION_DEVIATION)
LIMIT_COUNT = 64  # limits are kept in an array indexed by Limit

MARLIN_ARC_SEGMENT_M = 1e-3  # Marlin's MM_PER_ARC_SEGMENT
MARLIN_CIRCLE_SEGMENTS = 72  # Marlin's MIN_CIRCLE_SEGMENTS
GRBL_ARC_TOLERANCE_M = 2e-6  # GRBL's default for $12
BEFORE_SIZE = 6  # direction (4), nominal and safe speed of the move before
COASTING = 0.99  # Marlin: below this share of the safe speeds a junction is taken as stop and start


@compiled
def arc_sweep(a0: float, b0: float, a1: float, b1: float, c1: float, c2: float, turns: int) -> float:
    """Signed angle [rad] of an arc in its plane; a begun turn without an end angle is a full circle."""
    sweep = math.atan2(b1 - c2, a1 - c1) - math.atan2(b0 - c2, a0 - c1)
    if turns < 0:
        sweep = -sweep
    sweep = sweep % (2.0 * math.pi)
    if sweep < 1e-9:
        sweep = 2.0 * math.pi
    sweep += 2.0 * math.pi * (abs(turns) - 1)
    return -sweep if turns < 0 else sweep


@compiled
def plane_axes(plane: int) -> tuple[int, int, int]:
    """First, second and normal axis of an arc's plane."""
    if plane == ZX:
        return 2, 0, 1
    if plane == YZ:
        return 1, 2, 0
    return 0, 1, 2


@compiled
def _line(start: Array, end: Array, extruded_m: float, first: Array, last: Array, shares: Array) -> float:
    """Length [m] of a straight move (of the filament, where nothing else moves) and its direction."""
    length = math.sqrt((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2 + (end[2] - start[2]) ** 2)
    if length == 0.0:
        length = abs(extruded_m)
    if length > 0.0:
        for axis in range(3):
            first[axis] = last[axis] = (end[axis] - start[axis]) / length
        first[3] = last[3] = extruded_m / length
        shares[:] = np.abs(first)
    return length


@compiled
def _arc(
    start: Array, end: Array, extruded_m: float, c1: float, c2: float, turns: int, plane: int, first: Array,
    last: Array, shares: Array,
) -> tuple[float, float, float]:  # fmt: skip
    """Length [m], radius [m] and angle [rad] of an arc or helix, its directions at both ends, and the largest
    share of the path speed that each axis gets on it."""
    a, b, normal = plane_axes(plane)
    sweep = arc_sweep(start[a], start[b], end[a], end[b], c1, c2, turns)
    r0 = math.hypot(start[a] - c1, start[b] - c2)
    r1 = math.hypot(end[a] - c1, end[b] - c2)
    radius = 0.5 * (r0 + r1)
    rise = end[normal] - start[normal]
    length = math.hypot(radius * sweep, rise)
    if r0 == 0.0 or r1 == 0.0:
        return math.nan, radius, sweep
    share = radius * abs(sweep) / length
    turn = math.copysign(share, sweep)
    first[a], first[b] = -(start[b] - c2) / r0 * turn, (start[a] - c1) / r0 * turn
    last[a], last[b] = -(end[b] - c2) / r1 * turn, (end[a] - c1) / r1 * turn
    first[normal] = last[normal] = rise / length
    first[3] = last[3] = extruded_m / length
    shares[a] = shares[b] = share
    shares[normal], shares[3] = abs(first[normal]), abs(first[3])
    return length, radius, sweep


@compiled
def _acceleration(shares: Array, limits: Array, junction_deviation: bool, path: bool) -> float:
    """Path acceleration [m/s^2]: the kind of move's own, lowered until no axis exceeds its limit."""
    if junction_deviation:
        value = math.inf
    elif not path:
        value = limits[RETRACT_ACCELERATION]
    elif shares[3] > 0.0:
        value = limits[PRINT_ACCELERATION]
    else:
        value = limits[TRAVEL_ACCELERATION]
    for axis in range(4):
        if shares[axis] > 0.0:
            value = min(value, limits[ACCELERATION + axis] / shares[axis])
    return value


@compiled
def _classic_arc_speed(radius: float, limits: Array, plane: int) -> float:
    """Speed [m/s] at which the corners between Marlin's arc segments reach the jerk limit."""
    a, b, _ = plane_axes(plane)
    turn = min(MARLIN_ARC_SEGMENT_M / radius, 2.0 * math.pi / MARLIN_CIRCLE_SEGMENTS)
    return float(min(limits[JERK + a], limits[JERK + b]) / (2.0 * math.sin(0.5 * turn)))


@compiled
def _deviation_speed(cosine: float, acceleration: float, deviation_m: float) -> float:
    """Corner speed [m/s] by junction deviation; `cosine` of the angle between the two directions.

    Sonny Jeon, "Improving Grbl: Cornering Algorithm" (2011): v^2 = a d s / (1 - s), s = sin(theta / 2).
    """
    if cosine < -0.999999:
        return 0.0
    sine = math.sqrt(0.5 * (1.0 + cosine))
    if sine > 0.9999999:
        return math.inf
    return math.sqrt(acceleration * deviation_m * sine / (1.0 - sine))


@compiled
def _deviation_arc_speed(radius: float, sweep: float, acceleration: float, deviation_m: float) -> float:
    """Speed [m/s] at which the corners between GRBL's arc segments reach the junction limit."""
    chord = math.sqrt(GRBL_ARC_TOLERANCE_M * max(2.0 * radius - GRBL_ARC_TOLERANCE_M, GRBL_ARC_TOLERANCE_M))
    segments = math.floor(0.5 * abs(sweep) * radius / chord)
    if segments < 2.0:
        return math.inf
    return _deviation_speed(math.cos(sweep / segments), acceleration, deviation_m)


@compiled
def _safe_speed(direction: Array, nominal: float, limits: Array) -> float:
    """Speed [m/s] from which every axis may stop at once (Marlin's classic jerk)."""
    speed = nominal
    for axis in range(4):
        share = abs(direction[axis])
        if share * speed > limits[JERK + axis]:
            speed = limits[JERK + axis] / share
    return speed


@compiled
def _classic_junction(before: Array, after: Array, nominal: float, safe: float, limits: Array) -> float:
    """Corner speed [m/s] that keeps each axis' speed step within its jerk (Marlin planner.cpp, CLASSIC_JERK)."""
    speed = min(float(before[4]), nominal)
    factor = 1.0
    for axis in range(4):
        leaving = before[axis] * speed * factor
        entering = after[axis] * speed * factor
        same_way = leaving * entering > 0.0
        step = abs(leaving - entering) if same_way else max(abs(leaving), abs(entering))
        if step > limits[JERK + axis]:
            factor *= limits[JERK + axis] / step
    speed *= factor
    if before[5] > COASTING * speed and safe > COASTING * speed:
        return safe
    return speed


@compiled
def prepare(
    op: Array, xyz: Array, feed: Array, filament_m: Array, centre: Array, turns: Array, target: Array, value: Array,
    synchronising: Array, limits: Array, rapid_m_s: float, junction_deviation: bool, blocks: Array,
) -> tuple[int, int]:  # fmt: skip
    """Length, nominal speed, acceleration and highest entry speed of each move.

    Args:
        xyz: end points, shape (n, 3) [m]; the first move starts at the origin.
        filament_m: filament fed, shape (n,) [m].
        synchronising: mask of the instructions at which motion stops.
        limits: indexed by Limit; changed by the program's SET_LIMITs.
        blocks: out, shape (5, n): length, nominal speed, acceleration, highest entry speed, 1 = starts from rest.

    Returns (first instruction that cannot be planned or -1, why: 1 not finite, 2 no speed, 3 no acceleration,
    4 a limit that is no limit).
    """
    before = np.zeros(BEFORE_SIZE)
    start, first, last, shares = np.zeros(3), np.zeros(4), np.zeros(4), np.zeros(4)
    at_rest = True
    for i in range(len(op)):
        if op[i] == SET_LIMIT and 0 <= target[i] < LIMIT_COUNT:
            if not 0.0 <= value[i] < math.inf:
                return i, 4
            limits[target[i]] = value[i]
        at_rest = at_rest or synchronising[i]
        end = xyz[i]
        if TRAVERSE <= op[i] <= ARC:
            first[:] = 0.0
            last[:] = 0.0
            if op[i] == ARC:
                length, radius, sweep = _arc(
                    start, end, filament_m[i], centre[i, 0], centre[i, 1], turns[i], target[i], first, last, shares
                )
            else:
                radius, sweep = math.inf, 0.0
                length = _line(start, end, filament_m[i], first, last, shares)
            blocks[0, i] = length
            if not math.isfinite(length):
                return i, 1
            if length > 0.0:
                why = _plan_block(
                    i, feed[i], first, last, shares, radius, sweep, target[i], at_rest, before, limits, rapid_m_s,
                    junction_deviation, blocks,
                )  # fmt: skip
                if why != 0:
                    return i, why
                at_rest = False
        start[:] = end
    return -1, 0


@compiled
def _plan_block(
    i: int, feed: float, first: Array, last: Array, shares: Array, radius: float, sweep: float, plane: int,
    at_rest: bool, before: Array, limits: Array, rapid_m_s: float, junction_deviation: bool, blocks: Array,
) -> int:  # fmt: skip
    """Fill one move's column of `blocks`. `before`: direction (4), nominal and safe speed of the move before."""
    nominal = _nominal(feed, shares, limits, rapid_m_s)
    path = shares[0] + shares[1] + shares[2] > 0.0
    acceleration = _acceleration(shares, limits, junction_deviation, path)
    if sweep != 0.0 and junction_deviation:
        nominal = min(nominal, _deviation_arc_speed(radius, sweep, acceleration, limits[JUNCTION_DEVIATION]))
    elif sweep != 0.0:
        nominal = min(nominal, _classic_arc_speed(radius, limits, plane))
    if not 0.0 < nominal < math.inf:
        return 2
    if not 0.0 < acceleration < math.inf:
        return 3
    safe = 0.0 if junction_deviation else _safe_speed(first, nominal, limits)
    if at_rest:
        entry = safe
    elif junction_deviation:
        entry = _deviation_entry(before, first, min(nominal, before[4]), limits)
    else:
        entry = _classic_junction(before, first, nominal, safe, limits)
    blocks[1, i], blocks[2, i], blocks[3, i], blocks[4, i] = nominal, acceleration, entry, 1.0 if at_rest else 0.0
    before[:4] = last
    before[4] = nominal
    before[5] = 0.0 if junction_deviation else _safe_speed(last, nominal, limits)
    return 0


@compiled
def _nominal(feed: float, shares: Array, limits: Array, rapid_m_s: float) -> float:
    """Path speed [m/s]: the feed (NaN = every axis as fast as a rapid allows), lowered to the axes' limits."""
    speed = math.inf if math.isnan(feed) else feed
    for axis in range(4):
        if shares[axis] > 0.0:
            highest = limits[SPEED + axis]
            if math.isnan(feed) and axis < 3:
                highest = min(highest, rapid_m_s)
            speed = min(speed, highest / shares[axis])
    return speed


@compiled
def _deviation_entry(before: Array, after: Array, nominal: float, limits: Array) -> float:
    """Corner speed [m/s] as GRBL plans it: acceleration of the axes in the direction of the turn."""
    cosine = before[0] * after[0] + before[1] * after[1] + before[2] * after[2]
    acceleration = math.inf
    norm = math.sqrt(max(0.0, 2.0 - 2.0 * cosine))
    for axis in range(3):
        turn = abs(after[axis] - before[axis])
        if turn > 1e-9:
            acceleration = min(acceleration, limits[ACCELERATION + axis] * norm / turn)
    if not math.isfinite(acceleration):
        return nominal
    return min(nominal, _deviation_speed(cosine, acceleration, limits[JUNCTION_DEVIATION]))


@compiled
def look_ahead(blocks: Array, moves: Array, horizon: int, entry: Array, exit_: Array) -> None:
    """Entry and exit speeds [m/s] of each move: backward pass (can it still stop?), then forward pass.

    The controller sees only `horizon` moves ahead and must be able to stop at the end of them. Without a
    nearer limit the squared speed there is the sum of 2 a s over the horizon, so a prefix sum replaces a
    search at each move.
    """
    count = len(moves)
    gain = np.zeros(count + 1)  # [m^2/s^2] prefix sum of 2 a s
    for k in range(count):
        gain[k + 1] = gain[k] + 2.0 * blocks[2, moves[k]] * blocks[0, moves[k]]
    squared = np.zeros(count + 1)  # entry speed squared
    for k in range(count - 1, -1, -1):
        i = moves[k]
        stops = k + 1 == count or blocks[4, moves[k + 1]] > 0.0
        after = 0.0 if stops else squared[k + 1]
        seen = gain[min(k + horizon, count)] - gain[k]
        squared[k] = min(blocks[3, i] ** 2, after + gain[k + 1] - gain[k], seen)
    for k in range(count):
        i = moves[k]
        stops = k + 1 == count or blocks[4, moves[k + 1]] > 0.0
        if not stops:
            squared[k + 1] = min(squared[k + 1], squared[k] + gain[k + 1] - gain[k])
        entry[i] = math.sqrt(squared[k])
        # Marlin may let the next move enter, within its jerk, faster than this one goes
        exit_[i] = 0.0 if stops else min(math.sqrt(squared[k + 1]), blocks[1, i])


@compiled
def trapezoids(blocks: Array, moves: Array, entry: Array, exit_: Array, cruise: Array, duration: Array) -> None:
    """Cruising speed [m/s] and duration [s] of each move: accelerate, cruise, brake; a triangle when short."""
    for i in moves:
        length, nominal, acceleration = blocks[0, i], blocks[1, i], blocks[2, i]
        v0, v1 = entry[i], exit_[i]
        ramps = (2.0 * nominal**2 - v0**2 - v1**2) / (2.0 * acceleration)
        if ramps <= length:
            top, flat = nominal, length - ramps
        else:
            top, flat = math.sqrt(acceleration * length + 0.5 * (v0**2 + v1**2)), 0.0
            top = max(top, v0, v1)  # rounding
        cruise[i] = top
        duration[i] = (2.0 * top - v0 - v1) / acceleration + flat / top
