"""Programs to G-code: whole files, single instructions, and pieces of moves for a driver that streams.

What is written is explicit: millimetres, absolute coordinates, relative filament (M83), one F for each move. Numbers
have as few decimals as bring the reader back to the same value on the program's grid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from industriverse_core.controller import WORK_SYSTEMS
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.gcode.metadata import START_KEY
from industriverse_core.program import GRID_M, GRID_M3, Heater, Limit, Metadata, Op, Plane, Program
from industriverse_core.units import MM, MM_PER_MIN, filament_area_m2

_ORIGIN_WORDS = re.compile(r"(?:[XYZ]-?[0-9.]+(?: |$))*")
HEADER = {"marlin": ("G21", "G90", "M83"), "rs274": ("G21", "G90", "G94", "G17")}
_PLANE_WORD = {Plane.XY: "G17", Plane.ZX: "G18", Plane.YZ: "G19"}
_PLANE_LETTERS = {Plane.XY: ("I", "J"), Plane.ZX: ("K", "I"), Plane.YZ: ("J", "K")}
_PLANE_AXES = {Plane.XY: (0, 1), Plane.ZX: (2, 0), Plane.YZ: (1, 2)}
_HEATER_CODES = {Heater.HOTEND: ("M104", "M109"), Heater.BED: ("M140", "M190"), Heater.CHAMBER: ("M141", "M191")}
_LIMIT_WORDS = {
    Limit.ACCELERATION_X: "M201 X",
    Limit.ACCELERATION_Y: "M201 Y",
    Limit.ACCELERATION_Z: "M201 Z",
    Limit.ACCELERATION_E: "M201 E",
    Limit.SPEED_X: "M203 X",
    Limit.SPEED_Y: "M203 Y",
    Limit.SPEED_Z: "M203 Z",
    Limit.SPEED_E: "M203 E",
    Limit.PRINT_ACCELERATION: "M204 P",
    Limit.TRAVEL_ACCELERATION: "M204 T",
    Limit.RETRACT_ACCELERATION: "M204 R",
    Limit.JERK_X: "M205 X",
    Limit.JERK_Y: "M205 Y",
    Limit.JERK_Z: "M205 Z",
    Limit.JERK_E: "M205 E",
    Limit.JUNCTION_DEVIATION: "M205 J",
    Limit.TOOLHEAD_SPEED: "SET_VELOCITY_LIMIT VELOCITY=",
    Limit.SQUARE_CORNER_VELOCITY: "SET_VELOCITY_LIMIT SQUARE_CORNER_VELOCITY=",
}
_CRUISE_RATIO = "SET_VELOCITY_LIMIT MINIMUM_CRUISE_RATIO="
_FIXED = {
    Op.FLOOD_ON: "M8",
    Op.MIST_ON: "M7",
    Op.COOLANT_OFF: "M9",
    Op.STOP_SPINDLE_TURNING: "M5",
}
_STOPS = {Op.PROGRAM_STOP: "M0", Op.OPTIONAL_PROGRAM_STOP: "M1"}
_SPINDLE = {Op.START_SPINDLE_CLOCKWISE: "M3", Op.START_SPINDLE_COUNTERCLOCKWISE: "M4"}
LONGEST_COMMENT = 80
LEGACY_K = 10.0  # Prusa firmware takes M900 K from here on as the old unit, which is not seconds
_OPS = frozenset(Op)
_MARLIN_ONLY = frozenset(
    (Op.HOME, Op.LEVEL_BED, Op.SET_HEATER, Op.WAIT_HEATER, Op.SET_FAN, Op.MOTORS_OFF, Op.SET_LIMIT)
) | {Op.SET_PRESSURE_ADVANCE}


def write_gcode(program: Program) -> bytes:
    """The program as a G-code file of its dialect; reading it gives a program with the same digest.

    Raises InputError(NOT_A_PROGRAM) for UNKNOWN instructions, which must not gain a meaning by being written, and
    for what the dialect cannot say.
    """
    dialect = program.metadata.dialect
    lines = [f"; dialect = {dialect}", *_comments(program.metadata), *HEADER[dialect]]
    lines += _work_system(program.metadata)
    for index, op in enumerate(program.columns["op"].tolist()):
        if op == Op.PROGRAM_END:
            lines.append("M2")
        elif op == Op.ARC_FEED and dialect == "marlin" and program.columns["target"][index] != Plane.XY:
            plane = Plane(int(program.columns["target"][index]))
            lines += [_PLANE_WORD[plane], _arc(program, index), _PLANE_WORD[Plane.XY]]
        else:
            line = write_instruction(program, index, dialect)
            if line is not None:
                lines.append(line)
    return ("\n".join(lines) + "\n").encode()


def _work_system(metadata: Metadata) -> list[str]:
    """The lines that bring the program's frame into force. Printers know none unless the program names one."""
    system = metadata.work_system or ("G54" if metadata.dialect == "rs274" else "")
    if not system:
        return []
    if system not in WORK_SYSTEMS or not _ORIGIN_WORDS.fullmatch(metadata.work_origin):
        raise InputError(
            ErrorCode.NOT_A_PROGRAM,
            f"{metadata.name or 'program'}: there is no work system '{system[:20]} {metadata.work_origin[:40]}'.",
            "Compile the program again from its G-code.",
        )
    stated = f"G10 L2 P{WORK_SYSTEMS.index(system) + 1} {metadata.work_origin}"
    return [system, stated] if metadata.work_origin else [system]


