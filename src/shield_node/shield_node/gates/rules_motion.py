"""How the machine moves: feeds, planner limits, arcs, homing, dwells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.machine import MachineProfile
from industriverse_core.program import Heater, Limit, Op
from industriverse_core.units import MM
from shield_node.gates.columns import bucket, jumps
from shield_node.gates.context import Context
from shield_node.gates.registry import WHOLE_PROGRAM, Hits, Seen, rule

CLAMP_TOLERANCE = 1.01
LIMIT_MARGIN = 1.5  # a controller that is told to go harder than this loses steps
SHIFT_TOLERANCE_M = 2e-9  # three roundings on the grid
SMALLEST_RADIUS_M = 1e-6
RADIUS_ABSOLUTE_M = 0.5e-3  # GRBL 1.1: error 33 above 0.5 mm, or above 5 um and 0.1 % of the radius
RADIUS_SMALL_M = 5e-6
RADIUS_RELATIVE = 1e-3
LONGEST_DWELL_S = 600.0
LONGEST_MOVE_S = 3600.0
LET_GO_BY = (0b11, 0b11, 0b100)  # bit mask of the motors without which X, Y, Z lose their position


@rule("motion.feed", "A feed move has a feed above zero; one above the machine's speed is clamped and noted.")
def feed(context: Context) -> Iterator[Hits]:
    """A feed of zero stalls the machine, or takes for ever.

    What the controller clamps (along the path, by each axis and the filament drive) is one note at the move that
    asks for the most; it refuses nothing.
    """
    asked, allowed = context.asked_speed_m_s, context.allowed_speed_m_s
    moves = context.is_motion & ~((context.length_m == 0.0) & (context.extrude_m3 == 0.0))
    where = np.flatnonzero(moves & ~(asked > 0.0))
    yield Hits(
        Severity.ERROR,
        where,
        lambda i: Seen(
            f"a move with a feed of {asked[i] / MM:g} mm/s; it must be above 0.",
            "Write the feed that was meant (F in mm/min).",
            asked[i] / MM,
            0.0,
            "mm/s",
        ),
    )
    excess = np.where(moves & np.isfinite(asked) & context.is_feed, asked / allowed, 0.0)
    clamped = excess > CLAMP_TOLERANCE
    if clamped.any():
        worst = int(np.argmax(np.where(clamped, excess, 0.0)))
        count = int(clamped.sum())
        yield Hits(
            Severity.INFO,
            [worst],
            lambda i: Seen(
                f"{asked[i] / MM:.1f} mm/s is asked for, the machine moves at most {allowed[i] / MM:.1f} mm/s here "
                f"(limit of {_slowest(context, i)}); "
                f"{count} {'moves are' if count > 1 else 'move is'} slower than written.",
                "Nothing has to be done; the prediction counts with the machine's speed.",
                asked[i] / MM,
                allowed[i] / MM,
                "mm/s",
            ),
        )


def _slowest(context: Context, index: int) -> str:
    """What reaches its own speed limit first in a motion."""
    drives = {
        name: abs(travel[index]) / axis.max_speed
        for name, travel, axis in zip("XYZ", context.travel_m, context.profile.kinematics.axes(), strict=True)
    }
    if context.profile.extruder is not None:
        drives["the filament drive"] = context.filament_m[index] / context.profile.extruder.max_speed
    arc = context.program.op[index] == Op.ARC_FEED
    return "the arc's axes" if arc else max(drives, key=lambda name: drives[name])


@rule("motion.endless", "One move lasts at most an hour.")
def endless(context: Context) -> Iterator[Hits]:
    """A feed near zero stalls the machine as well as zero does; the usual cause is a unit that was mistaken."""
    seconds = context.least_time_s
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(context.is_motion & (context.asked_speed_m_s > 0.0) & ~(seconds <= LONGEST_MOVE_S)),
        lambda i: Seen(
            f"one move takes {seconds[i] / 3600:.3g} h; at most {LONGEST_MOVE_S / 3600:g} h is allowed.",
            "Write the feed that was meant (F in mm/min).",
            seconds[i],
            LONGEST_MOVE_S,
            "s",
        ),
    )


@rule("motion.jump", "Only moves and homing change the position.")
def jump(context: Context) -> Iterator[Hits]:
    """Homing puts the homed axes to 0 and leaves the others; another tool length offset shifts Z by the difference, or
    leaves it. Any other instruction with another position than the one before it would move the machine where no rule
    looks."""
    homed = np.where(context.is_op(Op.HOME), context.program.target, 0)
    where = np.flatnonzero(jumps(context.is_motion, homed, *context.ends_m))
    if len(context.tool_offset_m):
        where = np.array([index for index in where.tolist() if not _is_shift(context, index)], int)
    yield Hits(
        Severity.ERROR,
        where,
        lambda i: Seen("the position changes without a move.", "Compile the program again from its G-code."),
    )


def _is_shift(context: Context, index: int) -> bool:
    """Whether a tool length offset alone explains the new position of an instruction."""
    (x, y, z), offset = context.ends_m, context.tool_offset_m
    x0, y0, z0, before = (x[index - 1], y[index - 1], z[index - 1], offset[index - 1]) if index else (0.0,) * 4
    is_offset = context.program.op[index] == Op.USE_TOOL_LENGTH_OFFSET
    shift = abs(float(z[index] - (z0 + before - offset[index])))
    return bool(is_offset and x[index] == x0 and y[index] == y0 and shift <= SHIFT_TOLERANCE_M)


_KLIPPER_ONLY = {int(Limit.MINIMUM_CRUISE_RATIO), int(Limit.TOOLHEAD_SPEED), int(Limit.SQUARE_CORNER_VELOCITY)}
_KLIPPER_OBEYS = _KLIPPER_ONLY | {int(Limit.PRINT_ACCELERATION), int(Limit.TRAVEL_ACCELERATION)}
_IGNORED_BY_KLIPPER = [int(limit) for limit in Limit if limit not in _KLIPPER_OBEYS]


def _limit_table(profile: MachineProfile) -> dict[Limit, float]:
    """What the machine's planner may be set to, in SI; absent = the profile states nothing."""
    kinematics, extruder = profile.kinematics, profile.extruder
    if kinematics.planner == "square_corner":
        acceleration, speed = kinematics.print_acceleration, min(kinematics.x.max_speed, kinematics.y.max_speed)
        return {
            Limit.PRINT_ACCELERATION: acceleration,
            Limit.TRAVEL_ACCELERATION: acceleration,
            Limit.TOOLHEAD_SPEED: speed,
            Limit.SQUARE_CORNER_VELOCITY: kinematics.square_corner_velocity,
        }
    table = {
        Limit.PRINT_ACCELERATION: kinematics.print_acceleration,
        Limit.TRAVEL_ACCELERATION: kinematics.travel_acceleration,
        Limit.RETRACT_ACCELERATION: kinematics.travel_acceleration,
    }
    for offset, axis in enumerate(kinematics.axes()):
        table[Limit(Limit.ACCELERATION_X + offset)] = axis.max_acceleration
        table[Limit(Limit.SPEED_X + offset)] = axis.max_speed
        table[Limit(Limit.JERK_X + offset)] = axis.jerk
    if extruder is not None:
        table[Limit.ACCELERATION_E] = extruder.max_acceleration
        table[Limit.SPEED_E] = extruder.max_speed
        table[Limit.JERK_E] = extruder.jerk
        table[Limit.RETRACT_ACCELERATION] = extruder.retract_acceleration
        if profile.protocol.firmware == "marlin_2":
            table[Limit.TRAVEL_ACCELERATION] = max(kinematics.travel_acceleration, extruder.retract_acceleration)
    if kinematics.planner == "junction_deviation":
        table[Limit.JUNCTION_DEVIATION] = kinematics.junction_deviation
    return {limit: value for limit, value in table.items() if value > 0.0}


