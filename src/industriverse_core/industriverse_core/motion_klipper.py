"""One block as Klipper plans it, with square corner velocity, and Klipper's look-ahead. Compiled by numba.

Source: Klipper, klippy/toolhead.py (`Move`, `LookAheadQueue`), kinematics/corexy.py and cartesian.py (`check_move`:
only Z has limits of its own), kinematics/extruder.py (`check_move`, `calc_junction`).
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core import motion_blocks as mb
from industriverse_core.compiled import compiled_ieee as compiled

Array = np.ndarray

ACCELERATION, SPEED = mb.ACCELERATION_LIMIT, mb.SPEED_LIMIT
UNLIMITED = 99999999.9e-3  # [m/s^2] acceleration of filament alone, before the extruder's own limit
CORNER = math.sqrt(2.0) - 1.0  # a right angle is taken at the square corner velocity
STRAIGHT_BACK = 0.999999


@compiled
def _junction_squared(
    unit: Array, length: float, acceleration: float, deviation: float, before: Array, limits: Array
) -> float:
    """Corner speed squared [m^2/s^2] by the geometry of the corner and the filament's step."""
    cosine = -(before[0] * unit[0] + before[1] * unit[1] + before[2] * unit[2])
    if cosine > STRAIGHT_BACK:
        return 0.0
    highest = math.inf
    step = abs(unit[3] - before[3])
    if step > 0.0:
        highest = (limits[mb.JERK_LIMIT + 3] / step) ** 2
    sine = math.sqrt(max(0.5 * (1.0 - cosine), 0.0))
    half = math.sqrt(max(0.5 * (1.0 + cosine), 0.0))
    if sine < 1.0 and half > 0.0:
        radius = sine / (1.0 - sine)
        tangent = 0.25 * sine / half
        highest = min(highest, radius * deviation * acceleration)
        highest = min(highest, radius * before[mb.DEVIATION_BEFORE] * before[mb.ACCELERATION_BEFORE])
        highest = min(highest, tangent * min(2.0 * acceleration * length, before[mb.GAIN_BEFORE]))
    return highest


@compiled
def klipper_block(
    b: int, unit: Array, length: float, feed: float, path: bool, at_rest: bool, before: Array, settings: Array,
    limits: Array, blocks: Array,
) -> int:  # fmt: skip
    """Fill column `b` of `blocks`; returns 0 or why the block cannot be planned.

    Klipper obeys the acceleration of M204 and nothing else of what a program sets; motion of the tool and of filament
    alone never join: both begin and end at rest.
    """
    travel = limits[mb.PRINT_ACCELERATION]
    nominal, acceleration, smoothing = math.inf if math.isnan(feed) else feed, UNLIMITED, UNLIMITED
    if path:
        nominal = min(nominal, settings[mb.RAPID])
        acceleration, smoothing = travel, travel * settings[mb.SMOOTHING]
        if unit[2] != 0.0:
            nominal = min(nominal, limits[SPEED + 2] / abs(unit[2]))
            acceleration = min(acceleration, limits[ACCELERATION + 2] / abs(unit[2]))
    if unit[3] < 0.0 or (unit[3] > 0.0 and unit[0] == 0.0 and unit[1] == 0.0):
        nominal = min(nominal, limits[SPEED + 3] / abs(unit[3]))
        acceleration = min(acceleration, limits[ACCELERATION + 3] / abs(unit[3]))
    if not mb.SMALLEST < nominal < math.inf:
        return mb.NO_SPEED
    if not mb.SMALLEST < acceleration < UNLIMITED:
        return mb.NO_ACCELERATION
    deviation = settings[mb.CORNER_SQUARED] * CORNER / travel
    entry = smoothed = 0.0
    if path and not at_rest and before[mb.PATH_BEFORE] > 0.0:
        entry = _junction_squared(unit, length, acceleration, deviation, before, limits)
        entry = min(entry, min(nominal, before[mb.SPEED_BEFORE]) ** 2)
        entry = min(entry, before[mb.REACH_BEFORE])
        smoothed = min(entry, before[mb.SMOOTHED_REACH_BEFORE])
    gain = 2.0 * acceleration * length
    blocks[mb.LENGTH, b], blocks[mb.NOMINAL, b], blocks[mb.ACCELERATION, b] = length, nominal, acceleration
    blocks[mb.ENTRY, b], blocks[mb.SMOOTHED, b] = entry, smoothed
    blocks[mb.SMOOTHED_GAIN, b] = 2.0 * min(smoothing, acceleration) * length
    before[mb.SPEED_BEFORE], before[mb.ACCELERATION_BEFORE], before[mb.GAIN_BEFORE] = nominal, acceleration, gain
    before[mb.PATH_BEFORE], before[mb.DEVIATION_BEFORE] = 1.0 if path else 0.0, deviation
    before[mb.REACH_BEFORE] = entry + gain
    before[mb.SMOOTHED_REACH_BEFORE] = smoothed + blocks[mb.SMOOTHED_GAIN, b]
    return 0


@compiled
def klipper_look_ahead(blocks: Array, count: int) -> None:
    """Speeds squared of each block, from the last to the first: ENTRY, SMOOTHED and SMOOTHED_GAIN become entry, cruise
    and exit.

    The peak of each rise and fall follows from smoothed speeds (minimum cruise ratio). A block that only brakes waits
    (`pending`) until the peak before it is known. That no block is entered faster than the blocks before it allow is in
    ENTRY already.
    """
    exit_squared = exit_smoothed = peak = 0.0
    pending = 0  # blocks after this one that wait
    for b in range(count - 1, -1, -1):
        reach = exit_squared + 2.0 * blocks[mb.ACCELERATION, b] * blocks[mb.LENGTH, b]
        entry = min(blocks[mb.ENTRY, b], reach)
        smoothed_gain, nominal = blocks[mb.SMOOTHED_GAIN, b], blocks[mb.NOMINAL, b] ** 2
        smoothed_reach = exit_smoothed + smoothed_gain
        smoothed = min(blocks[mb.SMOOTHED, b], smoothed_reach)
        blocks[mb.ENTRY, b], blocks[mb.SMOOTHED_GAIN, b] = entry, exit_squared
        if smoothed < smoothed_reach:
            if smoothed + smoothed_gain > exit_smoothed or pending > 0:
                peak = min(nominal, 0.5 * (smoothed + smoothed_reach))
                _lower_pending(blocks, b + 1, pending, peak)
                pending = 0
            cruise = min(min(0.5 * (entry + reach), nominal), peak)
            _set_junction(blocks, b, cruise)
        else:
            pending += 1
        exit_squared, exit_smoothed = entry, smoothed


@compiled
def _lower_pending(blocks: Array, first: int, pending: int, peak: float) -> None:
    """Give blocks that only brake their speeds: none is faster than the peak before them."""
    for b in range(first, first + pending):
        peak = min(peak, blocks[mb.ENTRY, b])
        _set_junction(blocks, b, peak)


@compiled
def _set_junction(blocks: Array, b: int, cruise: float) -> None:
    blocks[mb.SMOOTHED, b] = cruise
    blocks[mb.ENTRY, b] = min(blocks[mb.ENTRY, b], cruise)
    blocks[mb.SMOOTHED_GAIN, b] = min(blocks[mb.SMOOTHED_GAIN, b], cruise)
