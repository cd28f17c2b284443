"""False alarms of sound machines: many seeds, each a machine that heats, homes, prints, cools and waits for hours.

    python -m tests.campaign.healthy --hours 1000 --seed 1 --jobs 2 [--table healthy.npz]

Prints JSON lines: each machine's alarms, then the rate with its exact (Poisson) upper bound.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scipy.stats import chi2

from industriverse_core.machine import DEFAULT_MACHINE, load_machine
from industriverse_core.threats import Cause
from tests.campaign.programs import small_job
from tests.campaign.rig import TELEMETRY_S
from tests.campaign.watching import IDLE_S, Row, Table, Watched

HOURS_A_MACHINE = 2.0
APART_S = 60.0  # alarms nearer than this are one
THIN = 50  # of the rows without evidence, one in so many is kept for a table
QUIET = 0.3  # scores below are no evidence
CONFIDENCE = 0.95


@dataclass
class Life:
    """One sound machine."""

    seed: int
    hours: float = 0.0
    jobs: int = 0
    alarms: list[dict] = field(default_factory=list)
    table: Table = field(default_factory=Table)
    _alarm_s: float = -APART_S
    _rows: int = 0

    def add(self, row: Row) -> None:
        """One moment."""
        self._rows += 1
        if row.scores.max() > QUIET:
            self.table.add(row, Cause.NONE, self.seed, TELEMETRY_S)
        elif self._rows % THIN == 0:
            self.table.add(row, Cause.NONE, self.seed, THIN * TELEMETRY_S)
        if row.estimate.cause is Cause.NONE:
            return
        if row.now_s - self._alarm_s >= APART_S:
            alarm = {"seed": self.seed, "at_s": round(row.now_s, 1), "cause": row.estimate.cause.name}
            self.alarms.append(alarm | {"message": row.estimate.message})
        self._alarm_s = row.now_s


def live(seed: int, hours: float = HOURS_A_MACHINE, room_k: float = 0.0) -> Life:
    """One machine for so many hours, jobs and pauses by chance, in a room that is warmer than the profile's."""
    watched, life = Watched(load_machine(DEFAULT_MACHINE), seed, room_k=room_k), Life(seed)
    rig, draw = watched.rig, watched.draw
    while rig.now_s < 3600.0 * hours:
        life.jobs += 1
        job_id = f"J{life.jobs}"
        watched.identifier.begin_job(job_id)
        for row in watched.follow(rig.run_job(small_job(rig.profile, draw), job_id)):
            life.add(row)
        assert not rig.failed, f"seed {seed}: a sound machine has failed: {rig.failed}"
        for row in watched.follow(rig.run(draw.choice(IDLE_S))):
            life.add(row)
    life.hours = rig.now_s / 3600.0
    return life


def upper_bound(count: int, hours: float) -> float:
    """Rate that lies above the true one with CONFIDENCE, of `count` events in so many hours (Garwood 1936)."""
    return float(chi2.ppf(CONFIDENCE, 2 * (count + 1))) / 2.0 / hours


def campaign(hours: float, seed: int, jobs: int, room_k: float = 0.0) -> Iterator[Life]:
    """Machines of consecutive seeds until the hours are full; each as soon as it and those before it are done."""
    seeds = range(seed, seed + max(1, round(hours / HOURS_A_MACHINE)))
    life = partial(live, room_k=room_k)
    if jobs == 1:
        yield from map(life, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(life, seeds)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=50.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--room", type=float, default=0.0, help="kelvins by which the room is warmer than the profile's"
    )
    parser.add_argument("--table", type=Path, default=None)
    options = parser.parse_args()
    began = time.monotonic()
    lives = []
    for life in campaign(options.hours, options.seed, options.jobs, options.room):
        line = {"seed": life.seed, "hours": round(life.hours, 2), "jobs": life.jobs, "alarms": life.alarms}
        print(json.dumps(line), flush=True)
        lives.append(life)
    count = sum(len(life.alarms) for life in lives)
    hours = sum(life.hours for life in lives)
    summary = {
        "hours": round(hours, 1), "machines": len(lives), "first_seed": options.seed,
        "room_k": options.room, "jobs": sum(life.jobs for life in lives), "false_alarms": count,
        "per_hour": round(count / hours, 5), "upper_bound_per_hour": round(upper_bound(count, hours), 5),
        "confidence": CONFIDENCE, "times_real_time": round(3600.0 * hours / (time.monotonic() - began)),
    }  # fmt: skip
    print(json.dumps(summary))
    if options.table is not None:
        whole = Table()
        for life in lives:
            whole.extend(life.table)
        whole.save(options.table)


if __name__ == "__main__":
    main()
