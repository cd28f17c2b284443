"""The books of one execution: where its joules went, from telemetry and the execution trace.

    electric   difference of the power meter's counter
    heat       given to the room: UA (T - T_air) of both heaters at their measured temperatures, plus the
               model's electronics, motors, friction, fans, spindle and coolant; less what an enclosure's air keeps
    stored     C (T_end - T_start) of hot end, bed and an enclosure's air (by the model: it is not measured)
    work       enthalpy of the material that has left the hot end; counted here and nowhere else, so what a
               warm part later gives to the room is not heat of this account
    residual   electric - heat - stored - work: what profile, sensors and meter do not agree on. It is
               stated as it comes out, never forced to zero

A mill homes and brings its tool to where the program begins before it carries out the first instruction. What that
takes is part of the books and of no prediction; `set_up_s` and `set_up_j` say how much it is.

By subsystem: the heaters by reported duty times rated power (where no duty is reported, by their own heat
balance), the rest of the metered energy in the model's shares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from industriverse_core.artefacts import LedgerEntry, Prediction, Subsystem
from industriverse_core.digest import Digest
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Heater as HeaterProfile
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import Heater
from industriverse_core.telemetry import MachineState, TelemetrySample, Trace
from twin_node.milling import cutting_j
from twin_node.price import price_of_run
from twin_node.shadow import in_force
from twin_node.steps import HOTEND_FAN_ON_C
from twin_node.tariff import Tariff
from twin_node.timeline import Timeline, machine_vector

COLD_K = 10.0  # of a heater above or below the room: the start that predictions are made for


@dataclass(slots=True)
class _HeaterBook:
    """Sums of one heater over the execution."""

    profile: HeaterProfile
    start_c: float = math.nan
    last_c: float = math.nan
    duty: float = math.nan  # as last reported; held until the next report
    lost_j: float = 0.0
    by_duty_j: float = 0.0
    unreported_s: float = 0.0

    def add(self, temperature_c: float, duty: float, ambient_c: float, fan: float, dt: float) -> None:
        """Account for the time since the last sample; `duty` held meanwhile is the one known before."""
        if math.isfinite(self.duty):
            self.by_duty_j += self.duty * self.profile.power * dt
        else:
            self.unreported_s += dt
        if math.isfinite(duty):
            self.duty = min(max(duty, 0.0), 1.0)
        if not math.isfinite(temperature_c):
            temperature_c = self.last_c
        if math.isnan(self.start_c):
            self.start_c = self.last_c = temperature_c
        if math.isfinite(temperature_c):
            loss = self.profile.loss + self.profile.fan_loss * fan
            self.lost_j += loss * (0.5 * (self.last_c + temperature_c) - ambient_c) * dt
            self.last_c = temperature_c

    @property
    def stored_j(self) -> float:
        """Heat in the block, over that at the start."""
        return 0.0 if math.isnan(self.start_c) else self.profile.heat_capacity * (self.last_c - self.start_c)

    def electric_j(self, work_j: float) -> float:
        """By duty where it was reported for most of the time, else by the heater's own balance."""
        balance = max(0.0, self.lost_j + self.stored_j + work_j)
        return balance if self.unreported_s > 0.5 or math.isnan(self.duty) else self.by_duty_j


