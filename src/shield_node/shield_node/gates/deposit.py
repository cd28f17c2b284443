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

from industriverse_core.compiled import compiled_ieee as compiled

if TYPE_CHECKING:
    from shield_node.gates.context import Context

CELL_M = 0.5e-3  # about one bead
SPACING = 0.5  # of a cell: a path is looked at this often
MAX_CELLS = 4_000_000  # larger beds get larger cells
WIDEST_BEAD = 2.0  # of the nozzle's diameter; walls have 1 to 1.2, slicers allow 2
SAME_LAYER = 0.1  # of the nozzle's diameter: a smaller rise is the same layer (a vase rises all the time)
MOST_PASSES = 4.0  # of one layer's height through one place; walls and infill that overlap or cross make 2 to 3
MAX_SAMPLES = 1_000_000_000  # of one program (250 km), so that no file makes the gates slow
MOST_SAMPLES = 100_000  # of one move

Point = tuple[float, float, float]  # [m]
Sums = tuple[float, float, float]  # stretch that hangs at present [m], material beside and above its room [m3]


@dataclass(frozen=True)
class Deposit:
    """What the map says of each of n instructions.

    Attributes:
        hanging_m: longest stretch of bead without anything below it that the move has added to, shape (n,).
        overfill_m3: material at the end of the move that its beads had no room for, shape (n,).
        collision_m: how deep the nozzle's tip runs below the top of printed material, shape (n,).
        is_whole: the program was followed to its end.
    """

    hanging_m: np.ndarray
    overfill_m3: np.ndarray
    collision_m: np.ndarray
    is_whole: bool = True


@compiled
def _highest_below(top: np.ndarray, below: np.ndarray, row: int, column: int, z: float) -> float:
    """Height of the highest material under z in a cell and its neighbours; -infinity = none."""
    height = -math.inf
    for r in range(max(0, row - 1), min(top.shape[0], row + 2)):
        for c in range(max(0, column - 1), min(top.shape[1], column + 2)):
            here = top[r, c] if top[r, c] < z else below[r, c]
            if height < here < z:
                height = here
    return height


@compiled
def _lay_move(
    start: Point, way: Point, frames: np.ndarray, arc: int, count: int, step: float, bead: float,
    map_frame: np.ndarray, top: np.ndarray, below: np.ndarray, laid: np.ndarray, nozzle_m: float, before: Sums,
) -> tuple[float, float, Sums]:  # fmt: skip
    """Lay down one move in `count` pieces of `step` metres; `arc` is its row in `frames`, -1 = straight.

    Returns the longest stretch that hangs, the deepest collision, and the sums after it.
    """
    layer, cell = SAME_LAYER * nozzle_m, map_frame[2]
    place, free = MOST_PASSES * cell * max(cell, nozzle_m), nozzle_m + layer
    hanging, overfill, piled = before
    longest = deepest = 0.0
    for sample in range(count):
        share = (sample + 0.5) / count
        x, y, z = start[0] + share * way[0], start[1] + share * way[1], start[2] + share * way[2]
        if arc >= 0:
            angle = frames[arc, 3] + share * frames[arc, 4]
            x = frames[arc, 0] + frames[arc, 2] * math.cos(angle)
            y = frames[arc, 1] + frames[arc, 2] * math.sin(angle)
        column, row = (x - map_frame[0]) / cell, (y - map_frame[1]) / cell
        if not (0.0 <= row < top.shape[0] and 0.0 <= column < top.shape[1]):
            continue
        r, c = int(row), int(column)
        here = top[r, c]
        if here > 0.0:
            deepest = max(deepest, here - z)
        if bead == 0.0:
            continue
        under = here if here < z - layer else below[r, c]
        under = under if under < z - layer else z - layer
        hangs = z - under > free and z - _highest_below(top, below, r, c, z - layer) > free
        hanging = hanging + step if hangs else 0.0
        longest = max(longest, hanging)
        height = min(z - under, nozzle_m)
        room = WIDEST_BEAD * nozzle_m * height
        overfill = max(0.0, overfill + (bead - room) * step)
        if z > here + layer:
            below[r, c], laid[r, c] = here, 0.0
        top[r, c] = max(here, z)
        already = laid[r, c]
        laid[r, c] = already + min(bead, room) * step  # what is wider is in `overfill` already
        piled += max(0.0, laid[r, c] - max(already, place * height))
    return longest, deepest, (0.0 if bead == 0.0 else hanging, overfill, piled)


