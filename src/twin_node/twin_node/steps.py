"""A program as steps of the thermal model: what each instruction asks of the machine, as columns.

Each step says how long it moves, homes or dwells, what it waits for, and which heater targets, fan, motors
and spindle are in force while it runs. Steps may be single instructions or runs of them (`aggregate`).
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
from industriverse_core.units import filament_area_m2

WAIT_NONE, WAIT_HOTEND, WAIT_BED = 0, 1, 2
HOTEND_FAN_ON_C = 50.0  # E3D's and Prusa's firmware switch the hot end's fan at 50 degC
_SPINDLE_OFF = (Op.STOP_SPINDLE_TURNING, Op.PROGRAM_END)
_COOLANT_ON = (Op.FLOOD_ON, Op.MIST_ON)
_COOLANT_OFF = (Op.COOLANT_OFF, Op.PROGRAM_END)
_SPINDLE_ON = (Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE)


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


def steps_of(
    program: Program,
    plan: MotionPlan,
    profile: MachineProfile,
    material: Material | None,
    removed_m3: np.ndarray | None = None,
) -> Steps:
    """One step for each instruction. `removed_m3`: what each cuts away (core's stock.py); None = nothing is known.

    Raises PredictionError for a heater or material that is missing.
    """
    _check(program, profile, material)
    op, target, value = (program.columns[name] for name in ("op", "target", "value"))
    moving = program.is_motion()
    tool_moves = moving & _changes_place(program) | (op == Op.ARC_FEED)
    homing = _where(op == Op.HOME, profile.kinematics.homing_time)
    homing[op == Op.LEVEL_BED] = profile.kinematics.leveling_time
    waits = op == Op.WAIT_HEATER
    heats = (op == Op.SET_HEATER) | waits
    wait = np.zeros(len(program), np.int8)
    wait[waits & (target == Heater.HOTEND)] = WAIT_HOTEND
    wait[waits & (target == Heater.BED)] = WAIT_BED
    turning = np.isin(op, _SPINDLE_ON)
    spindle_max = profile.spindle.max_speed if profile.spindle else math.inf
    moved = moving | (op == Op.HOME) | (op == Op.LEVEL_BED)
    return Steps(
        motion_s=np.where(moving, plan.duration_s, 0.0),
        homing_s=homing,
        dwell_s=_where(op == Op.DWELL, plan.duration_s),
        wait=wait,
        cools=waits & (program.columns["turns"] > 0),
        hotend_target_c=_held(heats & (target == Heater.HOTEND), value),
        bed_target_c=_held(heats & (target == Heater.BED), value),
        fan=_held(op == Op.SET_FAN, np.clip(np.nan_to_num(value), 0.0, 1.0)),
        motors=_held(moved | (op == Op.MOTORS_OFF), moved),
        spindle=_held(turning | np.isin(op, _SPINDLE_OFF), np.where(turning, np.abs(value) / spindle_max, 0.0)),
        coolant=_held(np.isin(op, (*_COOLANT_ON, *_COOLANT_OFF)), np.isin(op, _COOLANT_ON)),
        path_m=np.where(tool_moves, plan.length_m, 0.0),
        speed_m_s=np.where(tool_moves, plan.cruise_m_s, 0.0),
        melted_kg=melted_m3(program) * (material.density if material else 0.0),
        removed_m3=np.zeros(len(program)) if removed_m3 is None else removed_m3,
    )


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


def net_filament_m(program: Program) -> float:
    """Filament [m] that has left the nozzle at the end."""
    return float(melted_m3(program).sum()) / filament_area_m2(program.metadata.filament_diameter_m)


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


def _held(changes: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The value of the last change at or before each step, in the values' type; 0 before the first."""
    places = np.flatnonzero(changes)
    held = np.zeros(len(value), value.dtype)
    if len(places):
        held[places[0] :] = np.repeat(value[places], np.diff(np.append(places, len(value))))
    return held


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
