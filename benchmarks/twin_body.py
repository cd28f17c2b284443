"""The twin's body in MuJoCo: how much faster than the machine it is, how near to the plan, and what a sample costs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from industriverse_core.gcode import load_program
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.motion import plan_motion
from twin_node.body.body import INTEGRATOR, STEP_S, Body
from twin_node.body.follower import Follower
from twin_node.timeline import build_timeline

EXAMPLES = Path(__file__).parents[1] / "examples"
CASES = (
    ("prusa_mk3s", "washer_pla.gcode"),
    ("ender3", "cable_clip_petg.gcode"),
    ("voron_24", "washer_pla.gcode"),
    ("grbl_mill", "bracket_mill.ngc"),
)
STEPS_S = (4e-3, 2e-3, 1e-3, 0.5e-3, 0.25e-3)
INTEGRATORS = ("Euler", "implicitfast", "RK4")
TRIAL_S, TELEMETRY_S = 60.0, 0.05
GOAL = 50.0


def run() -> Iterator[dict]:
    for machine, example in CASES:
        yield {"metric": "real-time factor", "goal": GOAL, **_trial(machine, example, STEP_S, INTEGRATOR)}
    for integrator in INTEGRATORS:
        for step_s in STEPS_S:
            yield {"metric": "choice of step and integrator", **_trial(*CASES[0], step_s, integrator)}
    yield {"metric": "one telemetry sample at 20 Hz", **_sample()}


def _trial(machine: str, example: str, step_s: float, integrator: str) -> dict[str, Any]:
    """The first minute of a program in stretches of a telemetry period, CPU time of one core."""
    profile = load_machine(machine)
    program = load_program(EXAMPLES / example, profile.controller)
    body = Body(profile, step_s, integrator)
    body.follow(program, plan_motion(program, profile))
    body.advance(1)
    body.place(0.0)
    stretch = round(TELEMETRY_S / step_s)
    until_s = min(TRIAL_S, float(body.plan.total_s))
    square, worst, count, effort = 0.0, 0.0, 0, np.zeros(3)
    started = time.process_time()
    while (steps := min(stretch, body.steps_to(until_s))) > 0:
        made = body.advance(steps)
        square, worst, count = square + made.square_error_m2, max(worst, made.worst_error_m), count + steps
        effort = np.fmax(effort, made.peak_effort_n)
    spent_s = time.process_time() - started
    return {
        "machine": machine, "value": round(body.clock_s / spent_s, 1), "step_ms": step_s * 1e3,
        "integrator": integrator, "us_per_step": round(1e6 * spent_s / count, 2),
        "rms_error_um": round(1e6 * math.sqrt(square / count), 1), "worst_error_um": round(1e6 * worst, 1),
        "peak_effort_n": np.round(effort, 2).tolist(),
    }  # fmt: skip


def _sample() -> dict[str, Any]:
    machine, example = CASES[0]
    profile = load_machine(machine)
    program = load_program(EXAMPLES / example, profile.controller)
    timeline = build_timeline(program, profile, load_material("PLA"))
    follower = Follower(profile)
    times = []
    for clock_s in np.arange(0.0, min(TRIAL_S, timeline.plan.total_s), TELEMETRY_S):
        started = time.process_time()
        follower.observe((timeline, float(clock_s)))
        times.append(time.process_time() - started)
    p50, p99 = np.percentile(times[1:], (50, 99)) * 1e3
    return {"value": round(p50, 3), "unit": "ms", "p99": round(p99, 3), "worst": round(max(times[1:]) * 1e3, 3)}
