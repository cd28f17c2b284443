"""The loops of material removal, compiled by numba. Imported lazily by stock.py: numba is heavy.

The stock is a height map: one height for each cell of a square grid. A flat end mill that moves on a straight
line covers, in each row of cells, one interval (its sweep is convex), so that the work is the cells swept.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.motion_arcs import arc_sweep, plane_axes
from industriverse_core.motion_kernels import ARC, TRAVERSE
from industriverse_core.program import Op

Array = np.ndarray
HOME = int(Op.HOME)
MAX_CHORDS = 1 << 20  # of one arc
# rows of the result
REMOVED, DEPTH, RADIAL = range(3)
# the map's frame
ORIGIN_X, ORIGIN_Y, CELL_X, CELL_Y, TOP, FLOOR = range(6)


@compiled
def _row(y: float, start: Array, end: Array, radius: float) -> tuple[float, float]:
    """First and last x that the disc of `radius` covers at this y while it moves; empty where last < first."""
    low, high = math.inf, -math.inf
    for point in (start, end):
        off = abs(y - point[1])
        if off <= radius:
            half = math.sqrt(radius * radius - off * off)
            low, high = min(low, point[0] - half), max(high, point[0] + half)
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy)
    if dy != 0.0:
        side_x, side_y = -dy / length * radius, dx / length * radius
        for sign in (-1.0, 1.0):  # the two long sides; the short ones lie inside the discs
            along = (y - start[1] - sign * side_y) / dy
            if 0.0 <= along <= 1.0:
                x = start[0] + sign * side_x + along * dx
                low, high = min(low, x), max(high, x)
    return low, high


@compiled
def _lowest(x: float, y: float, start: Array, end: Array, length: float, radius: float) -> float:
    """Lowest height of the tool's bottom over a covered point; on a line it lies at an end of the time above it."""
    if length == 0.0:
        return float(min(start[2], end[2]))
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    along = (x - start[0]) * ux + (y - start[1]) * uy
    off = (x - start[0]) * uy - (y - start[1]) * ux
    half = math.sqrt(max(0.0, radius * radius - off * off))
    s = min(along + half, length) if end[2] < start[2] else max(along - half, 0.0)
    return float(start[2] + (end[2] - start[2]) * min(max(s / length, 0.0), 1.0))


@compiled
def _cells(
    heights: Array, frame: Array, row: int, low: float, high: float, start: Array, end: Array, length: float,
    radius: float, cut: Array,
) -> None:  # fmt: skip
    """Lower the cells of one row whose centres lie in [low, high); adds to `cut`: height, cells, deepest."""
    cell, origin = frame[CELL_X], frame[ORIGIN_X]
    first = int(max(0.0, math.ceil((low - origin) / cell - 0.5)))
    last = int(min(float(heights.shape[1]), math.ceil((high - origin) / cell - 0.5)))
    y = frame[ORIGIN_Y] + (row + 0.5) * frame[CELL_Y]
    level = start[2] == end[2]
    z = max(start[2], frame[FLOOR])
    for column in range(first, last):
        if not level:
            z = max(_lowest(origin + (column + 0.5) * cell, y, start, end, length, radius), frame[FLOOR])
        before = heights[row, column]
        if z < before:
            heights[row, column] = z
            cut[0] += before - z
            cut[1] += 1.0
            cut[2] = max(cut[2], before - z)


@compiled
def _straight(heights: Array, frame: Array, start: Array, end: Array, radius: float, cleared: bool, cut: Array) -> None:
    """One straight move. `cleared`: this tool stood at the start before, so nothing is left under it there."""
    if min(start[2], end[2]) >= frame[TOP]:
        return
    cell, origin = frame[CELL_Y], frame[ORIGIN_Y]
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    skip = cleared and end[2] >= start[2]
    bottom, top = min(start[1], end[1]) - radius, max(start[1], end[1]) + radius
    first = int(max(0.0, math.ceil((bottom - origin) / cell - 0.5)))
    last = int(min(float(heights.shape[0]), math.ceil((top - origin) / cell - 0.5)))
    for row in range(first, last):
        y = origin + (row + 0.5) * cell
        low, high = _row(y, start, end, radius)
        if high < low:
            continue
        off = abs(y - start[1])
        if skip and off <= radius:
            half = math.sqrt(radius * radius - off * off)
            _cells(heights, frame, row, low, start[0] - half, start, end, length, radius, cut)
            _cells(heights, frame, row, start[0] + half, high, start, end, length, radius, cut)
        else:
            _cells(heights, frame, row, low, high, start, end, length, radius, cut)


@compiled
def _arc(
    heights: Array, frame: Array, start: Array, end: Array, c1: float, c2: float, turns: int, plane: int,
    radius: float, cleared: bool, cut: Array,
) -> float:  # fmt: skip
    """One arc or helix as chords that leave it by an eighth of a cell at most; returns its length in XY."""
    a, b, normal = plane_axes(plane)
    sweep = arc_sweep(start[a], start[b], end[a], end[b], c1, c2, turns)
    r0, r1 = math.hypot(start[a] - c1, start[b] - c2), math.hypot(end[a] - c1, end[b] - c2)
    finest = min(frame[CELL_X], frame[CELL_Y])
    turn = 2.0 * math.acos(1.0 - finest / (8.0 * max(r0, r1, finest)))
    chords = int(min(max(1.0, math.ceil(abs(sweep) / turn)), MAX_CHORDS))
    angle = math.atan2(start[b] - c2, start[a] - c1)
    here, there = start.copy(), end.copy()
    way = 0.0
    for k in range(1, chords + 1):
        share = k / chords
        reach = r0 + share * (r1 - r0)
        there[a], there[b] = c1 + reach * math.cos(angle + share * sweep), c2 + reach * math.sin(angle + share * sweep)
        there[normal] = start[normal] + share * (end[normal] - start[normal])
        if k == chords:
            there[:] = end
        _straight(heights, frame, here, there, radius, cleared or k > 1, cut)
        way += math.hypot(there[0] - here[0], there[1] - here[1])
        here[:] = there
    return way


@compiled
def remove(
    op: Array, xyz: Array, centre: Array, turns: Array, target: Array, radius: Array, heights: Array, frame: Array,
    result: Array,
) -> None:  # fmt: skip
    """The whole program. Lowers `heights`, shape (rows, columns), and fills `result`, shape (3, n).

    The position before the first move, and after a HOME, is unknown: such a move cuts at its end alone.
    """
    start, cut = np.zeros(3), np.zeros(3)
    known, before = False, 0.0
    area = frame[CELL_X] * frame[CELL_Y]
    for i in range(len(op)):
        end = xyz[i]
        if op[i] == HOME:
            known = False
        if TRAVERSE <= op[i] <= ARC:
            cut[:] = 0.0
            cleared = known and radius[i] == before
            if not known:
                start[:] = end
            if op[i] == ARC and known:
                way = _arc(
                    heights, frame, start, end, centre[i, 0], centre[i, 1], turns[i], target[i], radius[i], cleared, cut
                )
            else:
                _straight(heights, frame, start, end, radius[i], cleared, cut)
                way = math.hypot(end[0] - start[0], end[1] - start[1])
            known, before = True, radius[i]
            result[REMOVED, i], result[DEPTH, i] = cut[0] * area, cut[2]
            if cut[1] > 0.0:
                width = 2.0 * radius[i]
                result[RADIAL, i] = min(width, cut[1] * area / way) if way > 0.0 else width
        start[:] = end
