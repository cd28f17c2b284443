"""The shadow twin: what the machine should show now, against what it reports, at every telemetry sample.

The twin has a thermal state of its own, stepped from one telemetry stamp to the next with the same heater
model as the oracle. It starts from measured temperatures and is not corrected by them afterwards, so that a
heater that heats too slowly shows. While a job runs its targets come from the program, at the instruction that
telemetry reports; without one, from the controller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from industriverse_core.artefacts import Subsystem
from industriverse_core.machine import Heater as HeaterProfile
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.motion import position_at
from industriverse_core.program import MOTION_OPS, Heater
from industriverse_core.telemetry import MachineState, Quantity, ResidualChannel, TelemetrySample, Vector
from twin_node.steps import HOTEND_FAN_ON_C
from twin_node.timeline import Timeline, heater_vector, machine_vector

LONGEST_STEP_S = 60.0  # after a longer silence the twin starts again from measured temperatures
SENSOR_SD_C = 1.0  # thermistor, and the ripple of a real controller
REPORT_SD_S = 1.0  # age of a reported temperature: controllers report once a second, and a sensor follows its heater
ROOM_SD_C = 3.0  # of the room around the profile's; a heater that is off comes to it
LATE_SHARE = 0.3  # a real ramp may end later than the model's by this share of its length
SHORTEST_SETTLING_S = 10.0
POSITION_SD_M = 2e-4  # rounding of reported positions and of long moves that are split
ALIGNMENT_SD_S = 0.1  # between the reported instruction and the moment of the sample
POWER_SMOOTHING_S = 10.0  # meter and model are compared over this time: the heaters' duty is coarse
METER_SD_W = 2.0
UNTOLD_SHARE, UNTOLD_SD = 0.5, 12.0**-0.5  # of the motors' power where no program says whether they are on
RIPPLE_SHARE = 0.1  # of a working heater's rated power: its duty beside the ideal controller's


@dataclass(slots=True)
class ThermalTwin:
    """One heater of the twin: its temperature and the standard deviation claimed for it."""

    profile: HeaterProfile
    temperature_c: float
    ramp_from_c: float = math.nan
    ramp_s: float = 0.0
    spread_c: float = 0.0
    late_c: float = 0.0
    room_c: float = 0.0
    target_c: float = 0.0
    slope_c_s: float = 0.0  # in the last step
    lost_j: float = 0.0  # to the air, in the last step
    vector: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.vector = heater_vector(self.profile)
        self.ramp_from_c = self.temperature_c

    def step(self, ambient_c: float, target_c: float, fan: float, flow_w: float, dt: float) -> float:
        """Advance by `dt` seconds; returns the mean electric power [W]."""
        from twin_node import thermal_kernels as kernels

        before = self.temperature_c
        self.temperature_c, electric_j, self.lost_j, _ = kernels.advance(
            self.vector, ambient_c, before, target_c, fan, flow_w, dt
        )
        self.slope_c_s = (self.temperature_c - before) / dt
        self._widen(ambient_c, target_c, dt)
        # a target that changed between two samples may have done so anywhere between them
        missed_c = abs(self.temperature_c - before) if target_c != self.target_c else 0.0
        self.late_c = max(missed_c, self.late_c * math.exp(-dt * self.profile.loss / self.profile.heat_capacity))
        self.target_c = target_c
        return float(electric_j / dt)

    def _widen(self, ambient_c: float, target_c: float, dt: float) -> None:
        """On a ramp the uncertain power, capacity and loss show in proportion to the way made; at the target
        both twin and machine are held there, and the difference dies out with the machine's delay. What cools
        freely cannot be further off than it is from the room."""
        towards_room = 1.0 - math.exp(-dt * self.profile.loss / self.profile.heat_capacity)
        if target_c <= ambient_c:
            self.room_c += (ROOM_SD_C - self.room_c) * towards_room
        else:
            self.room_c *= math.exp(-dt / SHORTEST_SETTLING_S)
        way = math.sqrt(2.0) * self.profile.uncertainty * abs(self.temperature_c - self.ramp_from_c)
        if target_c <= ambient_c:
            self.spread_c = min(way, math.sqrt(2.0) * self.profile.uncertainty * abs(self.temperature_c - ambient_c))
        elif self.temperature_c != target_c:
            self.ramp_s += dt
            self.spread_c = max(self.spread_c, way)
        else:
            settling = max(SHORTEST_SETTLING_S, LATE_SHARE * self.ramp_s)
            self.spread_c *= math.exp(-dt / settling)
            self.late_c *= math.exp(-dt / settling)
            if self.spread_c < 0.1 * SENSOR_SD_C:
                self.ramp_from_c, self.ramp_s = self.temperature_c, 0.0

    @property
    def sigma_c(self) -> float:
        """Standard deviation of measured - expected temperature [degC]."""
        return math.hypot(SENSOR_SD_C, self.spread_c, self.late_c, self.room_c, REPORT_SD_S * self.slope_c_s)


@dataclass(slots=True)
class _Smooth:
    """First-order low pass over irregular samples; both sides of a comparison use one."""

    value: float = math.nan

    def update(self, value: float, dt: float) -> float:
        if math.isnan(self.value):
            self.value = value
        elif not math.isnan(value):
            self.value += (value - self.value) * (1.0 - math.exp(-dt / POWER_SMOOTHING_S))
        return self.value


class Shadow:
    """Lockstep comparison of one machine, with or without a job.

    Samples that repeat or go back in time are compared against the present state without stepping it.
    Missing values give NaN channels; nothing here raises for what a machine may report.
    """

    def __init__(self, profile: MachineProfile) -> None:
        self._profile = profile
        self._timeline: Timeline | None = None
        self._machine = machine_vector(profile, None)
        self._heaters: dict[Heater, ThermalTwin] = {}
        self._last: TelemetrySample | None = None
        self._air_c = profile.ambient  # around the machine: the enclosure's, or the room
        self._clock_s = 0.0  # the job's motion clock
        self._since = 0  # the instruction at the sample before
        self._first_move = -1  # of a mill's job; before, it homes and goes to where the program begins
        self._period_s = 0.05
        self._expected_w, self._measured_w, self._sigma_w = _Smooth(), _Smooth(), _Smooth()

    def begin(self, timeline: Timeline | None, material: Material | None) -> None:
        """Follow a job (None = no job). The next sample's measured temperatures start the twin's state."""
        self._timeline = timeline
        self._machine = machine_vector(self._profile, material)
        self._heaters = {}
        self._clock_s, self._since = 0.0, 0
        self._first_move = _first_move(timeline) if self._profile.kind == "mill" else -1

    def end(self) -> None:
        """The job has ended: go on from the present state, with the controller's own targets."""
        self._timeline = None

    def observe(self, sample: TelemetrySample) -> tuple[ResidualChannel, ...]:
        """Step the twin to the sample's stamp and compare. Always four channels, in the order of Quantity."""
        last = self._last
        dt = sample.stamp_s - last.stamp_s if last is not None else 0.0
        if dt > LONGEST_STEP_S:
            self._heaters = {}
            self._air_c = self._profile.ambient
        self._adopt(sample)
        heater_w = dict.fromkeys(self._heaters, math.nan)
        if 0.0 < dt <= LONGEST_STEP_S:
            self._period_s += 0.1 * (dt - self._period_s)
            flow_w = self._advance_clock(sample, dt)
            for heater, twin in self._heaters.items():
                flow = flow_w if heater is Heater.HOTEND else 0.0
                heater_w[heater] = twin.step(self._air_c, self._target_c(heater, sample), _share(sample.fan), flow, dt)
            self._warm_air(sample, dt)
        channels = (
            self._temperature(Quantity.HOTEND_TEMPERATURE, Heater.HOTEND, sample),
            self._temperature(Quantity.BED_TEMPERATURE, Heater.BED, sample),
            self._position(sample, last, dt),
            self._power(sample, heater_w, dt),
        )
        if last is None or dt > 0.0:
            self._last = sample
        return channels

    # --- state ---

    def _adopt(self, sample: TelemetrySample) -> None:
        """Start each heater that the twin does not follow yet from its measured temperature."""
        for heater, profile in ((Heater.HOTEND, self._profile.hotend), (Heater.BED, self._profile.bed)):
            reading = sample.reading(heater)
            if profile is None or heater in self._heaters or reading is None:
                continue
            if math.isfinite(reading.temperature_c):
                target_c = self._target_c(heater, sample)
                self._heaters[heater] = ThermalTwin(profile, reading.temperature_c, target_c=target_c)

    def _warm_air(self, sample: TelemetrySample, dt: float) -> None:
        """An enclosure's air takes up what heaters, motors and fans give; what the part gives is left out here."""
        from twin_node import thermal_kernels as kernels

        if self._profile.enclosure is None:
            return
        given_j = sum(twin.lost_j for twin in self._heaters.values()) + self._inside_w(sample) * dt
        self._air_c = kernels.warm_air(self._machine, self._air_c, given_j, dt)

    def _inside_w(self, sample: TelemetrySample) -> float:
        """Fans, motors and friction [W]."""
        watts = self._profile.power.fan * _share(sample.fan)
        hotend = self._heaters.get(Heater.HOTEND)
        if hotend is not None and hotend.temperature_c > HOTEND_FAN_ON_C:
            watts += self._profile.power.hotend_fan
        return watts + (
            self._job_watts(sample) if self._follows_program else UNTOLD_SHARE * self._profile.power.motors_enabled
        )

    @property
    def _follows_program(self) -> bool:
        return self._timeline is not None and len(self._timeline.program) > 0

    def _instruction(self, sample: TelemetrySample) -> int:
        """The reported instruction, within the program."""
        count = len(self._timeline.program) if self._timeline else 0
        return min(max(sample.instruction, 0), count - 1)

    def _target_c(self, heater: Heater, sample: TelemetrySample) -> float:
        """Program's target while a job runs, else the controller's; heaters are off in a fault or a latch."""
        if sample.state in (MachineState.LATCHED, MachineState.FAULT) or self._timeline is None:
            reading = sample.reading(heater)
            return reading.target_c if reading is not None and math.isfinite(reading.target_c) else 0.0
        if not len(self._timeline.program):
            return 0.0
        steps, index = self._timeline.steps, self._instruction(sample)
        return float((steps.hotend_target_c if heater is Heater.HOTEND else steps.bed_target_c)[index])

    def _advance_clock(self, sample: TelemetrySample, dt: float) -> float:
        """Bring the motion clock to the sample; returns the enthalpy flow through the nozzle [W] meanwhile."""
        timeline = self._timeline
        if timeline is None or not len(timeline.program):
            return 0.0
        index, before = self._instruction(sample), self._clock_s
        self._clock_s = self._clock_at(timeline, sample, dt)
        first = int(np.searchsorted(timeline.plan.end_s, before, side="right"))
        first = self._since = min(first, index)
        work_j = float(timeline.work_j[first : index + 1].sum())
        moving_s = max(dt, float(timeline.duration_s[first : index + 1].sum()))
        return work_j / moving_s if sample.state is MachineState.EXECUTING else 0.0

    def _clock_at(self, timeline: Timeline, sample: TelemetrySample, dt: float) -> float:
        """The motion clock at the sample.

        The reported instruction bounds it; the reported progress places it between the bounds when it lies there,
        else physics time does.
        """
        plan, index = timeline.plan, self._instruction(sample)
        high = float(plan.end_s[index])
        low = high - float(plan.duration_s[index])
        here = self._clock_s + dt if sample.state is MachineState.EXECUTING else self._clock_s
        reported = _share(sample.progress) * plan.total_s
        inside = low + ALIGNMENT_SD_S < reported < high  # progress that counts whole instructions lies at `low`
        return reported if inside else min(max(here, low), high)

    # --- channels ---

    def _temperature(self, quantity: Quantity, heater: Heater, sample: TelemetrySample) -> ResidualChannel:
        reading, twin = sample.reading(heater), self._heaters.get(heater)
        measured = reading.temperature_c if reading is not None else math.nan
        if twin is None:
            return ResidualChannel(quantity, math.nan, measured, math.nan)
        return ResidualChannel(quantity, twin.temperature_c, measured, twin.sigma_c)

    def _position(self, sample: TelemetrySample, last: TelemetrySample | None, dt: float) -> ResidualChannel:
        """Distance between planned and measured tool; expected 0. Unmeasured without a job, and on a mill's way to
        where its program begins."""
        timeline, measured = self._timeline, _measured_position(sample, last)
        if timeline is None or not len(timeline.program) or measured is None:
            return ResidualChannel(Quantity.POSITION, 0.0, math.nan, POSITION_SD_M)
        index = self._instruction(sample)
        if timeline.steps.homing_s[index] > 0.0 or index <= self._first_move:  # where it homes, it may be anywhere
            return ResidualChannel(Quantity.POSITION, 0.0, math.nan, POSITION_SD_M)
        # a sample that repeats a stamp (the clock was late) does not step the twin, and still says where it is
        clock_s = self._clock_s if dt > 0.0 else self._clock_at(timeline, sample, 0.0)
        state = position_at(timeline.plan, timeline.program, clock_s)
        # a report is as old as the sample before, at most: of the moves since then the fastest counts
        since = min(self._since, state.instruction)
        speed = max(state.speed_m_s, float(timeline.steps.speed_m_s[since : state.instruction + 1].max()))
        sigma = math.hypot(POSITION_SD_M, speed * math.hypot(ALIGNMENT_SD_S, self._period_s))
        return ResidualChannel(Quantity.POSITION, 0.0, math.dist(state.position_m, measured), sigma)

    def _power(self, sample: TelemetrySample, heater_w: dict[Heater, float], dt: float) -> ResidualChannel:
        """Watts over the last POWER_SMOOTHING_S seconds."""
        power, heaters = self._profile.power, sum(heater_w.values())
        rest = power.electronics + self._inside_w(sample)
        working = 0.0
        for heater, twin in self._heaters.items():
            working += twin.profile.power if heater_w[heater] > 0.0 else 0.0
        shares = [twin.profile.uncertainty for twin in self._heaters.values()]
        heater_sd = max(shares, default=0.0) * (0.0 if math.isnan(heaters) else heaters)
        untold = 0.0 if self._follows_program else UNTOLD_SD * power.motors_enabled
        sigma = math.hypot(METER_SD_W, heater_sd, power.uncertainty * rest, RIPPLE_SHARE * working, untold)
        if dt > 0.0:
            self._expected_w.update(rest + heaters, dt)
            self._measured_w.update(sample.power_w, dt)
            self._sigma_w.update(sigma, dt)
        # what was smoothed in while a heater worked keeps that time's uncertainty
        sigma = max(sigma, self._sigma_w.value) if math.isfinite(self._sigma_w.value) else sigma
        measured = self._measured_w.value if math.isfinite(sample.power_w) else math.nan
        return ResidualChannel(Quantity.POWER, self._expected_w.value, measured, sigma)

    def _job_watts(self, sample: TelemetrySample) -> float:
        """Motors, friction, spindle and coolant at the reported instruction [W]."""
        timeline, index = self._timeline, self._instruction(sample)
        assert timeline is not None
        steps, power = timeline.steps, self._profile.power
        before = in_force(timeline, index)
        coolant, turning = (float(column[before]) if before >= 0 else 0.0 for column in (steps.coolant, steps.spindle))
        motors = max(float(steps.motors[index]), index <= self._first_move)
        watts = power.motors_enabled * motors + power.coolant * coolant
        duration = float(timeline.duration_s[index])
        executing = sample.state is MachineState.EXECUTING
        if executing and duration > 0.0:
            watts += power.motion_per_speed * float(steps.path_m[index]) / duration
        if self._profile.spindle is not None:
            spindle = timeline.energy_j[Subsystem.SPINDLE]
            idle = self._profile.spindle.idle_power * min(turning, 1.0)
            watts += float(spindle[index]) / duration if executing and duration > 0.0 else idle
        return watts


def in_force(timeline: Timeline, index: int) -> int:
    """The instruction whose spindle and coolant are in force at this one; -1 = none yet.

    One that takes no time switches when it is executed, and may be reported for long: the first one of a mill's
    program while the machine homes.
    """
    return index if timeline.duration_s[index] > 0.0 else index - 1


def _first_move(timeline: Timeline | None) -> int:
    """The first instruction that moves the tool; -1 = none."""
    moves = np.isin(timeline.program.op, MOTION_OPS) if timeline is not None else np.zeros(0, bool)
    return int(np.argmax(moves)) if moves.any() else -1


def _share(value: float) -> float:
    """A number within 0..1; NaN counts as 0."""
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0


def _measured_position(sample: TelemetrySample, last: TelemetrySample | None) -> Vector | None:
    """The controller's own report where it is new, else the driver's estimate; None when neither is known."""
    reported = sample.reported_position_m
    if last is not None and reported != last.reported_position_m and all(map(math.isfinite, reported)):
        return reported
    if all(map(math.isfinite, sample.position_m)):
        return sample.position_m
    return None
