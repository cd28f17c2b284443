"""Compiled loops over the path of one move: does a tool come into a box on its way?"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled

CHORD_M = 5e-6  # an arc is judged by chords that lie this near to it
MOST_CHORDS = 4096  # of one arc; what the chords then miss is added to the tool's radius
LEAST_CHORDS = 64
CHORD_BUDGET = 20_000_000  # of one program and box, so that no file makes the gates slow


@compiled
def segment_distance_m(ax: float, ay: float, bx: float, by: float, box: np.ndarray) -> float:
    """Distance in XY between the segment a-b and a rectangle (x low, x high, y low, y high) [m]; 0 = they meet."""
    low, high = 0.0, 1.0  # the part of the segment inside the rectangle (Liang-Barsky)
    meets = True
    for start, end, bottom, top in ((ax, bx, box[0], box[1]), (ay, by, box[2], box[3])):
        step = end - start
        if step == 0.0:
            meets = meets and bottom < start < top
            continue
        first, second = (bottom - start) / step, (top - start) / step
        low, high = max(low, min(first, second)), min(high, max(first, second))
    if meets and low < high:
        return 0.0
    best = math.inf
    for x, y in ((ax, ay), (bx, by)):
        best = min(best, math.hypot(max(box[0] - x, 0.0, x - box[1]), max(box[2] - y, 0.0, y - box[3])))
    length_2 = (bx - ax) ** 2 + (by - ay) ** 2
    if length_2 > 0.0:
        for x in (box[0], box[1]):
            for y in (box[2], box[3]):
                if math.isfinite(x) and math.isfinite(y):
                    at = min(1.0, max(0.0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length_2))
                    best = min(best, math.hypot(ax + at * (bx - ax) - x, ay + at * (by - ay) - y))
    return best


@compiled
def segment_enters(a: np.ndarray, b: np.ndarray, box: np.ndarray, radius_m: float) -> bool:
    """Whether a tool of this radius whose tip goes straight from a to b (x, y, z) comes into a box.

    Args:
        a, b: (3,) ends [m].
        box: (6,) x low, x high, y low, y high, z low, z high [m]; z concerns the tip alone.
        radius_m: 0 = a point.
    """
    low, high = 0.0, 1.0  # the part of the segment with its tip between the box's heights
    rise = b[2] - a[2]
    if rise == 0.0:
        if not box[4] < a[2] < box[5]:
            return False
    else:
        first, second = (box[4] - a[2]) / rise, (box[5] - a[2]) / rise
        low, high = max(low, min(first, second)), min(high, max(first, second))
        if not low < high:
            return False
    ax, ay = a[0] + low * (b[0] - a[0]), a[1] + low * (b[1] - a[1])
    bx, by = a[0] + high * (b[0] - a[0]), a[1] + high * (b[1] - a[1])
    distance = segment_distance_m(ax, ay, bx, by, box)
    return distance == 0.0 or distance < radius_m


@compiled
def arc_enters(
    a: np.ndarray, b: np.ndarray, frame: np.ndarray, axes: np.ndarray, box: np.ndarray, radius_m: float, most: int
) -> bool:
    """Whether a tool on an arc or helix from a to b comes into a box; the arc is cut into chords.

    Args:
        a, b: (3,) ends [m].
        frame: (5,) centre on the plane's two axes, radius [m], start angle, signed sweep with whole turns [rad].
        axes: (3,) first, second and normal axis of the plane.
        box, radius_m: as for `segment_enters`.
        most: number of chords at most; with fewer than the arc needs, the tool is taken to be wider.
    """
    radius, sweep = frame[2], frame[4]
    if b[axes[2]] == a[axes[2]]:  # without a rise, further turns go where the first went
        sweep = math.copysign(min(abs(sweep), 2.0 * math.pi), sweep)
    step = 2.0 * math.acos(max(0.0, 1.0 - CHORD_M / max(radius, CHORD_M)))
    count = max(1, int(min(float(most), math.ceil(abs(sweep) / step))))
    half = min(0.5 * abs(sweep) / count, math.pi)
    wide = radius_m + radius * (1.0 - math.cos(half))
    if axes[2] != 2:  # the arc also rises and falls between the ends of its chords
        box = box.copy()
        box[4] -= wide - radius_m
        box[5] += wide - radius_m
    start, end = a.copy(), a.copy()
    for index in range(1, count + 1):
        share = index / count
        angle = frame[3] + share * sweep
        end[axes[0]] = frame[0] + radius * math.cos(angle)
        end[axes[1]] = frame[1] + radius * math.sin(angle)
        end[axes[2]] = a[axes[2]] + share * (b[axes[2]] - a[axes[2]])
        if segment_enters(start, end, box, wide):
            return True
        start[:] = end
    return False


@compiled
def moves_that_enter(
    where: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    arc_of: np.ndarray,
    frames: np.ndarray,
    axes: np.ndarray,
    radius_m: np.ndarray,
    box: np.ndarray,
    most: int,
) -> np.ndarray:
    """Mask over `where`: the moves whose tool comes into a box.

    Args:
        where: (k,) instruction indices.
        starts, ends: (n, 3) ends of every instruction [m].
        arc_of: (k,) row in `frames` and `axes`, -1 = a straight move.
        frames, axes: (m, 5) and (m, 3), see `arc_enters`.
        radius_m: (k,) the tool's radius.
        box: (6,), see `segment_enters`.
        most: chords of an arc at most.
    """
    hit = np.zeros(len(where), np.bool_)
    for position in range(len(where)):
        a, b, arc = starts[where[position]], ends[where[position]], arc_of[position]
        if arc < 0:
            hit[position] = segment_enters(a, b, box, radius_m[position])
        else:
            hit[position] = arc_enters(a, b, frames[arc], axes[arc], box, radius_m[position], most)
    return hit


def chords_allowed(arcs: int) -> int:
    """Chords of one arc at most, where so many arcs are judged."""
    return max(LEAST_CHORDS, min(MOST_CHORDS, CHORD_BUDGET // max(arcs, 1)))