@rule("motion.limits", "Planner limits that a program sets stay within the machine's.")
def limits(context: Context) -> Iterator[Hits]:
    """Above the machine's limit is a warning, above one and a half times it an error; an acceleration or speed of
    zero stops the machine for ever and is an error; so is a limit that does not exist, or that only Klipper knows. What
    Klipper does not obey (M201, M203, M205) does nothing there.

    Slicers write the retraction's acceleration as M204 T, which Marlin 2 takes for travel's. The axes' own limits hold
    in spite of it, so there travel's may be set as high as the retraction's."""
    program = context.program
    where = np.flatnonzero(context.is_op(Op.SET_LIMIT))
    klipper = context.profile.kinematics.planner == "square_corner"
    if klipper:
        where = where[~np.isin(program.target[where], _IGNORED_BY_KLIPPER)]
    table = _limit_table(context.profile)
    target, value = program.target[where], program.value[where]
    kinds, slot = np.unique(target, return_inverse=True)  # slicers write one with every change of feature
    known = {int(item) for item in Limit} - (set() if klipper else _KLIPPER_ONLY)
    tops = [table.get(Limit(item), np.inf) if item in known else np.nan for item in kinds.tolist()]
    allowed = np.array(tops, dtype=float)[slot] if len(kinds) else np.zeros(0)
    may_be_zero = (target >= Limit.JERK_X) & (target != Limit.TOOLHEAD_SPEED)  # jerks, corners, ratio
    zero = ~(value > 0.0) & ~(may_be_zero & (value == 0.0))
    error = zero | np.isnan(allowed) | (value > allowed * LIMIT_MARGIN)
    warning = ~error & (value > allowed * (1.0 + 1e-6))

    def describe(index: int) -> Seen:
        kind, number = int(program.target[index]), float(program.value[index])
        if kind not in known:
            name = Limit(kind).name.lower().replace("_", " ") if kind in _KLIPPER_ONLY else kind
            text = f"planner limit '{name}' is not known to {context.profile.id}."
            return Seen(text, "Slice for this machine.", kind)
        name = Limit(kind).name.lower().replace("_", " ")
        unit = "mm" if kind == Limit.JUNCTION_DEVIATION else "mm/s^2" if "acceleration" in name else "mm/s"
        top = float(allowed[np.searchsorted(where, index)])
        bound = f"at most {top / MM:g} {unit}" if np.isfinite(top) else "above 0"
        return Seen(
            f"sets {name} to {number / MM:g} {unit}; {context.profile.id} allows {bound}.",
            "Slice for this machine, or take the line out.",
            number / MM,
            top / MM if np.isfinite(top) else 0.0,
            unit,
        )

    yield Hits(Severity.ERROR, where[error], describe)
    yield Hits(Severity.WARNING, where[warning], describe)


