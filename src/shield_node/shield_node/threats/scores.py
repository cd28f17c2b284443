"""The evidence that detectors give: one bounded score a detector and channel.

A detector has a value and a limit in its own unit; the score is value / limit, at most LARGEST, and 0 below NOISE. 1 is
where the detector alone would speak. Scores are what the fusion weighs (fusion.py) and what a fit is made of (fit.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

LARGEST = 2.0
NOISE = 0.3  # below, a value is no evidence: what a sound machine does at work must not speak for faults at work


class Score(IntEnum):
    """Numbers of the scores; the order of the columns of a score table."""

    HOTEND_SENSOR = 0
    BED_SENSOR = 1
    HOTEND_NOT_HEATING = 2
    BED_NOT_HEATING = 3
    HOTEND_RUNAWAY = 4
    BED_RUNAWAY = 5
    HOTEND_HEAT_EXCESS = 6
    BED_HEAT_EXCESS = 7
    HOTEND_HEAT_DEFICIT = 8
    BED_HEAT_DEFICIT = 9
    POWER_EXCESS = 10
    POWER_DEFICIT = 11
    VOLTAGE = 12
    ENERGY_COUNTER = 13
    METER_RANGE = 14
    RESIDUAL_HOTEND_HIGH = 15
    RESIDUAL_HOTEND_LOW = 16
    RESIDUAL_BED_HIGH = 17
    RESIDUAL_BED_LOW = 18
    RESIDUAL_POSITION = 19
    RESIDUAL_POWER_HIGH = 20
    RESIDUAL_POWER_LOW = 21
    VIBRATION = 22
    POSITION_RANGE = 23
    TELEMETRY_LATE = 24
    TELEMETRY_ORDER = 25
    CONTROLLER_HEATER = 26
    CONTROLLER_SENSOR = 27


@dataclass(frozen=True, slots=True)
class Kind:
    """Who gives a score, about what, and its limit in the detector's unit."""

    detector: str
    channel: str
    limit: float
    unit: str


ENERGY = "sigma s"  # of a cumulative sum over physics time
KINDS: tuple[Kind, ...] = (
    Kind("plausibility", "hotend_temperature", 1.0, "alarm"),
    Kind("plausibility", "bed_temperature", 1.0, "alarm"),
    Kind("verify_heater", "hotend_temperature", 1.0, "alarm"),
    Kind("verify_heater", "bed_temperature", 1.0, "alarm"),
    Kind("overshoot", "hotend_temperature", 1.0, "alarm"),
    Kind("overshoot", "bed_temperature", 1.0, "alarm"),
    Kind("heat_balance_excess", "hotend_heat", 20.0, ENERGY),
    Kind("heat_balance_excess", "bed_heat", 40.0, ENERGY),
    Kind("heat_balance_deficit", "hotend_heat", 20.0, ENERGY),
    Kind("heat_balance_deficit", "bed_heat", 40.0, ENERGY),
    Kind("power_budget_excess", "power", 15.0, ENERGY),
    Kind("power_budget_deficit", "power", 15.0, ENERGY),
    Kind("own_level", "voltage", 0.05, "1"),
    Kind("counter_against_watts", "energy", 0.1, "1"),
    Kind("range", "power_meter", 1.0, "alarm"),
    Kind("residual_high", "hotend_temperature", 60.0, ENERGY),
    Kind("residual_low", "hotend_temperature", 60.0, ENERGY),
    Kind("residual_high", "bed_temperature", 60.0, ENERGY),
    Kind("residual_low", "bed_temperature", 60.0, ENERGY),
    Kind("residual_high", "position", 20.0, ENERGY),
    Kind("residual_high", "power", 60.0, ENERGY),
    Kind("residual_low", "power", 60.0, ENERGY),
    Kind("own_level", "vibration", 30.0, ENERGY),
    Kind("range", "position", 1.0, "alarm"),
    Kind("lateness", "telemetry", 0.3, "s"),
    Kind("order", "telemetry", 1.0, "1"),
    Kind("controller", "heater", 1.0, "alarm"),
    Kind("controller", "temperature_sensor", 1.0, "alarm"),
)


def bounded(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of values over their limits; NaN counts as 0."""
    scores: NDArray[np.float64] = np.where(ratios >= NOISE, np.fmin(ratios, LARGEST), 0.0)
    return scores


class Cusum:
    """One-sided cumulative sum over physics time (Page 1954): grows while a z-score is above `slack`.

    Bounded at LARGEST limits, so that it comes back soon after the cause has gone.
    """

    def __init__(self, slack: float, limit: float) -> None:
        self._slack, self._most = slack, LARGEST * limit
        self.value = 0.0

    def step(self, z: float, dt_s: float) -> float:
        """The sum [sigma s] after `dt_s` with this z-score; NaN leaves it as it is."""
        if z == z and dt_s > 0.0:
            self.value = min(self._most, max(0.0, self.value + (z - self._slack) * dt_s))
        return self.value
