"""The virtual machine's heat and electricity: its own model, with parameters drawn around the profile's values.

Each heater is a block that the cartridge heats and a sensor that follows it with a lag; the controller sees the
sensor with noise and drives it with a PID of its own. None of this is the twin's code.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from industriverse_core.machine import Heater as HeaterProfile
from industriverse_core.machine import MachineProfile
from machine_node.virtual.axes import Axes, AxisLimits

STEP_S = 0.1  # of the thermal integration and of the control loop
SPREAD = 0.05  # true parameters lie within this around the profile's
SUPPLY_V = 24.0
FILAMENT_J_PER_M3_K = 1240.0 * 1800.0  # volumetric heat capacity of a typical polymer
HOTEND_FAN_ON_C = 50.0
FUNCTIONAL_RANGE_K = 10.0  # outside of it the heater is fully on or off (Marlin's PID_FUNCTIONAL_RANGE)
MIN_TEMP_C = 5.0
OPEN_CIRCUIT_C, SHORT_ABOVE_K = -15.0, 100.0  # what the sensor's table ends with
FAN_HZ, FAN_M_S2 = 117.0, 0.08  # of the part-cooling fan at full speed
DRAG_M_S2 = 0.4  # shake [m/s^2] of a part that is dragged about


@dataclass(frozen=True, slots=True)
class Protection:
    """Marlin's thermal protection: fall below target after it was reached, and rise while heating."""

    hysteresis_k: float
    period_s: float
    watch_rise_k: float
    watch_period_s: float


HOTEND_PROTECTION = Protection(4.0, 40.0, 2.0, 20.0)
BED_PROTECTION = Protection(2.0, 20.0, 2.0, 60.0)


class HeaterPlant:
    """One heater with its sensor and its control.

    Args:
        profile: nominal values.
        ambient_c: room.
        draw: gives the true value around a nominal one.
        noise: gives one sample of sensor noise [K].
        lag_s: time constant of the sensor.
        gain: control gain [1/K].
        reset_s: time constant of the integral.
    """

    def __init__(
        self,
        profile: HeaterProfile,
        ambient_c: float,
        draw: Callable[[float], float],
        noise: Callable[[], float],
        lag_s: float,
        gain: float,
        reset_s: float,
        protection: Protection,
    ) -> None:
        self.power_w = draw(profile.power)
        self._capacity = draw(profile.heat_capacity)
        self._loss = draw(profile.loss)
        self._fan_loss = draw(profile.fan_loss)
        self._ambient_c = ambient_c
        self._noise = noise
        self._lag_s = lag_s
        self._gain, self._reset_s = gain, reset_s
        self._protection = protection
        self.max_c = profile.max_temperature
        self.block_c = ambient_c
        self._sensor_c = ambient_c
        self.measured_c = ambient_c
        self.target_c = 0.0
        self.duty = 0.0  # that the controller asks for
        self.stuck_duty: float | None = None  # a fault: what the heater gets instead
        self.sensor_circuit = ""  # a fault: "open" or "short"
        self.frozen = False  # the controller's program hangs: the duty stays
        self._drift_k = self._drift_k_s = 0.0
        self._integral = 0.0
        self._in_range = False
        self._reached = False
        self._below_s = 0.0
        self._watch_from_c = ambient_c
        self._watch_s = 0.0

    def set_target(self, target_c: float) -> None:
        """M104, M140."""
        if target_c != self.target_c:
            self._reached, self._below_s, self._watch_s = False, 0.0, 0.0
            self._watch_from_c, self._in_range = self.measured_c, False
        self.target_c = target_c

    def set_drift(self, rate_k_s: float) -> None:
        """A fault: from now on the reading wanders off; 0 = it is right again."""
        self._drift_k_s = rate_k_s
        if not rate_k_s:
            self._drift_k = 0.0

    def electric_w(self, supply: float = 1.0) -> float:
        """Power that the heater takes now; `supply` is the voltage over its nominal value."""
        duty = self.duty if self.stuck_duty is None else self.stuck_duty
        return duty * self.power_w * supply * supply

    def step(self, dt_s: float, fan: float, drawn_w: float, supply: float = 1.0) -> str | None:
        """Integrate, measure, control. `drawn_w` is heat taken by filament. Returns a fault's name or None."""
        loss = (self._loss + self._fan_loss * fan) * (self.block_c - self._ambient_c)
        self.block_c += dt_s * (self.electric_w(supply) - loss - drawn_w) / self._capacity
        self._sensor_c += dt_s * (self.block_c - self._sensor_c) / self._lag_s
        self._drift_k += self._drift_k_s * dt_s
        self.measured_c = self._reading()
        if self.frozen:
            return None
        self._control(dt_s)
        return self._protect(dt_s)

    def parameters(self) -> dict[str, float]:
        """What was drawn, under the names of the profile's fields, with the room [degC]."""
        return {
            "power": self.power_w, "heat_capacity": self._capacity, "loss": self._loss, "fan_loss": self._fan_loss,
            "ambient": self._ambient_c,
        }  # fmt: skip

    def _reading(self) -> float:
        if self.sensor_circuit:
            return OPEN_CIRCUIT_C if self.sensor_circuit == "open" else self.max_c + SHORT_ABOVE_K
        return self._sensor_c + self._drift_k + self._noise()

    def _control(self, dt_s: float) -> None:
        error = self.target_c - self.measured_c
        if self.target_c <= 0.0:
            self.duty, self._in_range = 0.0, False
            return
        if abs(error) > FUNCTIONAL_RANGE_K:
            self.duty, self._in_range = (1.0 if error > 0.0 else 0.0), False
            return
        if not self._in_range:
            self._in_range = True
            self._integral = self._loss * (self.target_c - self._ambient_c) / self.power_w
        self._integral = min(1.0, max(0.0, self._integral + self._gain * error * dt_s / self._reset_s))
        self.duty = min(1.0, max(0.0, self._gain * error + self._integral))

    def _protect(self, dt_s: float) -> str | None:
        if self.measured_c > self.max_c + 15.0:
            return "MAXTEMP triggered"
        if self.target_c <= 0.0:
            return None
        if self.measured_c < MIN_TEMP_C:
            return "MINTEMP triggered"
        protection = self._protection
        if not self._reached:
            self._reached = self.measured_c >= self.target_c - protection.hysteresis_k
            self._watch_s += dt_s
            if self.measured_c >= self._watch_from_c + protection.watch_rise_k:
                self._watch_from_c, self._watch_s = self.measured_c, 0.0
            return "Heating failed" if not self._reached and self._watch_s > protection.watch_period_s else None
        below = self.measured_c < self.target_c - protection.hysteresis_k
        self._below_s = self._below_s + dt_s if below else 0.0
        return "Thermal Runaway" if self._below_s > protection.period_s else None


