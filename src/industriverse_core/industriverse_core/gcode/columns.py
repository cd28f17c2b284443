"""The program's columns while they are being filled: rows go in as millimetres, columns come out in SI on the grid."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from industriverse_core import program
from industriverse_core.compiled import compiled, index_type, inlined
from industriverse_core.gcode import interpreter as it
from industriverse_core.program import COLUMNS, GRID_M, GRID_M3
from industriverse_core.units import MM, MM_PER_MIN

Array = np.ndarray[Any, Any]
Index = index_type()

ARC_FEED = int(program.Op.ARC_FEED)
STEPS_PER_M = float(round(1.0 / GRID_M))
STEPS_PER_M3 = float(round(1.0 / GRID_M3))
LARGEST_STEP = float(program.EXACT_STEPS)


class Columns(NamedTuple):
    """One array for each name of program.COLUMNS, in that order; rows behind the count are zero."""

    op: Array
    line: Array
    x: Array
    y: Array
    z: Array
    feed: Array
    extrude: Array
    center_1: Array
    center_2: Array
    turns: Array
    target: Array
    value: Array


def allocate(capacity: int) -> Columns:
    """Room for that many rows. The pages of rows that are never written take no memory."""
    return Columns(*(np.zeros(capacity, dtype) for dtype in COLUMNS.values()))


def grown(columns: Columns, count: int) -> Columns:
    """Twice the room, with the first `count` rows."""
    larger = allocate(2 * len(columns.op))
    for new, old in zip(larger, columns, strict=True):
        new[:count] = old[:count]
    return larger


def finished(columns: Columns, count: int) -> dict[str, Array]:
    """The first `count` rows as the columns of a program."""
    return {name: column[:count] for name, column in zip(COLUMNS, columns, strict=True)}


@compiled
def on_grid(value: float, grid: float, steps_per_unit: float) -> float:
    """The nearest multiple of the grid, as program.normalise gives it (docs/bytecode.md, Grid)."""
    steps = np.rint(value / grid)
    on_it = steps / steps_per_unit if abs(steps) < LARGEST_STEP else value
    on_it += 0.0
    return on_it if on_it == on_it else np.nan


# The columns are arguments one by one: in a loop, numba counts references at each access to a field of a tuple,
# which takes longer than writing the row.


@inlined
def put(op: Array, line: Array, x: Array, y: Array, z: Array, feed: Array, extrude: Array, at: int, row: Array) -> None:
    """Write what every instruction has; position, feed and extrusion stay in mm until `to_si`."""
    index = Index(at)
    op[index] = int(row[it.OP])
    line[index] = int(row[it.LINE])
    x[index] = row[it.ROW_X]
    y[index] = row[it.ROW_Y]
    z[index] = row[it.ROW_Z]
    feed[index] = row[it.ROW_FEED]
    extrude[index] = row[it.EXTRUDE]


@compiled
def put_arc(center_1: Array, center_2: Array, turns: Array, target: Array, at: int, row: Array) -> None:
    """Write what only arcs have."""
    center_1[at] = on_grid(row[it.CENTRE_1] * MM, GRID_M, STEPS_PER_M)
    center_2[at] = on_grid(row[it.CENTRE_2] * MM, GRID_M, STEPS_PER_M)
    turns[at] = int(row[it.TURNS])
    target[at] = int(row[it.TARGET])


@compiled
def put_value(target: Array, value: Array, at: int, row: Array) -> None:
    """Write what only instructions that move nothing have."""
    target[at] = int(row[it.TARGET])
    value[at] = on_grid(row[it.VALUE], GRID_M, STEPS_PER_M)


@compiled
def append(columns: Columns, count: int, rows: Array) -> int:
    """Write rows of any kind at `count`, where there must be room; returns the new count."""
    for row in rows:
        put(
            columns.op, columns.line, columns.x, columns.y, columns.z, columns.feed, columns.extrude, count, row
        )  # fmt: skip
        if int(row[it.OP]) == ARC_FEED:
            put_arc(columns.center_1, columns.center_2, columns.turns, columns.target, count, row)
        else:
            put_value(columns.target, columns.value, count, row)
            columns.turns[count] = int(row[it.TURNS])  # WAIT_HEATER
        count += 1
    return count


@compiled
def _to_grid(column: Array, scale: float, grid: float, steps_per_unit: float) -> None:
    for index in range(len(column)):  # from 0: LLVM then uses vector instructions
        column[index] = on_grid(column[index] * scale, grid, steps_per_unit)


@compiled
def to_si(columns: Columns, first: int, last: int, area_m2: float) -> None:
    """Position, feed and extrusion of these rows from millimetres to SI, on the grid."""
    _to_grid(columns.x[first:last], MM, GRID_M, STEPS_PER_M)
    _to_grid(columns.y[first:last], MM, GRID_M, STEPS_PER_M)
    _to_grid(columns.z[first:last], MM, GRID_M, STEPS_PER_M)
    _to_grid(columns.feed[first:last], MM_PER_MIN, GRID_M, STEPS_PER_M)
    _to_grid(columns.extrude[first:last], MM * area_m2, GRID_M3, STEPS_PER_M3)
