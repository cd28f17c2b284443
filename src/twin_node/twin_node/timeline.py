"""What the twin expects of one job, instruction by instruction: times, temperatures, watts and joules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from industriverse_core.artefacts import Subsystem
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Box, MachineProfile
from industriverse_core.machine import Heater as HeaterProfile
from industriverse_core.material import Material
from industriverse_core.motion import MotionPlan, plan_motion
from industriverse_core.program import Program
from twin_node.milling import AVERAGING_S, check_spindle_power, cutting_j, mean_power_w, removed_m3
from twin_node.steps import HOTEND_FAN_ON_C, WAIT_BED, Steps, net_filament_m, steps_of

_NO_HEATER = HeaterProfile.model_construct(
    power=0.0, heat_capacity=1.0, loss=1.0, fan_loss=0.0, window=1.0, settle_time=0.0, uncertainty=0.0
)


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """One expected run of a program, as columns over its n instructions.

    Attributes:
        plan: the motion alone.
        steps: what each instruction asks of the machine.
        duration_s, end_s: with heating, homing and levelling; the job's clock.
        hotend_c, bed_c, part_c, air_c: temperatures at the end of each instruction; the air is the enclosure's,
            or the room. Before anything is deposited the part has no temperature of its own.
        energy_j: electric energy of each instruction by subsystem, shape (n,) each.
        peak_power_w: highest total power during each instruction.
        lost_j: heat of the heaters that reached the room, shape (n,); what warms the enclosure's air has not.
        work_j: enthalpy that leaves the hot end with the material, shape (n,). Counted here and nowhere else.
        part_lost_j: the share of it that the part has given away again, shape (n,). Not in `heat_j`.
        stored_j: heat in hot end, bed and the enclosure's air at the end of the job, over that at its start.
        filament_m: filament that has left the nozzle at the end.
    """

    program: Program
    plan: MotionPlan
    steps: Steps
    duration_s: np.ndarray
    end_s: np.ndarray
    hotend_c: np.ndarray
    bed_c: np.ndarray
    part_c: np.ndarray
    air_c: np.ndarray
    energy_j: dict[Subsystem, np.ndarray]
    peak_power_w: np.ndarray
    lost_j: np.ndarray
    work_j: np.ndarray
    part_lost_j: np.ndarray
    stored_j: float
    filament_m: float

    @property
    def total_s(self) -> float:
        """Duration of the job [s]."""
        return float(self.end_s[-1]) if len(self.end_s) else 0.0

    @property
    def electric_j(self) -> float:
        """Electric energy of the job [J]."""
        return float(sum(column.sum() for column in self.energy_j.values()))

    @property
    def heat_j(self) -> float:
        """Heat given to the room [J]: the heaters' losses and all that is not a heater; without the material's own."""
        heaters = (Subsystem.HOTEND, Subsystem.BED)
        rest = sum(column.sum() for subsystem, column in self.energy_j.items() if subsystem not in heaters)
        return float(self.lost_j.sum() + rest)


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
) -> Timeline:
    """Simulate one run.

    Args:
        start_c: hot end and bed at the start [degC]; default: the room's temperature.
        stock: the blank of a mill; default: the profile's. Without any, cutting takes no power here.

    Raises PredictionError (CANNOT_PREDICT) for a program that cannot be planned, a heater or material that is
    missing, a target that the heater cannot reach, a cut that cannot be followed or that the spindle cannot drive.
    """
    from twin_node import thermal_kernels as kernels

    plan = plan_motion(program, profile)
    steps = steps_of(program, plan, profile, material, removed_m3(program, profile, stock))
    start = np.array([*(start_c if start_c is not None else (profile.ambient, profile.ambient)), profile.ambient])
    result = np.zeros((kernels.RESULT_SIZE, len(steps)))
    stuck = kernels.simulate(
        *kernel_columns(steps, profile), heater_vector(profile.hotend), heater_vector(profile.bed),
        machine_vector(profile, material), start, result,
    )  # fmt: skip
    if stuck >= 0:
        raise _unreachable(program, steps, stuck, profile.ambient)
    duration = result[kernels.DURATION]
    energy, peak = _powers(program, profile, material, steps, result)
    return Timeline(
        program=program,
        plan=plan,
        steps=steps,
        duration_s=duration,
        end_s=np.cumsum(duration),
        hotend_c=result[kernels.HOTEND_C],
        bed_c=result[kernels.BED_C],
        part_c=result[kernels.PART_C],
        air_c=result[kernels.AIR_C],
        energy_j=energy,
        peak_power_w=peak,
        lost_j=result[kernels.LOST_J],
        work_j=result[kernels.WORK_J],
        part_lost_j=result[kernels.PART_LOST_J],
        stored_j=_stored_j(profile, start, result),
        filament_m=net_filament_m(program),
    )


def _stored_j(profile: MachineProfile, start_c: np.ndarray, result: np.ndarray) -> float:
    """Heat [J] in hot end, bed and the enclosure's air at the end, over that at the start."""
    from twin_node import thermal_kernels as kernels

    if not result.shape[1]:
        return 0.0
    capacity = [heater_vector(heater)[kernels.CAPACITY] for heater in (profile.hotend, profile.bed)]
    capacity.append(profile.enclosure.heat_capacity if profile.enclosure is not None else 0.0)
    return float(np.sum(np.array(capacity) * (result[kernels.HOTEND_C : kernels.AIR_C + 1, -1] - start_c)))


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
    power = profile.power
    speed = np.divide(steps.path_m, steps.motion_s, out=np.zeros(len(steps)), where=steps.motion_s > 0.0)
    return power.motors_enabled * steps.motors + power.fan * steps.fan + power.motion_per_speed * speed


