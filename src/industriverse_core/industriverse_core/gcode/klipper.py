"""Klipper's extended commands: a name of letters and underscores, then KEY=VALUE parameters.

A name that Klipper itself does not define is a macro of the printer: what it does is not in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from industriverse_core.gcode.session import TEXT_LENGTH, RefusedError, Session, malformed, unsupported
from industriverse_core.program import Heater, Limit, Op

Parameters = dict[str, str]
Handler = Callable[[Session, Parameters], None]

LINE_BYTES = 4 * TEXT_LENGTH  # what a session keeps of a line
TEMPERATURE_MARGIN_C = 5.0
_NAME = re.compile(rb"[ \t]*(?:N\d+[ \t]*)?([A-Z_]{2,}[A-Z0-9_]*)(?=[\s;#*]|$)(.*)", re.I | re.S)
_PARAMETER = re.compile(r"\s*([A-Z_][A-Z0-9_]*)=(?:\"([^\"]*)\"|([^\s;#\"]*))", re.I)
_COMMENT = re.compile(r"\s*(?:[;#*].*)?$", re.S)

HARMLESS = frozenset(
    ("EXCLUDE_OBJECT_DEFINE", "EXCLUDE_OBJECT_START", "EXCLUDE_OBJECT_END", "SET_DISPLAY_TEXT", "SET_DISPLAY_GROUP",
     "SET_PRINT_STATS_INFO", "SET_LED", "SET_LED_TEMPLATE", "RESPOND", "ECHO", "STATUS", "HELP", "GET_POSITION",
     "QUERY_ENDSTOPS", "QUERY_PROBE", "QUERY_ADC", "QUERY_FILAMENT_SENSOR", "BED_MESH_CLEAR", "BED_MESH_OUTPUT",
     "SET_IDLE_TIMEOUT", "SET_INPUT_SHAPER", "CLEAR_PAUSE", "M117", "M118")
)  # fmt: skip
LEVELLING = frozenset(("BED_MESH_CALIBRATE", "Z_TILT_ADJUST", "QUAD_GANTRY_LEVEL", "BED_TILT_CALIBRATE"))
FORBIDDEN = {
    "SAVE_CONFIG": "writes the controller's configuration",
    "RESTART": "restarts the controller",
    "FIRMWARE_RESTART": "restarts the controller",
    "FORCE_MOVE": "moves a motor past the limits",
    "SET_KINEMATIC_POSITION": "changes where the controller takes the tool to be",
    "SET_STEPPER_ENABLE": "switches a motor",
    "STEPPER_BUZZ": "moves a motor past the limits",
    "MANUAL_STEPPER": "moves a motor past the limits",
    "SET_TMC_CURRENT": "changes motor currents",
    "SET_TMC_FIELD": "changes the motor drivers",
    "INIT_TMC": "changes the motor drivers",
    "SET_PIN": "switches a pin of the controller",
    "SET_SERVO": "moves a servo",
    "SET_EXTRUDER_ROTATION_DISTANCE": "changes the filament's steps per millimetre",
    "PID_CALIBRATE": "calibrates a heater",
    "PROBE_CALIBRATE": "calibrates the probe",
    "Z_ENDSTOP_CALIBRATE": "calibrates an end stop",
    "Z_OFFSET_APPLY_PROBE": "changes the probe's offset",
    "Z_OFFSET_APPLY_ENDSTOP": "changes an end stop",
    "SHAPER_CALIBRATE": "calibrates the input shaper",
    "DELTA_CALIBRATE": "calibrates the kinematics",
}
UNSUPPORTED = {
    "EXCLUDE_OBJECT": "leaving out an object",
    "SET_GCODE_OFFSET": "an offset of the whole program",
    "SAVE_GCODE_STATE": "stored modal states",
    "RESTORE_GCODE_STATE": "stored modal states",
    "SET_FAN_SPEED": "a fan by its name in the printer's configuration",
    "SET_TEMPERATURE_FAN_TARGET": "a fan that follows a temperature",
    "SYNC_EXTRUDER_MOTION": "extruders that follow each other",
    "SET_DUAL_CARRIAGE": "a second carriage",
    "PROBE": "probing",
    "PAUSE": "a pause in which the printer's configuration may move the tool",
    "RESUME": "the end of a pause",
    "CANCEL_PRINT": "the end of the print by a macro",
    "TUNING_TOWER": "parameters that change with height",
    "UPDATE_DELAYED_GCODE": "delayed commands",
    "SET_GCODE_VARIABLE": "variables of macros",
}
_HEATERS = {"extruder": Heater.HOTEND, "heater_bed": Heater.BED, "chamber": Heater.CHAMBER}


def carry_out(session: Session) -> bool:
    """Carry out the session's present line when it is an extended command; False when it is none.

    Raises RefusedError for one that is not carried out.
    """
    match = _NAME.match(session.raw)
    if match is None:
        return False
    name, rest = match.group(1).decode().upper(), match.group(2).decode("utf-8", errors="replace")
    if name in FORBIDDEN:
        raise RefusedError("forbidden", f"{name} {FORBIDDEN[name]}")
    if name in HARMLESS:
        session.ignore(name, "changes neither motion nor heat")
        return True
    if name in UNSUPPORTED:
        raise unsupported(f"{name}: {UNSUPPORTED[name]}")
    if name in HANDLERS:
        HANDLERS[name](session, _parameters(name, rest, len(session.raw) < LINE_BYTES))
        return True
    if "_" not in name and not _PARAMETER.match(rest):
        return False
    raise unsupported(f"{name}: a macro of the printer, whose commands are not in the file")


def _parameters(name: str, rest: str, whole_line: bool) -> Parameters:
    """KEY=VALUE pairs. Raises RefusedError for anything else."""
    found: Parameters = {}
    at = 0
    while match := _PARAMETER.match(rest, at):
        key = match.group(1).upper()
        if key in found:
            raise malformed(f"{key} twice")
        found[key] = match.group(2) if match.group(2) is not None else match.group(3)
        at = match.end()
    if not whole_line or not _COMMENT.match(rest, at):
        raise malformed(f"{name} takes KEY=VALUE parameters")
    return found


def _number(parameters: Parameters, key: str) -> float:
    try:
        value = float(parameters[key])
    except ValueError:
        raise malformed(f"{key} is not a number") from None
    if not math.isfinite(value) or value < 0.0:
        raise malformed(f"{key} must be a number of zero or more")
    return value


def _heater(parameters: Parameters, key: str) -> Heater:
    words = parameters.get(key, "").lower().split()
    if words[:1] == ["heater_generic"]:
        words = words[1:]
    heater = _HEATERS.get(words[0]) if len(words) == 1 else None
    if heater is None:
        raise unsupported(f"the heater or sensor '{parameters.get(key, '')[:40]}'")
    return heater


def _limits(session: Session, parameters: Parameters) -> None:
    """SET_VELOCITY_LIMIT. Klipper's own settings are limits of their own: it does not obey M203 and M205."""
    pairs: list[tuple[Limit, float]] = []
    if "VELOCITY" in parameters:
        pairs.append((Limit.TOOLHEAD_SPEED, _number(parameters, "VELOCITY") * 1e-3))
    if "ACCEL" in parameters:
        value = _number(parameters, "ACCEL") * 1e-3
        pairs += [(Limit.PRINT_ACCELERATION, value), (Limit.TRAVEL_ACCELERATION, value)]
    if "SQUARE_CORNER_VELOCITY" in parameters:
        pairs.append((Limit.SQUARE_CORNER_VELOCITY, _number(parameters, "SQUARE_CORNER_VELOCITY") * 1e-3))
    if "MINIMUM_CRUISE_RATIO" in parameters:
        ratio = _number(parameters, "MINIMUM_CRUISE_RATIO")
        if ratio >= 1.0:
            raise malformed("MINIMUM_CRUISE_RATIO must be below 1")
        pairs.append((Limit.MINIMUM_CRUISE_RATIO, ratio))
    elif "ACCEL_TO_DECEL" in parameters:
        pairs.append((Limit.MINIMUM_CRUISE_RATIO, _cruise_ratio(parameters)))
    left = parameters.keys() - {
        "VELOCITY", "ACCEL", "SQUARE_CORNER_VELOCITY", "MINIMUM_CRUISE_RATIO", "ACCEL_TO_DECEL"
    }  # fmt: skip
    if left:
        raise malformed(f"SET_VELOCITY_LIMIT has no {min(left)}")
    if not pairs:
        session.ignore("SET_VELOCITY_LIMIT", "reports the limits")
    for limit, value in pairs:
        session.emit(Op.SET_LIMIT, target=limit, value=value)


