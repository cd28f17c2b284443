"""RS274/NGC (GRBL, LinuxCNC) lines: many codes on one line, carried out in the standard's order.

Order of execution and modal groups: NIST IR 6556 (RS274/NGC), tables 4 and 8.
"""

from __future__ import annotations

from collections.abc import Callable

from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode.session import (
    RefusedError,
    Session,
    Words,
    end_program,
    malformed,
    not_negative,
    required,
    set_centre_absolute,
    set_plane,
    set_position,
    set_relative,
    set_units,
    set_work_offset,
    spindle,
    unsupported,
    whole,
)
from industriverse_core.program import Op, Plane

Handler = Callable[[Session, Words], None]
MOTIONS = ("G0", "G1", "G2", "G3", "G80")
AXIS_LETTERS = frozenset("XYZ")
OTHER_AXES = frozenset("ABCUVW")

FORBIDDEN = {"M43": "debugs pins", "M112": "is an emergency stop", "M999": "restarts after a stop"}
OWN_WORDS = {"G4": "P", "G64": "PQR"}  # words that belong to a code other than the motion
UNSUPPORTED = {
    "G7": "lathe diameter mode",
    "G8": "lathe radius mode",
    "G10": "setting offsets or tools",
    "G28": "the stored position is not known",
    "G28.1": "storing a position",
    "G30": "the stored position is not known",
    "G41": "cutter compensation",
    "G42": "cutter compensation",
    "G41.1": "cutter compensation",
    "G42.1": "cutter compensation",
    "G43": "tool length offset",
    "G43.1": "tool length offset",
    "G52": "local offset",
    "G53": "the work offset from the machine's origin is not known",
    "G92.2": "suspended offsets",
    "G92.3": "stored offsets",
    "G93": "inverse-time feed",
    "G95": "feed per revolution",
    "G96": "constant surface speed",
    "M6": "a tool change without a tool number",
    "M19": "spindle orientation",
    "M60": "pallet change",
    "M98": "subroutine call",
    "M99": "subroutine end",
    **{f"G{code}": "canned cycle" for code in (73, 74, 76, 81, 82, 83, 84, 85, 86, 87, 88, 89)},
    **{f"G33{dot}": "spindle-synchronised motion" for dot in ("", ".1")},
    **{f"G38.{dot}": "probing" for dot in range(2, 6)},
    **{f"G5{dot}": "curves" for dot in ("", ".1", ".2", ".3")},
    **{f"G59.{dot}": "a work offset whose origin is not known" for dot in range(1, 4)},
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
    rest = {letter: value for letter, value in words.items() if letter not in used}
    if "G92" in wanted:
        set_position(session, rest)
        rest = {letter: value for letter, value in rest.items() if letter not in AXIS_LETTERS}
    _move(session, motion, rest)
    for name, handler in AFTER_MOTION.items():
        if name in wanted:
            handler(session, words)


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
    if "G92" in names and groups.get("motion", "G80") != "G80":
        raise malformed("G92 and a motion cannot be on one line")
    return groups.get("motion", "")


def _move(session: Session, motion: str, words: Words) -> None:
    """The motion of a line: its own code, else the one in force when there are axis words."""
    state = session.state
    if motion == "G80":
        state[it.MODE] = -1.0
        motion = ""
    if motion:
        session.move(int(motion[1:]), words)
        return
    if words.keys() & AXIS_LETTERS:
        if state[it.MODE] < 0.0:
            raise malformed("axis words without a motion code in force")
        session.move(int(state[it.MODE]), words)
        return
    left = words.keys() - {"F"}
    if left:
        raise malformed(f"the word {min(left)} has nothing to act on")
    if "F" in words:
        state[it.FEED] = max(required(words, "F") * state[it.UNIT], 0.0)


def _speed(session: Session, words: Words) -> None:
    """S alone: the speed of the next start, or of the running spindle at once."""
    if session.spindle is Op.STOP_SPINDLE_TURNING:
        session.spindle_rpm = not_negative(words, "S")
    else:
        spindle(session, session.spindle, words)


def _change_tool(session: Session, words: Words) -> None:
    session.tool = session.selected_tool
    session.emit(Op.CHANGE_TOOL, target=session.tool)


def _work_offset(name: str) -> Handler:
    return lambda session, words: set_work_offset(session, name)


def _clear_offsets(session: Session, words: Words) -> None:
    session.state[it.OFFSET : it.OFFSET + 3] = 0.0


def _nothing(session: Session, words: Words) -> None:
    return


def _dwell(session: Session, words: Words) -> None:
    session.emit(Op.DWELL, value=not_negative(words, "P"))


# In the order of execution; 'S' and 'T' stand for the words of that letter.
BEFORE_MOTION: dict[str, Handler] = {
    "G94": _nothing,
    "S": _nothing,
    "T": _nothing,
    "M6": _change_tool,
    "M3": lambda s, w: spindle(s, Op.START_SPINDLE_CLOCKWISE, w),
    "M4": lambda s, w: spindle(s, Op.START_SPINDLE_COUNTERCLOCKWISE, w),
    "M5": lambda s, w: spindle(s, Op.STOP_SPINDLE_TURNING, w),
    "M7": lambda s, w: s.emit(Op.MIST_ON),
    "M8": lambda s, w: s.emit(Op.FLOOD_ON),
    "M9": lambda s, w: s.emit(Op.COOLANT_OFF),
    "G4": _dwell,
    "G17": lambda s, w: set_plane(s, Plane.XY),
    "G18": lambda s, w: set_plane(s, Plane.ZX),
    "G19": lambda s, w: set_plane(s, Plane.YZ),
    "G20": lambda s, w: set_units(s, 25.4),
    "G21": lambda s, w: set_units(s, 1.0),
    **{f"G{code}": _work_offset(f"G{code}") for code in range(54, 60)},
    "G90": lambda s, w: set_relative(s, False),
    "G91": lambda s, w: set_relative(s, True),
    "G90.1": lambda s, w: set_centre_absolute(s, True),
    "G91.1": lambda s, w: set_centre_absolute(s, False),
    "G92.1": _clear_offsets,
}
AFTER_MOTION: dict[str, Handler] = {
    "M0": lambda s, w: s.emit(Op.PROGRAM_STOP),
    "M1": lambda s, w: s.emit(Op.OPTIONAL_PROGRAM_STOP),
    "M2": lambda s, w: end_program(s),
    "M30": lambda s, w: end_program(s),
}
GROUPS: dict[str, str] = {
    **dict.fromkeys(MOTIONS, "motion"),
    **dict.fromkeys(("G4", "G92", "G92.1"), "non-modal"),
    **dict.fromkeys(("G17", "G18", "G19"), "plane"),
    **dict.fromkeys(("G20", "G21"), "units"),
    **dict.fromkeys((f"G{code}" for code in range(54, 60)), "work offset"),
    **dict.fromkeys(("G90", "G91"), "distance"),
    **dict.fromkeys(("G90.1", "G91.1"), "arc distance"),
    **dict.fromkeys(("G40", "G49", "G61", "G61.1", "G64", "G97", "G98", "G99", "M48", "M49"), "no effect"),
    "G94": "feed mode",
    **dict.fromkeys(("M0", "M1", "M2", "M30"), "stop"),
    **dict.fromkeys(("M3", "M4", "M5"), "spindle"),
    "M6": "tool",
    **dict.fromkeys(("M7", "M8"), "coolant"),
    "M9": "coolant off",
}
