"""Calibration of virtual printers whose true parameters nobody knows: errors, intervals and CPU time."""

from __future__ import annotations

import time
from collections.abc import Iterator

from industriverse_cli.calibration.rehearsal import judge, rehearse
from industriverse_core.machine import load_machine

FIRST_SEED, MACHINES = 70_000, 50  # seeds that were not used while the identification was written
SPREAD, METER_ACCURACY = 0.25, 0.005


def run() -> Iterator[dict]:
    profile = load_machine("prusa_mk3s")
    started = time.process_time()
    done = [rehearse(profile, FIRST_SEED + k, SPREAD, METER_ACCURACY) for k in range(MACHINES)]
    cpu_s = (time.process_time() - started) / MACHINES
    for row in judge(done):
        scale, unit = (1.0, "K") if row["unit"] == "K" else (100.0, "%")
        for what in ("median_error", "worst_error", "half_width"):
            metric = f"{row['name']} {what.replace('_', ' ')}"
            yield {"metric": metric, "value": round(scale * row[what], 3), "unit": unit, "machines": row["identified"]}
        yield {"metric": f"{row['name']} in its 90 % interval", "value": row["coverage"], "unit": "1"}
    yield {"metric": "one run and its identification, CPU", "value": round(cpu_s, 2), "unit": "s"}
