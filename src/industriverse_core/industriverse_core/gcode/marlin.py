"""Marlin's codes (and Prusa's): one command a line, looked up in one table."""

from __future__ import annotations

import re
from collections.abc import Callable

from industriverse_core.controller import WORK_SYSTEMS
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
from industriverse_core.gcode.writer import LEGACY_K
from industriverse_core.program import Heater, Limit, Op, Plane

Handler = Callable[[Session, Words], None]

MOTOR_LETTERS = "XYZE"

# Codes that change neither motion nor heat: display, reports, sounds, checks of the printer's model.
IGNORED = frozenset(
    [f"M{code}" for code in (17, 31, *range(73, 79), 105, 110, 113, 114, 115, 117, 118, 119, 145, 150, 155, 300)]
    + [f"M{code}" for code in (412, 413, 420, 486, 555, 569, 591, 593)]
    + [f"M862.{check}" for check in range(1, 8)]
    # Bambu: lights, camera and its laser, inspection of what was printed, clog and vibration watch, sounds, stages
    + [f"M{code}" for code in (710, 960, 971, 972, 973, 975, 981, 982, "982.2", "982.4", 991, 1002, 1006, 1007)]
    + ["G29.2", "G392"]
)
WITH_MESSAGE = frozenset(("M0", "M1"))  # what follows is shown to the operator, or how long to wait for one
# Ignored codes of which some parameters do more, and what.
LOOKED_AT = {
    "M486": (re.compile(rb"\s*(?:N\d+\s*)?M0*486(?:\s*[ST]\s*-?\d+)*\s*[CPU]", re.I), "leaving out an object"),
    "M1002": (re.compile(rb"[^;]*_REF_MODE", re.I), "stored modal states"),
}
# Codes that change the controller's stored settings, calibration or safety, or that end its normal work.
FORBIDDEN = {
    "M42": "switches a pin of the controller",
    "M92": "changes the steps per millimetre",
    "M108": "breaks a wait",
    "M112": "is an emergency stop",
    "M206": "changes the home offset",
    "M218": "changes the tool offset",
    "M301": "changes the heater's control",
    "M303": "calibrates a heater",
    "M304": "changes the bed's control",
    "M305": "changes the thermistor",
    "M306": "changes the heater's model",
    "M410": "is a quick stop",
    "M428": "changes the home offset",
    "M500": "writes the EEPROM",
    "M501": "reads the EEPROM",
    "M502": "resets the settings",
    "M503": "reads the settings",
    "M504": "checks the EEPROM",
    "M851": "changes the probe's offset",
    "M211": "changes the software end stops",
    "M906": "changes motor currents",
    "M907": "changes motor currents",
    "M908": "changes motor currents",
    "M909": "changes motor currents",
    "M910": "changes motor currents",
    "M911": "changes the motor drivers",
    "M912": "changes the motor drivers",
    "M913": "changes the motor drivers",
    "M914": "changes the motor drivers",
    "M997": "updates the firmware",
    "M999": "restarts after a stop",
}
UNSUPPORTED = {
    "G5": "curves",
    "G10": "firmware retraction",
    "G11": "firmware retraction",
    "G12": "nozzle cleaning",
    "G27": "parking",
    "G30": "probing",
    "G38.2": "probing",
    "G38.3": "probing",
    "G93": "inverse-time feed",
    "M125": "parking",
    "G29.1": "an offset of the bed's height",
    "G39": "probing",
    "G60": "stored positions",
    "G61": "stored positions",
    "G150": "nozzle cleaning",
    "G150.1": "nozzle cleaning",
    "G150.2": "nozzle cleaning",
    "G150.3": "nozzle cleaning",
    "G380": "a move until something stops it",
    "G425": "calibration",
    "G427": "calibration",
    "M142": "cooling of the chamber",
    "M207": "firmware retraction",
    "M208": "firmware retraction",
    "M209": "firmware retraction",
    "M226": "waiting for a pin",
    "M290": "an offset of the nozzle's height",
    "M601": "a pause in which the tool moves",
    "M602": "the end of a pause",
    "M603": "filament change",
    "M600": "filament change",
    "M701": "filament loading",
    "M702": "filament unloading",
    **{f"M{code}": "filament change" for code in (620, "620.1", "620.3", "620.10", "620.11", 621, 628, 629, 630)},
    **{f"M{code}": "commands under a condition" for code in (622, "622.1", 623)},
    "M970": "a vibration test",
    "M970.3": "a vibration test",
    "M974": "a vibration test",
    "M976": "a scan of the first layer",
    "M977": "a scan of the first layer",
    "M983": "a calibration of the flow",
    "M983.1": "a calibration of the flow",
    "M984": "a calibration of the flow",
    "M1003": "recovery after a loss of power",
}
LOWEST_EXTRUSION_C = 150.0  # M302: a controller's limit may be set to this or more; the gates hold the machine's own


