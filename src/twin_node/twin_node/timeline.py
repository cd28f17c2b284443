"""What the twin expects of one job: times, temperatures, watts and joules.

The job is simulated in steps of at most half a second over which nothing is switched (steps.py); single instructions
that last longer are steps of their own, and so are waits. What an instruction takes is its share of its step: joules
by time, but friction by path, the melt's enthalpy by mass and cutting by volume. The shares add up to the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from industriverse_core.artefacts import Subsystem
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Box, MachineProfile
from industriverse_core.machine import Heater as HeaterProfile
from industriverse_core.material import Material
from industriverse_core.motion import MotionPlan, plan_motion
from industriverse_core.program import Program
from industriverse_core.units import filament_area_m2
from twin_node.milling import AVERAGING_S, check_spindle_power, cutting_j, mean_power_w, removed_m3
from twin_node.steps import (
    HOTEND_FAN_ON_C,
    STEP_S,
    WAIT_BED,
    MergedSteps,
    Steps,
    durations_s,
    merge_steps,
    steps_of,
)

_NO_HEATER = HeaterProfile.model_construct(
    power=0.0, heat_capacity=1.0, loss=1.0, fan_loss=0.0, window=1.0, settle_time=0.0, uncertainty=0.0
)


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One expected run as columns over its m steps.

    Attributes:
        steps: what each asks of the machine.
        duration_s: with heating, homing and levelling.
        hotend_c, bed_c, part_c, air_c: temperatures at the end of each step; the air is the enclosure's, or the
            room. Before anything is deposited the part has no temperature of its own.
        energy_j: electric energy by subsystem, shape (m,) each.
        peak_power_w: highest total power.
        lost_j: heat of the heaters that reached the room; what warms the enclosure's air has not.
        work_j: enthalpy that leaves the hot end with the material. Counted here and nowhere else.
        part_lost_j: the share of it that the part has given away again. Not in the heat.
    """

    steps: Steps
    duration_s: np.ndarray
    hotend_c: np.ndarray
    bed_c: np.ndarray
    part_c: np.ndarray
    air_c: np.ndarray
    energy_j: dict[Subsystem, np.ndarray]
    peak_power_w: np.ndarray
    lost_j: np.ndarray
    work_j: np.ndarray
    part_lost_j: np.ndarray