def _cruise_ratio(parameters: Parameters) -> float:
    """The older parameter: Klipper takes the ratio 1 - ACCEL_TO_DECEL / ACCEL, at least 0."""
    if "ACCEL" not in parameters:
        raise unsupported("ACCEL_TO_DECEL without ACCEL on its line")
    acceleration = _number(parameters, "ACCEL")
    if acceleration <= 0.0:
        raise malformed("ACCEL must be above 0")
    ratio = max(1.0 - _number(parameters, "ACCEL_TO_DECEL") / acceleration, 0.0)
    if ratio >= 1.0:
        raise malformed("ACCEL_TO_DECEL must be above 0")
    return ratio


def _pressure_advance(session: Session, parameters: Parameters) -> None:
    if parameters.get("EXTRUDER", "extruder").lower() != "extruder":
        raise unsupported("a second extruder")
    if "ADVANCE" not in parameters:
        session.ignore("pressure advance", "changes the smoothing alone, or reports the factor")
        return
    session.emit(Op.SET_PRESSURE_ADVANCE, value=_number(parameters, "ADVANCE"))


def _heaters_off(session: Session, parameters: Parameters) -> None:
    for heater in Heater:
        if heater is not Heater.CHAMBER or heater in session.targets_c:
            session.targets_c[heater] = 0.0
            session.emit(Op.SET_HEATER, target=heater, value=0.0)