def _powers(
    program: Program, profile: MachineProfile, material: Material | None, steps: Steps, result: np.ndarray
) -> tuple[dict[Subsystem, np.ndarray], np.ndarray]:
    """Energy by subsystem and highest total power of each step.

    Friction is proportional to path speed, so its energy is proportional to path (motion_per_speed, [J/m]).
    """
    from twin_node import thermal_kernels as kernels

    power, duration = profile.power, result[kernels.DURATION]
    fans_w = power.fan * steps.fan + power.hotend_fan * (result[kernels.HOTEND_C] > HOTEND_FAN_ON_C)
    motors_w = power.motors_enabled * steps.motors
    energy = {
        Subsystem.ELECTRONICS: power.electronics * duration,
        Subsystem.MOTION: motors_w * duration + power.motion_per_speed * steps.path_m,
        Subsystem.FAN: fans_w * duration,
    }
    if profile.hotend is not None:
        energy[Subsystem.HOTEND] = result[kernels.HOTEND_J]
    if profile.bed is not None:
        energy[Subsystem.BED] = result[kernels.BED_J]
    peak = power.electronics + motors_w + power.motion_per_speed * steps.speed_m_s + fans_w
    peak += result[kernels.HOTEND_PEAK_W] + result[kernels.BED_PEAK_W]
    if profile.spindle is not None:
        cutting = cutting_j(steps.removed_m3, material)
        idle_w = profile.spindle.idle_power * np.minimum(steps.spindle, 1.0)
        check_spindle_power(program, profile, cutting, idle_w, duration)
        energy[Subsystem.SPINDLE] = idle_w * duration + cutting
        peak += idle_w + mean_power_w(cutting, duration, AVERAGING_S)
    if power.coolant > 0.0:
        coolant_w = power.coolant * steps.coolant
        energy[Subsystem.COOLANT] = coolant_w * duration
        peak += coolant_w
    return energy, peak


def _unreachable(program: Program, steps: Steps, index: int, ambient_c: float) -> PredictionError:
    bed = steps.wait[index] == WAIT_BED
    target = (steps.bed_target_c if bed else steps.hotend_target_c)[index]
    cooling = steps.cools[index] and target <= ambient_c
    how = f"by cooling in a room of {ambient_c:.0f} degC" if cooling else "at full power"
    remedy = "Lower the temperature, or correct the heater's power and loss in the machine profile."
    return PredictionError(
        ErrorCode.CANNOT_PREDICT,
        f"line {int(program.columns['line'][index])}: the {'bed' if bed else 'hot end'} waits for {target:.0f} degC, "
        f"which it does not reach {how}.",
        "Wait for a temperature above the room's." if cooling else remedy,
    )
