"""A heater that does not do what it is told, or a sensor that does not tell the truth. Time is physics time.

The rules are those that printer firmwares use (Klipper's verify_heater): a heater far below its target gathers an error
until it comes closer again fast enough. The limits of plausible temperatures and slopes follow from the profile's
lumped node C dT/dt = P duty - UA (T - T_ambient).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, IntEnum

from industriverse_core.machine import Heater

HYSTERESIS_K = 5.0  # below the target that is in order
GAIN_K = 2.0  # rise that counts as coming closer
LARGEST_ERROR_K_S = 120.0
OVERSHOOT_K = 15.0  # above the target; more is a heater that does not switch off
COLDEST_C = -15.0  # a thermistor that is open reads as far below any room
HOTTEST_MARGIN_K = 60.0  # a shorted one as far above what the heater may reach
SLOPE_MARGIN = 4.0  # times the slope that the node can have: a step between two samples is a sensor's
SLOPE_FLOOR_K = 4.0  # and more than noise
GAIN_TIMES_S = {True: 60.0, False: 20.0}  # slow heaters (a bed) and quick ones
SLOW_TIME_CONSTANT_S = 400.0  # C / UA; beds are above, hot ends below


class HeaterFault(IntEnum):
    """What is wrong."""

    SENSOR = 1  # open, shorted, jumping, not a number
    NOT_HEATING = 2  # does not come near its target, or falls away from it
    RUNAWAY = 3  # hotter than the target and still rising, or above its limit


@dataclass(frozen=True, slots=True)
class HeaterAlarm:
    """A fault and a sentence with what was seen and what is allowed."""

    fault: HeaterFault
    message: str


class _State(Enum):
    REACHED = "at the target, or off"
    APPROACHING = "the target was set; it must come closer all the time"
    AWAY = "below the target and not coming closer"


class HeaterMonitor:
    """One heater.

    Args:
        name: in messages.
        heater: of the machine's profile.
        ambient_c: of the room.
    """

    def __init__(self, name: str, heater: Heater, ambient_c: float) -> None:
        self._name, self._heater = name, heater
        self._gain_time_s = GAIN_TIMES_S[heater.heat_capacity / heater.loss > SLOW_TIME_CONSTANT_S]
        hottest_k = heater.max_temperature - ambient_c
        rise = heater.power / heater.heat_capacity
        fall = (heater.loss + heater.fan_loss) * hottest_k / heater.heat_capacity
        self._steepest_k_s = SLOPE_MARGIN * max(rise, fall)
        self._state = _State.REACHED
        self._time_s = math.nan
        self._temperature_c = self._target_c = math.nan
        self._error_k_s = 0.0
        self._goal_c = self._goal_s = 0.0
        self._lowest_above_c = math.inf  # since it has been above its target

    def step(self, now_s: float, temperature_c: float, target_c: float) -> HeaterAlarm | None:
        """The next sample; an alarm while something is wrong.

        Args:
            now_s: physics time [s]; a sample that is not newer than the last one is ignored.
            temperature_c, target_c: [degC]; target 0 = off.
        """
        if not now_s > self._time_s and not math.isnan(self._time_s):
            return None
        alarm = self._sensor(now_s, temperature_c)
        if alarm is None:
            elapsed_s = 0.0 if math.isnan(self._time_s) else now_s - self._time_s
            self._time_s, self._temperature_c = now_s, temperature_c
            alarm = self._runaway(temperature_c, target_c) or self._heating(now_s, elapsed_s, temperature_c, target_c)
        return alarm

    def _alarm(self, fault: HeaterFault, sentence: str) -> HeaterAlarm:
        return HeaterAlarm(fault, f"{self._name}: {sentence}")

    def _sensor(self, now_s: float, temperature_c: float) -> HeaterAlarm | None:
        if not math.isfinite(temperature_c):
            return self._alarm(HeaterFault.SENSOR, "the temperature is not a number.")
        hottest_c = self._heater.max_temperature + HOTTEST_MARGIN_K
        if not COLDEST_C <= temperature_c <= hottest_c:
            seen = f"{temperature_c:.1f} degC is no temperature of it ({COLDEST_C:.0f} to {hottest_c:.0f} degC)."
            return self._alarm(HeaterFault.SENSOR, seen)
        if math.isnan(self._time_s):
            return None
        step_k = abs(temperature_c - self._temperature_c)
        allowed_k = SLOPE_FLOOR_K + self._steepest_k_s * (now_s - self._time_s)
        if step_k > allowed_k:
            seen = f"a step of {step_k:.1f} K, of which {allowed_k:.1f} K is possible."
            return self._alarm(HeaterFault.SENSOR, seen)
        return None

    def _runaway(self, temperature_c: float, target_c: float) -> HeaterAlarm | None:
        if temperature_c > self._heater.max_temperature:
            limit = f"{temperature_c:.1f} degC is above its limit of {self._heater.max_temperature:.0f} degC."
            return self._alarm(HeaterFault.RUNAWAY, limit)
        if target_c != self._target_c or temperature_c <= target_c:
            self._lowest_above_c = math.inf
        self._lowest_above_c = min(self._lowest_above_c, temperature_c)
        above_k = temperature_c - max(target_c, self._lowest_above_c)
        if above_k > OVERSHOOT_K:
            seen = f"{temperature_c:.1f} degC with a target of {target_c:.0f} degC, and rising."
            return self._alarm(HeaterFault.RUNAWAY, seen)
        return None

    def _heating(self, now_s: float, elapsed_s: float, temperature_c: float, target_c: float) -> HeaterAlarm | None:
        changed, self._target_c = target_c != self._target_c, target_c
        short_k = target_c - HYSTERESIS_K - temperature_c
        if target_c <= 0.0 or short_k <= 0.0:
            self._state, self._error_k_s = _State.REACHED, 0.0
            return None
        self._error_k_s += short_k * elapsed_s
        if changed or (self._state is _State.APPROACHING and temperature_c >= self._goal_c):
            self._state, self._error_k_s = _State.APPROACHING, 0.0
            self._goal_c, self._goal_s = temperature_c + GAIN_K, now_s + self._gain_time_s
        elif self._state is _State.APPROACHING and now_s >= self._goal_s:
            self._state = _State.AWAY
        elif self._state is _State.REACHED:
            self._state, self._error_k_s = _State.AWAY, 0.0
        if self._state is _State.AWAY and self._error_k_s >= LARGEST_ERROR_K_S:
            seen = f"{temperature_c:.1f} degC does not come near its target of {target_c:.0f} degC."
            return self._alarm(HeaterFault.NOT_HEATING, seen)
        return None
