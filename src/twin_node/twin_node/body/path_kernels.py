"""Compiled loop: the planned motion at evenly spaced times."""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.motion import trapezoid_at
from industriverse_core.motion_arcs import arc_sweep, plane_axes
from industriverse_core.program import Op

Array = np.ndarray
ARC_FEED = int(Op.ARC_FEED)
trapezoid = compiled(trapezoid_at)


@compiled
def sample_path(
    op: Array, x: Array, y: Array, z: Array, center_1: Array, center_2: Array, turns: Array, plane: Array, end: Array,
    duration: Array, length: Array, entry: Array, cruise: Array, leaving: Array, acceleration: Array, index: int,
    origin_s: float, number: int, step_s: float, position: Array, velocity: Array, instruction: Array,
) -> None:  # fmt: skip
    """Where the tool is and how fast, as `industriverse_core.motion.position_at` says, at the times of some steps.

    Row k is at origin_s + (number + k) * step_s, so that the same step has the same bits in every call.

    Args:
        op to plane: the program's columns, (n,); plane is its `target`.
        end to acceleration: the plan's, (n,).
        index: an instruction at or before the first row's time.
        position, velocity, instruction: results, (k, 3) [m], (k, 3) [m/s], (k,).
    """
    last = len(op) - 1
    a, b = np.zeros(3), np.zeros(3)
    for row in range(len(instruction)):
        at_s = origin_s + (number + row) * step_s
        while index < last and end[index] < at_s:
            index += 1
        since = min(max(0.0, at_s - (end[index] - duration[index])), duration[index])
        distance, speed = trapezoid(
            since, duration[index], length[index], entry[index], cruise[index], leaving[index], acceleration[index]
        )
        still = length[index] <= 0.0
        fraction = (1.0 if at_s >= end[index] else 0.0) if still else distance / length[index]
        rate = 0.0 if still or at_s >= end[last] else speed / length[index]  # of the fraction [1/s]
        b[0], b[1], b[2] = x[index], y[index], z[index]
        a[:] = 0.0
        if index > 0:
            a[0], a[1], a[2] = x[index - 1], y[index - 1], z[index - 1]
        for axis in range(3):
            position[row, axis] = a[axis] + fraction * (b[axis] - a[axis])
            velocity[row, axis] = rate * (b[axis] - a[axis])
        if op[index] == ARC_FEED:
            first, second, _ = plane_axes(plane[index])
            c1, c2 = center_1[index], center_2[index]
            sweep = arc_sweep(a[first], a[second], b[first], b[second], c1, c2, turns[index])
            r0, r1 = math.hypot(a[first] - c1, a[second] - c2), math.hypot(b[first] - c1, b[second] - c2)
            angle = math.atan2(a[second] - c2, a[first] - c1) + fraction * sweep
            radius, cosine, sine = r0 + fraction * (r1 - r0), math.cos(angle), math.sin(angle)
            position[row, first], position[row, second] = c1 + radius * cosine, c2 + radius * sine
            outward, around = rate * (r1 - r0), rate * sweep * radius
            velocity[row, first] = outward * cosine - around * sine
            velocity[row, second] = outward * sine + around * cosine
        instruction[row] = index
