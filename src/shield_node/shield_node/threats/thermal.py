"""One heater: the firmware's rules (detectors/heaters.py), and whether its heat agrees with its duty.

Heat balance: C dT/dt = P duty - UA (T - T_room) holds for the profile's lumped node. Both sides go through the same
first-order low pass, whose lag gives the slope without differentiating noise: dT/dt ~ (T - low pass of T) / lag.
"""

from __future__ import annotations

import math

from industriverse_core.machine import Heater as HeaterProfile
from industriverse_core.telemetry import HeaterReading
from shield_node.detectors.heaters import HeaterFault, HeaterMonitor
from shield_node.threats.scores import Cusum

SLACK = 2.5  # standard deviations that the balance may be off for ever
SMOOTHING_S = {True: 5.0, False: 15.0}  # quick heaters and slow ones
QUICK_TIME_CONSTANT_S = 400.0  # C / UA
REPORT_S = 2.0  # between the heater and what telemetry shows of it: the sensor's lag and the report's period
SENSOR_SD_K = 0.15
MELT_J_PER_M3_K = 2.5e6  # volumetric heat capacity of polymers; what the flow may take is not known here
MELT_SHARE = 0.5  # of the largest flow, as the standard deviation of it
LONGEST_GAP_S = 5.0
SHORTEST_STEP_S = 1e-3
MOST_C = 1e3  # what is farther off is no temperature: plausibility has its say, the balance none
ENCLOSURE_K = 15.0  # standard deviation of the air around a heater in an enclosure


class HeaterWatch:
    """All scores of one heater.

    Args:
        name: in messages.
        profile: of the machine.
        ambient_c: of the room.
        max_flow_m3_s: what may be melted by it; 0 for a bed.
        enclosed: the air around it may be warmer than the room.
        limit: of the sums [sigma s].
    """

    def __init__(
        self, name: str, profile: HeaterProfile, ambient_c: float, max_flow_m3_s: float, enclosed: bool, limit: float
    ) -> None:
        self._profile, self._ambient_c = profile, ambient_c
        self._monitor = HeaterMonitor(name, profile, ambient_c)
        self._tau_s = SMOOTHING_S[profile.heat_capacity / profile.loss < QUICK_TIME_CONSTANT_S]
        self._melt_w_per_k = MELT_SHARE * max_flow_m3_s * MELT_J_PER_M3_K
        self._air_k = ENCLOSURE_K if enclosed else 0.0
        self.excess, self.deficit = Cusum(SLACK, limit), Cusum(SLACK, limit)
        self.fault: HeaterFault | None = None
        self.message = ""
        self.duty_w = math.nan  # electric power by the reported duty
        self.duty_doubt_w = 0.0  # by which it may be off, since reports are seldom
        self._last: HeaterReading | None = None
        self._stamp_s = math.nan
        self._smooth_c = self._in_w = self._drive_w = self._change_w = 0.0

    def observe(self, reading: HeaterReading, fan: float, melting: bool, stamp_s: float) -> None:
        """A reading at physics time; one that repeats the last report says nothing new for the balance.

        Args:
            fan: 0..1.
            melting: the machine may be extruding.
        """
        alarm = self._monitor.step(stamp_s, reading.temperature_c, reading.target_c)
        self.fault, self.message = (None, "") if alarm is None else (alarm.fault, alarm.message)
        if not (abs(reading.temperature_c) <= MOST_C and 0.0 <= reading.duty <= 1.0):
            self._last = None
            self.duty_w = math.nan
            return
        self.duty_w = self._profile.power * reading.duty
        dt = stamp_s - self._stamp_s
        if self._last is None or not 0.0 <= dt <= LONGEST_GAP_S:
            self._start(reading, fan, stamp_s)
            return
        repeated = reading == self._last
        if dt < SHORTEST_STEP_S or (repeated and dt < REPORT_S):
            return
        self._balance(reading, fan, melting, dt)
        self._last, self._stamp_s = reading, stamp_s

    def _start(self, reading: HeaterReading, fan: float, stamp_s: float) -> None:
        self._last, self._stamp_s = reading, stamp_s
        self._smooth_c = reading.temperature_c
        self._drive_w, self._change_w = self.duty_w, 0.0
        self._in_w = self._drive_w - self._loss_w(reading.temperature_c, fan)
        # where it was not at rest the low pass has to swing in; until then the change counts as doubt
        self._change_w = self._profile.power

    def _loss_w(self, temperature_c: float, fan: float) -> float:
        return (self._profile.loss + self._profile.fan_loss * fan) * (temperature_c - self._ambient_c)

    def _balance(self, reading: HeaterReading, fan: float, melting: bool, dt: float) -> None:
        profile, last = self._profile, self._last
        assert last is not None
        share = 1.0 - math.exp(-dt / self._tau_s)
        lag_s = dt * (1.0 - share) / share
        mean_c = 0.5 * (last.temperature_c + reading.temperature_c)
        drive_w = 0.5 * profile.power * (last.duty + reading.duty)
        loss_w = self._loss_w(mean_c, fan)
        jump_w = profile.power * abs(reading.duty - last.duty)
        self._smooth_c += share * (reading.temperature_c - self._smooth_c)
        self._in_w += share * (drive_w - loss_w - self._in_w)
        self._drive_w += share * (drive_w - self._drive_w)
        # a jump of the duty somewhere between two reports
        self._change_w = self._change_w * (1.0 - share) + jump_w * min(1.0, REPORT_S / self._tau_s)
        self.duty_doubt_w = jump_w
        stored_w = profile.heat_capacity * (reading.temperature_c - self._smooth_c) / lag_s
        conductance = profile.loss + profile.fan_loss * fan
        known = profile.uncertainty * math.hypot(self._drive_w, stored_w, loss_w)
        noise = profile.heat_capacity * SENSOR_SD_K / self._tau_s
        air = self._air_k * conductance
        melt = self._melt_w_per_k * max(0.0, mean_c - self._ambient_c) if melting else 0.0
        common = math.hypot(known, noise, air, self._change_w)
        off_w = stored_w - self._in_w
        self.excess.step(off_w / common, dt)
        self.deficit.step(-off_w / math.hypot(common, melt), dt)
