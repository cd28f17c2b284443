"""One block as Marlin plans it, with classic jerk. Compiled by numba; see motion_kernels.py.

Source: Marlin 2.0, planner.cpp, `_populate_block` with CLASSIC_JERK and LIN_ADVANCE; Prusa's firmware does the same.
Speeds are continuous here: the firmware rounds them to whole steps a second.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core import motion_blocks as mb
from industriverse_core.compiled import compiled_ieee as compiled

Array = np.ndarray

COASTING = 0.99  # below this share of the safe speeds a junction is taken as stop and start
ADVANCE_RATIO = 3.0  # filament for a metre of path above which it is no printing and has no linear advance
ACCELERATION, SPEED, JERK = mb.ACCELERATION_LIMIT, mb.SPEED_LIMIT, mb.JERK_LIMIT


@compiled
def largest(unit: Array, inverse: Array, first: int) -> float:
    """Largest share of a limit that an axis needs for a path value of 1: the path may have 1 / this."""
    plane = max(abs(unit[0]) * inverse[first], abs(unit[1]) * inverse[first + 1])
    return float(max(plane, max(abs(unit[2]) * inverse[first + 2], abs(unit[3]) * inverse[first + 3])))


@compiled
def nominal_speed(unit: Array, feed: float, limits: Array, inverse: Array, rapid: float) -> float:
    """Path speed [m/s]: the feed (NaN = every axis as fast as a rapid allows), lowered to the axes' limits."""
    if math.isnan(feed):
        feed = math.inf
        for axis in range(3):
            if unit[axis] != 0.0:
                feed = min(feed, min(limits[SPEED + axis], rapid) / abs(unit[axis]))
    return float(min(feed, 1.0 / largest(unit, inverse, SPEED)))


@compiled
def _acceleration(unit: Array, path: bool, limits: Array, inverse: Array) -> float:
    """Path acceleration [m/s^2]: the kind of move's own, lowered until no axis exceeds its limit."""
    if not path:
        return float(limits[mb.RETRACT_ACCELERATION])  # which M201 does not lower
    value = limits[mb.PRINT_ACCELERATION] if unit[3] != 0.0 else limits[mb.TRAVEL_ACCELERATION]
    advance = limits[mb.PRESSURE_ADVANCE] * unit[3]
    if advance > 0.0 and unit[3] <= ADVANCE_RATIO and value * advance > limits[JERK + 3]:
        value = limits[JERK + 3] / advance  # the advance must not step faster than the filament's jerk
    return float(min(value, 1.0 / largest(unit, inverse, ACCELERATION)))


@compiled
def _safe_speed(unit: Array, nominal: float, limits: Array, inverse: Array) -> float:
    """Speed [m/s] from which the machine may stop at once, as the firmware has it.

    The first axis (in the order x, y, z, filament) that would exceed its jerk gives its jerk as the path's speed, not
    that divided by the axis' share; later ones count by their shares.
    """
    if nominal * largest(unit, inverse, JERK) <= 1.0:
        return nominal
    safe, limited = nominal, False
    for axis in range(4):
        share = abs(unit[axis])
        if nominal * share > limits[JERK + axis]:
            if limited:
                safe = min(safe, limits[JERK + axis] / share)
            else:
                safe, limited = limits[JERK + axis], True
    return safe


@compiled
def _step(before: float, after: float) -> float:
    """Speed step of an axis at a corner: while it turns round, each side counts alone."""
    if before * after > 0.0:
        return abs(before - after)
    return max(abs(before), abs(after))


@compiled
def _junction(before: Array, unit: Array, nominal: float, safe: float, inverse: Array) -> float:
    """Corner speed [m/s] that keeps each axis' speed step within its jerk, as the firmware has it.

    It lowers what comes to the speed of the slower of the two blocks, but takes what follows at its own.
    """
    speed = min(before[mb.SPEED_BEFORE], nominal)
    share = max(
        max(
            _step(before[0] * speed, unit[0] * nominal) * inverse[JERK],
            _step(before[1] * speed, unit[1] * nominal) * inverse[JERK + 1],
        ),
        max(
            _step(before[2] * speed, unit[2] * nominal) * inverse[JERK + 2],
            _step(before[3] * speed, unit[3] * nominal) * inverse[JERK + 3],
        ),
    )
    speed /= max(share, 1.0)
    if before[mb.SAFE_BEFORE] > COASTING * speed and safe > COASTING * speed:
        return safe
    return float(speed)


@compiled
def marlin_block(
    b: int, unit: Array, length: float, feed: float, path: bool, at_rest: bool, before: Array, settings: Array,
    limits: Array, inverse: Array, blocks: Array,
) -> int:  # fmt: skip
    """Fill column `b` of `blocks`; returns 0 or why it cannot be planned. After a stop it begins at safe speed."""
    nominal = nominal_speed(unit, feed, limits, inverse, settings[mb.RAPID])
    acceleration = _acceleration(unit, path, limits, inverse)
    if not mb.SMALLEST < nominal < math.inf:
        return mb.NO_SPEED
    if not mb.SMALLEST < acceleration < math.inf:
        return mb.NO_ACCELERATION
    safe = _safe_speed(unit, nominal, limits, inverse)
    entry = safe if at_rest else _junction(before, unit, nominal, safe, inverse)
    blocks[mb.LENGTH, b], blocks[mb.NOMINAL, b], blocks[mb.ACCELERATION, b] = length, nominal, acceleration
    blocks[mb.ENTRY, b] = entry * entry
    before[mb.SPEED_BEFORE], before[mb.SAFE_BEFORE] = nominal, safe
    return 0
