"""A program as steps of the thermal model: what each instruction asks of the machine, as columns.

Each step says how long it moves, homes or dwells, what it waits for, and which heater targets, fan, motors
and spindle are in force while it runs. Steps are single instructions (`steps_of`) or runs of them: `merge_steps` makes
those that are simulated, `aggregate` still longer ones of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.motion import MotionPlan
from industriverse_core.program import Heater, Op, Program

WAIT_NONE, WAIT_HOTEND, WAIT_BED = 0, 1, 2
STATE = ("wait", "cools", "hotend_target_c", "bed_target_c", "fan", "motors", "spindle", "coolant")  # columns of Steps
HOTEND_FAN_ON_C = 50.0  # E3D's and Prusa's firmware switch the hot end's fan at 50 degC
STEP_S = 0.5  # a hot end's time constant is a minute, its controller's period some tenths of a second


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Columns of n steps.

    Attributes:
        motion_s: moves by the plan.
        homing_s: homing and levelling.
        dwell_s: dwells.
        wait: WAIT_NONE, WAIT_HOTEND or WAIT_BED; the heater's target must be reached before the next step.
        cools: whether the wait ends only when a heater that is too hot has cooled.
        hotend_target_c, bed_target_c: in force during the step; 0 = off.
        fan: part-cooling fan, 0..1.
        motors: whether the motors are enabled.
        spindle: share of the spindle's highest speed, 0..1.
        coolant: whether flood or mist is on.
        path_m: path travelled by the tool.
        speed_m_s: highest speed of the tool.
        melted_kg: material that leaves the nozzle for good (a retraction that returns does not count again).
        removed_m3: stock that the tool cuts away; 0 where the stock is not known.
    """

    motion_s: np.ndarray
    homing_s: np.ndarray
    dwell_s: np.ndarray
    wait: np.ndarray
    cools: np.ndarray
    hotend_target_c: np.ndarray
    bed_target_c: np.ndarray
    fan: np.ndarray
    motors: np.ndarray
    spindle: np.ndarray
    coolant: np.ndarray
    path_m: np.ndarray
    speed_m_s: np.ndarray
    melted_kg: np.ndarray
    removed_m3: np.ndarray

    def __len__(self) -> int:
        return len(self.motion_s)


@dataclass(frozen=True, slots=True, eq=False)
class MergedSteps:
    """The n instructions of a program as m steps, each with one state throughout.

    Attributes:
        steps: columns of the m steps; a wait is a step of its own.
        first: the first instruction of each, shape (m,).
        count: n.
        melted_m3: filament that has left the nozzle at the end.
    """

    steps: Steps
    first: np.ndarray
    count: int
    melted_m3: float

    def spread(self, column: np.ndarray) -> np.ndarray:
        """A column of the steps as one of the instructions, each with its step's value."""
        return np.repeat(column, np.diff(self.first, append=self.count))

    def sums(self, column: np.ndarray) -> np.ndarray:
        """A column of the instructions added up over each step, shape (m,)."""
        return np.add.reduceat(column, self.first) if len(self.first) else np.zeros(0)


def merge_steps(
    program: Program,
    plan: MotionPlan,
    profile: MachineProfile,
    material: Material | None,
    removed_m3: np.ndarray | None = None,
    longest_s: float = STEP_S,
) -> MergedSteps:
    """Steps of at most `longest_s` (but for single instructions that last longer) over which nothing is switched.

    `removed_m3`: what each instruction cuts away (core's stock.py); None = nothing is known.
    Raises PredictionError for a heater or material that is missing.
    """
    from twin_node import step_kernels as kernels

    _check(program, profile, material)
    op, target, value, turns = (program.columns[name] for name in ("op", "target", "value", "turns"))
    homing_s, leveling_s = profile.kinematics.homing_time, profile.kinematics.leveling_time
    spindle_max = profile.spindle.max_speed if profile.spindle else math.inf
    most = _most_steps(program, plan, profile, longest_s)
    first, states = np.empty(most, np.int64), np.empty((kernels.STATE_SIZE, most))
    count = kernels.cut(
        op, target, value, turns, plan.duration_s, homing_s, leveling_s, spindle_max, longest_s, first, states
    )
    first, states = first[:count], states[:, :count]
    sums = _sums(program, plan, profile, removed_m3, first)
    state = {
        "wait": states[kernels.WAIT].astype(np.int8),
        "cools": states[kernels.COOLS] > 0.0,
        "hotend_target_c": states[kernels.HOTEND_TARGET],
        "bed_target_c": states[kernels.BED_TARGET],
        "fan": states[kernels.FAN],
        "motors": states[kernels.MOTORS] > 0.0,
        "spindle": states[kernels.SPINDLE],
        "coolant": states[kernels.COOLANT] > 0.0,
    }
    steps = Steps(**state, **_summed(sums, material))
    return MergedSteps(steps, first, len(program), float(sums[kernels.MELTED_M3].sum()))


