"""Vibration against the machine's own healthy level, apart for a machine that moves and one that stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from industriverse_core.telemetry import VibrationAxis, VibrationSample
from shield_node.threats.scores import Cusum

FIRST_BURSTS = 40  # of one axis in one state of motion, before they are compared with their own level
SMALLEST_SD = 0.25  # of the natural logarithm of an energy
FORGETTING = 0.01  # a burst's share in the level, once that is known
LEARN_BELOW = 4.0  # standard deviations: what is farther off does not become the level
MOST_SIGMA = 10.0  # that a single burst may count: a knock is not a vibration
SLACK = 3.0
LONGEST_GAP_S = 5.0  # of the sum; a longer gap says nothing of what lay in it
HIGH_BANDS = 2  # highest ones of BANDS: motion, its resonances and fans are below


@dataclass(slots=True)
class _Level:
    """Running mean and variance of one logarithm."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def score(self, value: float) -> float:
        """Standard deviations above the own level; 0 while it is being learnt."""
        z = (value - self.mean) / max(SMALLEST_SD, math.sqrt(self.variance)) if self.count >= FIRST_BURSTS else 0.0
        if abs(z) < LEARN_BELOW:
            self.count += 1
            share = max(1.0 / self.count, FORGETTING)
            off = value - self.mean
            self.mean += share * off
            self.variance += share * (off * off * (1.0 - share) - self.variance)
        return z


class VibrationWatch:
    """A sum over bursts: how far above its own level the machine shakes.

    The energy in the highest bands is broad-band shaking: a loose part, a bearing. Motion hardly reaches there, and
    where it does, along one axis; what shakes a machine shakes it in all directions. So the median of the axes counts.
    """

    def __init__(self, limit: float) -> None:
        self._levels: dict[tuple[VibrationAxis, bool], _Level] = {}
        self._sum = Cusum(SLACK, limit)
        self._burst: dict[VibrationAxis, float] = {}  # z-scores of the newest one
        self._burst_s = self._judged_s = math.nan

    def observe(self, sample: VibrationSample, moving: bool) -> None:
        """One axis of a burst; one that is not finite counts for nothing."""
        energy = math.fsum(sample.band_energy[-HIGH_BANDS:])
        if not (math.isfinite(sample.stamp_s) and math.isfinite(energy) and energy > 0.0):
            return
        if sample.stamp_s != self._burst_s:
            self._judge()
            self._burst_s = sample.stamp_s
        self._burst[sample.axis] = self._levels.setdefault((sample.axis, moving), _Level()).score(math.log(energy))
        if len(self._burst) == len(VibrationAxis):
            self._judge()

    def forget(self) -> None:
        """Begin the sum anew; the own level stays."""
        self._sum.value = 0.0

    def _judge(self) -> None:
        """Enter the burst that is complete, or over."""
        if not self._burst:
            return
        ordered = sorted(self._burst.values())
        dt, self._judged_s = self._burst_s - self._judged_s, self._burst_s
        self._burst.clear()
        if 0.0 < dt <= LONGEST_GAP_S:
            self._sum.step(min(ordered[(len(ordered) - 1) // 2], MOST_SIGMA), dt)

    @property
    def value(self) -> float:
        """[sigma s]."""
        return self._sum.value