@dataclass(frozen=True, eq=False)
class Timeline:
    """One expected run of a program. Columns over its n instructions are computed when they are first asked for.

    Attributes:
        program, profile, material: what runs, where, of what.
        plan: the motion alone.
        removed_m3: what each instruction cuts away, shape (n,); None where it is not known.
        start_c: hot end, bed and air at the start, shape (3,).
        merged: the steps in which the run was simulated.
        course: the run over these steps.
    """

    program: Program
    profile: MachineProfile
    material: Material | None
    plan: MotionPlan
    removed_m3: np.ndarray | None
    start_c: np.ndarray
    merged: MergedSteps
    course: Course

    # --- totals ---

    @property
    def total_s(self) -> float:
        """Duration of the job [s]."""
        return float(self.course.duration_s.sum())

    @property
    def motion_s(self) -> float:
        """Moves and dwells alone [s]."""
        return float(self.course.steps.motion_s.sum() + self.course.steps.dwell_s.sum())

    @property
    def electric_j(self) -> float:
        """Electric energy of the job [J]."""
        return float(sum(column.sum() for column in self.course.energy_j.values()))

    @property
    def peak_power_w(self) -> float:
        """Highest total power [W], that of each step of half a second taken as constant."""
        return float(self.course.peak_power_w.max(initial=0.0))

    @property
    def heat_j(self) -> float:
        """Heat given to the room [J]: the heaters' losses and all that is not a heater; without the material's own."""
        heaters = (Subsystem.HOTEND, Subsystem.BED)
        rest = sum(column.sum() for subsystem, column in self.course.energy_j.items() if subsystem not in heaters)
        return float(self.course.lost_j.sum() + rest)

    @property
    def stored_j(self) -> float:
        """Heat [J] in hot end, bed and the enclosure's air at the end, over that at the start."""
        course = self.course
        if not len(course.steps):
            return 0.0
        heaters = (self.profile.hotend or _NO_HEATER, self.profile.bed or _NO_HEATER)
        air = self.profile.enclosure.heat_capacity if self.profile.enclosure is not None else 0.0
        capacity = np.array([*(heater.heat_capacity for heater in heaters), air])
        end_c = np.array([course.hotend_c[-1], course.bed_c[-1], course.air_c[-1]])
        return float(np.sum(capacity * (end_c - self.start_c)))

    @property
    def filament_m(self) -> float:
        """Filament [m] that has left the nozzle at the end."""
        return self.merged.melted_m3 / filament_area_m2(self.program.metadata.filament_diameter_m)

    @property
    def material_kg(self) -> float:
        """What it weighs [kg]."""
        return float(self.course.steps.melted_kg.sum())

    # --- columns over the instructions ---

    @cached_property
    def steps(self) -> Steps:
        """What each instruction asks of the machine."""
        return steps_of(self.program, self.plan, self.profile, self.material, self.merged, self.removed_m3)

    @cached_property
    def duration_s(self) -> np.ndarray:
        """Duration of each instruction on the job's clock, shape (n,)."""
        duration = durations_s(self.program, self.plan, self.profile)
        waits = self.course.steps.wait > 0
        duration[self.merged.first[waits]] = self.course.duration_s[waits]
        return duration

    @cached_property
    def end_s(self) -> np.ndarray:
        """When each instruction ends on the job's clock, shape (n,)."""
        return np.cumsum(self.duration_s)

    @cached_property
    def energy_j(self) -> dict[Subsystem, np.ndarray]:
        """Electric energy of each instruction by subsystem, shape (n,) each."""
        own = {Subsystem.MOTION: self.profile.power.motion_per_speed * self.steps.path_m}
        if self.profile.spindle is not None:
            own[Subsystem.SPINDLE] = cutting_j(self.steps.removed_m3, self.material)
        if (
            Subsystem.HOTEND in self.course.energy_j
        ):  # a block that is not held at its target has less than the melt takes
            given, taken = self.course.energy_j[Subsystem.HOTEND], self.course.work_j
            share = np.divide(given, taken, out=np.zeros_like(taken), where=taken > 0.0)
            own[Subsystem.HOTEND] = self.work_j * self.merged.spread(np.minimum(share, 1.0))
        return {part: self._shared(column, own.get(part)) for part, column in self.course.energy_j.items()}

    @cached_property
    def lost_j(self) -> np.ndarray:
        """The course's `lost_j` by instruction, shape (n,)."""
        return self._shared(self.course.lost_j)

    @cached_property
    def work_j(self) -> np.ndarray:
        """The course's `work_j` by instruction, shape (n,): by mass."""
        melted, work = self.steps.melted_kg, self.course.work_j
        of_step = self.merged.sums(melted)
        return melted * self.merged.spread(np.divide(work, of_step, out=np.zeros_like(work), where=of_step > 0.0))

    @cached_property
    def part_lost_j(self) -> np.ndarray:
        """The course's `part_lost_j` by instruction, shape (n,)."""
        return self._shared(self.course.part_lost_j)

    @cached_property
    def hotend_c(self) -> np.ndarray:
        """The hot end at the end of each instruction [degC], shape (n,)."""
        return self._passing(float(self.start_c[0]), self.course.hotend_c)

    @cached_property
    def bed_c(self) -> np.ndarray:
        """The bed at the end of each instruction [degC], shape (n,)."""
        return self._passing(float(self.start_c[1]), self.course.bed_c)

    @cached_property
    def air_c(self) -> np.ndarray:
        """The enclosure's air, or the room, at the end of each instruction [degC], shape (n,)."""
        return self._passing(float(self.start_c[2]), self.course.air_c)

    @cached_property
    def part_c(self) -> np.ndarray:
        """The part at the end of each instruction [degC], shape (n,)."""
        return self._passing(float(self.start_c[2]), self.course.part_c)

    def prepare_to_follow(self) -> None:
        """Compute what a twin reads at every sample, so that no sample waits for it."""
        _ = self.steps, self.duration_s, self.work_j
        if Subsystem.SPINDLE in self.course.energy_j:
            _ = self.energy_j

    @cached_property
    def _share(self) -> np.ndarray:
        """Share of its step's time that each instruction has, shape (n,); 0 where the step takes none."""
        of_step = self.merged.spread(self.course.duration_s)
        return np.divide(self.duration_s, of_step, out=np.zeros(len(of_step)), where=of_step > 0.0)

    def _shared(self, column: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """A column of the steps by instruction: `own` as it is, shape (n,), the rest by time."""
        if own is None:
            return self._share * self.merged.spread(column)
        return self._share * self.merged.spread(column - self.merged.sums(own)) + own

    def _passing(self, start: float, column: np.ndarray) -> np.ndarray:
        """Values at the ends of the steps as values at the ends of the instructions, in straight lines."""
        if not len(column):
            return np.zeros(0)
        merged, passed = self.merged, np.cumsum(self._share)
        passed -= merged.spread(passed[merged.first] - self._share[merged.first])
        last = np.append(merged.first[1:], merged.count) - 1
        passed[last] = 1.0
        before = np.concatenate([[start], column[:-1]])
        return merged.spread(before) * (1.0 - passed) + merged.spread(column) * passed


def heater_vector(heater: HeaterProfile | None) -> np.ndarray:
    """A heater's parameters as the kernels want them; a heater that is not there is never warm."""
    present = heater or _NO_HEATER
    return np.array([
        present.power, present.heat_capacity, present.loss, present.fan_loss, present.window, present.settle_time,
    ])  # fmt: skip


def machine_vector(profile: MachineProfile, material: Material | None) -> np.ndarray:
    """The machine's other parameters as the kernels want them, with scales of motion, homing and mass (1)."""
    thermal = (0.0, 0.0, 0.0, 0.0)
    if material is not None and material.heat_capacity_melt is not None:
        thermal = (
            material.heat_capacity_solid, material.heat_capacity_melt, material.softening, material.density,
        )  # fmt: skip
    air = profile.enclosure
    box = (air.heat_capacity, air.loss) if air is not None else (0.0, 1.0)
    return np.array([profile.ambient, *thermal, *box, profile.power.hotend_fan, 1.0, 1.0, 1.0])


def build_timeline(
    program: Program,
    profile: MachineProfile,
    material: Material | None,
    start_c: tuple[float, float] | None = None,
    stock: Box | None = None,
    longest_s: float = STEP_S,
) -> Timeline:
    """Simulate one run.

    Args:
        start_c: hot end and bed at the start [degC]; default: the room's temperature.
        stock: the blank of a mill; default: the profile's. Without any, cutting takes no power here.
        longest_s: of the steps; 0 = each instruction that takes time is one.

    Raises PredictionError (CANNOT_PREDICT) for a program that cannot be planned, a heater or material that is
    missing, a target that the heater cannot reach, a cut that cannot be followed or that the spindle cannot drive.
    """
    plan = plan_motion(program, profile)
    removed = removed_m3(program, profile, stock)
    merged = merge_steps(program, plan, profile, material, removed, longest_s)
    start = np.array([*(start_c if start_c is not None else (profile.ambient, profile.ambient)), profile.ambient])
    course, stuck = simulate_steps(merged.steps, profile, material, start)
    if stuck >= 0:
        raise _unreachable(int(program.columns["line"][merged.first[stuck]]), merged.steps, stuck, profile.ambient)
    timeline = Timeline(program, profile, material, plan, removed, start, merged, course)
    _drive_spindle(timeline)
    return timeline


def simulate_steps(
    steps: Steps, profile: MachineProfile, material: Material | None, start_c: np.ndarray
) -> tuple[Course, int]:
    """Run steps through the thermal kernels.

    `start_c`: hot end, bed and air [degC], shape (3,); shape (5,) with the temperature and the mass [kg] of a part that
    is there already. Returns the course, without what cutting adds to its peaks, and the first step whose heater never
    reaches its target, -1 = all do.
    """
    from twin_node import thermal_kernels as kernels

    result = np.zeros((kernels.RESULT_SIZE, len(steps)))
    stuck = kernels.simulate(
        *kernel_columns(steps, profile), heater_vector(profile.hotend), heater_vector(profile.bed),
        machine_vector(profile, material), start_c, result,
    )  # fmt: skip
    return _course(profile, material, steps, result), int(stuck)


def kernel_columns(steps: Steps, profile: MachineProfile) -> tuple[np.ndarray, ...]:
    """The columns that the thermal kernels read, in their order."""
    return (
        steps.motion_s, steps.homing_s, steps.dwell_s, steps.wait, steps.cools, steps.hotend_target_c,
        steps.bed_target_c, steps.fan, _inside_w(steps, profile), steps.melted_kg,
    )  # fmt: skip


def _inside_w(steps: Steps, profile: MachineProfile) -> np.ndarray:
    """Power [W] of motors, friction and part-cooling fan, which an enclosure's air takes up; 0 without one.

    Electronics stand outside.
    """
    if profile.enclosure is None:
        return np.zeros(len(steps))
    power, lasts_s = profile.power, steps.motion_s + steps.homing_s + steps.dwell_s
    speed = np.divide(steps.path_m, lasts_s, out=np.zeros(len(steps)), where=lasts_s > 0.0)
    return power.motors_enabled * steps.motors + power.fan * steps.fan + power.motion_per_speed * speed


def _course(profile: MachineProfile, material: Material | None, steps: Steps, result: np.ndarray) -> Course:
    """Energy by subsystem and highest total power of each step, beside what the kernels found.

    Friction is proportional to path speed, so its energy is proportional to path (motion_per_speed, [J/m]). The peak of
    cutting is not in it yet.
    """
    from twin_node import thermal_kernels as kernels

    power, duration = profile.power, result[kernels.DURATION]
    fans_w = power.fan * steps.fan + power.hotend_fan * (result[kernels.HOTEND_C] > HOTEND_FAN_ON_C)
    motors_w = power.motors_enabled * steps.motors
    coolant_w = power.coolant * steps.coolant
    energy = {
        Subsystem.ELECTRONICS: power.electronics * duration,
        Subsystem.MOTION: motors_w * duration + power.motion_per_speed * steps.path_m,
        Subsystem.FAN: fans_w * duration,
    }
    if profile.hotend is not None:
        energy[Subsystem.HOTEND] = result[kernels.HOTEND_J]
    if profile.bed is not None:
        energy[Subsystem.BED] = result[kernels.BED_J]
    peak = power.electronics + motors_w + power.motion_per_speed * steps.speed_m_s + fans_w + coolant_w
    peak += result[kernels.HOTEND_PEAK_W] + result[kernels.BED_PEAK_W]
    if profile.spindle is not None:
        idle_w = profile.spindle.idle_power * np.minimum(steps.spindle, 1.0)
        energy[Subsystem.SPINDLE] = idle_w * duration + cutting_j(steps.removed_m3, material)
        peak += idle_w
    if power.coolant > 0.0:
        energy[Subsystem.COOLANT] = coolant_w * duration
    return Course(
        steps=steps,
        duration_s=duration,
        hotend_c=result[kernels.HOTEND_C],
        bed_c=result[kernels.BED_C],
        part_c=result[kernels.PART_C],
        air_c=result[kernels.AIR_C],
        energy_j=energy,
        peak_power_w=peak,
        lost_j=result[kernels.LOST_J],
        work_j=result[kernels.WORK_J],
        part_lost_j=result[kernels.PART_LOST_J],
    )


def _drive_spindle(timeline: Timeline) -> None:
    """Add what cutting takes to the peaks. Raises PredictionError where it is more than the spindle has."""
    spindle, merged = timeline.profile.spindle, timeline.merged
    if spindle is None or timeline.removed_m3 is None or not len(merged.first):
        return
    cutting = cutting_j(timeline.removed_m3, timeline.material)
    idle_w = spindle.idle_power * merged.spread(np.minimum(merged.steps.spindle, 1.0))
    check_spindle_power(timeline.program, timeline.profile, cutting, idle_w, timeline.duration_s)
    cutting_w = mean_power_w(cutting, timeline.duration_s, AVERAGING_S)
    timeline.course.peak_power_w[:] += np.maximum.reduceat(cutting_w, merged.first)


def _unreachable(line: int, steps: Steps, index: int, ambient_c: float) -> PredictionError:
    bed = steps.wait[index] == WAIT_BED
    target = (steps.bed_target_c if bed else steps.hotend_target_c)[index]
    cooling = steps.cools[index] and target <= ambient_c
    how = f"by cooling in a room of {ambient_c:.0f} degC" if cooling else "at full power"
    remedy = "Lower the temperature, or correct the heater's power and loss in the machine profile."
    return PredictionError(
        ErrorCode.CANNOT_PREDICT,
        f"line {line}: the {'bed' if bed else 'hot end'} waits for {target:.0f} degC, which it does not reach {how}.",
        "Wait for a temperature above the room's." if cooling else remedy,
    )
