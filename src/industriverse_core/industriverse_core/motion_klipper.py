"""One block as Klipper plans it, with square corner velocity, and Klipper's look-ahead. Compiled by numba.

Source: Klipper, klippy/toolhead.py (`Move`, `LookAheadQueue`), kinematics/corexy.py and cartesian.py (`check_move`:
only Z has limits of its own), kinematics/extruder.py (`check_move`, `calc_junction`).
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core import motion_blocks as mb
from industriverse_core.compiled import compiled_ieee as compiled
from industriverse_core.motion_blocks import Before, Block, Rates, Unit

Array = np.ndarray

UNLIMITED = 99999999.9e-3  # [m/s^2] acceleration of filament alone, before the extruder's own limit
CORNER = math.sqrt(2.0) - 1.0  # a right angle is taken at the square corner velocity
STRAIGHT_BACK = 0.999999


@compiled
def _junction_squared(
    unit: Unit, gain: float, acceleration: float, deviation: float, before: Before, rates: Rates
) -> float:
    """Corner speed squared [m^2/s^2] by the geometry of the corner and the filament's step."""
    cosine = -(before[0] * unit[0] + before[1] * unit[1] + before[2] * unit[2])
    if cosine > STRAIGHT_BACK:
        return 0.0
    highest = math.inf
    step = abs(unit[3] - before[3])
    if step > 0.0:
        highest = (rates[mb.JERK + 3] / step) ** 2
    sine = math.sqrt(max(0.5 * (1.0 - cosine), 0.0))
    half = math.sqrt(max(0.5 * (1.0 + cosine), 0.0))
    if sine < 1.0 and half > 0.0:
        radius = sine / (1.0 - sine)
        tangent = 0.25 * sine / half
        turning = min(deviation * acceleration, before[mb.DEVIATION_BEFORE] * before[mb.ACCELERATION_BEFORE])
        highest = min(highest, min(radius * turning, tangent * min(gain, before[mb.GAIN_BEFORE])))
    return highest


@compiled
def klipper_block(
    unit: Unit, length: float, feed: float, path: bool, at_rest: bool, before: Before, rates: Rates
) -> Block:
    """One block; see motion_blocks.py.

    Klipper obeys the acceleration of M204 and nothing else of what a program sets; motion of the tool and of filament
    alone never join: both begin and end at rest.
    """
    travel = rates[mb.PRINT]
    nominal, acceleration, smoothing = math.inf if math.isnan(feed) else feed, UNLIMITED, UNLIMITED
    if path:
        nominal = min(min(nominal, rates[mb.FAST]), 1.0 / (abs(unit[2]) * rates[mb.INVERSE_SPEED + 2]))
        acceleration = min(travel, 1.0 / (abs(unit[2]) * rates[mb.INVERSE_ACCELERATION + 2]))
        smoothing = travel * rates[mb.SMOOTH]
    if unit[3] < 0.0 or (unit[3] > 0.0 and unit[0] == 0.0 and unit[1] == 0.0):
        nominal = min(nominal, 1.0 / (abs(unit[3]) * rates[mb.INVERSE_SPEED + 3]))
        acceleration = min(acceleration, 1.0 / (abs(unit[3]) * rates[mb.INVERSE_ACCELERATION + 3]))
    why = 0
    if not mb.SMALLEST < nominal < math.inf:
        why = mb.NO_SPEED
    elif not mb.SMALLEST < acceleration < UNLIMITED:
        why = mb.NO_ACCELERATION
    deviation, gain = rates[mb.CORNER] * CORNER / travel, 2.0 * acceleration * length
    smoothed_gain = 2.0 * min(smoothing, acceleration) * length
    entry = smoothed = 0.0
    if path and not at_rest and before[mb.PATH_BEFORE] > 0.0:
        entry = _junction_squared(unit, gain, acceleration, deviation, before, rates)
        entry = min(min(entry, min(nominal, before[mb.SPEED_BEFORE]) ** 2), before[mb.REACH_BEFORE])
        smoothed = min(entry, before[mb.SMOOTHED_REACH_BEFORE])
    after = (
        unit[0], unit[1], unit[2], unit[3], nominal, 0.0, 1.0 if path else 0.0, deviation, acceleration, gain,
        entry + gain, smoothed + smoothed_gain,
    )  # fmt: skip
    return why, nominal, acceleration, entry, smoothed, smoothed_gain, after


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
