"""The motion planner: how long each instruction moves and how fast, as the machine's own controller decides.

Two ways of taking corners: classic jerk (Marlin) and junction deviation (GRBL). Speeds are trapezoids with
look-ahead: a backward pass (can it still stop?) and a forward pass (can it be that fast already?). Motion stops
at instructions that wait. Heating, homing and levelling take no time here; the oracle knows them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.program import Limit, Op, Program
from industriverse_core.telemetry import Vector
from industriverse_core.units import filament_area_m2

SYNCHRONISING = (
    Op.DWELL, Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE, Op.STOP_SPINDLE_TURNING, Op.CHANGE_TOOL,
    Op.FLOOD_ON, Op.MIST_ON, Op.COOLANT_OFF, Op.PROGRAM_STOP, Op.OPTIONAL_PROGRAM_STOP, Op.PROGRAM_END,
    Op.HOME, Op.LEVEL_BED, Op.WAIT_HEATER, Op.MOTORS_OFF,
)  # fmt: skip
_REASONS = {
    1: ("its position is not a finite number", "Mend the coordinates."),
    2: ("no finite speed above zero is stated for it", "Give the move a feed, and limits above zero."),
    3: (
        "no finite acceleration above zero is stated for what it moves",
        "Give the machine acceleration limits above zero; a machine without an extruder feeds no filament.",
    ),
    4: ("the limit that it sets is not a number of zero or more", "Mend the limit."),
}


@dataclass(frozen=True, slots=True, eq=False)
class MotionPlan:
    """Motion of a program; every array has one entry for each instruction, zero where nothing moves.

    Attributes:
        duration_s: time of the move or dwell.
        end_s: motion clock at the end of the instruction (moves and dwells alone).
        length_m: path length; of the filament, where only the filament moves.
        entry_m_s, cruise_m_s, exit_m_s: speeds of the trapezoid along the path.
        acceleration_m_s2: of both ramps.
    """

    duration_s: np.ndarray
    end_s: np.ndarray
    length_m: np.ndarray
    entry_m_s: np.ndarray
    cruise_m_s: np.ndarray
    exit_m_s: np.ndarray
    acceleration_m_s2: np.ndarray

    @property
    def total_s(self) -> float:
        """Moves and dwells of the whole program [s]."""
        return float(self.end_s[-1]) if len(self.end_s) else 0.0


@dataclass(frozen=True, slots=True)
class MotionState:
    """Where the tool is at one time of the motion clock."""

    instruction: int
    fraction: float  # of the instruction's path, 0..1
    position_m: Vector
    speed_m_s: float


def filament_length_m(program: Program) -> np.ndarray:
    """Filament fed by each instruction [m], shape (n,); negative = retracted."""
    return program.columns["extrude_m3"] / filament_area_m2(program.metadata.filament_diameter_m)


def plan_motion(program: Program, profile: MachineProfile) -> MotionPlan:
    """Plan all moves. Raises PredictionError (CANNOT_PREDICT) for a move without finite position, speed or limit."""
    from industriverse_core import motion_kernels as kernels

    columns, count = program.columns, len(program)
    blocks = np.zeros((5, count))
    deviation = profile.kinematics.planner == "junction_deviation"
    centre = np.column_stack([columns["center_1_m"], columns["center_2_m"]])
    index, why = kernels.prepare(
        columns["op"], program.positions_m(), columns["feed_m_s"], filament_length_m(program), centre,
        columns["turns"], columns["target"], columns["value"], np.isin(columns["op"], SYNCHRONISING),
        controller_limits(profile), profile.kinematics.rapid_speed, deviation, blocks,
    )  # fmt: skip
    if index >= 0:
        raise _refusal(program, index, *_REASONS[why])
    dwell = columns["op"] == Op.DWELL
    duration = np.where(dwell, columns["value"], 0.0)
    if not np.all((duration >= 0.0) & np.isfinite(duration)):
        index = int(np.argmin((duration >= 0.0) & np.isfinite(duration)))
        raise _refusal(program, index, "its dwell is not a time", "Give the dwell zero or more seconds.")
    moves = np.flatnonzero(blocks[1] > 0.0)
    entry, leaving, cruise = np.zeros(count), np.zeros(count), np.zeros(count)
    kernels.look_ahead(blocks, moves, profile.protocol.planner_blocks - 1, entry, leaving)
    kernels.trapezoids(blocks, moves, entry, leaving, cruise, duration)
    return MotionPlan(duration, np.cumsum(duration), blocks[0], entry, cruise, leaving, blocks[2])


def controller_limits(profile: MachineProfile) -> np.ndarray:
    """The limits with which the machine's controller starts, indexed by Limit; unlimited where none is stated."""
    from industriverse_core.motion_kernels import LIMIT_COUNT

    limits = np.full(LIMIT_COUNT, math.inf)
    kinematics = profile.kinematics
    for number, axis in enumerate(kinematics.axes()):
        limits[Limit.SPEED_X + number] = axis.max_speed
        limits[Limit.ACCELERATION_X + number] = axis.max_acceleration
        limits[Limit.JERK_X + number] = axis.jerk
    limits[Limit.PRINT_ACCELERATION] = limits[Limit.RETRACT_ACCELERATION] = kinematics.print_acceleration
    limits[Limit.TRAVEL_ACCELERATION] = kinematics.travel_acceleration
    limits[Limit.JUNCTION_DEVIATION] = kinematics.junction_deviation
    if profile.extruder is not None:
        limits[Limit.SPEED_E] = profile.extruder.max_speed
        limits[Limit.ACCELERATION_E] = profile.extruder.max_acceleration
        limits[Limit.RETRACT_ACCELERATION] = profile.extruder.retract_acceleration
        limits[Limit.JERK_E] = profile.extruder.jerk
    return limits


