"""Arcs and helices as the controllers see them: chains of short straight segments between points on the circle.

Compiled by numba; see motion_kernels.py. An arc is kept in a small array, indexed by the constants below.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled_ieee as compiled
from industriverse_core.motion_blocks import GRBL, MARLIN
from industriverse_core.program import Plane

Array = np.ndarray

ZX, YZ = int(Plane.ZX), int(Plane.YZ)
MAX_SEGMENTS = 65_535  # of one arc: the counters of Marlin and GRBL have 16 bits
GRBL_ARC_TOLERANCE_M = 2e-6  # GRBL's default for $12

ARC_SIZE = 13
CENTRE_A, CENTRE_B, START_NORMAL, RADIUS, GROWTH, COSINE, SINE, STEP_COSINE, STEP_SINE, RISE, ANGLE, STEP, LENGTH = (
    range(ARC_SIZE)
)
RESYNC = 32  # after this many steps the rotated direction is computed anew, so that rounding does not add up


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
def segment_count(family: int, radius: float, sweep: float, rise: float, resolution: float, circle: float) -> int:
    """Straight segments that a controller makes of an arc.

    Marlin 2.0 (G2_G3.cpp) and Prusa's firmware: one for each `resolution` [m] of path, but `circle` for a whole circle.
    GRBL 1.1 (motion_control.c): so many that the chord stays within its tolerance of the circle.
    Klipper (gcode_arcs.py): one for each `resolution`.
    """
    length = math.hypot(radius * sweep, rise)
    if family == GRBL:
        chord = math.sqrt(GRBL_ARC_TOLERANCE_M * max(2.0 * radius - GRBL_ARC_TOLERANCE_M, GRBL_ARC_TOLERANCE_M))
        count = math.floor(0.5 * abs(sweep) * radius / chord)
    else:
        count = math.floor(length / resolution)
        if family == MARLIN:
            count = max(count, math.ceil(circle * abs(sweep) / (2.0 * math.pi) - 1e-9))
    if not count < MAX_SEGMENTS:  # also where it is not a number; the length says so then
        return MAX_SEGMENTS
    return max(1, int(count))


@compiled
def begin_arc(
    family: int, start: Array, end: Array, c1: float, c2: float, turns: int, plane: int, resolution: float,
    circle: float, arc: Array,
) -> int:  # fmt: skip
    """Fill `arc` for an arc from `start` to `end` [m] and return the number of its segments.

    LENGTH is that of the whole path; NaN where the arc begins or ends in its centre. Where the end is not on the
    circle of the start, the radius changes evenly.
    """
    a, b, normal = plane_axes(plane)
    sweep = arc_sweep(start[a], start[b], end[a], end[b], c1, c2, turns)
    r0, r1 = math.hypot(start[a] - c1, start[b] - c2), math.hypot(end[a] - c1, end[b] - c2)
    rise = end[normal] - start[normal]
    radius = 0.5 * (r0 + r1)
    count = segment_count(family, radius, sweep, rise, resolution, circle)
    arc[CENTRE_A], arc[CENTRE_B], arc[START_NORMAL] = c1, c2, start[normal]
    arc[RADIUS], arc[GROWTH], arc[RISE] = r0, (r1 - r0) / count, rise / count
    arc[ANGLE], arc[STEP] = math.atan2(start[b] - c2, start[a] - c1), sweep / count
    arc[COSINE], arc[SINE] = math.cos(arc[ANGLE]), math.sin(arc[ANGLE])
    arc[STEP_COSINE], arc[STEP_SINE] = math.cos(arc[STEP]), math.sin(arc[STEP])
    arc[LENGTH] = math.hypot(radius * sweep, rise) if r0 > 0.0 and r1 > 0.0 else math.nan
    return count


@compiled
def arc_point(arc: Array, plane: int, part: int, point: Array) -> None:
    """Put the end of the arc's segment `part` (from 1, in order) into `point`, shape (3,) [m]."""
    a, b, normal = plane_axes(plane)
    if part % RESYNC == 0:
        angle = arc[ANGLE] + part * arc[STEP]
        arc[COSINE], arc[SINE] = math.cos(angle), math.sin(angle)
    else:
        cosine, sine = arc[COSINE], arc[SINE]
        arc[COSINE] = cosine * arc[STEP_COSINE] - sine * arc[STEP_SINE]
        arc[SINE] = sine * arc[STEP_COSINE] + cosine * arc[STEP_SINE]
    radius = arc[RADIUS] + part * arc[GROWTH]
    point[a], point[b] = arc[CENTRE_A] + radius * arc[COSINE], arc[CENTRE_B] + radius * arc[SINE]
    point[normal] = arc[START_NORMAL] + part * arc[RISE]
