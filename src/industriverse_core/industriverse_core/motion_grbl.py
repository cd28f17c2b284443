"""One block as GRBL plans it, with junction deviation. Compiled by numba; see motion_kernels.py.

Source: GRBL 1.1, planner.c, `plan_buffer_line` and `plan_compute_profile_parameters`.
"""

from __future__ import annotations

import math

from industriverse_core import motion_blocks as mb
from industriverse_core.compiled import compiled_ieee as compiled
from industriverse_core.motion_blocks import Before, Block, Rates, Unit
from industriverse_core.motion_marlin import largest, nominal_speed


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
def _entry_squared(before: Before, unit: Unit, nominal: float, rates: Rates) -> float:
    """Corner speed squared [m^2/s^2]: the acceleration is the axes' in the direction of the turn."""
    cosine = before[0] * unit[0] + before[1] * unit[1] + before[2] * unit[2]
    share = 0.0  # of the turn's acceleration, the largest that an axis needs of its limit
    for axis in range(3):
        turn = abs(unit[axis] - before[axis])
        if turn > 1e-9:
            share = max(share, turn * rates[mb.INVERSE_ACCELERATION + axis])
    speed = min(before[mb.SPEED_BEFORE], nominal)
    if share == 0.0:
        return speed * speed
    acceleration = math.sqrt(max(0.0, 2.0 - 2.0 * cosine)) / share
    return min(speed * speed, _deviation_squared(cosine, acceleration, rates[mb.DEVIATION]))


@compiled
def grbl_block(unit: Unit, feed: float, at_rest: bool, before: Before, rates: Rates) -> Block:
    """One block; see motion_blocks.py."""
    nominal = nominal_speed(unit, feed, rates)
    acceleration = 1.0 / largest(unit, rates, mb.INVERSE_ACCELERATION)
    why = 0
    if not mb.SMALLEST < nominal < math.inf:
        why = mb.NO_SPEED
    elif not mb.SMALLEST < acceleration < math.inf:
        why = mb.NO_ACCELERATION
    entry = 0.0 if at_rest else _entry_squared(before, unit, nominal, rates)
    after = (unit[0], unit[1], unit[2], unit[3], nominal, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return why, nominal, acceleration, entry, 0.0, 0.0, after
