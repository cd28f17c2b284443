"""The compiled loops of the tool path that is drawn: moves to vertices, vertices to fewer."""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.motion_arcs import arc_sweep, plane_axes

Array = np.ndarray


@compiled
def chord_counts(
    moves: Array, position: Array, is_arc: Array, c1: Array, c2: Array, turns: Array, plane: Array, sag: float,
    most: int, out: Array,
) -> None:  # fmt: skip
    """How many straight pieces each of `moves` (instruction indices) is drawn as: arcs leave their circle by at most
    `sag` [m], with at most `most` pieces."""
    for number in range(len(moves)):
        index = moves[number]
        out[number] = 1
        if not is_arc[index]:
            continue
        a, b, _ = plane_axes(plane[index])
        a0, b0 = (position[index - 1, a], position[index - 1, b]) if index > 0 else (0.0, 0.0)
        radius = math.hypot(a0 - c1[index], b0 - c2[index])
        sweep = arc_sweep(a0, b0, position[index, a], position[index, b], c1[index], c2[index], turns[index])
        if radius > sag:
            pieces = math.ceil(abs(sweep) / (2.0 * math.acos(1.0 - sag / radius)))
            out[number] = min(max(1, pieces), most)


@compiled
def flatten(
    moves: Array, pieces: Array, lifted: Array, position: Array, is_arc: Array, c1: Array, c2: Array, turns: Array,
    plane: Array, points: Array, owner: Array, pen: Array,
) -> int:  # fmt: skip
    """Write the vertices of `moves` as polylines; returns how many.

    Where `lifted`, the move does not begin where the last vertex is: a vertex with pen 0 is put there first.
    """
    count = 0
    for number in range(len(moves)):
        index = moves[number]
        x0, y0, z0 = 0.0, 0.0, 0.0
        if index > 0:
            x0, y0, z0 = position[index - 1, 0], position[index - 1, 1], position[index - 1, 2]
        if lifted[number]:
            points[count, 0], points[count, 1], points[count, 2] = x0, y0, z0
            owner[count], pen[count] = index, 0
            count += 1
        start = np.array([x0, y0, z0])
        a, b, normal = plane_axes(plane[index] if is_arc[index] else 0)
        sweep = 0.0
        if is_arc[index]:
            sweep = arc_sweep(
                start[a], start[b], position[index, a], position[index, b], c1[index], c2[index], turns[index]
            )
        for piece in range(1, pieces[number] + 1):
            share = piece / pieces[number]
            if piece == pieces[number]:
                points[count] = position[index]
            elif is_arc[index]:
                radius = math.hypot(start[a] - c1[index], start[b] - c2[index])
                angle = math.atan2(start[b] - c2[index], start[a] - c1[index]) + share * sweep
                points[count, a] = c1[index] + radius * math.cos(angle)
                points[count, b] = c2[index] + radius * math.sin(angle)
                points[count, normal] = start[normal] + share * (position[index, normal] - start[normal])
            else:
                points[count] = start + share * (position[index] - start)
            owner[count], pen[count] = index, 1
            count += 1
    return count


@compiled
def _off_chord(points: Array, first: int, last: int, at: int) -> float:
    """Squared distance of a point from the straight piece between two others."""
    square, along = 0.0, 0.0
    for axis in range(3):
        chord = points[last, axis] - points[first, axis]
        square += chord * chord
        along += chord * (points[at, axis] - points[first, axis])
    share = min(1.0, max(0.0, along / square)) if square > 0.0 else 0.0
    off = 0.0
    for axis in range(3):
        foot = points[first, axis] + share * (points[last, axis] - points[first, axis])
        off += (points[at, axis] - foot) ** 2
    return off


@compiled
def simplify(
    points: Array, pen: Array, key: Array, loose: Array, tolerance: float, window: int, keep: Array
) -> int:  # fmt: skip
    """Mark in `keep` the vertices that remain; returns how many.

    Greedy opening window: a piece is extended while its vertices have one key and lie within `tolerance` of it, or
    are `loose`.
    """
    keep[:] = 0
    count, anchor, at, size = 0, 0, 0, len(points)
    square = tolerance * tolerance
    while at < size:
        last = at
        if pen[at]:
            while last + 1 < size and pen[last + 1] and key[last + 1] == key[at] and last + 1 - anchor <= window:
                fits = True
                for between in range(anchor + 1, last + 1):
                    if not loose[between] and _off_chord(points, anchor, last + 1, between) > square:
                        fits = False
                        break
                if not fits:
                    break
                last += 1
        keep[last] = 1
        count += 1
        anchor, at = last, last + 1
    return count