def check_ignored(session: Session, name: str) -> None:
    """Raise RefusedError when the parameters of an ignored command do more than the command."""
    if name in LOOKED_AT:
        pattern, reason = LOOKED_AT[name]
        if pattern.match(session.raw):
            raise unsupported(reason)


def execute(session: Session, name: str, words: Words) -> None:
    """Carry out one command, e.g. ('M104', {'S': 215.0}). Raises RefusedError."""
    handler = CODES.get(name)
    if handler is not None:
        handler(session, words)
    elif name in UNSUPPORTED:
        raise unsupported(UNSUPPORTED[name])
    else:
        raise RefusedError("unknown", "no such command")


def _machine_coordinates(session: Session, words: Words) -> None:
    """G53 G0/G1: the line's coordinates are the machine's own."""
    mode = whole(words, "G", -1) if "G" in words else -1
    if mode not in (0, 1):
        raise malformed("G53 needs G0 or G1 on its line")
    state = session.state
    saved = state[it.OFFSET : it.OFFSET + 3].copy()
    relative = state[it.RELATIVE]
    state[it.OFFSET : it.OFFSET + 3] = 0.0
    state[it.RELATIVE] = 0.0
    try:
        session.move(mode, {letter: value for letter, value in words.items() if letter != "G"})
    finally:
        state[it.OFFSET : it.OFFSET + 3] = saved
        state[it.RELATIVE] = relative


def _dwell(session: Session, words: Words) -> None:
    seconds = not_negative(words, "P") / 1000.0 if "P" in words else 0.0
    if "S" in words:  # Marlin: S wins over P
        seconds = not_negative(words, "S")
    session.emit(Op.DWELL, value=seconds)


def _stop(op: Op) -> Handler:
    """M0, M1; with S or P they wait no longer than that."""

    def handler(session: Session, words: Words) -> None:
        seconds = not_negative(words, "P") / 1000.0 if "P" in words else 0.0
        session.emit(op, value=not_negative(words, "S") if "S" in words else seconds)

    return handler


def _home(session: Session, words: Words) -> None:
    if "O" in words:
        raise unsupported("homing only where it is needed (O)")
    axes = [axis for axis, letter in enumerate("XYZ") if letter in words] or [0, 1, 2]
    for axis in axes:
        session.state[it.POSITION + axis] = 0.0
        session.state[it.OFFSET + axis] = 0.0
    session.emit(Op.HOME, target=sum(1 << axis for axis in axes))


def _motors_off(session: Session, words: Words) -> None:
    motors = sum(1 << bit for bit, letter in enumerate(MOTOR_LETTERS) if letter in words)
    if not motors and "S" in words:
        session.ignore("M84 S", "sets the idle time of the motors")
        return
    session.emit(Op.MOTORS_OFF, target=motors or 15)


def _heater(heater: Heater, wait: bool) -> Handler:
    """M104 and its like. A wait with S ends when it is hot enough, one with R also only when it is cold enough."""

    def handler(session: Session, words: Words) -> None:
        if heater is Heater.HOTEND and whole(words, "T") != 0:
            raise unsupported("a second hot end")
        if words.keys() & {"B", "F"} and heater is Heater.HOTEND:
            raise unsupported("a temperature that follows the flow (autotemp)")
        letter = "R" if wait and "S" not in words and "R" in words else "S"
        if letter in words:
            value = required(words, letter)
        elif wait and heater in session.targets_c:
            value = session.targets_c[heater]
        else:
            raise malformed("S with a temperature is needed")
        session.targets_c[heater] = value
        op = Op.WAIT_HEATER if wait else Op.SET_HEATER
        session.emit(op, target=heater, value=value, turns=int(letter == "R"))

    return handler


def _fan(session: Session, words: Words) -> None:
    duty = required(words, "S") if "S" in words else 255.0
    if not 0.0 <= duty <= 255.0:
        raise malformed("S must be 0 to 255")
    session.emit(Op.SET_FAN, target=whole(words, "P"), value=duty / 255.0)


def _limits(*limits: tuple[str, Limit]) -> Handler:
    """A handler that emits one SET_LIMIT for each word; lengths in the file's unit."""

    def handler(session: Session, words: Words) -> None:
        found = [(limit, required(words, letter)) for letter, limit in limits if letter in words]
        if not found:
            session.ignore("limit words", "a limit that the planner does not use")
        for limit, value in found:
            session.emit(Op.SET_LIMIT, target=limit, value=value * session.state[it.UNIT] * 1e-3)

    return handler


