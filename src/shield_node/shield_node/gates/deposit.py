"""What a printer's nozzle lays down, as a height map of the bed: where beads hang in the air, where there are too many,
and where the nozzle runs into what has been printed.

Every cell knows the top of its material and the top before the layer that is being laid. A path is looked at every
half cell, so that walls, gaps and collisions narrower than a cell may be missed; they are never invented.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from industriverse_core.compiled import compiled

if TYPE_CHECKING:
    from shield_node.gates.context import Context

CELL_M = 0.5e-3  # about one bead
MAX_CELLS = 4_000_000  # larger beds get larger cells
WIDEST_BEAD = 2.5  # of the nozzle's diameter; walls have 1 to 1.2, wide ones 2
SAME_LAYER = 0.1  # of the nozzle's diameter: a smaller rise is the same layer (a vase rises all the time)
MAX_SAMPLES = 200_000_000  # of one program, so that no file makes the gates slow
MOST_SAMPLES = 100_000  # of one move
# columns of a move in `lay`
START_X, START_Y, START_Z, END_X, END_Y, END_Z, LENGTH, BEAD = range(8)


@dataclass(frozen=True)
class Deposit:
    """What the map says of each of n instructions.

    Attributes:
        hanging_m: longest stretch of bead without anything below it that the move has added to, shape (n,).
        overfill_m3: material at the end of the move that its beads had no room for, shape (n,).
        collision_m: how deep the nozzle's tip runs below the top of printed material, shape (n,).
    """

    hanging_m: np.ndarray
    overfill_m3: np.ndarray
    collision_m: np.ndarray


@compiled
def _support(top: np.ndarray, below: np.ndarray, row: int, column: int, z: float, layer: float, reach: int) -> float:
    """Height of the highest material under a bead at z, in the cells within `reach` of its own."""
    height = -math.inf
    for r in range(max(0, row - reach), min(top.shape[0], row + reach + 1)):
        for c in range(max(0, column - reach), min(top.shape[1], column + reach + 1)):
            here = top[r, c] if top[r, c] < z - layer else below[r, c]
            if here < z - layer and here > height:
                height = here
    return height if height > -math.inf else z - layer


@compiled
def lay(
    moves: np.ndarray, is_printing: np.ndarray, arc_of: np.ndarray, frames: np.ndarray, axes: np.ndarray,
    map_frame: np.ndarray, top: np.ndarray, below: np.ndarray, nozzle_m: float, widest: float, result: np.ndarray,
) -> None:  # fmt: skip
    """Lay down every move in order.

    Args:
        moves: (k, 8) start and end [m], length of the path [m], cross-section of the bead [m2].
        is_printing: (k,) the move leaves a bead.
        arc_of: (k,) row in `frames` and `axes`, -1 = straight.
        frames, axes: (m, 5) and (m, 3) as for sweeps.arc_enters.
        map_frame: x and y of the map's corner, side of a cell [m].
        top, below: (rows, columns) the map; the bed is 0.
        nozzle_m: a bead higher than this is not pressed onto what is below it.
        widest: bead width over nozzle diameter that has room.
        result: (k, 3) gets the fields of Deposit.
    """
    layer, cell = SAME_LAYER * nozzle_m, map_frame[2]
    hanging, overfill, samples = 0.0, 0.0, 0
    for index in range(len(moves)):
        move, arc, prints = moves[index], arc_of[index], is_printing[index]
        length = move[LENGTH]
        count = int(min(max(1.0, math.ceil(2.0 * length / cell)), MOST_SAMPLES))
        samples += count
        if samples > MAX_SAMPLES:
            return
        step = length / count
        longest = deepest = 0.0
        for sample in range(1, count + 1):
            share = (sample - 0.5) / count
            x = move[START_X] + share * (move[END_X] - move[START_X])
            y = move[START_Y] + share * (move[END_Y] - move[START_Y])
            z = move[START_Z] + share * (move[END_Z] - move[START_Z])
            if arc >= 0 and axes[arc, 2] == 2:  # arcs in the other planes are taken for their chord
                angle = frames[arc, 3] + share * frames[arc, 4]
                x = frames[arc, 0] + frames[arc, 2] * math.cos(angle)
                y = frames[arc, 1] + frames[arc, 2] * math.sin(angle)
            column, row = (x - map_frame[0]) / cell, (y - map_frame[1]) / cell
            if not (0.0 <= row < top.shape[0] and 0.0 <= column < top.shape[1]):
                continue
            r, c = int(row), int(column)
            if top[r, c] > 0.0:
                deepest = max(deepest, top[r, c] - z)
            if not prints:
                continue
            gap = z - _support(top, below, r, c, z, layer, 1)
            hanging = hanging + step if gap > nozzle_m + layer else 0.0
            longest = max(longest, hanging)
            room = widest * nozzle_m * min(z - _support(top, below, r, c, z, layer, 0), nozzle_m)
            overfill = max(0.0, overfill + (move[BEAD] - room) * step)
            if z > top[r, c] + layer:
                below[r, c] = top[r, c]
            top[r, c] = max(top[r, c], z)
        if not prints:
            hanging = 0.0
        result[index, 0], result[index, 1], result[index, 2] = longest, overfill, deepest


def follow(context: Context) -> Deposit:
    """Lay down a printer's program on its bed; nothing on a machine without an extruder."""
    program, axes = context.program, context.profile.kinematics.axes()
    deposit = Deposit(*(np.zeros(len(program)) for _ in range(3)))
    inside = context.is_travelling & np.isfinite(context.length_m) & np.isfinite(context.extrude_m3)
    where = np.flatnonzero(inside)
    if not len(where) or context.profile.extruder is None:
        return deposit
    nozzle_m = context.profile.extruder.nozzle_diameter
    length = context.length_m[where]
    prints = (context.fresh_m3[where] > 0.0) & context.is_printing[where]
    bead = np.where(prints, context.fresh_m3[where] / length, 0.0)
    moves = np.column_stack([context.starts_m[where], context.ends_m[where], length, bead])
    width, depth = axes[0].maximum - axes[0].minimum, axes[1].maximum - axes[1].minimum
    cell = max(CELL_M, math.sqrt(width * depth / MAX_CELLS))
    top = np.zeros((math.ceil(depth / cell) + 1, math.ceil(width / cell) + 1))
    result = np.zeros((len(where), 3))
    frames, planes, slot = context.arc_table
    lay(
        moves, prints, slot[where], frames, planes, np.array([axes[0].minimum, axes[1].minimum, cell]),
        top, np.zeros_like(top), nozzle_m, WIDEST_BEAD, result,
    )  # fmt: skip
    for position, column in enumerate((deposit.hanging_m, deposit.overfill_m3, deposit.collision_m)):
        column[where] = result[:, position]
    return deposit
