"""One block as GRBL plans it, with junction deviation. Compiled by numba; see motion_kernels.py.

Source: GRBL 1.1, planner.c, `plan_buffer_line` and `plan_compute_profile_parameters`.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core import motion_blocks as mb
from industriverse_core.compiled import compiled_ieee as compiled
from industriverse_core.motion_marlin import largest, nominal_speed

Array = np.ndarray

ACCELERATION = mb.ACCELERATION_LIMIT


@compiled
def _deviation_squared(cosine: float, acceleration: float, deviation_m: float) -> float:
    """Corner speed squared [m^2/s^2] by junction deviation; `cosine` of the angle between the two directions.

    Sonny Jeon, "Improving Grbl: Cornering Algorithm" (2011): v^2 = a d s / (1 - s), s = sin(theta / 2).
    """
    if cosine < -0.999999:
        return 0.0
    sine = math.sqrt(0.5 * (1.0 + cosine))
    if sine > 0.9999999:
        return math.inf
    return acceleration * deviation_m * sine / (1.0 - sine)


@compiled
def _entry_squared(before: Array, unit: Array, nominal: float, limits: Array) -> float:
    """Corner speed squared [m^2/s^2]: the acceleration is the axes' in the direction of the turn."""
    cosine = before[0] * unit[0] + before[1] * unit[1] + before[2] * unit[2]
    acceleration = math.inf
    norm = math.sqrt(max(0.0, 2.0 - 2.0 * cosine))
    for axis in range(3):
        turn = abs(unit[axis] - before[axis])
        if turn > 1e-9:
            acceleration = min(acceleration, limits[ACCELERATION + axis] * norm / turn)
    speed = min(before[mb.SPEED_BEFORE], nominal)
    if not acceleration < math.inf:
        return float(speed * speed)
    highest = _deviation_squared(cosine, acceleration, limits[mb.JUNCTION_DEVIATION])
    return float(min(speed * speed, highest))


@compiled
def grbl_block(
    b: int, unit: Array, length: float, feed: float, at_rest: bool, before: Array, settings: Array, limits: Array,
    inverse: Array, blocks: Array,
) -> int:  # fmt: skip
    """Fill column `b` of `blocks`; returns 0 or why the block cannot be planned."""
    nominal = nominal_speed(unit, feed, limits, inverse, settings[mb.RAPID])
    acceleration = 1.0 / largest(unit, inverse, ACCELERATION)
    if not mb.SMALLEST < nominal < math.inf:
        return mb.NO_SPEED
    if not mb.SMALLEST < acceleration < math.inf:
        return mb.NO_ACCELERATION
    blocks[mb.LENGTH, b], blocks[mb.NOMINAL, b], blocks[mb.ACCELERATION, b] = length, nominal, acceleration
    blocks[mb.ENTRY, b] = 0.0 if at_rest else _entry_squared(before, unit, nominal, limits)
    before[mb.SPEED_BEFORE] = nominal
    return 0