@dataclass(slots=True)
class Account:
    """Sums of one execution, fed with every telemetry sample and trace of its job."""

    job_id: str
    program_digest: Digest
    profile: MachineProfile
    timeline: Timeline | None = None
    material: Material | None = None
    prediction: Prediction | None = None
    time_s: float = 0.0
    electric_j: float = 0.0
    metered: bool = False
    executed: int = 0
    samples: int = 0
    set_up_s: float = 0.0
    set_up_j: float = 0.0
    longest_gap_s: float = 0.0
    work_j: float = 0.0
    rest_j: dict[Subsystem, float] = field(default_factory=dict)
    _heaters: dict[Heater, _HeaterBook] = field(init=False)
    _air_c: float = field(init=False)  # around the machine: the enclosure's, or the room
    _last: TelemetrySample | None = None
    _counter_j: float = math.nan
    _begun: bool = False  # something of the program was sent
    _spent: int = 0  # instructions whose material and friction are already counted

    def __post_init__(self) -> None:
        present = {Heater.HOTEND: self.profile.hotend, Heater.BED: self.profile.bed}
        self._heaters = {key: _HeaterBook(heater) for key, heater in present.items() if heater is not None}
        self._air_c = self.profile.ambient

    def observe(self, sample: TelemetrySample) -> None:
        """Add the time since the last sample. Samples that repeat or go back in time are left out."""
        last = self._last
        dt = 0.0 if last is None else sample.stamp_s - last.stamp_s
        if last is not None and not dt > 0.0:
            return
        self.samples += 1
        self.time_s += dt
        self._begun = self._begun or self.profile.kind != "mill" or sample.instruction > 0
        before_j = self.electric_j
        self.longest_gap_s = max(self.longest_gap_s, dt)
        self._meter(sample.energy_j)
        if not self._begun:
            self.set_up_s += dt
            self.set_up_j += self.electric_j - before_j
        fan = min(max(sample.fan, 0.0), 1.0) if math.isfinite(sample.fan) else 0.0
        given_j = self._inside_j
        for heater, book in self._heaters.items():
            reading = sample.reading(heater)
            temperature = reading.temperature_c if reading is not None else math.nan
            duty = reading.duty if reading is not None else math.nan
            book.add(temperature, duty, self._air_c, fan, dt)
        self._other_consumers(sample, fan, dt)
        # telemetry names the instruction in hand, so those before it are done
        self.executed = max(self.executed, sample.instruction)
        self._count_material()
        self._warm_air(self._inside_j - given_j, dt)
        self._last = sample

    def observe_trace(self, trace: Trace) -> None:
        """Instructions that are done; never goes back."""
        if trace.job_id == self.job_id:
            self.executed = max(self.executed, trace.executed)
            self._begun = self._begun or trace.sent > 0

    def finish(self) -> None:
        """Count what the last traces added."""
        self._count_material()

    def _meter(self, counter_j: float) -> None:
        """Sum of the counter's increments; a counter that falls has been reset and counts from there on."""
        if not math.isfinite(counter_j):
            return
        if counter_j >= self._counter_j:
            self.electric_j += counter_j - self._counter_j
            self.metered = True
        self._counter_j = counter_j

    def _other_consumers(self, sample: TelemetrySample, fan: float, dt: float) -> None:
        """What the model says the rest takes; all of it becomes heat in the room."""
        power, hotend = self.profile.power, self._heaters.get(Heater.HOTEND)
        warm = hotend is not None and hotend.last_c > HOTEND_FAN_ON_C
        self._add(Subsystem.ELECTRONICS, power.electronics * dt)
        self._add(Subsystem.FAN, (power.fan * fan + power.hotend_fan * warm) * dt)
        timeline = self.timeline
        if timeline is None or not len(timeline.program):
            return
        index = min(max(sample.instruction, 0), len(timeline.program) - 1)
        steps = timeline.steps
        motors = max(float(steps.motors[index]), not self._begun)
        self._add(Subsystem.MOTION, power.motors_enabled * motors * dt)
        before = in_force(timeline, index)
        if before < 0:
            return
        if power.coolant > 0.0:
            self._add(Subsystem.COOLANT, power.coolant * float(steps.coolant[before]) * dt)
        if self.profile.spindle is not None and sample.state is MachineState.EXECUTING:
            share = min(float(steps.spindle[before]), 1.0)
            self._add(Subsystem.SPINDLE, self.profile.spindle.idle_power * share * dt)

    @property
    def _inside_j(self) -> float:
        """What heaters, motors and fans have given to the air around the machine; electronics stand outside."""
        rest = self.rest_j.get(Subsystem.MOTION, 0.0) + self.rest_j.get(Subsystem.FAN, 0.0)
        return rest + sum(book.lost_j for book in self._heaters.values())

    def _warm_air(self, given_j: float, dt: float) -> None:
        from twin_node import thermal_kernels as kernels

        if self.profile.enclosure is not None and dt > 0.0:
            self._air_c = kernels.warm_air(machine_vector(self.profile, None), self._air_c, given_j, dt)

    @property
    def _air_stored_j(self) -> float:
        air = self.profile.enclosure
        return air.heat_capacity * (self._air_c - self.profile.ambient) if air is not None else 0.0

    def _count_material(self) -> None:
        """Enthalpy of the material that has left, at the measured nozzle temperature, and friction of the path."""
        timeline = self.timeline
        if timeline is None:
            return
        done = min(self.executed, len(timeline.program))
        if done <= self._spent:
            return
        new = slice(self._spent, done)
        self._add(Subsystem.MOTION, self.profile.power.motion_per_speed * float(timeline.steps.path_m[new].sum()))
        if self.profile.spindle is not None:
            self._add(Subsystem.SPINDLE, float(cutting_j(timeline.steps.removed_m3[new], self.material).sum()))
        hotend = self._heaters.get(Heater.HOTEND)
        melted_kg = float(timeline.steps.melted_kg[new].sum())
        if melted_kg > 0.0 and hotend is not None and self.material is not None and math.isfinite(hotend.last_c):
            enthalpy = self.material.print_enthalpy_j_per_kg(hotend.last_c, self.profile.ambient)
            self.work_j += melted_kg * max(0.0, enthalpy)
        self._spent = done

    def _add(self, subsystem: Subsystem, energy_j: float) -> None:
        self.rest_j[subsystem] = self.rest_j.get(subsystem, 0.0) + energy_j

    # --- closing ---

    @property
    def is_complete(self) -> bool:
        """Whether the whole program was carried out."""
        return self.timeline is not None and self.executed >= len(self.timeline.program) > 0

    @property
    def began_cold(self) -> bool:
        """Whether every heater was measured within COLD_K of the room when the job began."""
        return all(abs(book.start_c - self.profile.ambient) <= COLD_K for book in self._heaters.values())

    @property
    def material_kg(self) -> float:
        """Material deposited so far."""
        if self.timeline is None:
            return 0.0
        return float(np.sum(self.timeline.steps.melted_kg[: self._spent]))

    @property
    def heat_j(self) -> float:
        """Heat given to the room."""
        lost = sum(book.lost_j for book in self._heaters.values())
        return lost + sum(self.rest_j.values()) - self._air_stored_j

    @property
    def stored_j(self) -> float:
        """Heat still in the machine, over that at the start."""
        return sum(book.stored_j for book in self._heaters.values()) + self._air_stored_j

    def by_subsystem_j(self) -> dict[Subsystem, float]:
        """Metered energy by subsystem; see the module's text for what is measured and what attributed."""
        energies = {}
        for key, heater in ((Subsystem.HOTEND, Heater.HOTEND), (Subsystem.BED, Heater.BED)):
            if heater in self._heaters:
                work_j = self.work_j if heater is Heater.HOTEND else 0.0
                energies[key] = self._heaters[heater].electric_j(work_j)
        rest = max(0.0, self.electric_j - sum(energies.values()))
        modelled = sum(self.rest_j.values())
        for key, energy_j in self.rest_j.items():
            energies[key] = rest * energy_j / modelled if modelled > 0.0 else 0.0
        return energies

    def close(self, tariff: Tariff) -> LedgerEntry:
        """The ledger so far. Raises PredictionError (NO_LEDGER) when there is too little to account for."""
        self.finish()
        if self.timeline is None or self.samples < 2 or not self.metered:
            missing = "its program" if self.timeline is None else "power meter readings"
            raise PredictionError(
                ErrorCode.NO_LEDGER,
                f"job {self.job_id}: no ledger without {missing} ({self.samples} telemetry samples).",
                "Check that the twin ran, and that program store and power meter worked, while the job did.",
            )
        measured = (self.time_s, self.electric_j, self.material_kg)
        return LedgerEntry(
            job_id=self.job_id,
            machine_id=self.profile.id,
            program_digest=self.program_digest,
            time_s=self.time_s,
            electric_j=self.electric_j,
            work_j=self.work_j,
            heat_j=self.heat_j,
            stored_j=self.stored_j,
            energy_by_subsystem_j=self.by_subsystem_j(),
            material_kg=self.material_kg,
            price=price_of_run(*measured, self.profile, self.material, tariff),
            currency=tariff.currency,
            prediction=self.prediction,
        )
