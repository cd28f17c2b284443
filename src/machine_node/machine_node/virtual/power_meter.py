"""The power meter of a virtual machine, as INA219 sketches print it: gain error, noise, a counter of joules."""

from __future__ import annotations

import math
import random
from typing import Protocol

SUPPLY_V = 24.0


class Electric(Protocol):
    """What can be measured."""

    energy_j: float

    @property
    def supply_v(self) -> float:
        """Voltage of the supply."""

    @property
    def time_s(self) -> float:
        """The time to which `energy_j` was counted; NaN before the first step."""


class Meter:
    """An INA219-like power meter on the supply: gain error, noise, and a counter of joules.

    Args:
        plant: what it measures.
        seed: of its noise.
    """

    PERIOD_S = 0.1

    def __init__(self, plant: Electric, seed: int) -> None:
        self._plant = plant
        self._random = random.Random(seed)
        self._gain = 1.0 + self._random.uniform(-0.005, 0.005)
        self._started_s = math.nan
        self._last_s = math.nan
        self._last_j = 0.0
        self._counter_j = 0.0

    def read(self) -> bytes:
        """A line, or nothing while none is due. The power is the mean since the last line."""
        at_s = self._plant.time_s
        if math.isnan(at_s):
            return b""
        if math.isnan(self._last_s):
            self._started_s = self._last_s = at_s
            self._last_j = self._plant.energy_j
        elapsed = at_s - self._last_s
        if elapsed < self.PERIOD_S - 1e-9:
            return b""
        mean_w = self._gain * (self._plant.energy_j - self._last_j) / elapsed
        self._last_s, self._last_j = at_s, self._plant.energy_j
        power = max(0.0, mean_w + self._random.gauss(0.0, 0.15))
        self._counter_j += power * elapsed
        volts = max(0.0, self._plant.supply_v - 0.02 * power / SUPPLY_V + self._random.gauss(0.0, 0.004))
        uptime_ms = round((at_s - self._started_s) * 1e3)
        return b"%d,%.3f,%.4f,%.3f,%.2f\n" % (
            uptime_ms, volts, power / max(volts, 1.0), power, self._counter_j
        )  # fmt: skip
