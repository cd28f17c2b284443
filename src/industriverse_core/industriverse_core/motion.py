"""The motion planner: how long each instruction moves and how fast, as the machine's own controller decides.

Three families of controllers take corners in their own ways: Marlin by classic jerk, GRBL by junction deviation,
Klipper by square corner velocity. The profile names its family. Speeds are trapezoids with look-ahead: a backward pass
(can it still stop?) and a forward pass (can it be that fast already?). Arcs are the chains of segments that the
controller makes of them. Motion stops at instructions that wait. Heating, homing and levelling take no time here; the
oracle knows them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from industriverse_core import motion_blocks as mb
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.motion_blocks import GRBL, KLIPPER, MARLIN
from industriverse_core.program import Limit, Op, Program
from industriverse_core.telemetry import Vector
from industriverse_core.units import filament_area_m2

SYNCHRONISING = (
    Op.DWELL, Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE, Op.STOP_SPINDLE_TURNING, Op.CHANGE_TOOL,
    Op.ORIENT_SPINDLE,
    Op.FLOOD_ON, Op.MIST_ON, Op.COOLANT_OFF, Op.PROGRAM_STOP, Op.OPTIONAL_PROGRAM_STOP, Op.PROGRAM_END,
    Op.HOME, Op.LEVEL_BED, Op.WAIT_HEATER, Op.MOTORS_OFF,
)  # fmt: skip
_STOPS = np.zeros(256, np.bool_)
_STOPS[[int(op) for op in SYNCHRONISING]] = True
_PLANNED = ("op", "x_m", "y_m", "z_m", "center_1_m", "center_2_m", "turns", "target", "feed_m_s", "extrude_m3", "value")
FAMILIES = {"classic_jerk": MARLIN, "junction_deviation": GRBL, "square_corner": KLIPPER}
MAX_ARC_SEGMENTS = 10_000_000  # of all arcs of a program; each takes 60 bytes while it is planned
_REASONS = {
    mb.NOT_FINITE: ("its position is not a finite number", "Mend the coordinates."),
    mb.NO_SPEED: ("no finite speed above zero is stated for it", "Give the move a feed, and limits above zero."),
    mb.NO_ACCELERATION: (
        "no finite acceleration above zero is stated for what it moves",
        "Give the machine acceleration limits above zero; a machine without an extruder feeds no filament.",
    ),
    mb.NO_LIMIT: ("the limit that it sets is not a number of zero or more", "Mend the limit."),
    mb.NO_TIME: ("its dwell is not a time", "Give the dwell zero or more seconds."),
    mb.TOO_MANY: ("the arcs up to it are cut into more than {most} segments", "Divide the program."),
}


@dataclass(frozen=True, slots=True, eq=False)
class MotionPlan:
    """Motion of a program; every array has one entry for each instruction, zero where nothing moves.

    Attributes:
        duration_s: time of the move or dwell.
        end_s: motion clock at the end of the instruction (moves and dwells alone).
        length_m: path length; of the filament, where only the filament moves.
        entry_m_s, cruise_m_s, exit_m_s: speeds of the trapezoid along the path. An arc is planned as a chain of
            segments; it has the one trapezoid with the length and the duration of the chain.
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
    """Plan all moves as the profile's controller does (`kinematics.planner`).

    Raises PredictionError (CANNOT_PREDICT) for a move without finite position, speed or limit.
    """
    from industriverse_core import motion_kernels as kernels
    from industriverse_core.motion_klipper import klipper_look_ahead

    family = FAMILIES[profile.kinematics.planner]
    settings = planner_settings(profile)
    op, x, y, z, c1, c2, turns, target, feed, extrude, value = (program.columns[name] for name in _PLANNED)
    most, index = kernels.count_blocks(op, x, y, z, c1, c2, turns, target, family, settings, MAX_ARC_SEGMENTS)
    if index >= 0:
        seen, remedy = _REASONS[mb.TOO_MANY]
        raise _refusal(program, index, seen.format(most=MAX_ARC_SEGMENTS), remedy)
    blocks = np.empty((mb.KLIPPER_BLOCK_SIZE if family == KLIPPER else mb.BLOCK_SIZE, most))
    owner, stops, length = np.empty(most, np.int32), np.empty(most, np.bool_), np.zeros(len(program))
    per_m3 = 1.0 / filament_area_m2(program.metadata.filament_diameter_m)
    count, index, why = kernels.prepare(
        op, x, y, z, feed, extrude, c1, c2, turns, target, value, per_m3, _STOPS, family, settings,
        controller_limits(profile), blocks, owner, stops, length,
    )  # fmt: skip
    if index >= 0:
        raise _refusal(program, index, *_REASONS[why])
    if family == KLIPPER:
        klipper_look_ahead(blocks, count)
    else:
        kernels.look_ahead(blocks, stops, count, horizon(profile))
    columns = np.zeros((kernels.COLUMNS, len(program)))
    kernels.finish(op, value, blocks, owner, stops, count, family, length, columns)
    duration, end, entry, cruise, leaving, acceleration = columns
    return MotionPlan(duration, end, length, entry, cruise, leaving, acceleration)


def horizon(profile: MachineProfile) -> int:
    """Blocks that the controller sees after the one that it carries out.

    Of Marlin's ring of blocks one stays free, and the one that is being carried out is planned no more; GRBL plans that
    one on.
    """
    return max(1, profile.protocol.planner_blocks - (2 if profile.kinematics.planner == "classic_jerk" else 1))