def _set_heater(session: Session, parameters: Parameters) -> None:
    heater = _heater(parameters, "HEATER")
    left = parameters.keys() - {"HEATER", "TARGET"}
    if left:  # Klipper would take no notice of it and switch the heater off where TARGET is absent
        raise malformed(f"SET_HEATER_TEMPERATURE has no {min(left)}")
    value = _number(parameters, "TARGET") if "TARGET" in parameters else 0.0
    session.targets_c[heater] = value
    session.emit(Op.SET_HEATER, target=heater, value=value)


def _wait(session: Session, parameters: Parameters) -> None:
    """TEMPERATURE_WAIT: taken as a wait for the heater's own target, which its bounds must be near to."""
    heater = _heater(parameters, "SENSOR")
    bounds = parameters.keys() & {"MINIMUM", "MAXIMUM"}
    if not bounds:
        raise malformed("TEMPERATURE_WAIT needs MINIMUM or MAXIMUM")
    target_c = session.targets_c.get(heater, 0.0)
    low = _number(parameters, "MINIMUM") if "MINIMUM" in bounds else target_c
    high = _number(parameters, "MAXIMUM") if "MAXIMUM" in bounds else target_c
    if not low <= target_c <= high:
        raise malformed(f"waits for ever: the heater's target is {target_c:g} degC")
    if target_c - low > TEMPERATURE_MARGIN_C or high - target_c > TEMPERATURE_MARGIN_C:
        raise unsupported(f"a wait for a temperature more than {TEMPERATURE_MARGIN_C:g} degC from the heater's target")
    session.emit(Op.WAIT_HEATER, target=heater, value=target_c, turns=int("MAXIMUM" in bounds))


def _mesh_profile(session: Session, parameters: Parameters) -> None:
    if parameters.keys() & {"SAVE", "REMOVE"}:
        raise RefusedError("forbidden", "BED_MESH_PROFILE writes the controller's configuration")
    session.ignore("BED_MESH_PROFILE", "loads a stored mesh")


def _activate(session: Session, parameters: Parameters) -> None:
    if parameters.get("EXTRUDER", "").lower() != "extruder" or session.tool != 0:
        raise unsupported("a second extruder")
    session.ignore("ACTIVATE_EXTRUDER", "the extruder is already in use")


HANDLERS: dict[str, Handler] = {
    "SET_VELOCITY_LIMIT": _limits,
    "SET_PRESSURE_ADVANCE": _pressure_advance,
    "TURN_OFF_HEATERS": _heaters_off,
    "SET_HEATER_TEMPERATURE": _set_heater,
    "TEMPERATURE_WAIT": _wait,
    "BED_MESH_PROFILE": _mesh_profile,
    "ACTIVATE_EXTRUDER": _activate,
    **{name: lambda session, _: session.emit(Op.LEVEL_BED) for name in LEVELLING},
}
