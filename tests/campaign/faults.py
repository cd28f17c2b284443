"""Faults of the virtual printer: is each seen, how soon, by the right name, and who acts first?

    python -m tests.campaign.faults --runs 20 --seed 5000 --jobs 2 [--table faults.npz]

Each run is a machine of its own: a sound job, a pause, then a job in which one fault begins. Prints a JSON line
a run, then one a kind.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from industriverse_core.machine import DEFAULT_MACHINE, load_machine
from industriverse_core.threats import Cause
from machine_node.virtual.faults import AXES, HEATERS, FaultRequest
from tests.campaign.programs import small_job
from tests.campaign.rig import TELEMETRY_S
from tests.campaign.watching import Row, Table, Watched

PAUSE_S = 30.0
AFTER_S = 300.0  # that a run goes on after its fault has begun
EARLIEST_S = 5.0  # after the job has begun
LAST_SHARE = 0.8  # of the motion alone, until which it begins: a warm machine heats sooner than expected
SETTLED_S = 10.0  # after the first alarm, by when a name has to be right


@dataclass(frozen=True, slots=True)
class Kind:
    """One fault of the virtual machine and the cause that it is."""

    fault: str
    cause: Cause
    targets: Sequence[str] = ("",)
    value: tuple[float, float] | None = None
    either_sign: bool = False


KINDS = (
    Kind("heater_stuck_on", Cause.THERMAL_RUNAWAY, HEATERS),
    Kind("heater_stuck_off", Cause.HEATER_FAULT, HEATERS),
    Kind("thermistor_short", Cause.SENSOR_FAULT, HEATERS),
    Kind("thermistor_open", Cause.SENSOR_FAULT, HEATERS),
    Kind("thermistor_drift", Cause.SENSOR_FAULT, HEATERS, (0.05, 0.5), either_sign=True),
    Kind("clog", Cause.CLOG, value=(0.0, 0.3)),
    Kind("runout", Cause.CLOG),
    Kind("part_detached", Cause.VIBRATION),
    Kind("belt_slip", Cause.LOST_STEPS, AXES, (1.0, 5.0), either_sign=True),
    Kind("lost_steps", Cause.LOST_STEPS, value=(0.1, 0.3)),
    Kind("power_sag", Cause.POWER_ANOMALY, value=(0.5, 0.9)),
)


@dataclass
class Run:
    """One machine with one fault. Times in physics seconds after its begin; NaN = never."""

    kind: Kind
    seed: int
    target: str
    false_alarms: int = 0
    alarm_s: float = float("nan")
    cause: Cause = Cause.NONE
    settled: Cause = Cause.NONE
    controller_s: float = float("nan")  # at which the controller halted
    controller: str = ""
    named_after: Cause = Cause.NONE  # by the first sample that shows it halted
    table: Table = field(default_factory=Table)

    def add(self, row: Row, since_s: float) -> None:
        """One moment after the fault has begun."""
        self.table.add(row, self.kind.cause, self.seed, TELEMETRY_S)
        cause = row.estimate.cause
        if cause is not Cause.NONE and np.isnan(self.alarm_s):
            self.alarm_s, self.cause = since_s, cause
        if cause is not Cause.NONE and since_s <= self.alarm_s + SETTLED_S:
            self.settled = cause


def drawn(kind: Kind, draw: random.Random) -> FaultRequest:
    """The fault, with values by chance."""
    value = None
    if kind.value is not None:
        value = draw.uniform(*kind.value) * (draw.choice((-1.0, 1.0)) if kind.either_sign else 1.0)
    return FaultRequest(kind.fault, value=value, target=draw.choice(kind.targets))


def run_fault(kind: Kind, seed: int) -> Run:
    """A sound job, a pause, a job with the fault; ends when the controller has halted, or AFTER_S later."""
    watched = Watched(load_machine(DEFAULT_MACHINE), seed)
    rig, draw = watched.rig, watched.draw
    request = drawn(kind, draw)
    run = Run(kind, seed, request.target)
    sound, spoilt = small_job(rig.profile, draw), small_job(rig.profile, draw, printing=True)
    for samples in (rig.run_job(sound, "J1"), rig.run(PAUSE_S)):
        run.false_alarms += sum(row.estimate.cause is not Cause.NONE for row in watched.follow(samples))
    watched.identifier.begin_job("J2")
    begins_s = rig.now_s + draw.uniform(EARLIEST_S, LAST_SHARE * spoilt.timeline.motion_s)
    rig.begin(spoilt, "J2")
    for row in watched.follow(rig.run(begins_s - rig.now_s)):
        run.false_alarms += row.estimate.cause is not Cause.NONE
    rig.fault(request)
    for row in watched.follow(rig.run(AFTER_S)):
        if rig.failed:
            run.controller_s, run.controller = rig.now_s - begins_s, rig.failed
            run.named_after = row.estimate.cause
            break
        run.add(row, rig.now_s - begins_s)
    return run


def summary(kind: Kind, runs: Sequence[Run]) -> dict:
    """One JSON line."""
    seen = [run for run in runs if not np.isnan(run.alarm_s)]
    delays = [run.alarm_s for run in seen]
    halted = [run for run in runs if not np.isnan(run.controller_s)]
    return {
        "fault": kind.fault, "cause": kind.cause.name, "runs": len(runs), "detected": len(seen),
        "right_cause": sum(run.settled is kind.cause for run in seen),
        "median_s": round(float(np.median(delays)), 1) if delays else None,
        "p95_s": round(float(np.percentile(delays, 95)), 1) if delays else None,
        "controller_halted": len(halted),
        "controller_median_s": round(float(np.median([run.controller_s for run in halted])), 1) if halted else None,
        "named_after_halt": sum(run.named_after is kind.cause for run in halted),
        "seen_before_controller": sum(run.alarm_s < run.controller_s for run in halted),
        "named": {cause.name: count for cause in Cause if (count := sum(run.settled is cause for run in seen))},
        "false_alarm_samples": sum(run.false_alarms for run in runs),
    }  # fmt: skip


def campaign(runs: int, seed: int, jobs: int, kinds: Sequence[Kind] = KINDS) -> Iterator[Run]:
    """`runs` of each kind, seeds consecutive; each as soon as it and those before it are done."""
    work = [(kind, seed + number * len(kinds) + at) for number in range(runs) for at, kind in enumerate(kinds)]
    if jobs == 1:
        yield from (run_fault(*each) for each in work)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run_fault, *zip(*work, strict=True))


def line_of(run: Run) -> dict:
    """One run as a JSON line; what never happened is left out."""
    line = {
        "fault": run.kind.fault, "seed": run.seed, "target": run.target, "alarm_s": run.alarm_s,
        "cause": run.cause.name, "settled": run.settled.name, "controller_s": run.controller_s,
        "named_after_halt": run.named_after.name, "false_alarm_samples": run.false_alarms,
    }  # fmt: skip
    return {name: round(value, 1) if isinstance(value, float) else value for name, value in line.items()
            if value == value}  # fmt: skip


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=[kind.fault for kind in KINDS], default=[])
    parser.add_argument("--table", type=Path, default=None)
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if not options.only or kind.fault in options.only]
    done = []
    for run in campaign(options.runs, options.seed, options.jobs, kinds):
        print(json.dumps(line_of(run)), flush=True)
        done.append(run)
    for kind in kinds:
        print(json.dumps(summary(kind, [run for run in done if run.kind.fault == kind.fault])))
    if options.table is not None:
        whole = Table()
        for run in done:
            whole.extend(run.table)
        whole.save(options.table)


if __name__ == "__main__":
    main()
