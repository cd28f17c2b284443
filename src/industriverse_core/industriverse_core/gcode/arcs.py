"""Centres of G2/G3 arcs, from I J K offsets or from a radius."""

from __future__ import annotations

import math

from industriverse_core.compiled import compiled

FOUND, NO_CENTRE, CENTRE_IS_START, RADIUS_MISMATCH, RADIUS_TOO_SMALL, ENDS_AT_START = range(6)

SMALLEST_RADIUS_MM = 1e-4
# GRBL 1.1 (gcode.c) and LinuxCNC agree: an error is more than 0.5 mm, or more than 0.005 mm and 0.1 % of the radius
RADIUS_ERROR_MM = 0.5
RADIUS_ERROR_SMALL_MM = 0.005
RADIUS_ERROR_RELATIVE = 1e-3


@compiled
def check_centre(start_1: float, start_2: float, end_1: float, end_2: float, center_1: float, center_2: float) -> int:
    """FOUND when start and end lie on one circle about the centre [mm], else what is wrong."""
    radius = math.hypot(start_1 - center_1, start_2 - center_2)
    if not radius > SMALLEST_RADIUS_MM:
        return CENTRE_IS_START
    error = abs(math.hypot(end_1 - center_1, end_2 - center_2) - radius)
    if error > RADIUS_ERROR_MM or (error > RADIUS_ERROR_SMALL_MM and error > RADIUS_ERROR_RELATIVE * radius):
        return RADIUS_MISMATCH
    return FOUND


@compiled
def centre_from_radius(
    start_1: float, start_2: float, end_1: float, end_2: float, radius: float, clockwise: bool
) -> tuple[int, float, float]:
    """Centre [mm] of the arc with a signed radius (negative = the longer way round) as (status, c1, c2)."""
    delta_1 = end_1 - start_1
    delta_2 = end_2 - start_2
    chord = math.hypot(delta_1, delta_2)
    if not chord > SMALLEST_RADIUS_MM:
        return ENDS_AT_START, 0.0, 0.0
    if 0.5 * chord - abs(radius) > RADIUS_ERROR_SMALL_MM:
        return RADIUS_TOO_SMALL, 0.0, 0.0
    height = math.sqrt(max(radius * radius - 0.25 * chord * chord, 0.0)) / chord
    if clockwise == (radius > 0.0):  # the centre lies to the right of the chord
        height = -height
    return FOUND, start_1 + 0.5 * delta_1 - height * delta_2, start_2 + 0.5 * delta_2 + height * delta_1
