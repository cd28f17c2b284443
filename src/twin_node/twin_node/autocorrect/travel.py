"""Rewrite of the travel order: islands of a layer are printed in an order with shorter travels between them.

A unit is one travel and all that follows up to the next travel: lowering, un-retracting, the island, retracting,
wiping, lifting. Units can change places where every boundary between them looks the same: same height, same
filament drawn back, and no instruction inside that is not a move.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import GRID_M3, Op, Program
from twin_node.autocorrect.editing import rearranged
from twin_node.autocorrect.geometry import works

LARGEST_GROUP = 2000  # units that are ordered together; the work grows with the square
WORTH_M = 1e-3  # a group is rearranged when it saves this much travel


def shorten_travel(program: Program, profile: MachineProfile, material: Material | None) -> Program:
    """Order the islands of each layer by nearest neighbour and 2-opt, where that shortens the travels."""
    starts, movable = _units(program)
    if len(starts) < 4:
        return program
    order = np.arange(len(program))
    ends = np.append(starts[1:], len(program))
    xy = program.positions_m()[:, :2]
    for first, last in _groups(program, starts, ends, movable):
        enter, leave = xy[starts[first:last]], xy[ends[first:last] - 1]
        origin = xy[starts[first] - 1] if starts[first] else np.zeros(2)
        goal = xy[starts[last]] if last < len(starts) else leave[-1]
        best = np.arange(last - first)
        before, after = _improve(enter, leave, origin, goal, best)
        if before - after > WORTH_M:
            chunks = [np.arange(starts[first + unit], ends[first + unit]) for unit in best]
            order[starts[first] : ends[last - 1]] = np.concatenate(chunks)
    return rearranged(program, order) if np.any(order != np.arange(len(program))) else program


def _units(program: Program) -> tuple[np.ndarray, np.ndarray]:
    """First instruction of each unit, and whether the unit may change places."""
    ends, begins = program.positions_m(), program.starts_m()
    flat = np.any(ends[:, :2] != begins[:, :2], axis=1)
    travel = program.is_motion() & (program.op != Op.ARC_FEED) & (program.extrude_m3 == 0.0) & flat
    follows = np.concatenate([[False], travel[:-1]])
    starts = np.flatnonzero(travel & ~follows)
    if not len(starts):
        return starts, np.zeros(0, bool)
    work, height = works(program), ends[:, 2]
    lowest = np.minimum.reduceat(np.where(work, height, np.inf), starts)
    highest = np.maximum.reduceat(np.where(work, height, -np.inf), starts)
    still = np.logical_or.reduceat(~program.is_motion(), starts)
    return starts, (lowest == highest) & ~still & (program.op[starts] != Op.UNKNOWN)


def _groups(program: Program, starts: np.ndarray, ends: np.ndarray, movable: np.ndarray) -> list[tuple[int, int]]:
    """Ranges (first, last + 1) of units that may be ordered among themselves."""
    height = program.z_m
    drawn = np.round(np.cumsum(program.extrude_m3) / GRID_M3)
    peak = np.maximum.accumulate(np.concatenate([[0.0], drawn]))[1:]
    deficit = peak - drawn  # filament drawn back at the end of each instruction
    before = np.maximum(starts - 1, 0)
    work_height = np.maximum.reduceat(np.where(works(program), height, -np.inf), starts)
    # what a unit finds at its start and leaves at its end, and the layer that it prints
    found = np.column_stack([height[before], deficit[before], work_height, height[starts]])
    left = np.column_stack([height[ends - 1], deficit[ends - 1]])
    alike = np.all(found[1:] == found[:-1], axis=1) & np.all(left[1:] == left[:-1], axis=1)
    closed = np.all(left == found[:, :2], axis=1)
    joined = movable[1:] & movable[:-1] & alike & closed[1:] & closed[:-1]
    cuts = np.flatnonzero(np.concatenate([[True], ~joined, [True]]))
    groups = []
    for first, last in pairwise(cuts.tolist()):
        groups += [(at, min(at + LARGEST_GROUP, last)) for at in range(first, last, LARGEST_GROUP)]
    return [(first, last) for first, last in groups if last - first > 2]


@compiled
def _travel(enter: np.ndarray, leave: np.ndarray, origin: np.ndarray, goal: np.ndarray, order: np.ndarray) -> float:
    """Length [m] of all travels of an order."""
    total, x, y = 0.0, origin[0], origin[1]
    for unit in order:
        total += np.hypot(enter[unit, 0] - x, enter[unit, 1] - y)
        x, y = leave[unit, 0], leave[unit, 1]
    return float(total + np.hypot(goal[0] - x, goal[1] - y))


@compiled
def _improve(enter: np.ndarray, leave: np.ndarray, origin: np.ndarray, goal: np.ndarray, order: np.ndarray
             ) -> tuple[float, float]:  # fmt: skip
    """Put a shorter order into `order`: nearest neighbour, then moving single units. Travel [m] before and after."""
    count = len(order)
    before = _travel(enter, leave, origin, goal, order)
    left = np.ones(count, np.bool_)
    nearest = np.empty(count, order.dtype)
    x, y = origin[0], origin[1]
    for place in range(count):
        best, shortest = -1, np.inf
        for unit in range(count):
            if left[unit]:
                distance = (enter[unit, 0] - x) ** 2 + (enter[unit, 1] - y) ** 2
                if distance < shortest:
                    best, shortest = unit, distance
        nearest[place] = best
        left[best] = False
        x, y = leave[best, 0], leave[best, 1]
    if _travel(enter, leave, origin, goal, nearest) < before:
        order[:] = nearest
    _relocate(enter, leave, origin, goal, order)
    return before, _travel(enter, leave, origin, goal, order)


@compiled
def _relocate(enter: np.ndarray, leave: np.ndarray, origin: np.ndarray, goal: np.ndarray, order: np.ndarray) -> None:
    """Move single units to better places until none helps (at most four rounds)."""
    count = len(order)
    for _ in range(4):
        improved = False
        for place in range(count):
            unit = order[place]
            a = origin if place == 0 else leave[order[place - 1]]
            b = goal if place == count - 1 else enter[order[place + 1]]
            gain = (
                np.hypot(enter[unit, 0] - a[0], enter[unit, 1] - a[1])
                + np.hypot(b[0] - leave[unit, 0], b[1] - leave[unit, 1]) - np.hypot(b[0] - a[0], b[1] - a[1])
            )  # fmt: skip
            best, to = 1e-9, -1
            for other in range(count + 1):  # between order[other - 1] and order[other]
                if other == place or other == place + 1:
                    continue
                c = origin if other == 0 else leave[order[other - 1]]
                d = goal if other == count else enter[order[other]]
                cost = (
                    np.hypot(enter[unit, 0] - c[0], enter[unit, 1] - c[1])
                    + np.hypot(d[0] - leave[unit, 0], d[1] - leave[unit, 1]) - np.hypot(d[0] - c[0], d[1] - c[1])
                )  # fmt: skip
                if gain - cost > best:
                    best, to = gain - cost, other
            if to >= 0:
                improved = True
                if to > place:
                    order[place : to - 1] = order[place + 1 : to].copy()
                    order[to - 1] = unit
                else:
                    order[to + 1 : place + 1] = order[to:place].copy()
                    order[to] = unit
        if not improved:
            return
