"""One block as Marlin plans it, with classic jerk. Compiled by numba; see motion_kernels.py.

Source: Marlin 2.0, planner.cpp, `_populate_block` with CLASSIC_JERK and LIN_ADVANCE; Prusa's firmware does the same.
Speeds are continuous here: the firmware rounds them to whole steps a second.
"""

from __future__ import annotations

import math

from industriverse_core import motion_blocks as mb
from industriverse_core.compiled import compiled_ieee as compiled
from industriverse_core.motion_blocks import Before, Block, Rates, Unit

COASTING = 0.99  # below this share of the safe speeds a junction is taken as stop and start
ADVANCE_RATIO = 3.0  # filament for a metre of path above which it is no printing and has no linear advance


@compiled
def largest(unit: Unit, rates: Rates, first: int) -> float:
    """Largest share of a limit that an axis needs for a path value of 1: the path may have 1 / this."""
    plane = max(abs(unit[0]) * rates[first], abs(unit[1]) * rates[first + 1])
    return max(plane, max(abs(unit[2]) * rates[first + 2], abs(unit[3]) * rates[first + 3]))


@compiled
def nominal_speed(unit: Unit, feed: float, rates: Rates) -> float:
    """Path speed [m/s]: the feed (NaN = every axis as fast as a rapid allows), lowered to the axes' limits."""
    if math.isnan(feed):
        feed = rates[mb.FAST] / max(max(abs(unit[0]), abs(unit[1])), abs(unit[2]))
    return min(feed, 1.0 / largest(unit, rates, mb.INVERSE_SPEED))


@compiled
def _acceleration(unit: Unit, path: bool, rates: Rates) -> float:
    """Path acceleration [m/s^2]: the kind of move's own, lowered until no axis exceeds its limit."""
    if not path:
        return rates[mb.RETRACT]  # which M201 does not lower
    value = rates[mb.PRINT] if unit[3] != 0.0 else rates[mb.TRAVEL]
    advance = rates[mb.ADVANCE] * unit[3]
    if advance > 0.0 and unit[3] <= ADVANCE_RATIO and value * advance > rates[mb.JERK + 3]:
        value = rates[mb.JERK + 3] / advance  # the advance must not step faster than the filament's jerk
    return min(value, 1.0 / largest(unit, rates, mb.INVERSE_ACCELERATION))


@compiled
def _safe_speed(unit: Unit, nominal: float, rates: Rates) -> float:
    """Speed [m/s] from which the machine may stop at once, as the firmware has it.

    The first axis (in the order x, y, z, filament) that would exceed its jerk gives its jerk as the path's speed, not
    that divided by the axis' share; later ones count by their shares.
    """
    safe, limited = nominal, False
    for axis in range(4):
        share = abs(unit[axis])
        if nominal * share > rates[mb.JERK + axis]:
            safe = min(safe, rates[mb.JERK + axis] / share) if limited else rates[mb.JERK + axis]
            limited = True
    return safe


@compiled
def _step(before: float, after: float) -> float:
    """Speed step of an axis at a corner: while it turns round, each side counts alone."""
    if before * after > 0.0:
        return abs(before - after)
    return max(abs(before), abs(after))


@compiled
def _junction(before: Before, unit: Unit, nominal: float, safe: float, rates: Rates) -> float:
    """Corner speed [m/s] that keeps each axis' speed step within its jerk, as the firmware has it.

    It lowers what comes to the speed of the slower of the two blocks, but takes what follows at its own.
    """
    speed = min(before[mb.SPEED_BEFORE], nominal)
    x = _step(before[0] * speed, unit[0] * nominal) * rates[mb.INVERSE_JERK]
    y = _step(before[1] * speed, unit[1] * nominal) * rates[mb.INVERSE_JERK + 1]
    z = _step(before[2] * speed, unit[2] * nominal) * rates[mb.INVERSE_JERK + 2]
    e = _step(before[3] * speed, unit[3] * nominal) * rates[mb.INVERSE_JERK + 3]
    speed /= max(max(max(x, y), max(z, e)), 1.0)
    if before[mb.SAFE_BEFORE] > COASTING * speed and safe > COASTING * speed:
        return safe
    return speed


@compiled
def marlin_block(unit: Unit, feed: float, path: bool, at_rest: bool, before: Before, rates: Rates) -> Block:
    """One block; after a stop it begins at safe speed. See motion_blocks.py."""
    nominal = nominal_speed(unit, feed, rates)
    acceleration = _acceleration(unit, path, rates)
    why = 0
    if not mb.SMALLEST < nominal < math.inf:
        why = mb.NO_SPEED
    elif not mb.SMALLEST < acceleration < math.inf:
        why = mb.NO_ACCELERATION
    safe = _safe_speed(unit, nominal, rates)
    entry = safe if at_rest else _junction(before, unit, nominal, safe, rates)
    after = (unit[0], unit[1], unit[2], unit[3], nominal, safe, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return why, nominal, acceleration, entry * entry, 0.0, 0.0, after
