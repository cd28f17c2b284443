"""How fast the twin looks ahead on sliced files: one case, all what-ifs, and how many times real time that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from industriverse_core.gcode import load_program
from industriverse_core.machine import load_machine
from industriverse_core.material import resolve_material
from twin_node.lookahead import WHAT_IFS, chosen, look_ahead
from twin_node.shadow import Present
from twin_node.timeline import Timeline, build_timeline

DATA = Path(__file__).parents[2] / "shared" / "data" / "gcode" / "fdm"
ROUNDS = 5
GOAL_TIMES = 100.0
GOAL_ALL_S = 1.0
PLACES = (0.0, 0.5)  # of the job's time


def run() -> Iterator[dict]:
    if not DATA.is_dir():
        yield {"metric": "skipped", "value": 0, "unit": "", "reason": f"no reference data at {DATA}"}
        return
    profile = load_machine("prusa_mk3s")
    for path in sorted(DATA.glob("*mk3s*.gcode")):
        program = load_program(path)
        timeline = build_timeline(program, profile, resolve_material(program.metadata.material, profile.kind))
        size = {"file": path.name, "megabytes": round(path.stat().st_size / 1e6, 2), "instructions": len(program)}
        for share in PLACES:
            yield from _measure(timeline, _at(timeline, share), {"at": share, **size})


def _measure(timeline: Timeline, present: Present, about: dict) -> Iterator[dict]:
    plain = chosen(["as_is"])
    cpu_s, (case,) = _best(lambda: look_ahead(timeline, present, plain))
    times = round(case.time_s.mean / cpu_s)
    yield {"metric": "as it is", "value": times, "unit": "times real time", "goal": GOAL_TIMES, **about}
    cpu_s, _ = _best(lambda: look_ahead(timeline, present))
    about = {"cases": len(WHAT_IFS), **about}
    yield {"metric": "all what-ifs", "value": round(cpu_s, 4), "unit": "s CPU", "goal": GOAL_ALL_S, **about}


def _at(timeline: Timeline, share: float) -> Present:
    """The present at the beginning of the instruction that is in hand there, as expected."""
    index = int(np.searchsorted(timeline.end_s, share * timeline.total_s))
    clock_s = float(timeline.plan.end_s[index] - timeline.plan.duration_s[index])
    columns = (timeline.hotend_c, timeline.bed_c, timeline.air_c)
    nodes = timeline.start_c if index == 0 else [column[index - 1] for column in columns]
    return Present(index, clock_s, 0.0, *(float(node) for node in nodes))


def _best(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of the fastest of several calls, and what it gave."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        found = call()
        times.append(time.process_time() - started)
    return min(times), found