def _acceleration(session: Session, words: Words) -> None:
    """M204. S (the older form) is printing and travel; with it T is the retraction's in Prusa's firmware. Marlin 2
    takes S, P, R, T in this order, and T is travel's always (M204.cpp)."""
    names = {"P": Limit.PRINT_ACCELERATION, "R": Limit.RETRACT_ACCELERATION, "T": Limit.TRAVEL_ACCELERATION}
    pairs = [(limit, required(words, letter)) for letter, limit in names.items() if letter in words]
    if "S" in words and session.firmware == "marlin_2":
        value = required(words, "S")
        pairs = [(Limit.PRINT_ACCELERATION, value), (Limit.TRAVEL_ACCELERATION, value), *pairs]
    elif "S" in words:
        if words.keys() & {"P", "R"}:
            raise unsupported("M204 with S and P or R: controllers differ")
        value = required(words, "S")
        pairs = [(Limit.PRINT_ACCELERATION, value), (Limit.TRAVEL_ACCELERATION, value)]
        if "T" in words:
            pairs.append((Limit.RETRACT_ACCELERATION, required(words, "T")))
    if not pairs:
        session.ignore("M204", "reports the accelerations")
    for limit, value in pairs:
        session.emit(Op.SET_LIMIT, target=limit, value=value * session.state[it.UNIT] * 1e-3)


def _scale(slot: int, name: str) -> Handler:
    """M220, M221: a percentage that holds from here on."""

    def handler(session: Session, words: Words) -> None:
        if "T" in words and whole(words, "T") != session.tool:
            raise unsupported("the percentage of another extruder")
        if "S" in words:
            percent = required(words, "S")
            if not 0.0 < percent <= 999.0:
                raise malformed("S must be above 0 and at most 999 percent")
            session.state[slot] = percent / 100.0
        elif words.keys() & {"B", "R"}:
            raise unsupported("storing and restoring the percentage")
        else:
            session.ignore(name, "reports the percentage")

    return handler


def _pressure_advance(letter: str) -> Handler:
    def handler(session: Session, words: Words) -> None:
        if letter not in words:
            session.ignore("pressure advance", "reports the factor")
            return
        value = not_negative(words, letter)
        if letter == "K" and value >= LEGACY_K:
            session.ignore("M900 legacy", "linear advance 1.0 value, not in seconds")
            return
        session.emit(Op.SET_PRESSURE_ADVANCE, value=value)

    return handler


def _tool(session: Session, words: Words) -> None:
    tool = whole(words, "T")
    if tool == session.tool:
        session.ignore("T", "the tool is already in use")
        return
    session.tool = tool
    session.emit(Op.CHANGE_TOOL, target=tool)


def _level(session: Session, words: Words) -> None:
    """G29. The unified bed levelling's phases (P) other than 1, and Prusa's 9, work on the mesh and probe nothing."""
    phase = required(words, "P") if "P" in words else 1.0
    if phase in (1.0, 9.0):
        if words.keys() & {"A", "D"} and "P" not in words:
            session.ignore("G29 A", "switches the mesh on or off")
            return
        session.emit(Op.LEVEL_BED)
    elif int(phase) in (2, 4):
        raise unsupported("levelling by hand")
    else:
        session.ignore("G29 P", "works on the stored mesh")


def _finish_moves(session: Session, words: Words) -> None:
    """M400. Bambu's controllers take a time with it (S, P) and, with U, wait for the user."""
    if "U" in words:
        session.emit(Op.PROGRAM_STOP)
        return
    seconds = not_negative(words, "P") / 1000.0 if "P" in words else 0.0
    session.emit(Op.DWELL, value=seconds + (not_negative(words, "S") if "S" in words else 0.0))


def _cold_extrusion(session: Session, words: Words) -> None:
    """M302. A controller that extrudes cold is refused; a limit that still is one changes nothing here."""
    if required(words, "S") < LOWEST_EXTRUSION_C or words.get("P", 0.0) != 0.0:
        raise RefusedError("forbidden", "M302 lets the controller extrude cold")
    session.ignore("M302", "the gates hold the machine's own limit")


def _volumetric(session: Session, words: Words) -> None:
    if required(words, "D") != 0.0:
        raise unsupported("volumetric extrusion")


def _motion(mode: int) -> Handler:
    def handler(session: Session, words: Words) -> None:
        if "E" in words and _filament_is_ambiguous(session):
            raise unsupported("E where controllers differ: say M82 or M83 behind G90 and G91")
        session.move(mode, words)

    return handler


def _work_offset(name: str) -> Handler:
    return lambda session, words: set_work_offset(session, name)


