"""Arcs as GRBL takes them: centre or radius form, checked, then cut into chords within $12 of the circle."""

from __future__ import annotations

import math
from collections.abc import Iterator

from machine_node.virtual.grbl_motion import Point
from machine_node.virtual.grbl_words import GrblError

NO_AXES_IN_PLANE, INVALID_TARGET, BAD_RADIUS, NO_OFFSETS = 32, 33, 34, 35
FULL_TURN_RAD = 5e-7  # less than this is a whole circle
ROUNDING = 1e-9  # relative: a half circle has no height
ALWAYS_M, NEVER_M, SHARE = 5e-6, 5e-4, 1e-3  # difference of the two radii: always, never allowed, of the radius


def arc_center(
    motion: str,
    axes: tuple[int, int, int],
    start_m: Point,
    end_m: Point,
    named: tuple[bool, bool, bool],
    words: dict[str, float],
) -> tuple[float, float]:
    """Centre [m] in the plane's two axes. Raises GrblError (32 to 35).

    Radius form: the centre lies on the bisector of the chord; a negative R takes the arc longer than half a circle
    (RS274/NGC 3, 3.5.3.1).
    """
    first, second, _ = axes
    if not (named[first] or named[second]):
        raise GrblError(NO_AXES_IN_PLANE)
    x, y = end_m[first] - start_m[first], end_m[second] - start_m[second]
    if "R" in words:
        if x == 0.0 and y == 0.0:
            raise GrblError(INVALID_TARGET)
        radius = words["R"]
        square = 4.0 * radius * radius - x * x - y * y
        if square < -ROUNDING * radius * radius:
            raise GrblError(BAD_RADIUS)
        height = math.sqrt(max(0.0, square)) / math.hypot(x, y)
        if (motion == "G3") == (radius > 0.0):
            height = -height
        # to the right of the chord for a clockwise arc of less than half a turn
        return start_m[first] + 0.5 * (x + y * height), start_m[second] + 0.5 * (y - x * height)
    letters = "IJK"
    if letters[first] not in words and letters[second] not in words:
        raise GrblError(NO_OFFSETS)
    i, j = words.get(letters[first], 0.0), words.get(letters[second], 0.0)
    radius, other = math.hypot(i, j), math.hypot(x - i, y - j)
    difference = abs(other - radius)
    if difference > ALWAYS_M and (difference > NEVER_M or difference > SHARE * radius):
        raise GrblError(INVALID_TARGET)
    return start_m[first] + i, start_m[second] + j


def chords(
    clockwise: bool,
    axes: tuple[int, int, int],
    start_m: Point,
    end_m: Point,
    center_m: tuple[float, float],
    tolerance_m: float,
) -> Iterator[Point]:
    """End points of the chords [m]; the last one is the arc's end."""
    first, second, third = axes
    ax, ay = start_m[first] - center_m[0], start_m[second] - center_m[1]
    bx, by = end_m[first] - center_m[0], end_m[second] - center_m[1]
    sweep = math.atan2(ax * by - ay * bx, ax * bx + ay * by)
    if clockwise:
        sweep -= 2.0 * math.pi if sweep >= -FULL_TURN_RAD else 0.0
    else:
        sweep += 2.0 * math.pi if sweep <= FULL_TURN_RAD else 0.0
    radius = math.hypot(ax, ay)
    sagitta = tolerance_m * (2.0 * radius - tolerance_m)
    count = math.floor(abs(0.5 * sweep * radius) / math.sqrt(sagitta)) if sagitta > 0.0 else 0
    count = min(count, 65535)
    for step in range(1, count):
        angle = sweep * step / count
        cosine, sine = math.cos(angle), math.sin(angle)
        point = [0.0, 0.0, 0.0]
        point[first] = center_m[0] + ax * cosine - ay * sine
        point[second] = center_m[1] + ax * sine + ay * cosine
        point[third] = start_m[third] + (end_m[third] - start_m[third]) * step / count
        yield point[0], point[1], point[2]
    yield end_m