def position_at(plan: MotionPlan, program: Program, t: float) -> MotionState:
    """Where the tool is `t` seconds into the motion clock. Before the start: at the first instruction's start;
    after the end: at the last instruction's end. Raises ValueError for NaN or an empty program."""
    if math.isnan(t) or not len(program):
        raise ValueError("needs a time and a program with instructions")
    index = min(int(np.searchsorted(plan.end_s, t, side="left")), len(program) - 1)
    since = min(max(0.0, t - (plan.end_s[index] - plan.duration_s[index])), plan.duration_s[index])
    length = float(plan.length_m[index])
    distance, speed = trapezoid_at(
        float(since), float(plan.duration_s[index]), length, float(plan.entry_m_s[index]),
        float(plan.cruise_m_s[index]), float(plan.exit_m_s[index]), float(plan.acceleration_m_s2[index]),
    )  # fmt: skip
    fraction = distance / length if length > 0.0 else float(t >= plan.end_s[index])
    return MotionState(index, fraction, path_point(program, index, fraction), speed)


def path_point(program: Program, index: int, fraction: float) -> Vector:
    """The point [m] at a fraction (0..1) of one instruction's path; arcs and helices are followed."""
    end = np.array([program.columns[name][index] for name in ("x_m", "y_m", "z_m")])
    start = np.array([program.columns[name][index - 1] for name in ("x_m", "y_m", "z_m")]) if index else np.zeros(3)
    point = start + fraction * (end - start)
    if program.columns["op"][index] == Op.ARC_FEED:
        _follow_arc(program, index, fraction, start, end, point)
    return float(point[0]), float(point[1]), float(point[2])


def _follow_arc(
    program: Program, index: int, fraction: float, start: np.ndarray, end: np.ndarray, point: np.ndarray
) -> None:
    """Put the point's two coordinates of the arc's plane onto the arc; the third is linear already."""
    from industriverse_core.motion_kernels import arc_sweep, plane_axes

    a, b, _ = plane_axes(int(program.columns["target"][index]))
    c1, c2 = float(program.columns["center_1_m"][index]), float(program.columns["center_2_m"][index])
    sweep = arc_sweep(start[a], start[b], end[a], end[b], c1, c2, int(program.columns["turns"][index]))
    r0, r1 = math.hypot(start[a] - c1, start[b] - c2), math.hypot(end[a] - c1, end[b] - c2)
    angle = math.atan2(start[b] - c2, start[a] - c1) + fraction * sweep
    radius = r0 + fraction * (r1 - r0)
    point[a], point[b] = c1 + radius * math.cos(angle), c2 + radius * math.sin(angle)


def trapezoid_at(
    since_s: float,
    duration_s: float,
    length_m: float,
    entry_m_s: float,
    cruise_m_s: float,
    exit_m_s: float,
    acceleration_m_s2: float,
) -> tuple[float, float]:
    """Distance covered [m] and speed [m/s] of one move, `since_s` (0 to `duration_s`) after it began.

    The numbers are one entry of a MotionPlan. A move without length or cruise speed stands still.
    """
    if length_m == 0.0 or cruise_m_s == 0.0:
        return 0.0, 0.0
    rise, fall = (cruise_m_s - entry_m_s) / acceleration_m_s2, (cruise_m_s - exit_m_s) / acceleration_m_s2
    left = duration_s - since_s
    if since_s < rise:
        return entry_m_s * since_s + 0.5 * acceleration_m_s2 * since_s**2, entry_m_s + acceleration_m_s2 * since_s
    if left < fall:
        return length_m - (exit_m_s * left + 0.5 * acceleration_m_s2 * left**2), exit_m_s + acceleration_m_s2 * left
    return 0.5 * (entry_m_s + cruise_m_s) * rise + cruise_m_s * (since_s - rise), cruise_m_s


def _refusal(program: Program, index: int, seen: str, remedy: str) -> PredictionError:
    line = int(program.columns["line"][index])
    return PredictionError(
        ErrorCode.CANNOT_PREDICT, f"instruction {index} (line {line}) cannot be planned: {seen}.", remedy
    )