@rule("arc.geometry", "An arc has a plane, a sense, and one radius from its start to its end.")
def arc_geometry(context: Context) -> Iterator[Hits]:
    """The radii at the start and the end may differ by 0.5 mm, and by 0.1 % of the radius above 5 µm (the rule of
    GRBL 1.1, error 33). A radius under 1 µm is none."""
    program, arcs = context.program, context.arcs
    start, end = arcs.start_radius_m, arcs.end_radius_m
    difference = np.abs(start - end)
    allowed = np.minimum(RADIUS_ABSOLUTE_M, np.maximum(RADIUS_SMALL_M, RADIUS_RELATIVE * end))
    senseless = (program.turns[arcs.where] == 0) | (program.target[arcs.where] != arcs.plane)
    tiny = ~(np.minimum(start, end) >= SMALLEST_RADIUS_M)
    bad = senseless | tiny | ~(difference <= allowed)
    slot = {int(index): position for position, index in enumerate(arcs.where.tolist()) if bad[position]}

    def describe(index: int) -> Seen:
        position = slot[index]
        remedy = "Write the centre (I, J, K) or radius (R) that was meant."
        if senseless[position]:
            return Seen("an arc without a sense or a plane.", "Compile the program again.")
        if tiny[position]:
            return Seen(
                "an arc whose centre is its start or end point; a radius above 0 is needed.",
                remedy, min(start[position], end[position]) / MM, SMALLEST_RADIUS_M / MM, "mm",
            )  # fmt: skip
        return Seen(
            f"the arc's radius is {start[position] / MM:.4f} mm at its start, {end[position] / MM:.4f} mm at its end; "
            f"they may differ by {allowed[position] / MM:.4f} mm.",
            remedy, difference[position] / MM, allowed[position] / MM, "mm",
        )  # fmt: skip

    yield Hits(Severity.ERROR, arcs.where[bad], describe)


@rule("homing.missing", "A printer's axis is homed before it moves.")
def homing(context: Context) -> Iterator[Hits]:
    """Before homing a printer does not know where it is; after its motors were switched off, no more.

    Levelling the bed moves every axis. Switching off X or Y lets both go (CoreXY drives them together), E lets none go;
    Klipper switches off all motors whatever letters are written. Mills work from an origin that the operator sets, so
    the rule is for printers. One finding for each axis.
    """
    if context.profile.kind != "printer":
        return
    program = context.program
    all_off = context.is_op(Op.MOTORS_OFF) & ((program.target == 0) | (context.profile.protocol.family == "klipper"))
    for axis, name in enumerate("XYZ"):
        off = all_off | (context.is_op(Op.MOTORS_OFF) & ((program.target & LET_GO_BY[axis]) != 0))
        homes = context.is_op(Op.HOME) & ((program.target & (1 << axis)) != 0)
        last = context.last(homes | off)
        homed = (last >= 0) & homes[last]
        moves = context.is_moving(axis) | context.is_op(Op.LEVEL_BED)
        yield Hits(
            Severity.ERROR,
            np.flatnonzero(moves & ~homed)[:1],
            lambda i, name=name, last=last: Seen(
                f"{name} moves "
                + ("after the motors were switched off; " if last[i] >= 0 else "before it was homed; ")
                + "its position is unknown.",
                "Home first (G28).",
            ),
        )


