"""The oracle: what one run of a program will take and give, with 90 % intervals, before anything moves.

The expected values come from one simulation of the whole program (timeline.py). The intervals come from a
seeded ensemble: the same model on aggregated steps, for DRAWS draws of the parameters that the profile does not
know exactly. The quantiles are taken relative to the aggregated model's own nominal run, so that aggregation
does not shift them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from industriverse_core.artefacts import Estimate, Prediction, Subsystem
from industriverse_core.machine import Box, Heater, MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import Program
from twin_node.milling import AVERAGING_S, cutting_j, mean_power_w
from twin_node.steps import Steps, aggregate
from twin_node.timeline import (
    Timeline,
    build_timeline,
    heater_vector,
    kernel_columns,
    machine_vector,
)

DRAWS = 200
SEED = 20240229
LONGEST_STEP_S = 10.0
MAX_STEPS = 2000
# relative standard deviations of what the profile does not state
MOTION_TIME_SD = 0.006  # twice the planner's error against Marlin's (root mean square of 14 files)
MASS_SD = 0.015  # density 1 %, filament diameter 0.5 % (counts twice)
AMBIENT_SD_C = 2.0
QUANTILE_95 = 1.6449  # of the normal distribution
CLIP = 2.5  # draws lie within this many standard deviations


@dataclass(frozen=True, slots=True)
class Draws:
    """Totals of each draw, shape (DRAWS + 1,); the first is the nominal run.

    Attributes:
        time_s, motion_s: with and without heating, homing and levelling.
        energy_j: electric energy by subsystem.
        peak_w, heat_j: highest total power; heat given to the room.
        mass: factor of the material's mass.
    """

    time_s: np.ndarray
    motion_s: np.ndarray
    energy_j: dict[Subsystem, np.ndarray]
    peak_w: np.ndarray
    heat_j: np.ndarray
    mass: np.ndarray

    @property
    def electric_j(self) -> np.ndarray:
        """Electric energy of all subsystems."""
        return sum(self.energy_j.values(), np.zeros(DRAWS + 1))


def predict(
    program: Program, profile: MachineProfile, material: Material | None, stock: Box | None = None
) -> Prediction:
    """Time, energy, power, heat and material of one run from a cold machine.

    `material` may be None for a mill. Cutting power is in it where the profile or `stock` says what the moves cut.
    Raises PredictionError (CANNOT_PREDICT).
    """
    return prediction_of(build_timeline(program, profile, material, stock=stock), profile, material)


def prediction_of(timeline: Timeline, profile: MachineProfile, material: Material | None) -> Prediction:
    """A timeline's totals with their intervals."""
    draws = draw(timeline.course.steps, timeline.total_s, profile, material)
    energy_j = timeline.course.energy_j
    energies = {key: interval(float(column.sum()), draws.energy_j[key]) for key, column in energy_j.items()}
    return Prediction(
        program_digest=timeline.program.digest,
        machine_id=profile.id,
        material=material.id if material else "",
        time_s=interval(timeline.total_s, draws.time_s),
        motion_time_s=interval(timeline.motion_s, draws.motion_s),
        energy_j=interval(timeline.electric_j, draws.electric_j),
        energy_by_subsystem_j=energies,
        peak_power_w=interval(timeline.peak_power_w, draws.peak_w),
        heat_j=interval(timeline.heat_j, draws.heat_j),
        filament_m=Estimate.exact(timeline.filament_m),  # commanded; what it weighs is uncertain
        material_kg=interval(timeline.material_kg, draws.mass),
    )


def mill_homing_s(profile: MachineProfile) -> Estimate:
    """What a mill takes to home [s], with its 90 % interval; 0 for a printer.

    A printer's program homes, and a prediction has that in its time. A mill is homed by the machine node before the
    first job after its controller was locked (switched on, an alarm), under that job's permit, and by no program: so
    this comes before the predicted time, or not at all.
    """
    if profile.kind != "mill":
        return Estimate.exact(0.0)
    kinematics = profile.kinematics
    spread = QUANTILE_95 * kinematics.homing_time_spread
    return Estimate(
        kinematics.homing_time, kinematics.homing_time * max(0.1, 1.0 - spread), kinematics.homing_time * (1.0 + spread)
    )


def expected_of(timeline: Timeline, profile: MachineProfile, material: Material | None) -> Prediction:
    """A timeline's totals alone: every interval is a point. For many files at once; it needs no ensemble."""
    exact = Estimate.exact
    return Prediction(
        program_digest=timeline.program.digest,
        machine_id=profile.id,
        material=material.id if material else "",
        time_s=exact(timeline.total_s),
        motion_time_s=exact(timeline.motion_s),
        energy_j=exact(timeline.electric_j),
        energy_by_subsystem_j={key: exact(float(column.sum())) for key, column in timeline.course.energy_j.items()},
        peak_power_w=exact(timeline.peak_power_w),
        heat_j=exact(timeline.heat_j),
        filament_m=exact(timeline.filament_m),
        material_kg=exact(timeline.material_kg),
    )


def interval(mean: float, draws: np.ndarray) -> Estimate:
    """5 % and 95 % quantiles of the draws over the nominal draw, around the mean."""
    nominal = draws[0]
    if mean == 0.0 or nominal == 0.0:
        return Estimate.exact(mean)
    low, high = np.quantile(draws[1:] / nominal, [0.05, 0.95])
    return Estimate(mean, min(mean, mean * float(low)), max(mean, mean * float(high)))


