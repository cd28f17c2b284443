"""Compiled passes over a program's columns: each replaces several numpy passes over a million instructions.

Nothing here raises on NaN or infinity; they go through as numpy would let them.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.compiled import compiled


@compiled
def last_where(mask: np.ndarray) -> np.ndarray:
    """Index of the last True up to and including each entry; -1 = none yet. Shape (n,)."""
    out = np.empty(len(mask), np.int64)
    last = -1
    for index in range(len(mask)):
        if mask[index]:
            last = index
        out[index] = last
    return out


@compiled
def bucket(change: np.ndarray) -> np.ndarray:
    """Level after each change of a bucket that is empty at first and never below empty. Shape (n,)."""
    out = np.empty(len(change))
    level = 0.0
    for index in range(len(change)):
        level += change[index]
        if level < 0.0:
            level = 0.0
        out[index] = level
    return out


@compiled
def feed_filament(extrude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What reaches the nozzle in each entry (refilling a retraction is none), and how far the filament is drawn back
    after it. Shapes (n,), in the unit of `extrude`; what is not finite counts as 0."""
    fresh, drawn = np.empty(len(extrude)), np.empty(len(extrude))
    fed = furthest = 0.0
    for index in range(len(extrude)):
        if math.isfinite(extrude[index]):
            fed += extrude[index]
        fresh[index] = max(fed - furthest, 0.0)
        furthest = max(furthest, fed)
        drawn[index] = furthest - fed
    return fresh, drawn


@compiled
def straight(motion: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each motion from the end of the instruction before it, and which axes change (1 x, 2 y, 4 z; NaN
    changes). Shapes (n,); 0 for what is no motion."""
    length, moved = np.zeros(len(x)), np.zeros(len(x), np.uint8)
    for index in range(len(x)):
        if motion[index]:
            first = index == 0
            dx = x[index] - (0.0 if first else x[index - 1])
            dy = y[index] - (0.0 if first else y[index - 1])
            dz = z[index] - (0.0 if first else z[index - 1])
            length[index] = math.sqrt(dx * dx + dy * dy + dz * dz)
            moved[index] = (0 if dx == 0.0 else 1) + (0 if dy == 0.0 else 2) + (0 if dz == 0.0 else 4)
    return length, moved


@compiled
def allowed_speed(
    motion: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, length: np.ndarray, filament: np.ndarray,
    limits: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Path speed at which the first axis, or the filament, reaches its limit. Shape (n,); infinite where nothing does.

    Args:
        length: path of the axes [m]; filament: length fed [m], not negative; where no axis moves it is the path.
        limits: (4,) highest speed of x, y, z and the filament [m/s]; infinite = none.
    """
    out = np.full(len(x), np.inf)
    for index in range(len(x)):
        if not motion[index]:
            continue
        path = length[index] if length[index] > 0.0 else filament[index]
        if not path > 0.0:
            continue
        first = index == 0
        limit = np.inf
        for axis, column in enumerate((x, y, z)):
            share = abs(column[index] - (0.0 if first else column[index - 1])) / path
            if share > 0.0:
                limit = min(limit, limits[axis] / share)
        share = filament[index] / path
        if share > 0.0:
            limit = min(limit, limits[3] / share)
        out[index] = limit
    return out


@compiled
def heater_state(
    commands: np.ndarray, waits: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target, assured temperature and last command of one heater after each instruction. Shapes (n,).

    Args:
        commands: the instructions that set this heater; waits: those that wait for it as well.
        value: the temperature that they set.
    """
    target, assured = np.empty(len(value)), np.empty(len(value))
    set_at = np.empty(len(value), np.int32)  # a program has at most 30 million instructions
    now = sure = 0.0
    last = -1
    for index in range(len(value)):
        if commands[index]:
            now, last = value[index], index
            sure = now if waits[index] or now < sure else sure
        target[index], assured[index], set_at[index] = now, sure, last
    return target, assured, set_at


@compiled
def jumps(motion: np.ndarray, homed: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Mask of the instructions that change the position without moving; `homed` are axes (1 x, 2 y, 4 z) that go to 0
    instead. NaN after NaN is no change."""
    out = np.zeros(len(x), np.bool_)
    for index in range(len(x)):
        if motion[index]:
            continue
        for axis, column in enumerate((x, y, z)):
            expected = 0.0 if index == 0 or homed[index] & (1 << axis) else column[index - 1]
            here = column[index]
            if here != expected and not (math.isnan(here) and math.isnan(expected)):
                out[index] = True
    return out
