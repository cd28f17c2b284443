"""Electric power over the time of a job, by subsystem: what a report draws and a demand charge is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from industriverse_core.artefacts import Subsystem
from twin_node.timeline import Timeline

DEFAULT_POINTS = 1000
MAX_POINTS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class PowerSeries:
    """Mean power in k intervals of equal length (the last may be shorter).

    Attributes:
        edges_s: limits of the intervals on the job's clock, shape (k + 1,).
        power_w: mean power of each interval by subsystem, shape (k,) each; times its length it is the energy.
    """

    edges_s: np.ndarray
    power_w: dict[Subsystem, np.ndarray]

    @property
    def total_w(self) -> np.ndarray:
        """All subsystems together, shape (k,)."""
        return np.sum(list(self.power_w.values()), axis=0)

    @property
    def highest_mean_w(self) -> float:
        """The highest of the intervals' total means [W]; with 900 s what a demand charge looks at."""
        return float(self.total_w.max(initial=0.0))


def power_series(timeline: Timeline, resolution_s: float | None = None) -> PowerSeries:
    """Mean power by subsystem in intervals of `resolution_s`; default: a thousandth of the job.

    Energy is spread evenly over each instruction; the sum over all intervals is the job's energy. At most 1e6
    intervals. Raises ValueError for a resolution that is not above zero, or gives more.
    """
    total = timeline.total_s
    if resolution_s is None:
        resolution_s = total / DEFAULT_POINTS if total > 0.0 else 1.0
    if not 0.0 < resolution_s < math.inf or total / resolution_s > MAX_POINTS:
        raise ValueError(f"{resolution_s} s is no resolution for {total:.0f} s: at most {MAX_POINTS} intervals")
    count = max(1, math.ceil(total / resolution_s - 1e-9)) if total > 0.0 else 0
    edges = np.minimum(np.arange(count + 1) * resolution_s, total)
    if count:
        edges[-1] = total
    end = np.concatenate([[0.0], timeline.end_s])
    series = {}
    for subsystem, energy in timeline.energy_j.items():
        used = np.interp(edges, end, np.concatenate([[0.0], np.cumsum(energy)]))
        series[subsystem] = np.diff(used) / np.diff(edges)
    return PowerSeries(edges, series)
