"""The supply: what the machine draws against what it says that it does, its voltage, its meter's own consistency."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import PowerSample
from shield_node.threats.scores import LARGEST, Cusum

SLACK = 3.0
REPORT_S = 2.0  # by which a reported duty may be late, or early
LONGEST_GAP_S = 5.0
METER_SD_W = 1.0
HOTEND_FAN_ON_C = (40.0, 60.0)  # somewhere between them the hot end's own fan starts
REFERENCE_READINGS = 30  # of voltage, before it is compared with its own level
MOST_W, MOST_V = 1e5, 1e3
COUNTER_SPAN_S = 20.0  # of physics time over which counter and watts are compared
FEWEST_J = 20.0


@dataclass(frozen=True, slots=True)
class _Moment:
    """What was measured at a stamp, and between what it should lie."""

    stamp_s: float
    power_w: float
    low_w: float
    high_w: float
    sigma_w: float


class PowerBudget:
    """Watts against the duties, fans and motors that telemetry shows.

    What is not told (motors, motion, the hot end's fan) gives a range; only what is outside of it counts. Reports of
    duties are seldom and late: each measured power is judged REPORT_S later, by the range of all reports around it.
    """

    def __init__(self, profile: MachineProfile, limit: float) -> None:
        self._profile = profile
        heaters = (profile.hotend, profile.bed)
        self._heater_share = max((heater.uncertainty for heater in heaters if heater), default=0.0)
        self._fastest_m_s = max(axis.max_speed for axis in profile.kinematics.axes())
        self.excess, self.deficit = Cusum(SLACK, limit), Cusum(SLACK, limit)
        self._moments: deque[_Moment] = deque()
        self._judged_s = math.nan

    def observe(
        self, stamp_s: float, power_w: float, heaters_w: float, fan: float, hotend_c: float, moving: bool
    ) -> None:
        """One telemetry sample.

        Args:
            power_w: measured; NaN = not.
            heaters_w: by the reported duties.
            hotend_c: its temperature, NaN = none.
            moving: the tool has moved lately.
        """
        moments = self._moments
        if not (math.isfinite(power_w) and math.isfinite(heaters_w)):
            moments.clear()
            self.excess.value = self.deficit.value = 0.0
            return
        if moments and not 0.0 <= stamp_s - moments[-1].stamp_s <= LONGEST_GAP_S:
            moments.clear()
        moments.append(self._moment(stamp_s, power_w, heaters_w, fan, hotend_c, moving))
        while moments and stamp_s - moments[0].stamp_s > 2.0 * REPORT_S:
            moments.popleft()
        judged = next((each for each in reversed(moments) if stamp_s - each.stamp_s >= REPORT_S), None)
        if judged is None:
            self._judged_s = math.nan
            return
        dt = judged.stamp_s - self._judged_s
        self._judged_s = judged.stamp_s
        sigma = max(each.sigma_w for each in moments)
        self.excess.step((judged.power_w - max(each.high_w for each in moments)) / sigma, dt)
        self.deficit.step((min(each.low_w for each in moments) - judged.power_w) / sigma, dt)

    def _moment(
        self, stamp_s: float, power_w: float, heaters_w: float, fan: float, hotend_c: float, moving: bool
    ) -> _Moment:
        power, spindle = self._profile.power, self._profile.spindle
        low = power.electronics + power.fan * fan + heaters_w
        high = low + power.motors_enabled + power.motion_per_speed * self._fastest_m_s + power.coolant
        low += power.motors_enabled if moving else 0.0
        low += power.hotend_fan if hotend_c > HOTEND_FAN_ON_C[1] else 0.0
        high += power.hotend_fan if hotend_c > HOTEND_FAN_ON_C[0] else 0.0
        if spindle is not None:
            high += spindle.max_power or math.inf
        rest = power.uncertainty * (power.electronics + power.motors_enabled)
        return _Moment(stamp_s, power_w, low, high, math.hypot(METER_SD_W, self._heater_share * heaters_w, rest))


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