@dataclass(slots=True)
class Filament:
    """The filament's way through the nozzle.

    Attributes:
        present: False = it has run out.
        passing: share of the asked flow that a clogged nozzle lets through; the drive grinds the rest.
        asked_m3, extruded_m3: since power-on.
    """

    present: bool = True
    passing: float = 1.0
    asked_m3: float = 0.0
    extruded_m3: float = 0.0

    def feed(self, asked_m3: float) -> float:
        """The drive turns by so much [m^3]. Returns what leaves the nozzle."""
        extruded = asked_m3 * self.passing if self.present else 0.0
        self.asked_m3 += asked_m3
        self.extruded_m3 += extruded
        return extruded


class Plant:
    """Heaters, fans, motors and the electric supply of one printer.

    Args:
        profile: the machine; true parameters are drawn within SPREAD of it.
        seed: of the draw and of all noise.
    """

    def __init__(self, profile: MachineProfile, seed: int) -> None:
        assert profile.hotend is not None
        self._random = random.Random(seed)
        bed = profile.bed or profile.hotend
        ambient = profile.ambient
        self.ambient_c = ambient
        noise = self._random.gauss
        self.hotend = HeaterPlant(
            profile.hotend, ambient, self._draw, lambda: noise(0.0, 0.06), 0.8, 0.12, 20.0, HOTEND_PROTECTION
        )
        self.bed = HeaterPlant(bed, ambient, self._draw, lambda: noise(0.0, 0.03), 2.0, 0.2, 60.0, BED_PROTECTION)
        self._electronics_w = self._draw(profile.power.electronics)
        self._motors_w = self._draw(profile.power.motors_enabled)
        self._motion_w_per_m_s = self._draw(profile.power.motion_per_speed)
        self._fan_w = self._draw(profile.power.fan)
        self._hotend_fan_w = self._draw(profile.power.hotend_fan)
        self._meter_gain = 1.0 + self._random.uniform(-0.005, 0.005)
        limits = tuple(AxisLimits(axis.max_speed, axis.max_acceleration) for axis in profile.kinematics.axes())
        self.axes = Axes(limits, self._random)  # type: ignore[arg-type]
        self.filament = Filament()
        self.part_attached = True
        self.supply = 1.0  # voltage over its nominal value
        self.fan = 0.0
        self.motors_on = False
        self.energy_j = 0.0  # true electric energy since power-on
        self._time_s = math.nan
        self._way_m = 0.0
        self._filament_m3 = 0.0

    def _draw(self, nominal: float) -> float:
        return nominal * self._random.uniform(1.0 - SPREAD, 1.0 + SPREAD)

    def heaters_off(self) -> None:
        """Both targets to 0."""
        self.hotend.set_target(0.0)
        self.bed.set_target(0.0)

    def parameters(self) -> dict[str, float]:
        """The true parameters [SI] by the profile's names ("hotend.loss"): to judge what claims to find them."""
        heaters = {"hotend": self.hotend, "bed": self.bed}
        found = {
            f"{name}.{field}": each for name, heater in heaters.items() for field, each in heater.parameters().items()
        }
        return found | {
            "power.electronics": self._electronics_w, "power.motors_enabled": self._motors_w,
            "power.motion_per_speed": self._motion_w_per_m_s, "power.fan": self._fan_w,
            "power.hotend_fan": self._hotend_fan_w,
        }  # fmt: skip

    @property
    def supply_v(self) -> float:
        """Voltage of the supply."""
        return SUPPLY_V * self.supply

    def freeze(self, frozen: bool) -> None:
        """The controller's program hangs: heaters keep the power that they have."""
        self.hotend.frozen = self.bed.frozen = frozen

    def shake_m_s2(self) -> float:
        """Broad-band acceleration beyond that of motion: a loose part under the nozzle."""
        return 0.0 if self.part_attached else DRAG_M_S2

    def tones(self) -> list[tuple[float, float]]:
        """(frequency [Hz], amplitude [m/s^2]) of what turns: the part-cooling fan."""
        return [(FAN_HZ * self.fan, FAN_M_S2 * self.fan)] if self.fan > 0.0 else []

    @property
    def time_s(self) -> float:
        """The time to which it was integrated; NaN before the first step."""
        return self._time_s

    def due_s(self) -> float:
        """When the next step is due."""
        return self._time_s + STEP_S

    def step_to(self, at_s: float, way_m: float, filament_m3: float) -> str | None:
        """Integrate to this time. `way_m` and `filament_m3` are counters since power-on.

        Returns the name of a thermal fault, with the heater before it ("Hotend: Heating failed"), or None.
        """
        if math.isnan(self._time_s):
            self._time_s = at_s
        steps = int((at_s - self._time_s) / STEP_S)
        if steps <= 0:
            return None
        dt = STEP_S
        speed = max(0.0, way_m - self._way_m) / (steps * dt)
        flow = max(0.0, self.filament.feed(filament_m3 - self._filament_m3)) / (steps * dt)
        self._way_m, self._filament_m3 = way_m, filament_m3
        fault = None
        for _ in range(steps):
            self.energy_j += self.power_w(speed) * dt
            drawn = flow * FILAMENT_J_PER_M3_K * max(0.0, self.hotend.block_c - self.ambient_c)
            hotend_fault = self.hotend.step(dt, self.fan * min(1.0, self.supply), drawn, self.supply)
            bed_fault = self.bed.step(dt, 0.0, 0.0, self.supply)
            if hotend_fault is not None or bed_fault is not None:
                fault = f"Hotend: {hotend_fault}" if hotend_fault is not None else f"Bed: {bed_fault}"
        self._time_s += steps * dt
        return fault

    def power_w(self, speed_m_s: float) -> float:
        """Electric power now, at this path speed [W]."""
        power = self._electronics_w + self.hotend.electric_w(self.supply) + self.bed.electric_w(self.supply)
        power += self.fan * self._fan_w + self._motion_w_per_m_s * speed_m_s
        if self.motors_on:
            power += self._motors_w
        if self.hotend.block_c > HOTEND_FAN_ON_C:
            power += self._hotend_fan_w
        return power