def _comments(metadata: Metadata) -> list[str]:
    """What is known besides the instructions, as PrusaSlicer writes it, so that the reader finds it again."""
    settings = {
        "filament_diameter": f"{metadata.filament_diameter_m / MM:.10g}" if metadata.dialect == "marlin" else "",
        "filament_type": metadata.material,
        "printer_model": metadata.machine,
        "nozzle_diameter": f"{metadata.nozzle_diameter_m / MM:.10g}" if metadata.nozzle_diameter_m else "",
        "layer_height": f"{metadata.layer_height_m / MM:.10g}" if metadata.layer_height_m else "",
        "estimated printing time (normal mode)": f"{metadata.slicer_time_s:.10g}s" if metadata.slicer_time_s else "",
        START_KEY: str(metadata.start_line) if metadata.start_line else "",
        "filament used [mm]": f"{metadata.slicer_filament_m / MM:.10g}" if metadata.slicer_filament_m else "",
    }
    lines = [f"; generated by {_one_line(metadata.generator)}"] if metadata.generator else []
    return lines + [f"; {name} = {_one_line(value)}" for name, value in settings.items() if value]


def _one_line(text: str) -> str:
    """Text that cannot leave its comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:LONGEST_COMMENT].strip()


def write_instruction(
    program: Program, index: int, dialect: str | None = None, rapid_m_s: float = math.nan
) -> str | None:
    """One instruction as one line of G-code without line end; None when there is nothing to send.

    The controller must be in the modes of HEADER. A straight move names the axes that change, an arc both axes of its
    plane. `rapid_m_s` is the feed that Marlin gets for a traverse without one. Raises InputError(NOT_A_PROGRAM)
    for UNKNOWN instructions and for what the dialect cannot say.
    """
    dialect = dialect or program.metadata.dialect
    columns = program.columns
    op = int(columns["op"][index])
    if op == Op.STRAIGHT_FEED or op == Op.STRAIGHT_TRAVERSE:
        return _straight(program, index, dialect, rapid_m_s)
    if op == Op.ARC_FEED:
        plane = int(columns["target"][index])
        if plane not in _PLANE_WORD:
            raise _unwritable(program, index, f"plane {plane} does not exist")
        if dialect == "rs274":
            return f"{_PLANE_WORD[Plane(plane)]} {_arc(program, index)}"
        if plane != Plane.XY:
            raise _unwritable(program, index, "Marlin gets arcs in the XY plane only")
        return _arc(program, index)
    return _other(program, index, dialect)


def write_move(
    x_m: float,
    y_m: float,
    z_m: float,
    feed_m_s: float,
    e_m3: float = 0.0,
    filament_area: float = math.nan,
    rapid: bool = False,
) -> str:
    """One straight move as G-code: G0 when `rapid`, else G1. A NaN coordinate, feed or zero filament is left out.

    Coordinates in m, feed in m/s, filament volume in m^3 with its cross-section `filament_area` in m^2.
    """
    words = ["G0" if rapid else "G1"]
    for letter, position_m in (("X", x_m), ("Y", y_m), ("Z", z_m)):
        if not math.isnan(position_m):
            words.append(letter + _millimetres(position_m))
    if e_m3 != 0.0:
        words.append("E" + _filament(e_m3, filament_area))
    if not math.isnan(feed_m_s):
        words.append("F" + _feed(feed_m_s))
    return " ".join(words)


def _straight(program: Program, index: int, dialect: str, rapid_m_s: float) -> str:
    columns = program.columns
    new = [float(columns[name][index]) for name in ("x_m", "y_m", "z_m")]
    old = [float(columns[name][index - 1]) for name in ("x_m", "y_m", "z_m")] if index else [0.0, 0.0, 0.0]
    e_m3 = float(columns["extrude_m3"][index])
    feed_m_s = float(columns["feed_m_s"][index])
    rapid = int(columns["op"][index]) == Op.STRAIGHT_TRAVERSE
    if dialect == "rs274":
        _no_filament(program, index)
        feed_m_s = math.nan if rapid else feed_m_s
    elif math.isnan(feed_m_s):
        feed_m_s = rapid_m_s
    named = [value if value != before else math.nan for value, before in zip(new, old, strict=True)]
    if e_m3 == 0.0 and all(math.isnan(value) for value in named):
        named[0] = new[0]  # a move to where the tool is already
    area_m2 = filament_area_m2(program.metadata.filament_diameter_m)
    return write_move(named[0], named[1], named[2], feed_m_s, e_m3, area_m2, rapid)


def _arc(program: Program, index: int) -> str:
    columns = program.columns
    plane = Plane(int(columns["target"][index]))
    turns = int(columns["turns"][index])
    if turns == 0:
        raise _unwritable(program, index, "an arc needs at least one turn")
    new = [float(columns[name][index]) for name in ("x_m", "y_m", "z_m")]
    old = [float(columns[name][index - 1]) for name in ("x_m", "y_m", "z_m")] if index else [0.0, 0.0, 0.0]
    centre = float(columns["center_1_m"][index]), float(columns["center_2_m"][index])
    words = ["G3" if turns > 0 else "G2"]
    for axis, letter in enumerate("XYZ"):
        if axis in _PLANE_AXES[plane] or new[axis] != old[axis]:
            words.append(letter + _millimetres(new[axis]))
    for axis, letter, value in zip(_PLANE_AXES[plane], _PLANE_LETTERS[plane], centre, strict=True):
        words.append(letter + _millimetres(value - old[axis]))
    if program.metadata.dialect == "rs274":
        _no_filament(program, index)
    e_m3 = float(columns["extrude_m3"][index])
    if e_m3 != 0.0:
        words.append("E" + _filament(e_m3, filament_area_m2(program.metadata.filament_diameter_m)))
    if abs(turns) > 1:
        words.append(f"P{abs(turns) - (program.metadata.dialect == 'marlin')}")
    return " ".join([*words, "F" + _feed(float(columns["feed_m_s"][index]))])


def _other(program: Program, index: int, dialect: str) -> str | None:
    """Everything that moves nothing."""
    op = int(program.columns["op"][index])
    target = int(program.columns["target"][index])
    value = float(program.columns["value"][index])
    if op == Op.NOP or op == Op.PROGRAM_END:
        return None
    if op in _FIXED:
        return _FIXED[Op(op)]
    if op == Op.DWELL:
        scale = 1e3 if dialect == "marlin" else 1.0
        return "G4 P" + _decimal(value * scale, lambda number: number / scale, value)
    if op in _STOPS and (value == 0.0 or dialect == "marlin"):
        return _STOPS[Op(op)] + (" S" + _decimal(value, float, value) if value else "")
    if op in _SPINDLE:
        return f"{_SPINDLE[Op(op)]} S" + _decimal(value * 60 / math.tau, lambda rpm: rpm * math.tau / 60, value)
    if op == Op.CHANGE_TOOL:
        return f"T{target}" if dialect == "marlin" else f"T{target} M6"
    if op == Op.USE_TOOL_LENGTH_OFFSET and dialect == "rs274":
        return f"G43.1 Z{_millimetres(value)}" if value else "G49"
    if op == Op.ORIENT_SPINDLE and dialect == "rs274" and 0.0 <= value <= math.tau:
        return "M19 R" + _decimal(math.degrees(value), math.radians, value)
    if op in _MARLIN_ONLY and dialect == "marlin":
        text = _additive(Op(op), target, value, int(program.columns["turns"][index]))
        if text is not None:
            return text
    if op == Op.UNKNOWN:
        raise _unwritable(program, index, "the reader did not understand it")
    name = Op(op).name if op in _OPS else str(op)
    raise _unwritable(program, index, f"{name} with target {target} cannot be said in the dialect {dialect}")


def _additive(op: Op, target: int, value: float, turns: int) -> str | None:
    """Printer instructions in Marlin's words; None when the target does not exist."""
    if op is Op.HOME:
        axes = "".join(f" {letter}" for axis, letter in enumerate("XYZ") if target >> axis & 1)
        return "G28 W" if target == 7 else ("G28" + axes if 0 < target < 7 else None)
    if op is Op.LEVEL_BED:
        return "G80"
    if op is Op.MOTORS_OFF:
        motors = "".join(f" {letter}" for bit, letter in enumerate("XYZE") if target >> bit & 1)
        return "M84" if target == 15 else "M84" + motors
    if op is Op.SET_FAN:
        fan = f" P{target}" if target else ""
        if value == 0.0:
            return "M107" + fan
        return f"M106{fan} S" + _decimal(value * 255.0, lambda number: number / 255.0, value)
    if op is Op.SET_LIMIT:
        if target == Limit.MINIMUM_CRUISE_RATIO:
            return _CRUISE_RATIO + _decimal(value, float, value) if 0.0 <= value < 1.0 else None
        if target not in _LIMIT_WORDS:
            return None
        return _LIMIT_WORDS[Limit(target)] + _decimal(value * 1e3, lambda number: number * 1e-3, value)
    if op is Op.SET_PRESSURE_ADVANCE:
        return ("M900 K" if value < LEGACY_K else "M572 S") + _decimal(value, float, value)
    if target not in _HEATER_CODES or turns not in (0, 1):
        return None
    letter = "R" if op is Op.WAIT_HEATER and turns == 1 else "S"
    return f"{_HEATER_CODES[Heater(target)][op is Op.WAIT_HEATER]} {letter}" + _decimal(value, float, value)