def steps_from(
    index: int,
    merged: MergedSteps,
    program: Program,
    plan: MotionPlan,
    profile: MachineProfile,
    material: Material | None,
    removed_m3: np.ndarray | None = None,
) -> MergedSteps:
    """The merged steps of what begins with one instruction. It is a step of its own; so is what follows it in its step.

    Arguments as those of `merge_steps`, which made `merged`. Raises ValueError for an instruction that is not there.
    """
    if not 0 <= index < merged.count:
        raise ValueError(f"instruction {index} of {merged.count}")
    at = int(np.searchsorted(merged.first, index, side="right")) - 1
    end = int(merged.first[at + 1]) if at + 1 < len(merged.first) else merged.count
    new = [i for i in (index, index + 1) if merged.first[at] < i < end]
    first = np.concatenate([merged.first[: at + 1], np.array(new, np.int64), merged.first[at + 1 :]])
    sums = _sums(program, plan, profile, removed_m3, first)
    begin = int(np.searchsorted(first, index))
    which = np.searchsorted(merged.first, first[begin:], side="right") - 1
    state = {name: getattr(merged.steps, name)[which] for name in STATE}
    steps = Steps(**state, **_summed(sums[:, begin:], material))
    return MergedSteps(steps, first[begin:], merged.count, merged.melted_m3)


def _sums(
    program: Program, plan: MotionPlan, profile: MachineProfile, removed_m3: np.ndarray | None, first: np.ndarray
) -> np.ndarray:
    """What adds up over the instructions of each step, shape (SUM_SIZE, m)."""
    from twin_node import step_kernels as kernels

    sums, kinematics = np.empty((kernels.SUM_SIZE, len(first))), profile.kinematics
    kernels.add_up(
        *(program.columns[name] for name in ("op", "x_m", "y_m", "z_m", "extrude_m3")), plan.duration_s, plan.length_m,
        plan.cruise_m_s, np.empty(0) if removed_m3 is None else removed_m3, kinematics.homing_time,
        kinematics.leveling_time, first, sums,
    )  # fmt: skip
    return sums


def _summed(sums: np.ndarray, material: Material | None) -> dict[str, np.ndarray]:
    from twin_node import step_kernels as kernels

    return {
        "motion_s": sums[kernels.MOTION_S],
        "homing_s": sums[kernels.HOMING_S],
        "dwell_s": sums[kernels.DWELL_S],
        "path_m": sums[kernels.PATH_M],
        "speed_m_s": sums[kernels.SPEED_M_S],
        "melted_kg": sums[kernels.MELTED_M3] * (material.density if material else 0.0),
        "removed_m3": sums[kernels.REMOVED_M3],
    }


def _most_steps(program: Program, plan: MotionPlan, profile: MachineProfile, longest_s: float) -> int:
    """More than `cut` can make: two that follow each other without a switch last longer than `longest_s`.

    Only what is no move switches anything; the motors, also the move behind it.
    """
    op, kinematics = program.columns["op"], profile.kinematics
    still = len(program) - int(np.count_nonzero(program.is_motion()))
    lasts_s = plan.total_s + np.count_nonzero(op == Op.HOME) * kinematics.homing_time
    lasts_s += np.count_nonzero(op == Op.LEVEL_BED) * kinematics.leveling_time
    full = 2.0 * lasts_s / longest_s if longest_s > 0.0 else math.inf
    return int(min(float(len(program)), 2.0 * still + full + 3.0))


def steps_of(
    program: Program,
    plan: MotionPlan,
    profile: MachineProfile,
    material: Material | None,
    merged: MergedSteps,
    removed_m3: np.ndarray | None = None,
) -> Steps:
    """One step for each instruction. What is in force is as in the merged steps; `removed_m3` as there."""
    op, moving = program.columns["op"], program.is_motion()
    tool_moves = moving & _changes_place(program) | (op == Op.ARC_FEED)
    state, spread = merged.steps, merged.spread
    return Steps(
        motion_s=np.where(moving, plan.duration_s, 0.0),
        homing_s=_homing_s(op, profile),
        dwell_s=_where(op == Op.DWELL, plan.duration_s),
        wait=spread(state.wait),
        cools=spread(state.cools),
        hotend_target_c=spread(state.hotend_target_c),
        bed_target_c=spread(state.bed_target_c),
        fan=spread(state.fan),
        motors=spread(state.motors),
        spindle=spread(state.spindle),
        coolant=spread(state.coolant),
        path_m=np.where(tool_moves, plan.length_m, 0.0),
        speed_m_s=np.where(tool_moves, plan.cruise_m_s, 0.0),
        melted_kg=melted_m3(program) * (material.density if material else 0.0),
        removed_m3=np.zeros(len(program)) if removed_m3 is None else removed_m3,
    )