def planner_settings(profile: MachineProfile) -> np.ndarray:
    """What no program changes, indexed as motion_blocks.py says."""
    kinematics = profile.kinematics
    settings = np.zeros(mb.SETTINGS_SIZE)
    settings[mb.RAPID] = kinematics.rapid_speed
    settings[mb.ARC_RESOLUTION] = kinematics.arc_resolution
    settings[mb.CIRCLE_SEGMENTS] = kinematics.circle_segments
    if kinematics.planner == "square_corner":
        settings[mb.RAPID] = min(kinematics.x.max_speed, kinematics.y.max_speed)  # Klipper's max_velocity
        settings[mb.CORNER_SQUARED] = kinematics.square_corner_velocity**2
        settings[mb.SMOOTHING] = 1.0 - kinematics.minimum_cruise_ratio
    return settings


def controller_limits(profile: MachineProfile) -> np.ndarray:
    """The limits with which the machine's controller starts, indexed by Limit; unlimited where none is stated."""
    limits = np.full(mb.LIMIT_COUNT, math.inf)
    kinematics = profile.kinematics
    for number, axis in enumerate(kinematics.axes()):
        limits[Limit.SPEED_X + number] = axis.max_speed
        limits[Limit.ACCELERATION_X + number] = axis.max_acceleration
        limits[Limit.JERK_X + number] = axis.jerk
    limits[Limit.PRINT_ACCELERATION] = limits[Limit.RETRACT_ACCELERATION] = kinematics.print_acceleration
    limits[Limit.TRAVEL_ACCELERATION] = kinematics.travel_acceleration
    limits[Limit.JUNCTION_DEVIATION] = kinematics.junction_deviation
    limits[mb.PRESSURE_ADVANCE] = 0.0
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


def positions_at(plan: MotionPlan, program: Program, times_s: np.ndarray) -> np.ndarray:
    """Where the tool is at several times of the motion clock, shape (k, 3) [m]; as `position_at` of each.

    Raises ValueError for NaN or an empty program.
    """
    if np.isnan(times_s).any() or not len(program):
        raise ValueError("needs times and a program with instructions")
    index = np.minimum(np.searchsorted(plan.end_s, times_s, side="left"), len(program) - 1)
    lasts, length = plan.duration_s[index], plan.length_m[index]
    since = np.clip(times_s - (plan.end_s[index] - lasts), 0.0, lasts)
    entry, cruise, leaving = plan.entry_m_s[index], plan.cruise_m_s[index], plan.exit_m_s[index]
    moves = (length > 0.0) & (cruise > 0.0)
    slope = np.where(moves, plan.acceleration_m_s2[index], 1.0)
    rise, fall, left = (cruise - entry) / slope, (cruise - leaving) / slope, lasts - since
    level = 0.5 * (entry + cruise) * rise + cruise * (since - rise)
    distance = np.where(left < fall, length - (leaving * left + 0.5 * slope * left**2), level)
    distance = np.where(since < rise, entry * since + 0.5 * slope * since**2, distance)
    still = np.where(length > 0.0, 0.0, times_s >= plan.end_s[index])
    fraction = np.divide(distance, length, out=still, where=moves)
    columns = [program.columns[name] for name in ("x_m", "y_m", "z_m")]
    end = np.stack([column[index] for column in columns], axis=1)
    start = np.stack([np.where(index > 0, column[index - 1], 0.0) for column in columns], axis=1)
    points: np.ndarray = start + fraction[:, None] * (end - start)
    for arc in np.unique(index[program.columns["op"][index] == Op.ARC_FEED]):
        on = index == arc
        points[on] = _follow_arc(program, int(arc), fraction[on], start[on][0], end[on][0], points[on])
    return points


def path_point(program: Program, index: int, fraction: float) -> Vector:
    """The point [m] at a fraction (0..1) of one instruction's path; arcs and helices are followed."""
    end = np.array([program.columns[name][index] for name in ("x_m", "y_m", "z_m")])
    start = np.array([program.columns[name][index - 1] for name in ("x_m", "y_m", "z_m")]) if index else np.zeros(3)
    point = start + fraction * (end - start)
    if program.columns["op"][index] == Op.ARC_FEED:
        point = _follow_arc(program, index, np.array([fraction]), start, end, point[None, :])[0]
    return float(point[0]), float(point[1]), float(point[2])


def _follow_arc(
    program: Program, index: int, fraction: np.ndarray, start: np.ndarray, end: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Put the k points' two coordinates of the arc's plane onto the arc; the third is linear already. Shape (k, 3)."""
    from industriverse_core.motion_arcs import arc_sweep, plane_axes

    a, b, _ = plane_axes(int(program.columns["target"][index]))
    c1, c2 = float(program.columns["center_1_m"][index]), float(program.columns["center_2_m"][index])
    sweep = arc_sweep(start[a], start[b], end[a], end[b], c1, c2, int(program.columns["turns"][index]))
    r0, r1 = math.hypot(start[a] - c1, start[b] - c2), math.hypot(end[a] - c1, end[b] - c2)
    angle = math.atan2(start[b] - c2, start[a] - c1) + fraction * sweep
    radius = r0 + fraction * (r1 - r0)
    points[:, a], points[:, b] = c1 + radius * np.cos(angle), c2 + radius * np.sin(angle)
    return points


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