def _no_filament(program: Program, index: int) -> None:
    if program.columns["extrude_m3"][index] != 0.0:
        raise _unwritable(program, index, "RS274 has no filament")


def _unwritable(program: Program, index: int, reason: str) -> InputError:
    line = int(program.columns["line"][index])
    return InputError(
        ErrorCode.NOT_A_PROGRAM,
        f"{program.metadata.name or 'program'}, line {line}, instruction {index}: cannot be said in G-code ({reason}).",
        "Mend the source program.",
    )


def _strip(text: str) -> str:
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _millimetres(length_m: float) -> str:
    return _strip(f"{length_m / MM:.6f}")  # the grid: a micrometre's thousandth


def _feed(feed_m_s: float) -> str:
    return _decimal(feed_m_s / MM_PER_MIN, lambda number: number * MM_PER_MIN, feed_m_s)


def _filament(volume_m3: float, area_m2: float) -> str:
    return _decimal(volume_m3 / area_m2 / MM, lambda number: number * MM * area_m2, volume_m3, GRID_M3)


def _decimal(number: float, back: Callable[[float], float], wanted: float, grid: float = GRID_M) -> str:
    """The shortest fixed-point text of `number` that `back` returns to `wanted` on the grid."""
    steps = round(wanted / grid)
    for places in range(10):
        text = f"{number:.{places}f}"
        if round(back(float(text)) / grid) == steps:
            return _strip(text)
    return _strip(f"{number:.12f}")
