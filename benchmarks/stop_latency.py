"""From the moment at which motion is not allowed any more to standstill, by the virtual machine's own journal.

Of both families: a Marlin printer at 100 mm/s, a GRBL mill at its top feed.

`lapse`: permits stop coming; the moment is the guard's, 150 ms after the last permit. `HOLD`, `STOP1`, `STOP0`: a stop
request of that level; the moment is that of the call. Physics at speed 1, over a pseudo-terminal: a real line adds the
time of its bytes (M112 at 115,200 baud: 0.6 ms). No real-time priority. Each of the printer's trials homes first: a
queue counted in time needs to know where the tool is; the mill homes when it has to. A mill brakes for longer than a
printer: `braking` is the speed of the program over the acceleration of its slowest axis, the part of the figure that no
controller can shorten.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.failures.noisy_line import Stand

TRIALS = 30
PROGRAMS = {
    "prusa_mk3s": "G28\n" + "G1 X60 Y0 F6000\nG1 X0 Y60\nG1 X60 Y60\nG1 X0 Y0\n" * 50,
    "grbl_mill": "G21 G90 G17 G94\nG0 Z5\n" + "G1 X30 Y0 F1998\nG1 X0 Y24\nG1 X30 Y24\nG1 X0 Y0\n" * 50 + "M2\n",
}
SPEED_M_S = {"prusa_mk3s": 0.1, "grbl_mill": 33.3e-3}
LEVELS = ("lapse", "HOLD", "STOP1", "STOP0")


def run() -> Iterator[dict]:
    from tests.failures.noisy_line import Stand

    for machine, level in itertools.product(PROGRAMS, LEVELS):
        with tempfile.TemporaryDirectory() as folder:
            stand = Stand(Path(folder), speed=1.0, seed=3, machine=machine, garble=0.0, lose=0.0)
            try:
                latencies_s = [_trial(stand, level, trial) for trial in range(TRIALS)]
            finally:
                stand.close()
        p50, p99 = np.percentile(np.array(latencies_s) * 1e3, [50, 99])
        braking_s = SPEED_M_S[machine] / min(axis.max_acceleration for axis in stand.profile.kinematics.axes()[:2])
        common = {"unit": "ms", "family": stand.profile.protocol.family, "trials": TRIALS}
        common |= {"braking_ms": round(braking_s * 1e3, 1)}
        yield {"metric": f"{level} to standstill p50", "value": round(float(p50), 1), **common}
        yield {"metric": f"{level} to standstill p99", "value": round(float(p99), 1), **common}


def _trial(stand: Stand, level: str, trial: int) -> float:
    """One job that is stopped in its motion [s]."""
    from industriverse_core.gcode import read_gcode
    from industriverse_core.permit import PERMIT_VALID_S, StopLevel
    from machine_node.preparation import prepare

    machine, results = stand.machine, []
    dialect = "rs274" if stand.profile.kind == "mill" else "marlin"
    program = read_gcode(PROGRAMS[stand.profile.id].encode(), "stop.gcode", dialect)
    permits = stand.permits(program)
    machine.begin(prepare(program, program.digest, stand.profile, stand.speed, "stop", results.append))
    stand.wait(lambda: bool(results) or machine.snapshot().executed >= 3, 120.0)
    time.sleep(random.Random(trial).uniform(0.1, 0.6))
    if results:  # on a busy machine a permit may come too late before anything is measured
        permits.close()
        return _trial(stand, level, trial)
    if level == "lapse":
        permits.close()
        asked_s = permits.last_s + PERMIT_VALID_S
    else:
        asked_s = time.monotonic()
        machine.on_stop(stand.profile.id, StopLevel[level], "benchmark", "measures")
    stand.wait(lambda: bool(results), 30.0)
    permits.close()
    events = [event for event in stand.events() if event["t"] >= asked_s]
    rests = [event["t"] for event in events if event["event"] == "motion_end"]
    rests = rests or [event["t"] for event in events if event["event"] == "halted"]
    return rests[-1] - asked_s
