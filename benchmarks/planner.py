"""How fast motion is planned, on one core, compiled loops warm: moves a second for each family of controllers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from industriverse_core.gcode import load_program
from industriverse_core.machine import MachineProfile, load_machine
from industriverse_core.motion import plan_motion
from industriverse_core.program import Program

EXAMPLE = Path(__file__).parents[1] / "examples" / "washer_pla.gcode"
MACHINES = ("prusa_mk3s", "voron_24", "grbl_mill")
MOVES = 500_000
ROUNDS = 7


def run() -> Iterator[dict]:
    program = load_program(EXAMPLE)
    copies = MOVES // int(program.is_motion().sum()) + 1
    long = replace(program, columns={name: np.tile(column, copies) for name, column in program.columns.items()})
    for name in MACHINES:
        profile = load_machine(name)
        subject = long if profile.extruder else _without_filament(long)
        plan_motion(program if profile.extruder else _without_filament(program), profile)
        seconds = min(_timed(subject, profile) for _ in range(ROUNDS))
        yield {
            "metric": f"moves planned, {profile.kinematics.planner}",
            "value": round(int(long.is_motion().sum()) / seconds / 1e6, 2),
            "unit": "million/s (CPU)",
        }


def _without_filament(program: Program) -> Program:
    return replace(program, columns={**program.columns, "extrude_m3": np.zeros(len(program))})


def _timed(program: Program, profile: MachineProfile) -> float:
    started = time.process_time()
    plan_motion(program, profile)
    return time.process_time() - started