@rule("homing.mill", "A mill is not homed by its program.")
def homing_of_a_mill(context: Context) -> Iterator[Hits]:
    """Homing and levelling put the position to 0; a mill counts from the origin that the operator set, and its end
    stops are elsewhere. G28 among a printer's commands is read by Marlin's rules; a mill's G28 goes to a stored point.
    """
    if context.profile.kind != "mill":
        return
    remedy = "Choose the machine that the program was made for; home a mill before the program."
    text = (
        f"the program homes or levels {context.profile.id}, as a printer's does; where its origin is then is unknown."
    )
    where = np.flatnonzero(context.is_op(Op.HOME, Op.LEVEL_BED))
    yield Hits(Severity.ERROR, where, lambda _: Seen(text, remedy))


@rule("dwell.endless", "A dwell is not negative and lasts at most ten minutes.")
def dwell(context: Context) -> Iterator[Hits]:
    """A longer pause is a PROGRAM_STOP that the operator ends; one with a time is a dwell. Dwells that follow each
    other without a move between them count together."""
    asked, seconds = context.waiting_s, _dwells_in_a_row_s(context)
    where = np.flatnonzero((asked != 0.0) & ~((seconds >= 0.0) & (seconds <= LONGEST_DWELL_S)))
    yield Hits(
        Severity.ERROR,
        where,
        lambda i: Seen(
            f"a dwell of {seconds[i]:g} s; 0 to {LONGEST_DWELL_S:g} s are allowed.",
            "Shorten it (G4 P is in milliseconds, S in seconds).",
            seconds[i],
            LONGEST_DWELL_S,
            "s",
        ),
    )


def _dwells_in_a_row_s(context: Context) -> np.ndarray:
    """(n,) sum of the dwells since the last move; of one that is negative or not finite that alone."""
    asked = context.waiting_s
    total = np.cumsum(np.where(np.isfinite(asked), asked, 0.0))
    moved = context.last(context.is_travelling)
    seconds = total - np.where(moved >= 0, total[moved], 0.0) if len(moved) else total
    return np.where(np.isfinite(asked) & (asked >= 0.0), seconds, asked)


@rule("dwell.sum", "Dwells with little between them last at most ten minutes together.")
def dwell_sum(context: Context) -> Iterator[Hits]:
    """Waiting adds up, and work takes its own time off again. While the hot end is hot only moves that print are work,
    because filament decays in the nozzle: then more is an error, else a warning. One finding each time."""
    waiting = np.where(np.isfinite(context.waiting_s), np.maximum(context.waiting_s, 0.0), 0.0)
    if not waiting.sum() > LONGEST_DWELL_S:
        return
    extruder = context.profile.extruder
    hot = np.zeros(len(waiting), bool)
    if extruder is not None:
        hot = context.heater(Heater.HOTEND).target_c >= extruder.min_temperature
    works = context.is_travelling & np.isfinite(context.least_time_s) & (~hot | (context.fresh_m3 > 0.0))
    total = bucket(waiting - np.where(works, context.least_time_s, 0.0))
    over = total > LONGEST_DWELL_S
    first = (
        over & ~context.before(over, 0) & ~(_dwells_in_a_row_s(context) > LONGEST_DWELL_S)
    )  # dwell.endless has those
    for severity, hit, what in (
        (Severity.ERROR, first & hot, "without printing, with the hot end hot"),
        (Severity.WARNING, first & ~hot, "with less work than that between"),
    ):
        yield Hits(
            severity,
            np.flatnonzero(hit),
            lambda i, what=what: Seen(
                f"dwells have lasted {total[i]:g} s in all up to here {what}; {LONGEST_DWELL_S:g} s are allowed.",
                "Take dwells out, or cool the nozzle and stop for the operator (M0).",
                total[i],
                LONGEST_DWELL_S,
                "s",
            ),
        )


@rule("program.empty", "A program moves something.")
def empty(context: Context) -> Iterator[Hits]:
    """Without one move there is nothing to make, and nothing to predict."""
    if not context.is_motion.any():
        remedy = "Check that this is the file that was meant."
        yield Hits(Severity.ERROR, WHOLE_PROGRAM, lambda _: Seen("the program contains no move.", remedy))
