"""Vibration against the machine's own healthy level, apart for a machine that moves and one that stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from industriverse_core.telemetry import BANDS, VibrationAxis, VibrationSample

FIRST_BURSTS = 20  # of one axis in one state of motion, before they are compared with their own level
SMALLEST_SD = 0.25  # of the natural logarithm of an energy
FORGETTING = 0.01  # a burst's share in the level, once that is known
LEARN_BELOW = 4.0  # standard deviations: what is farther off does not become the level
HIGH_BANDS = BANDS // 2  # from a quarter of the sample rate upwards: motion and fans are below


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
    """Scores of the newest burst of each axis; the highest counts."""

    def __init__(self) -> None:
        self._levels: dict[tuple[VibrationAxis, bool, bool], _Level] = {}
        self._high: dict[VibrationAxis, float] = {}
        self._whole: dict[VibrationAxis, float] = {}

    def observe(self, sample: VibrationSample, moving: bool) -> None:
        """A burst; one that is not finite counts for nothing."""
        high = math.fsum(sample.band_energy[HIGH_BANDS:])
        whole = math.fsum(sample.band_energy)
        for is_high, energy, latest in ((True, high, self._high), (False, whole, self._whole)):
            if math.isfinite(energy) and energy > 0.0:
                level = self._levels.setdefault((sample.axis, moving, is_high), _Level())
                latest[sample.axis] = level.score(math.log(energy))

    @property
    def high_band(self) -> float:
        """Standard deviations."""
        return max(self._high.values(), default=0.0)

    @property
    def whole(self) -> float:
        """Standard deviations."""
        return max(self._whole.values(), default=0.0)
