"""A whole program on the body, without a machine: what it touches, what its motors give, how well it follows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.motion import plan_motion
from industriverse_core.program import MOTION_OPS, Program
from industriverse_core.telemetry import Vector
from twin_node.body.body import Body, Collision, vector

WINDOW_S = 1.0  # over which vibration is taken
MOST_COLLISIONS = 1000  # after so many, a program has been found out


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a program did to the body. Vectors are x, y, z; NaN where nothing moves.

    Attributes:
        motion_s: time of its moves and dwells; heating, homing and levelling are not part of it.
        simulated_s: of it, what was simulated; less where it was broken off after MOST_COLLISIONS.
        collisions: in the order in which they happen.
        peak_effort_n: largest force of the motors on each axis.
        vibration_m_s2: largest rms of each axis's acceleration within a second.
        rms_error_m, worst_error_m: distance of the tool from the planned path.
        restarts: how often the position jumped (homing).
    """

    motion_s: float
    simulated_s: float
    collisions: tuple[Collision, ...]
    peak_effort_n: Vector
    vibration_m_s2: Vector
    rms_error_m: float
    worst_error_m: float
    restarts: int


def rehearse(program: Program, profile: MachineProfile) -> Rehearsal:
    """Let the body carry out a program.

    A mill is set down where its first move ends: how it comes there, the program does not say.
    Raises PredictionError: CANNOT_PREDICT for a program that is empty or cannot be planned, NO_BODY as Body does.
    """
    if not len(program):
        raise PredictionError(
            ErrorCode.CANNOT_PREDICT, "the program has no instructions.", "Name a program that moves the machine."
        )
    plan = plan_motion(program, profile)
    begin_s = _begin_s(program, plan.end_s) if profile.kind == "mill" else 0.0
    body = Body(profile)
    body.follow(program, plan, begin_s)
    effort, vibration = np.full(3, math.nan), np.full(3, math.nan)
    steps, restarts, square, worst = 0, 0, 0.0, 0.0
    collisions: list[Collision] = []
    window = round(WINDOW_S / body.step_s)
    while (more := min(window, body.steps_to(plan.total_s))) > 0 and len(collisions) < MOST_COLLISIONS:
        stretch = body.advance(more)
        effort = np.fmax(effort, stretch.peak_effort_n)
        vibration = np.fmax(vibration, stretch.vibration_m_s2)
        collisions += stretch.collisions
        steps, restarts = steps + stretch.steps, restarts + stretch.restarts
        square, worst = square + stretch.square_error_m2, max(worst, stretch.worst_error_m)
    return Rehearsal(
        motion_s=plan.total_s,
        simulated_s=body.clock_s - begin_s,
        collisions=tuple(collisions[:MOST_COLLISIONS]),
        peak_effort_n=vector(effort),
        vibration_m_s2=vector(vibration),
        rms_error_m=math.sqrt(square / steps) if steps else math.nan,
        worst_error_m=worst if steps else math.nan,
        restarts=restarts,
    )


def _begin_s(program: Program, end_s: np.ndarray) -> float:
    """The end of the first move [s]; 0 without one."""
    moves = np.flatnonzero(np.isin(program.columns["op"], MOTION_OPS))
    return float(end_s[moves[0]]) if len(moves) else 0.0
