"""Proof that two programs make the same part: what they deposit or cut, compared move by move.

Rewrites keep the corners that they do not remove, bit by bit. So two programs make the same part when their
deposits are the same set in the same order of layers (exactly), or when one is the other with corners left out
that lie on the straight line (then the largest distance is the deviation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.program import Op, Program

_FIELDS = ("extrude_m3", "center_1_m", "center_2_m", "turns", "target")
_START, _END, _VOLUME, _ARC = slice(0, 3), slice(3, 6), 6, slice(7, 11)


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far one part is from the other. Infinite where they cannot be compared.

    Attributes:
        distance_m: largest distance of a corner from the other path.
        volume_m3: largest difference of the volume deposited up to a corner.
    """

    distance_m: float
    volume_m3: float

    def within(self, distance_m: float, volume_m3: float) -> bool:
        """True when both are at most the limits."""
        return self.distance_m <= distance_m and self.volume_m3 <= volume_m3


def works(program: Program) -> np.ndarray:
    """Mask of the moves that make the part, shape (n,): those that deposit; without any filament, all feed moves."""
    op, fed = program.op, program.extrude_m3
    feeds = (op == Op.STRAIGHT_FEED) | (op == Op.ARC_FEED)
    if not np.any(fed[feeds] != 0.0):
        return feeds
    moved = np.any(program.positions_m() != program.starts_m(), axis=1) | (op == Op.ARC_FEED)
    return feeds & (fed > 0.0) & moved


def deviation(before: Program, after: Program) -> Deviation:
    """How far the part of `after` is from that of `before`."""
    old, new = _moves(before), _moves(after)
    same_layers = len(old) == len(new) and np.array_equal(old[:, 5], new[:, 5])
    if same_layers and (np.array_equal(old, new) or (_printed(before) and np.array_equal(_sorted(old), _sorted(new)))):
        return Deviation(0.0, 0.0)
    distance, volume = _along(old, new)
    return Deviation(float(distance), float(volume))


def _printed(program: Program) -> bool:
    return bool(np.any(program.extrude_m3 > 0.0))


def _moves(program: Program) -> np.ndarray:
    """Moves that make the part, shape (m, 11): start, end, volume, arc."""
    where = np.flatnonzero(works(program))
    arcs = program.op[where] == Op.ARC_FEED
    fields = [program.columns[name][where].astype(float) for name in _FIELDS]
    for column in fields[1:]:
        column[~arcs] = 0.0
    return np.column_stack([program.starts_m()[where], program.positions_m()[where], *fields])


def _sorted(moves: np.ndarray) -> np.ndarray:
    return moves[np.lexsort(moves.T)]


@compiled
def _along(old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Largest distance [m] and volume difference [m^3] of `old`'s corners from `new`, which has some corners fewer."""
    distance, volume = 0.0, 0.0
    at = 0
    for move in new:
        first, fed = at, 0.0
        length2 = 0.0
        for axis in range(3):
            length2 += (move[3 + axis] - move[axis]) ** 2
        while True:
            if at >= len(old) or (at > first and (old[at, _ARC] != move[_ARC]).any()):
                return math.inf, math.inf
            if at == first and ((old[at, _START] != move[_START]).any() or (old[at, _ARC] != move[_ARC]).any()):
                return math.inf, math.inf
            if at > first and (old[at, _START] != old[at - 1, _END]).any():
                return math.inf, math.inf
            fed += old[at, _VOLUME]
            at += 1
            if (old[at - 1, _END] == move[_END]).all():
                break
            if length2 == 0.0 or move[9] != 0.0:
                return math.inf, math.inf
            along, off2 = 0.0, 0.0
            for axis in range(3):
                along += (old[at - 1, 3 + axis] - move[axis]) * (move[3 + axis] - move[axis])
            along /= length2
            if along < 0.0 or along > 1.0:
                return math.inf, math.inf
            for axis in range(3):
                foot = move[axis] + along * (move[3 + axis] - move[axis])
                off2 += (old[at - 1, 3 + axis] - foot) ** 2
            distance = max(distance, math.sqrt(off2))
            volume = max(volume, abs(fed - along * move[_VOLUME]))
        volume = max(volume, abs(fed - move[_VOLUME]))
    if at < len(old):
        return math.inf, math.inf
    return distance, volume
