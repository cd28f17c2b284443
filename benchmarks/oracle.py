"""How long the oracle takes over a long print: timeline and 200 draws, loops warm, CPU seconds of one core."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.motion import plan_motion
from twin_node.oracle import prediction_of
from twin_node.timeline import build_timeline

EXAMPLE = Path(__file__).parents[1] / "examples" / "washer_pla.gcode"
BYTES = 27_000_000
ROUNDS = 5
GOAL_S = 1.2


def run() -> Iterator[dict]:
    text = EXAMPLE.read_bytes()
    program = read_gcode(text * (BYTES // len(text)), "long")
    profile, material = load_machine("prusa_mk3s"), load_material("PLA")
    timeline = build_timeline(program, profile, material)
    prediction_of(timeline, profile, material)
    size = {"unit": "s", "instructions": len(program), "megabytes": BYTES / 1e6}
    plan_s = _best(lambda: plan_motion(program, profile))
    timeline_s = _best(lambda: build_timeline(program, profile, material))
    draws_s = _best(lambda: prediction_of(timeline, profile, material))
    yield {"metric": "motion plan", "value": round(plan_s, 3), **size}
    yield {"metric": "timeline, with its plan", "value": round(timeline_s, 3), **size}
    yield {"metric": "intervals of 200 draws", "value": round(draws_s, 3), **size}
    yield {"metric": "whole prediction", "value": round(timeline_s + draws_s, 3), "goal": GOAL_S, **size}


def _best(call: Callable[[], Any]) -> float:
    """CPU seconds of the fastest of several calls."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times)