def _factors(random: np.random.Generator, relative_sd: float) -> np.ndarray:
    """1 for the nominal run, then DRAWS factors around 1, never below a tenth."""
    normal = np.clip(random.standard_normal(DRAWS), -CLIP, CLIP)
    return np.concatenate([[1.0], np.maximum(0.1, 1.0 + relative_sd * normal)])


def _heater_draws(random: np.random.Generator, heater: Heater | None) -> np.ndarray:
    """Power, capacity and losses vary, each by the heater's stated uncertainty; window and settling do not."""
    from twin_node import thermal_kernels as kernels

    table = np.tile(heater_vector(heater), (DRAWS + 1, 1))
    sd = heater.uncertainty if heater else 0.0
    table[:, kernels.POWER] *= _factors(random, sd)
    table[:, kernels.CAPACITY] *= _factors(random, sd)
    loss = _factors(random, sd)
    table[:, kernels.LOSS] *= loss
    table[:, kernels.FAN_LOSS] *= loss
    return table


def draw(
    steps: Steps, total_s: float, profile: MachineProfile, material: Material | None, start_c: np.ndarray | None = None
) -> Draws:
    """Simulate the nominal parameters and DRAWS draws of them on aggregated steps.

    `total_s`: how long they take, about; `start_c`: as of `simulate_steps`, default: a cold machine.
    """
    from twin_node import thermal_kernels as kernels

    steps = aggregate(steps, max(LONGEST_STEP_S, total_s / MAX_STEPS))
    random = np.random.default_rng(SEED)
    machine = np.tile(machine_vector(profile, material), (DRAWS + 1, 1))
    machine[:, kernels.AMBIENT] += AMBIENT_SD_C * (_factors(random, 0.1) - 1.0) / 0.1
    machine[:, kernels.MOTION_SCALE] = _factors(random, MOTION_TIME_SD)
    machine[:, kernels.HOMING_SCALE] = _factors(random, profile.kinematics.homing_time_spread)
    machine[:, kernels.MASS_SCALE] = _factors(random, MASS_SD)
    if profile.enclosure is None:
        machine[:, kernels.DENSITY] = 0.0  # the part's temperature changes nothing else
    sums = np.zeros((kernels.RESULT_SIZE + 1, DRAWS + 1))
    if len(steps):
        start = np.full(3, profile.ambient) if start_c is None else start_c
        kernels.simulate_draws(
            *kernel_columns(steps, profile), _heater_draws(random, profile.hotend), _heater_draws(random, profile.bed),
            machine, start, sums,
        )  # fmt: skip
    motion = float(steps.motion_s.sum()) * machine[:, kernels.MOTION_SCALE] + float(steps.dwell_s.sum())
    return _totals(random, steps, profile, material, machine, sums, motion)


def _totals(
    random: np.random.Generator, steps: Steps, profile: MachineProfile, material: Material | None,
    machine: np.ndarray, sums: np.ndarray, motion_s: np.ndarray,
) -> Draws:  # fmt: skip
    """Energies of every draw: the heaters from the simulation, the rest from times and uncertain powers."""
    from twin_node import thermal_kernels as kernels

    power, sd = profile.power, profile.power.uncertainty
    electronics, motors, friction, fan, spindle, coolant = (_factors(random, sd) for _ in range(6))
    time = sums[kernels.DURATION]
    nominal = np.maximum(steps.motion_s + steps.homing_s + steps.dwell_s, 0.0)
    scale = np.divide(time, time[0], out=np.ones_like(time), where=time[0] > 0)
    motors_off_s = float(np.sum(nominal[~steps.motors]))
    enabled_s = np.maximum(0.0, float(nominal.sum()) - motors_off_s) * scale
    fan_s = float(np.sum(nominal * steps.fan)) * scale
    energy = {
        Subsystem.ELECTRONICS: power.electronics * electronics * time,
        Subsystem.MOTION: power.motors_enabled * motors * enabled_s
        + power.motion_per_speed * friction * float(steps.path_m.sum()),
        Subsystem.FAN: fan * (power.fan * fan_s + power.hotend_fan * sums[kernels.RESULT_SIZE]),
    }
    steady = power.electronics * electronics + power.motors_enabled * motors + power.fan * fan
    if power.coolant > 0.0:
        energy[Subsystem.COOLANT] = power.coolant * coolant * float(np.sum(nominal * steps.coolant)) * scale
        steady = steady + power.coolant * coolant * float(steps.coolant.any())
    if profile.spindle is not None:
        turning_s = float(np.sum(nominal * np.minimum(steps.spindle, 1.0))) * scale
        cutting, k = cutting_j(steps.removed_m3, material), _factors(random, profile.spindle.uncertainty)
        energy[Subsystem.SPINDLE] = profile.spindle.idle_power * spindle * turning_s + k * float(cutting.sum())
        steady = steady + k * mean_power_w(cutting, nominal, AVERAGING_S).max(initial=0.0)
        steady = steady + profile.spindle.idle_power * spindle * np.minimum(steps.spindle, 1.0).max(initial=0.0)
    rest = sum(energy.values(), np.zeros(DRAWS + 1))
    if profile.hotend is not None:
        energy[Subsystem.HOTEND] = sums[kernels.HOTEND_J]
    if profile.bed is not None:
        energy[Subsystem.BED] = sums[kernels.BED_J]
    return Draws(
        time_s=time,
        motion_s=motion_s,
        energy_j=energy,
        peak_w=steady + sums[kernels.HOTEND_PEAK_W] + sums[kernels.BED_PEAK_W],
        heat_j=rest + sums[kernels.LOST_J],
        mass=machine[:, kernels.MASS_SCALE],
    )
