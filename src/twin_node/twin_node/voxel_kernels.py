"""The loops that walk a tool path through the voxel grid, compiled by numba. Imported lazily: numba is heavy.

Positions are whole nanometres (the program's grid) as int64, so which voxel a point lies in and which face comes
next are exact, and a path moved by whole voxels gives the same numbers to the last bit. A voxel's key is its index
(i, j, k) above the lowest one, packed as k, j, i with 21 bits each: keys in order are sorted by layer, then y, then x.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.motion_arcs import arc_sweep, plane_axes

Array = np.ndarray
Point = tuple[int, int, int]

KEY_BITS = 21
CHORD_ERROR = 0.001  # arcs are followed as chords that stay within this share of the smallest edge
MIN_CHORDS = 4
OK, TOO_MANY = 0, 1
FIRST_ROWS = 1 << 12


@compiled
def cell(position: int, edge: int, below: bool) -> int:
    """Index of the voxel that holds a coordinate; one on a face belongs to the upper voxel, or to the one `below`."""
    return -((-position) // edge) - 1 if below else position // edge


@compiled
def chord_count(radius: float, sweep: float, edges: Array) -> int:
    """Chords that stand for an arc, so that none is further from it than CHORD_ERROR of the smallest edge."""
    error = CHORD_ERROR * min(edges[0], edges[1], edges[2])
    if radius <= error:
        return MIN_CHORDS
    widest = 2.0 * math.acos(1.0 - error / radius)
    return max(MIN_CHORDS, math.ceil(abs(sweep) / widest))


@compiled
def arc_shape(start: Array, end: Array, centre: Array, turns: int, plane: int) -> tuple[float, float, float]:
    """Radius at the start and at the end [nm], and signed angle [rad] of an arc."""
    a, b, _ = plane_axes(plane)
    a0, b0 = float(start[a] - centre[0]), float(start[b] - centre[1])
    a1, b1 = float(end[a] - centre[0]), float(end[b] - centre[1])
    return math.hypot(a0, b0), math.hypot(a1, b1), arc_sweep(a0, b0, a1, b1, 0.0, 0.0, turns)


@compiled
def survey(
    moves: Array, starts: Array, ends: Array, arcs: Array, centres: Array, turns: Array, planes: Array, edges: Array,
    low: Array, high: Array,
) -> float:  # fmt: skip
    """Widens the box `low` to `high` [nm] round all moves. Returns how many voxels they enter, at most."""
    entered = 0.0
    for i in moves:
        for axis in range(3):
            low[axis] = min(low[axis], starts[i, axis], ends[i, axis])
            high[axis] = max(high[axis], starts[i, axis], ends[i, axis])
            entered += abs(ends[i, axis] - starts[i, axis]) / edges[axis] + 1.0
        if arcs[i]:
            r0, r1, sweep = arc_shape(starts[i], ends[i], centres[i], turns[i], planes[i])
            a, b, _ = plane_axes(planes[i])
            radius = math.ceil(max(r0, r1))
            for number, axis in enumerate((a, b)):
                low[axis] = min(low[axis], centres[i, number] - radius)
                high[axis] = max(high[axis], centres[i, number] + radius)
                entered += abs(sweep) * max(r0, r1) / edges[axis]
            entered += 3.0 * chord_count(max(r0, r1), sweep, edges)
    return entered


@compiled
def _slot(slots: Array, keys: Array, key: int) -> int:
    """Where the table holds the key, or the empty slot where it belongs (linear probing, Fibonacci hashing)."""
    mask = len(slots) - 1
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    at = int(mixed >> np.uint64(20)) & mask
    while slots[at] >= 0 and keys[slots[at]] != key:
        at = (at + 1) & mask
    return at


@compiled
def _grown(keys: Array, sums: Array, count: int, rows: int) -> tuple[Array, Array, Array]:
    """The table with room for `rows` voxels; a third of its slots at most are used."""
    wider_keys = np.empty(rows, np.int64)
    wider_sums = np.zeros((rows, sums.shape[1]))
    wider_keys[:count] = keys[:count]
    wider_sums[:count] = sums[:count]
    size = 4
    while size < 3 * rows:
        size *= 2
    slots = np.full(size, -1, np.int32)
    for row in range(count):
        slots[_slot(slots, wider_keys, wider_keys[row])] = row
    return slots, wider_keys, wider_sums


@compiled
def _add(slots: Array, keys: Array, sums: Array, count: int, key: int, amounts: Array, share: float) -> int:
    """Adds a share of the amounts to a voxel, with Kahan's compensation. Returns how many voxels there are now."""
    at = _slot(slots, keys, key)
    row = slots[at]
    if row < 0:
        row = count
        slots[at] = row
        keys[row] = key
        count += 1
    fields = len(amounts)
    for field in range(fields):
        wanted = amounts[field] * share - sums[row, fields + field]
        total = sums[row, field] + wanted
        sums[row, fields + field] = (total - sums[row, field]) - wanted
        sums[row, field] = total
    return count