def durations_s(program: Program, plan: MotionPlan, profile: MachineProfile) -> np.ndarray:
    """How long each instruction moves, homes or dwells, shape (n,); waits are not known here and 0."""
    return plan.duration_s + _homing_s(program.columns["op"], profile)


def _homing_s(op: np.ndarray, profile: MachineProfile) -> np.ndarray:
    homing = _where(op == Op.HOME, profile.kinematics.homing_time)
    homing[op == Op.LEVEL_BED] = profile.kinematics.leveling_time
    return homing


def _changes_place(program: Program) -> np.ndarray:
    """Mask of the instructions that end elsewhere than they begin; the first begins at the origin."""
    changes = np.zeros(len(program), bool)
    for name in ("x_m", "y_m", "z_m"):
        column = program.columns[name]
        changes[1:] |= column[1:] != column[:-1]
        changes[:1] |= column[:1] != 0.0
    return changes


def _where(mask: np.ndarray, value: float | np.ndarray) -> np.ndarray:
    """`value` where the mask is true, else 0; pages of a long column that stay 0 take no memory."""
    column = np.zeros(len(mask))
    column[mask] = value[mask] if isinstance(value, np.ndarray) else value
    return column


def melted_m3(program: Program) -> np.ndarray:
    """Volume [m^3] that each instruction adds to what has left the nozzle, shape (n,).

    Filament that was drawn back and fed again counts once: the increments of the running maximum.
    """
    fed = np.cumsum(program.columns["extrude_m3"])
    return np.diff(np.maximum.accumulate(np.concatenate([[0.0], fed])))


def aggregate(steps: Steps, longest_s: float) -> Steps:
    """The same job as fewer, longer steps: runs of steps with one state, at most `longest_s` long.

    Times, paths, masses and volumes add up, the speed is the highest of the run, the fan its mean over time: a
    heater's loss is linear in it. A step that waits stays alone.
    """
    count = len(steps)
    if count == 0:
        return steps
    begins = np.ones(count, bool)
    begins[1:] = (steps.wait[1:] > 0) | (steps.wait[:-1] > 0)
    for state in (steps.hotend_target_c, steps.bed_target_c, steps.motors, steps.spindle, steps.coolant):
        begins[1:] |= state[1:] != state[:-1]
    lasts = steps.motion_s + steps.homing_s + steps.dwell_s
    chunk = np.floor(np.cumsum(lasts) / longest_s)
    begins[1:] |= chunk[1:] != chunk[:-1]
    first = np.flatnonzero(begins)
    summed = {"motion_s", "homing_s", "dwell_s", "path_m", "melted_kg", "removed_m3"}
    columns = {}
    for item in fields(steps):
        column = getattr(steps, item.name)
        if item.name in summed:
            columns[item.name] = np.add.reduceat(column, first)
        elif item.name == "speed_m_s":
            columns[item.name] = np.maximum.reduceat(column, first)
        else:
            columns[item.name] = column[first]
    run_s, fan_s = np.add.reduceat(lasts, first), np.add.reduceat(steps.fan * lasts, first)
    columns["fan"] = np.divide(fan_s, run_s, out=columns["fan"], where=run_s > 0.0)
    return Steps(**columns)


def _check(program: Program, profile: MachineProfile, material: Material | None) -> None:
    op, target, value = (program.columns[name] for name in ("op", "target", "value"))
    heats = (op == Op.SET_HEATER) | (op == Op.WAIT_HEATER)
    heaters = {Heater.HOTEND: profile.hotend, Heater.BED: profile.bed, Heater.CHAMBER: None}
    for index in np.flatnonzero(heats & ~(value == 0.0)):
        known = int(target[index]) in set(Heater)
        heater = heaters[Heater(int(target[index]))] if known else None
        line = int(program.columns["line"][index])
        if heater is None or not math.isfinite(value[index]):
            name = Heater(int(target[index])).name.lower() if known else f"heater {int(target[index])}"
            raise PredictionError(
                ErrorCode.CANNOT_PREDICT,
                f"line {line}: {name} to {value[index]:g} degC cannot be predicted for {profile.id}.",
                "Use a machine profile that has this heater, and a temperature that is a number.",
            )
    if profile.kind == "printer" and (material is None or material.heat_capacity_melt is None):
        name = material.id if material else "nothing"
        raise PredictionError(
            ErrorCode.CANNOT_PREDICT, f"{profile.id} prints, and {name} is not printed.", "Name a printing material."
        )
