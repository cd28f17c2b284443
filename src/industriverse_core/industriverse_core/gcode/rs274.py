"""RS274/NGC (GRBL, LinuxCNC) lines: many codes on one line, carried out in the standard's order.

Order of execution and modal groups: NIST IR 6556 (RS274/NGC), tables 4 and 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from industriverse_core.controller import WORK_SYSTEMS
from industriverse_core.gcode import canned_cycles, coordinates, tool_length
from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode.session import (
    RefusedError,
    Session,
    Words,
    end_program,
    malformed,
    not_negative,
    orient,
    required,
    set_centre_absolute,
    set_plane,
    set_relative,
    set_units,
    spindle,
    unsupported,
    whole,
)
from industriverse_core.program import Op, Plane

Handler = Callable[[Session, Words], None]
CYCLES = {f"G{code}": code for code in canned_cycles.CODES}
MOTIONS = ("G0", "G1", "G2", "G3", "G80", *CYCLES)
AXIS_LETTERS = frozenset("XYZ")
OTHER_AXES = frozenset("ABCUVW")

FORBIDDEN = {"M43": "debugs pins", "M112": "is an emergency stop", "M999": "restarts after a stop"}
FOLLOWED_ROWS = 64  # so far Python looks whether a program says where each axis is; one that never names Z stays fast
# words that belong to a code other than the motion
OWN_WORDS = {"G4": "P", "G64": "PQR", "G10": "LPRXYZ", "M19": "PQR", "G43": "H", "G43.2": "H"}
# codes that use the axis words of their line, so that no motion does
TAKES_AXES = ("G10", "G28", "G30", "G43.1", "G52", "G92")
UNSUPPORTED = {
    "G7": "lathe diameter mode",
    "G8": "lathe radius mode",
    "G41": "cutter compensation",
    "G42": "cutter compensation",
    "G41.1": "cutter compensation",
    "G42.1": "cutter compensation",
    "G50": "scaling",
    "G51": "scaling",
    "G70": "lathe cycle",
    "G71": "lathe cycle",
    "G71.1": "lathe cycle",
    "G71.2": "lathe cycle",
    "G72": "lathe cycle",
    "G72.1": "lathe cycle",
    "G72.2": "lathe cycle",
    "G76": "threading cycle",
    "G96": "constant surface speed",
    "M6": "a tool change without a tool number",
    "M60": "pallet change",
    "M98": "subroutine call",
    "M99": "subroutine end",
    **{f"G33{dot}": "spindle-synchronised motion" for dot in ("", ".1")},
    **{f"G38.{dot}": "probing" for dot in range(2, 6)},
    **{f"G5{dot}": "curves" for dot in ("", ".1", ".2", ".3")},
    **{f"M{code}": "modal state or input and output control" for code in (*range(50, 54), *range(61, 74))},
}


def execute(session: Session, names: list[str], words: Words) -> None:
    """Carry out one line: the names of its G and M codes, and its other words. Raises RefusedError.

    The caller restores the session when a line is refused, so nothing of it is carried out.
    """
    motion = _check(session, names, words)
    wanted = set(names)
    for name, handler in BEFORE_MOTION.items():
        if name in wanted:
            handler(session, words)
        elif name == "T" and "T" in words:
            session.selected_tool = whole(words, "T")
        elif name == "S" and "S" in words and not wanted & {"M3", "M4", "M5"}:
            _speed(session, words)
    used = {"S", "T"}.union(*(letters for name, letters in OWN_WORDS.items() if name in wanted))
    used |= AXIS_LETTERS if "G43.1" in wanted else set()
    rest = {letter: value for letter, value in words.items() if letter not in used}
    for name, handler in coordinates.HANDLERS.items():
        if name in wanted:
            handler(session, words)
            if name in TAKES_AXES:
                rest = {letter: value for letter, value in rest.items() if letter not in AXIS_LETTERS}
    _move(session, motion, rest, in_machine="G53" in wanted)
    for name, handler in AFTER_MOTION.items():
        if name in wanted:
            handler(session, words)
    session.state[it.HAND_OVER] = float(_needs_python(session))


def _needs_python(session: Session) -> bool:
    """Whether motion lines have a meaning that the compiled loop does not know."""
    unknown = any(map(math.isnan, session.state[it.OFFSET : it.OFFSET + 3].tolist()))
    follows = session.placed != coordinates.ALL_AXES and session.count + session.earlier < FOLLOWED_ROWS
    return not session.moved or follows or unknown or session.cycle is not None or session.feed_mode != "G94"


def _check(session: Session, names: list[str], words: Words) -> str:
    """The motion code of the line ('' = none written). Raises RefusedError for codes that cannot be together."""
    groups: dict[str, str] = {}
    for name in names:
        if name not in GROUPS:
            if name in UNSUPPORTED:
                raise unsupported(UNSUPPORTED[name])
            raise RefusedError("unknown", f"{name}: no such code")
        group = GROUPS[name]
        if group in groups:
            raise malformed(f"{groups[group]} and {name} cannot be on one line")
        groups[group] = name
        if group == "no effect":
            session.ignore(name, "changes nothing here")
            del groups[group]
    if "M6" in names and "T" not in words and session.selected_tool < 0:
        raise unsupported(UNSUPPORTED["M6"])
    others = OTHER_AXES & words.keys()
    if others:
        raise unsupported(f"the axis {min(others)}")
    motion = groups.get("motion", "")
    taking = [name for name in TAKES_AXES if name in names]
    if len(taking) > 1:
        raise malformed(f"{taking[0]} and {taking[1]} cannot be on one line: both take the axis words")
    if taking and motion not in ("", "G80"):
        raise malformed(f"{taking[0]} and a motion cannot be on one line")
    bare = [name for name in coordinates.HANDLERS if name in names and name not in TAKES_AXES]
    if bare and AXIS_LETTERS & words.keys():
        raise malformed(f"{bare[0]} has no axis words")
    if motion == "G80" and AXIS_LETTERS & words.keys() and not taking:
        raise malformed("axis words with G80, which ends motion")
    _check_own_words(names, words, motion or f"G{session.state[it.MODE]:g}")
    return motion


def _check_own_words(names: list[str], words: Words, motion: str) -> None:
    """Raise RefusedError when two codes of a line could mean the same P, Q, R or L word."""
    takes = {"G2": "PR", "G3": "PR", **dict.fromkeys(CYCLES, "LPQR")}.get(motion, "")
    if motion not in names and not AXIS_LETTERS & words.keys():
        takes = ""
    for letter in "LPQR":
        owners = [name for name, letters in OWN_WORDS.items() if name in names and letter in letters]
        if letter in words and len(owners) + (letter in takes) > 1:
            raise malformed(f"the word {letter} could belong to two codes")


def _move(session: Session, motion: str, words: Words, in_machine: bool) -> None:
    """The motion of a line: its own code, else the one in force when there are axis words."""
    state = session.state
    if motion == "G80":
        state[it.MODE] = -1.0
        session.cycle = None
        motion = ""
    has_axes = bool(words.keys() & AXIS_LETTERS)
    if not motion and not has_axes:
        left = words.keys() - {"F"}
        if left:
            raise malformed(f"the word {min(left)} has nothing to act on")
        if in_machine:
            raise malformed("G53 needs G0 or G1 and axis words")
        if "F" in words and session.feed_mode != "G93":
            state[it.FEED] = max(required(words, "F") * state[it.UNIT], 0.0)
        return
    if not motion and state[it.MODE] < 0.0:
        raise malformed("axis words without a motion code in force")
    mode = int(motion[1:]) if motion else int(state[it.MODE])
    if mode in canned_cycles.CODES:
        if in_machine:
            raise malformed("G53 needs G0 or G1")
        canned_cycles.carry_out(session, mode, words)
        return
    session.cycle = None
    coordinates.move(session, mode, words, in_machine)


def _speed(session: Session, words: Words) -> None:
    """S alone: the speed of the next start, or of the running spindle at once."""
    if session.spindle is Op.STOP_SPINDLE_TURNING:
        session.spindle_rpm = not_negative(words, "S")
    else:
        spindle(session, session.spindle, words)


def _orient(session: Session, words: Words) -> None:
    """M19: R is the angle [degrees], 0 without it."""
    if {"P", "Q"} & words.keys():
        raise unsupported("a direction (P) or a time limit (Q) of spindle orientation")
    degrees = not_negative(words, "R") if "R" in words else 0.0
    if degrees > 360.0:
        raise malformed("M19 takes an R of 0 to 360 degrees")
    orient(session, math.radians(degrees))


def _change_tool(session: Session, words: Words) -> None:
    session.tool = session.selected_tool
    session.emit(Op.CHANGE_TOOL, target=session.tool)


def _nothing(session: Session, words: Words) -> None:
    return


def _dwell(session: Session, words: Words) -> None:
    session.emit(Op.DWELL, value=not_negative(words, "P"))


def _feed_mode(name: str) -> Handler:
    """G93, G94, G95. F of one mode has no meaning in another, so a change takes it away (as in GRBL)."""

    def handler(session: Session, words: Words) -> None:
        if session.feed_mode != name:
            session.feed_mode = name
            session.state[it.FEED] = math.nan

    return handler


def _retract_mode(name: str) -> Handler:
    def handler(session: Session, words: Words) -> None:
        session.retract_mode = name

    return handler


# In the order of execution; 'S' and 'T' stand for the words of that letter.
BEFORE_MOTION: dict[str, Handler] = {
    **{name: _feed_mode(name) for name in ("G93", "G94", "G95")},
    "S": _nothing,
    "T": _nothing,
    "M6": _change_tool,
    "M3": lambda s, w: spindle(s, Op.START_SPINDLE_CLOCKWISE, w),
    "M4": lambda s, w: spindle(s, Op.START_SPINDLE_COUNTERCLOCKWISE, w),
    "M5": lambda s, w: spindle(s, Op.STOP_SPINDLE_TURNING, w),
    "M19": _orient,
    "M7": lambda s, w: s.emit(Op.MIST_ON),
    "M8": lambda s, w: s.emit(Op.FLOOD_ON),
    "M9": lambda s, w: s.emit(Op.COOLANT_OFF),
    "G4": _dwell,
    "G17": lambda s, w: set_plane(s, Plane.XY),
    "G18": lambda s, w: set_plane(s, Plane.ZX),
    "G19": lambda s, w: set_plane(s, Plane.YZ),
    "G20": lambda s, w: set_units(s, 25.4),
    "G21": lambda s, w: set_units(s, 1.0),
    "G43": tool_length.use_tool,
    "G43.1": tool_length.use_written,
    "G43.2": tool_length.add_tool,
    "G49": tool_length.use_none,
    **{name: coordinates.select(name) for name in WORK_SYSTEMS},
    "G90": lambda s, w: set_relative(s, False),
    "G91": lambda s, w: set_relative(s, True),
    "G90.1": lambda s, w: set_centre_absolute(s, True),
    "G91.1": lambda s, w: set_centre_absolute(s, False),
    "G98": _retract_mode("G98"),
    "G99": _retract_mode("G99"),
}
AFTER_MOTION: dict[str, Handler] = {
    "M0": lambda s, w: s.emit(Op.PROGRAM_STOP),
    "M1": lambda s, w: s.emit(Op.OPTIONAL_PROGRAM_STOP),
    "M2": lambda s, w: end_program(s),
    "M30": lambda s, w: end_program(s),
}
GROUPS: dict[str, str] = {
    **dict.fromkeys(MOTIONS, "motion"),
    **dict.fromkeys(("G4", "G53", *coordinates.HANDLERS), "non-modal"),
    **dict.fromkeys(("G17", "G18", "G19"), "plane"),
    **dict.fromkeys(("G20", "G21"), "units"),
    **dict.fromkeys(WORK_SYSTEMS, "work offset"),
    **dict.fromkeys(("G90", "G91"), "distance"),
    **dict.fromkeys(("G90.1", "G91.1"), "arc distance"),
    **dict.fromkeys(("G40", "G61", "G61.1", "G64", "G97", "M48", "M49"), "no effect"),
    **dict.fromkeys(("G43", "G43.1", "G43.2", "G49"), "tool length"),
    **dict.fromkeys(("G98", "G99"), "return level"),
    **dict.fromkeys(("G93", "G94", "G95"), "feed mode"),
    **dict.fromkeys(("M0", "M1", "M2", "M30"), "stop"),
    **dict.fromkeys(("M3", "M4", "M5", "M19"), "spindle"),
    "M6": "tool",
    **dict.fromkeys(("M7", "M8"), "coolant"),
    "M9": "coolant off",
}
