"""Faults of the machine's body in the campaign's table: the rig's virtual printer, its twin and the threat identifier.

`tests/campaign/faults.py` runs and judges them; here its runs become rows beside the others. Times are physics seconds:
these faults develop at the pace of heat and filament.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from industriverse_core.machine import DEFAULT_MACHINE

from .faults import KINDS, Run, run_fault
from .trial import Record


def record_of(run: Run) -> Record:
    """One run of the rig. A fault that nobody notices, neither the identifier nor the controller, is a violation."""
    seen = [each for each in (run.alarm_s, run.controller_s) if not math.isnan(each)]
    record = Record(run.seed, run.kind.fault, DEFAULT_MACHINE, noticed_s=min(seen, default=None))
    record.state = "HALTED" if not math.isnan(run.controller_s) else run.settled.name
    if not seen:
        record.violations.append(f"nobody noticed {run.kind.fault} {run.target}".rstrip())
    if run.false_alarms:
        record.violations.append(f"{run.false_alarms} samples of a sound machine were called a threat")
    return record


def campaign(seed: int, count: int) -> Iterator[Record]:
    """So many runs, one kind after another."""
    for number in range(count):
        yield record_of(run_fault(KINDS[number % len(KINDS)], seed * 10_000_000 + number))