def _relative(session: Session, relative: bool) -> None:
    """G90, G91."""
    set_relative(session, relative)
    session.filament_said = ""
    session.state[it.HAND_OVER] = float(_filament_is_ambiguous(session))


def _relative_filament(session: Session, relative: bool) -> None:
    """M82, M83."""
    session.state[it.E_RELATIVE] = float(relative)
    session.filament_said = "M83" if relative else "M82"
    session.state[it.HAND_OVER] = float(_filament_is_ambiguous(session))


def _filament_is_ambiguous(session: Session) -> bool:
    """Whether controllers disagree on E: M82 and M83 end with the next G90 or G91 in Marlin 2 and win over them there;
    elsewhere (Klipper, Marlin 1) they stay, and G91 makes the filament relative too."""
    relative = bool(session.state[it.RELATIVE] == 1.0)
    elsewhere = relative or bool(session.state[it.E_RELATIVE] == 1.0)
    marlin_2 = session.filament_said == "M83" if session.filament_said else relative
    return elsewhere != marlin_2


CODES: dict[str, Handler] = {
    **{f"G{mode}": _motion(mode) for mode in range(4)},
    "G4": _dwell,
    "G17": lambda s, w: set_plane(s, Plane.XY),
    "G18": lambda s, w: set_plane(s, Plane.ZX),
    "G19": lambda s, w: set_plane(s, Plane.YZ),
    "G20": lambda s, w: set_units(s, 25.4),
    "G21": lambda s, w: set_units(s, 1.0),
    "G28": _home,
    "G29": _level,
    "G53": _machine_coordinates,
    **{name: _work_offset(name) for name in WORK_SYSTEMS},
    "G80": lambda s, w: s.emit(Op.LEVEL_BED),
    "G90": lambda s, w: _relative(s, False),
    "G91": lambda s, w: _relative(s, True),
    "G90.1": lambda s, w: set_centre_absolute(s, True),
    "G91.1": lambda s, w: set_centre_absolute(s, False),
    "G92": set_position,
    "G94": lambda s, w: None,
    "M0": _stop(Op.PROGRAM_STOP),
    "M1": _stop(Op.OPTIONAL_PROGRAM_STOP),
    "M2": lambda s, w: end_program(s),
    "M3": lambda s, w: spindle(s, Op.START_SPINDLE_CLOCKWISE, w),
    "M4": lambda s, w: spindle(s, Op.START_SPINDLE_COUNTERCLOCKWISE, w),
    "M5": lambda s, w: spindle(s, Op.STOP_SPINDLE_TURNING, w),
    "M7": lambda s, w: s.emit(Op.MIST_ON),
    "M8": lambda s, w: s.emit(Op.FLOOD_ON),
    "M9": lambda s, w: s.emit(Op.COOLANT_OFF),
    "M18": _motors_off,
    "M30": lambda s, w: end_program(s),
    "M82": lambda s, w: _relative_filament(s, False),
    "M83": lambda s, w: _relative_filament(s, True),
    "M84": _motors_off,
    "M104": _heater(Heater.HOTEND, wait=False),
    "M106": _fan,
    "M107": lambda s, w: s.emit(Op.SET_FAN, target=whole(w, "P"), value=0.0),
    "M109": _heater(Heater.HOTEND, wait=True),
    "M140": _heater(Heater.BED, wait=False),
    "M141": _heater(Heater.CHAMBER, wait=False),
    "M190": _heater(Heater.BED, wait=True),
    "M191": _heater(Heater.CHAMBER, wait=True),
    "M200": _volumetric,
    "M201": _limits(
        ("X", Limit.ACCELERATION_X),
        ("Y", Limit.ACCELERATION_Y),
        ("Z", Limit.ACCELERATION_Z),
        ("E", Limit.ACCELERATION_E),
    ),
    "M203": _limits(
        ("X", Limit.SPEED_X),
        ("Y", Limit.SPEED_Y),
        ("Z", Limit.SPEED_Z),
        ("E", Limit.SPEED_E),
    ),
    "M204": _acceleration,
    "M205": _limits(
        ("X", Limit.JERK_X),
        ("Y", Limit.JERK_Y),
        ("Z", Limit.JERK_Z),
        ("E", Limit.JERK_E),
        ("J", Limit.JUNCTION_DEVIATION),
    ),
    "M220": _scale(it.FEED_SCALE, "M220"),
    "M221": _scale(it.FLOW_SCALE, "M221"),
    "M302": _cold_extrusion,
    "M400": _finish_moves,
    "M572": _pressure_advance("S"),
    "M900": _pressure_advance("K"),
    "T": _tool,
}