@compiled
def _walk(
    slots: Array, keys: Array, sums: Array, count: int, p: Point, q: Point, edges: Array, lowest: Array, below: bool,
    amounts: Array, share: float,
) -> int:  # fmt: skip
    """Spreads a share of the amounts over the voxels between two points [nm], in proportion to length in each.

    Amanatides and Woo, "A Fast Voxel Traversal Algorithm for Ray Tracing" (1987); the place of each face is computed
    anew from whole numbers, so that no error adds up, and faces met at once (edges, corners) are crossed at once.
    """
    i = cell(p[0], edges[0], False) - lowest[0]
    j = cell(p[1], edges[1], False) - lowest[1]
    k = cell(p[2], edges[2], below) - lowest[2]
    dx, dy, dz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    tx = _face(i + lowest[0], p[0], dx, edges[0])
    ty = _face(j + lowest[1], p[1], dy, edges[1])
    tz = _face(k + lowest[2], p[2], dz, edges[2])
    here = 0.0
    while True:
        there = min(tx, ty, tz, 1.0)
        if there > here:  # else it starts on a face and leaves at once
            key = (k << (2 * KEY_BITS)) | (j << KEY_BITS) | i
            count = _add(slots, keys, sums, count, key, amounts, share * (there - here))
            here = there
        if there >= 1.0:
            return count
        if tx <= there:
            i += 1 if dx > 0 else -1
            tx = _face(i + lowest[0], p[0], dx, edges[0])
        if ty <= there:
            j += 1 if dy > 0 else -1
            ty = _face(j + lowest[1], p[1], dy, edges[1])
        if tz <= there:
            k += 1 if dz > 0 else -1
            tz = _face(k + lowest[2], p[2], dz, edges[2])


@compiled
def _face(index: int, position: int, delta: int, edge: int) -> float:
    """Fraction of the way at which a point leaves the voxel through the face ahead; inf when it never does."""
    if delta == 0:
        return math.inf
    face = (index + 1) * edge if delta > 0 else index * edge
    return (face - position) / delta


@compiled
def _on_arc(
    start: Array, end: Array, centre: Array, plane: int, shape: tuple[float, float, float], fraction: float
) -> Point:
    """The point [nm] at a fraction of an arc or helix; its start and end are met exactly."""
    if fraction >= 1.0:
        return end[0], end[1], end[2]
    a, b, normal = plane_axes(plane)
    r0, r1, sweep = shape
    angle = math.atan2(float(start[b] - centre[1]), float(start[a] - centre[0])) + fraction * sweep
    radius = r0 + fraction * (r1 - r0)
    on_a = centre[0] + round(radius * math.cos(angle))
    on_b = centre[1] + round(radius * math.sin(angle))
    on_normal = start[normal] + round(fraction * float(end[normal] - start[normal]))
    if normal == 2:
        return on_a, on_b, on_normal
    if normal == 1:  # the plane's axes are z, x
        return on_b, on_normal, on_a
    return on_normal, on_a, on_b


@compiled
def _crossings(p: Point, q: Point, edges: Array) -> int:
    return (abs(q[0] - p[0]) // edges[0] + abs(q[1] - p[1]) // edges[1] + abs(q[2] - p[2]) // edges[2]) + 4


@compiled
def deposit(
    moves: Array, starts: Array, ends: Array, arcs: Array, centres: Array, turns: Array, planes: Array, edges: Array,
    lowest: Array, below: bool, amounts: Array, most: int,
) -> tuple[int, Array, Array]:  # fmt: skip
    """Spreads the amounts, shape (n, f), of the moves over the voxels that they pass.

    Arrays as in `survey`; `lowest`: index of the box's lowest voxel. Returns (OK, keys, sums of shape (voxels, f)), or
    TOO_MANY once there are more than `most` voxels.
    """
    fields = amounts.shape[1]
    keys, sums, count = np.empty(0, np.int64), np.zeros((0, 2 * fields)), 0
    slots, keys, sums = _grown(keys, sums, count, FIRST_ROWS)
    for move in moves:
        start, end = starts[move], ends[move]
        shape, chords = (0.0, 0.0, 0.0), 1
        if arcs[move]:
            shape = arc_shape(start, end, centres[move], turns[move], planes[move])
            chords = chord_count(max(shape[0], shape[1]), shape[2], edges)
        p = (start[0], start[1], start[2])
        for chord in range(1, chords + 1):
            q = (end[0], end[1], end[2])
            if chord < chords:
                q = _on_arc(start, end, centres[move], planes[move], shape, chord / chords)
            needed = count + _crossings(p, q, edges)
            if needed > len(keys):
                slots, keys, sums = _grown(keys, sums, count, 2 * needed)
            count = _walk(slots, keys, sums, count, p, q, edges, lowest, below, amounts[move], share=1.0 / chords)
            p = q
        if count > most:
            return TOO_MANY, keys[:0], sums[:0, :fields]
    order = np.argsort(keys[:count])
    return OK, keys[:count][order], sums[:count, :fields][order]