@compiled
def lay(
    ends: tuple[np.ndarray, np.ndarray, np.ndarray], length: np.ndarray, fresh: np.ndarray, frames: np.ndarray,
    arc_of: np.ndarray, map_frame: np.ndarray, top: np.ndarray, below: np.ndarray, laid: np.ndarray,
    nozzle_m: float, most: int, results: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> bool:  # fmt: skip
    """Lay down every move in order; False = the path is too long and was left.

    Args:
        ends: x, y, z of n instructions, each starting where the one before ended [m].
        length: path of each [m]; what has none, or none that is finite, is passed over.
        fresh: filament that leaves a bead [m3]; 0 = none.
        frames: (m, 5) as for sweeps.arc_enters, of the arcs in XY.
        arc_of: (n,) row in `frames`, -1 = taken as straight; may be empty where there are no arcs.
        map_frame: x and y of the map's corner, side of a cell [m].
        top, below: (rows, columns) the map; the bed is 0.
        laid: (rows, columns) material in the layer at `top` [m3]; empty at first.
        nozzle_m: diameter; a bead higher than this is not pressed onto what is below it.
        most: samples of all moves together.
        results: get the fields of Deposit.
    """
    cell, samples = map_frame[2], 0
    sums: Sums = (0.0, 0.0, 0.0)
    for index in range(len(length)):
        if not 0.0 < length[index] < math.inf:
            continue
        x0, y0, z0 = 0.0, 0.0, 0.0
        if index > 0:
            x0, y0, z0 = ends[0][index - 1], ends[1][index - 1], ends[2][index - 1]
        count = math.ceil(min(length[index] / (SPACING * cell), MOST_SAMPLES))
        samples += count
        if samples > most:
            return False
        longest, deepest, sums = _lay_move(
            (x0, y0, z0), (ends[0][index] - x0, ends[1][index] - y0, ends[2][index] - z0), frames,
            arc_of[index] if len(arc_of) else -1, count, length[index] / count, fresh[index] / length[index], map_frame,
            top, below, laid, nozzle_m, sums,
        )  # fmt: skip
        results[0][index], results[1][index], results[2][index] = longest, sums[1] + sums[2], deepest
    return True


def follow(context: Context) -> Deposit:
    """Lay down a printer's program on its bed; nothing on a machine without an extruder."""
    hanging, overfill, collision = (np.zeros(len(context.program)) for _ in range(3))
    extruder, axes = context.profile.extruder, context.profile.kinematics.axes()
    if extruder is None:
        return Deposit(hanging, overfill, collision)
    width, depth = axes[0].maximum - axes[0].minimum, axes[1].maximum - axes[1].minimum
    cell = max(CELL_M, math.sqrt(width * depth / MAX_CELLS))
    top = np.zeros((math.ceil(depth / cell) + 1, math.ceil(width / cell) + 1))
    frames, planes, slot = context.arc_table
    if len(frames):  # arcs in the other planes are taken for their chord
        slot = slot.copy()
        slot[context.arcs.where[planes[:, 2] != 2]] = -1
    is_whole = lay(
        context.ends_m, context.length_m, context.fresh_m3, frames, slot,
        np.array([axes[0].minimum, axes[1].minimum, cell]), top, np.zeros_like(top), np.zeros_like(top),
        extruder.nozzle_diameter, MAX_SAMPLES, (hanging, overfill, collision),
    )  # fmt: skip
    return Deposit(hanging, overfill, collision, is_whole)
