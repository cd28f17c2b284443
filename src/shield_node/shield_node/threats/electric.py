"""The supply: what the machine draws against what it says that it does, its voltage, its meter's own consistency."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import PowerSample
from shield_node.threats.scores import LARGEST, Cusum

SLACK = 3.0
SMOOTHING_S = 3.0
METER_SD_W = 1.0
HOTEND_FAN_ON_C = (40.0, 60.0)  # somewhere between them the hot end's own fan starts
REFERENCE_READINGS = 30  # of voltage, before it is compared with its own level
MOST_W, MOST_V = 1e5, 1e3
COUNTER_SPAN_S = 20.0  # of physics time over which counter and watts are compared
FEWEST_J = 20.0


class PowerBudget:
    """Watts against the duties, fans and motors that telemetry shows.

    What is not told (motors, motion, the hot end's fan) gives a range; only what is outside of it counts.
    """

    def __init__(self, profile: MachineProfile, limit: float) -> None:
        self._profile = profile
        self.excess, self.deficit = Cusum(SLACK, limit), Cusum(SLACK, limit)
        self._off_high_w = self._off_low_w = self._sigma_w = math.nan

    def observe(
        self, power_w: float, heaters_w: float, doubt_w: float, fan: float, hotend_c: float, moving: bool, dt_s: float
    ) -> None:
        """One telemetry sample.

        Args:
            power_w: measured; NaN = not.
            heaters_w, doubt_w: by the reported duties, and by how much these may be late.
            hotend_c: its temperature, NaN = none.
            moving: the tool has moved lately.
        """
        if not (math.isfinite(power_w) and math.isfinite(heaters_w)) or dt_s <= 0.0:
            return
        power, spindle = self._profile.power, self._profile.spindle
        always = power.electronics + power.fan * fan
        low = always + heaters_w + (power.hotend_fan if hotend_c > HOTEND_FAN_ON_C[1] else 0.0)
        speed = max(axis.max_speed for axis in self._profile.kinematics.axes())
        most = power.motors_enabled + (power.motion_per_speed * speed if moving else 0.0) + power.coolant
        high = low + most + (power.hotend_fan if HOTEND_FAN_ON_C[0] < hotend_c <= HOTEND_FAN_ON_C[1] else 0.0)
        if spindle is not None:
            high += spindle.max_power or math.inf
        low += power.motors_enabled if moving else 0.0
        heater_sd = max((h.uncertainty for h in (self._profile.hotend, self._profile.bed) if h), default=0.0)
        sigma = math.hypot(METER_SD_W, heater_sd * heaters_w, power.uncertainty * high) + doubt_w
        share = 1.0 - math.exp(-dt_s / SMOOTHING_S)
        self._off_high_w = _smooth(self._off_high_w, power_w - high, share)
        self._off_low_w = _smooth(self._off_low_w, low - power_w, share)
        self._sigma_w = max(sigma, _smooth(self._sigma_w, sigma, share))
        self.excess.step(self._off_high_w / self._sigma_w, dt_s)
        self.deficit.step(self._off_low_w / self._sigma_w, dt_s)


class MeterWatch:
    """The meter's samples: voltage against its own level, the counter of joules against the watts."""

    def __init__(self) -> None:
        self._first_v: list[float] = []
        self._level_v = math.nan
        self.voltage_off = 0.0  # relative, absolute value
        self.counter_off = 0.0  # relative
        self.impossible = False
        self._span: deque[tuple[float, float, float]] = deque()  # stamp, counter, integral of the watts
        self._integral_j = 0.0
        self._last: PowerSample | None = None

    def observe(self, sample: PowerSample) -> None:
        """A reading. What the meter does not measure is NaN and counts for nothing."""
        self.impossible = not all(
            math.isnan(value) or 0.0 <= value <= most
            for value, most in ((sample.power_w, MOST_W), (sample.voltage_v, MOST_V))
        )
        if self.impossible:
            return
        self._voltage(sample.voltage_v)
        self._counter(sample)

    def _voltage(self, volts: float) -> None:
        if math.isnan(volts):
            return
        if math.isnan(self._level_v):
            self._first_v.append(volts)
            if len(self._first_v) >= REFERENCE_READINGS:
                self._level_v = median(self._first_v)
            return
        self.voltage_off = abs(volts / self._level_v - 1.0) if self._level_v > 0.0 else 0.0

    def _counter(self, sample: PowerSample) -> None:
        last, self._last = self._last, sample
        if last is None or not sample.stamp_s > last.stamp_s or not math.isfinite(sample.power_w + sample.energy_j):
            return
        if sample.energy_j < last.energy_j:  # it has started again
            self._span.clear()
            self.counter_off = 0.0
            return
        # each reading is the mean since the last one
        self._integral_j += sample.power_w * (sample.stamp_s - last.stamp_s)
        self._span.append((sample.stamp_s, sample.energy_j, self._integral_j))
        while sample.stamp_s - self._span[0][0] > COUNTER_SPAN_S:
            self._span.popleft()
        begun_s, counted, integrated = self._span[0]
        counted_j, integrated_j = sample.energy_j - counted, self._integral_j - integrated
        if sample.stamp_s - begun_s < 0.5 * COUNTER_SPAN_S or max(counted_j, integrated_j) < FEWEST_J:
            return
        self.counter_off = min(LARGEST, abs(counted_j - integrated_j) / max(counted_j, integrated_j))


def _smooth(before: float, value: float, share: float) -> float:
    return value if math.isnan(before) else before + share * (value - before)
