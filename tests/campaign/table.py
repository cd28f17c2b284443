"""What a campaign's runs amount to: counts, percentiles, exact bounds; as JSON and as a table to read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.stats import beta

CONFIDENCE = 0.95
PERCENTILES = (50.0, 99.0, 99.9, 100.0)
NAMES = ("p50", "p99", "p99.9", "max")


class Run(Protocol):
    """What the table needs of one run; see trial.Record."""

    seed: int
    fault: str
    machine: str
    noticed_s: float | None
    rests_s: list[float]
    state: str
    violations: list[str]


def clopper_pearson(hits: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact two-sided bounds of a share (Clopper and Pearson 1934).

    Args:
        hits: 0..trials.
    Raises ValueError for counts outside their range.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} of {trials}")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(beta.ppf(1.0 - tail, hits + 1, trials - hits))
    return low, high


@dataclass(frozen=True, slots=True)
class Row:
    """One class of fault.

    Attributes:
        runs: of this class.
        noticed: runs in which shield, guard, driver or store reacted.
        noticed_s, rest_s: percentiles PERCENTILES; () = nothing to measure.
        rests: how often permission ended in motion.
        states: of the machine after the fault, the most frequent first.
        bad: runs with a violation.
        low, high: bounds of their share.
    """

    fault: str
    runs: int
    noticed: int
    noticed_s: tuple[float, ...]
    rests: int
    rest_s: tuple[float, ...]
    states: tuple[tuple[str, int], ...]
    bad: int
    low: float
    high: float

    def as_json(self) -> dict[str, Any]:
        """With times in milliseconds."""
        return {
            "fault": self.fault, "n": self.runs, "detected": self.noticed,
            "detection_ms": _named(self.noticed_s), "lapses_in_motion": self.rests, "rest_ms": _named(self.rest_s),
            "state_after": dict(self.states), "violations": self.bad,
            "violation_share_95": [self.low, self.high],
        }  # fmt: skip


def _named(values: Sequence[float]) -> dict[str, float]:
    return {name: round(value * 1e3, 1) for name, value in zip(NAMES, values, strict=False)}


def _percentiles(values: Sequence[float]) -> tuple[float, ...]:
    """Values that were really seen: the nearest above, so that no percentile is better than a sample."""
    return tuple(map(float, np.percentile(values, PERCENTILES, method="higher"))) if values else ()


def row_of(fault: str, runs: Sequence[Run]) -> Row:
    """The runs of one class, or of all."""
    noticed = [run.noticed_s for run in runs if run.noticed_s is not None]
    rests = [rest_s for run in runs for rest_s in run.rests_s]
    bad = sum(bool(run.violations) for run in runs)
    states = tuple(Counter(run.state for run in runs if run.state).most_common())
    return Row(
        fault, len(runs), len(noticed), _percentiles(noticed), len(rests), _percentiles(rests), states, bad,
        *clopper_pearson(bad, len(runs)),
    )  # fmt: skip


def rows_of(runs: Iterable[Run]) -> list[Row]:
    """One row a class, in the order in which they first appear; the last ones are of each machine and of all."""
    classes: dict[str, list[Run]] = {}
    for run in runs:
        classes.setdefault(run.fault, []).append(run)
    everything = [run for found in classes.values() for run in found]
    rows = [row_of(name, found) for name, found in classes.items()]
    machines = sorted({run.machine for run in everything})
    rows += [row_of(f"all of {name}", [run for run in everything if run.machine == name]) for name in machines]
    return [*rows, row_of("all", everything)] if len(machines) > 1 else rows


def as_text(rows: Sequence[Row]) -> str:
    """A Markdown table. Times in ms."""
    head = (
        "fault", "n", "detected", "after p50 / p99 / max", "lapses in motion", "rest p50 / p99 / p99.9 / max",
        "machine then", "violations", "95 % bounds",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        noticed = [value for name, value in zip(NAMES, row.noticed_s, strict=False) if name != "p99.9"]
        states = ", ".join(f"{name} {count}" for name, count in row.states[:3]) or "–"
        cells = (
            row.fault, row.runs, row.noticed, _times(noticed), row.rests, _times(row.rest_s), states, row.bad,
            f"{row.low:.2%}–{row.high:.2%}",
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _times(values: Sequence[float]) -> str:
    return " / ".join(f"{value * 1e3:.0f}" for value in values) or "–"


def as_json(rows: Sequence[Row], **about: Any) -> str:
    """The whole report."""
    return json.dumps(about | {"classes": [row.as_json() for row in rows]}, indent=1)
