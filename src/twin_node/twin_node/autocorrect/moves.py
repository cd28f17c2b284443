"""Rewrites of moves: corners on straight lines, repeated settings, feeds and limits that the machine does not allow."""

from __future__ import annotations

import numpy as np

from industriverse_core.compiled import compiled
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.motion import controller_limits
from industriverse_core.program import GRID_M, Op, Program
from twin_node.autocorrect.editing import changed, rearranged
from twin_node.autocorrect.geometry import works

CORNER_M = 1e-6  # a corner nearer than this to the straight line is left out
DENSITY = 1e-3  # relative difference of volume per length within which two moves are one
LONGEST_RUN = 64  # moves that become one
FASTER = 1.3  # most that a feed is raised
FLOW_SHARE = 0.9  # of the hot end's limit, for raised feeds

FEED = int(Op.STRAIGHT_FEED)


def merge_moves(program: Program, profile: MachineProfile, material: Material | None) -> Program:
    """Leave out corners on straight lines, moves that go nowhere, and settings that change nothing."""
    length = np.linalg.norm(program.positions_m() - program.starts_m(), axis=1)
    keep, volume = np.ones(len(program), bool), program.extrude_m3.copy()
    _merge(program.op, program.positions_m(), length, program.feed_m_s, volume, keep)
    straight = (program.op == Op.STRAIGHT_FEED) | (program.op == Op.STRAIGHT_TRAVERSE)
    keep &= ~(straight & (length == 0.0) & (program.extrude_m3 == 0.0))
    keep &= ~_repeated(program)
    return program if keep.all() else rearranged(changed(program, extrude_m3=volume), np.flatnonzero(keep))


def respect_flow_limit(program: Program, profile: MachineProfile, material: Material | None) -> Program:
    """Lower the feed of moves that ask the hot end for more than it melts."""
    return _scaled_feeds(program, profile, lower=True)


def feed_up_to_flow_limit(program: Program, profile: MachineProfile, material: Material | None) -> Program:
    """Raise the feed of printing moves above the first millimetre, by at most 30 %, up to 90 % of the flow limit."""
    return _scaled_feeds(program, profile, lower=False)


def respect_planner_limits(program: Program, profile: MachineProfile, material: Material | None) -> Program:
    """Lower accelerations, speeds and jerks that the program sets above the machine's."""
    sets = program.op == Op.SET_LIMIT
    highest = controller_limits(profile)
    allowed = np.where(sets, highest[np.clip(program.target, 0, len(highest) - 1)], np.inf)
    return changed(program, value=np.where(sets, np.minimum(program.value, allowed), program.value))


def _scaled_feeds(program: Program, profile: MachineProfile, lower: bool) -> Program:
    if profile.extruder is None:
        return program
    length = np.linalg.norm(program.positions_m() - program.starts_m(), axis=1)
    work = works(program) & (program.op == Op.STRAIGHT_FEED) & (program.extrude_m3 > 0.0) & (length > 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        at_limit = profile.extruder.max_flow * length / program.extrude_m3
    if lower:
        feed = np.where(work & (program.feed_m_s > at_limit), np.floor(at_limit / GRID_M) * GRID_M, program.feed_m_s)
    else:
        axes = min(axis.max_speed for axis in (profile.kinematics.x, profile.kinematics.y))
        wanted = np.minimum(np.minimum(FASTER * program.feed_m_s, FLOW_SHARE * at_limit), axes)
        raised = work & (program.z_m > 1e-3) & (wanted > program.feed_m_s)
        feed = np.where(raised, wanted, program.feed_m_s)
    return changed(program, feed_m_s=feed)


def _repeated(program: Program) -> np.ndarray:
    """Settings of a fan, heater or limit to the value that it has already."""
    repeated = np.zeros(len(program), bool)
    for op in (Op.SET_FAN, Op.SET_LIMIT):
        for target in np.unique(program.target[program.op == op]):
            where = np.flatnonzero((program.op == op) & (program.target == target))
            repeated[where[1:]] = program.value[where[1:]] == program.value[where[:-1]]
    return repeated


@compiled
def _merge(op: np.ndarray, ends: np.ndarray, length: np.ndarray, feed: np.ndarray, volume: np.ndarray,
           keep: np.ndarray) -> None:  # fmt: skip
    """Mark moves that the next one continues in a straight line; their volume goes to it."""
    corners = np.empty((LONGEST_RUN, 3))
    begin = np.zeros(3)
    count = 0  # corners of the run that ends with the move before
    for i in range(1, len(op)):
        joins = (
            op[i] == FEED and op[i - 1] == FEED and feed[i] == feed[i - 1] and length[i] > 0.0 and length[i - 1] > 0.0
            and volume[i] * volume[i - 1] >= 0.0 and count < LONGEST_RUN - 1
        )  # fmt: skip
        if joins:
            if count == 0:
                begin[:] = 0.0
                if i > 1:
                    begin[:] = ends[i - 2]
            run = 0.0
            for axis in range(3):
                run += (ends[i - 1, axis] - begin[axis]) ** 2
            run = np.sqrt(run)
            joins = abs(volume[i] * run - volume[i - 1] * length[i]) <= DENSITY * abs(volume[i - 1]) * length[i]
        if joins:
            corners[count] = ends[i - 1]
            joins = _straight(begin, ends[i], corners, count + 1)
        if joins:
            count += 1
            keep[i - 1] = False
            volume[i] += volume[i - 1]
        else:
            count = 0


@compiled
def _straight(begin: np.ndarray, end: np.ndarray, corners: np.ndarray, count: int) -> bool:
    """True when all corners lie on the way from begin to end, in order, within CORNER_M."""
    length2 = 0.0
    for axis in range(3):
        length2 += (end[axis] - begin[axis]) ** 2
    if length2 == 0.0:
        return False
    before = 0.0
    for corner in corners[:count]:
        along, off2 = 0.0, 0.0
        for axis in range(3):
            along += (corner[axis] - begin[axis]) * (end[axis] - begin[axis])
        along /= length2
        for axis in range(3):
            off2 += (corner[axis] - begin[axis] - along * (end[axis] - begin[axis])) ** 2
        if off2 > CORNER_M**2 or not before <= along <= 1.0:
            return False
        before = along
    return True
