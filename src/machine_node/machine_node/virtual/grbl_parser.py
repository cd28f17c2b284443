"""A line of G-code as GRBL 1.1 checks it: the whole line is checked first and has no effect when one word is wrong.

Error numbers are those of the published list. Lengths are kept in metres, in machine coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from machine_node.virtual.grbl_arcs import arc_center
from machine_node.virtual.grbl_motion import Point
from machine_node.virtual.grbl_settings import COORDINATE_SYSTEMS, ORIGIN
from machine_node.virtual.grbl_words import GrblError, read_words

UNSUPPORTED, GROUP_VIOLATION, NO_FEED, NOT_INTEGER, AXIS_CONFLICT, REPEATED, NO_AXES = 20, 21, 22, 23, 24, 25, 26
BAD_LINE_NUMBER, VALUE_MISSING, NO_COORDINATES, BAD_G53, AXES_WITHOUT_MOTION = 27, 28, 29, 30, 31
INVALID_TARGET, UNUSED_WORDS, BAD_G43, TOOL_TOO_LARGE, NEGATIVE, BAD_JOG = 33, 36, 37, 38, 4, 16
LARGEST_LINE_NUMBER, LARGEST_TOOL = 10_000_000, 255
INCH_M, MM_M = 25.4e-3, 1e-3
PROBES = ("G38.2", "G38.3", "G38.4", "G38.5")
MOTIONS = ("G0", "G1", "G2", "G3", *PROBES, "G80")
NON_MODAL = ("G4", "G10", "G28", "G28.1", "G30", "G30.1", "G53", "G92", "G92.1")
PLANE_AXES = {"G17": (0, 1, 2), "G18": (2, 0, 1), "G19": (1, 2, 0)}
AXIS_LETTERS, OFFSET_LETTERS = "XYZ", "IJK"
_GROUPS = {
    **dict.fromkeys(NON_MODAL, "non_modal"), **dict.fromkeys(MOTIONS, "motion"), **dict.fromkeys(PLANE_AXES, "plane"),
    **dict.fromkeys(("G90", "G91"), "distance"), "G91.1": "arc_distance", **dict.fromkeys(("G93", "G94"), "feed"),
    **dict.fromkeys(("G20", "G21"), "units"), "G40": "cutter", **dict.fromkeys(("G43.1", "G49"), "length"),
    **dict.fromkeys(COORDINATE_SYSTEMS, "coordinates"), "G61": "control",
    **dict.fromkeys(("M0", "M1", "M2", "M30"), "flow"), **dict.fromkeys(("M3", "M4", "M5"), "spindle"),
    **dict.fromkeys(("M7", "M8", "M9"), "coolant"),
}  # fmt: skip
_WITH_AXES = frozenset(("G10", "G28", "G30", "G92"))
_FRACTIONS = {10: ("G28", "G30", "G91", "G92", "G43"), 20: ("G38",), 30: ("G38",), 40: ("G38",), 50: ("G38",)}
_KNOWN_LETTERS = frozenset("FIJKLNPRSTXYZ")
_NOT_NEGATIVE = frozenset("FNPTS")
_JOG_GROUPS = frozenset(("units", "distance"))


@dataclass(frozen=True, slots=True)
class Modes:
    """The modal state of the parser, as $G reports it."""

    motion: str = "G0"
    coordinates: str = "G54"
    plane: str = "G17"
    units: str = "G21"
    distance: str = "G90"
    feed: str = "G94"
    flow: str = ""
    spindle: str = "M5"
    mist: bool = False
    flood: bool = False
    tool: int = 0
    feed_m_s: float = 0.0
    spindle_rpm: float = 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the program counts from, besides its modes.

    Attributes:
        position_m: where the last planned move ends, machine coordinates.
        offsets_m: G54 to G59.
        shift_m: G92.
        tool_length_m: G43.1.
    """

    position_m: Point
    offsets_m: dict[str, Point]
    shift_m: Point = ORIGIN
    tool_length_m: float = 0.0

    def work_offset_m(self, coordinates: str) -> Point:
        """WCO: machine coordinates less work coordinates."""
        offset, shift = self.offsets_m[coordinates], self.shift_m
        return offset[0] + shift[0], offset[1] + shift[1], offset[2] + shift[2] + self.tool_length_m


@dataclass(slots=True)
class Block:
    """One checked line.

    Attributes:
        modes: as they are after the line.
        action: the motion, or the non-modal command with axes, that the line carries out; "" = none.
        target_m: its end in machine coordinates.
        center_m: of an arc, in the plane's first and second axis, absolute; else None.
        feed_m_s: speed of the motion; with G93 the rate [1/s].
        words: value words as written, lengths in metres.
        named: axes that have a word.
    """

    modes: Modes
    commands: set[str] = field(default_factory=set)
    action: str = ""
    target_m: Point = ORIGIN
    center_m: tuple[float, float] | None = None
    feed_m_s: float = 0.0
    words: dict[str, float] = field(default_factory=dict)
    named: tuple[bool, bool, bool] = (False, False, False)
    line: int | None = None
    tool_length_m: float | None = None


@dataclass(slots=True)
class _Reading:
    """What the words of one line say, before they are checked together."""

    groups: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    axis_command: str = ""


def parse_block(text: str, modes: Modes, frame: Frame, jog: bool = False) -> Block:
    """Check one line against modes and frame. Raises GrblError with GRBL's error number.

    Args:
        text: without blanks and comments, upper case; of a jog, what follows `$J=`.
        jog: G1 and G94 are in force for this line, and only XYZ, F, N, G20/21 and G90/91 are allowed.
    """
    reading = _read(text)
    groups, values = reading.groups, reading.values
    named = tuple(letter in values for letter in AXIS_LETTERS)
    block = Block(_new_modes(modes, groups, values, jog), set(groups.values()), named=named)  # type: ignore[arg-type]
    if any(named) and not reading.axis_command:
        reading.axis_command = "motion"
    if values.get("N", 0.0) > LARGEST_LINE_NUMBER:
        raise GrblError(BAD_LINE_NUMBER)
    block.line = int(values["N"]) if "N" in values else None
    _settle_feed(block, modes, reading, jog)
    _to_metres(block, values)
    _check_commands(block, frame, reading)
    if reading.axis_command == "motion":
        _settle_motion(block, frame, values)
    _check_unused(block, reading, jog)
    return block


def _read(text: str) -> _Reading:
    reading = _Reading()
    for letter, value in read_words(text):
        if letter in "GM":
            code = _code(letter, value)
            group = _GROUPS[code]
            takes_axes = "motion" if group == "motion" and code != "G80" else ""
            takes_axes = takes_axes or ("non_modal" if code in _WITH_AXES else "length" if group == "length" else "")
            if takes_axes:
                if reading.axis_command:
                    raise GrblError(AXIS_CONFLICT)
                reading.axis_command = takes_axes
            if group in reading.groups:
                raise GrblError(GROUP_VIOLATION)
            reading.groups[group] = code
            continue
        if letter not in _KNOWN_LETTERS:
            raise GrblError(UNSUPPORTED)
        if letter == "T" and value > LARGEST_TOOL:
            raise GrblError(TOOL_TOO_LARGE)
        if letter in reading.values:
            raise GrblError(REPEATED)
        if letter in _NOT_NEGATIVE and value < 0.0:
            raise GrblError(NEGATIVE)
        reading.values[letter] = value
    return reading


def _code(letter: str, value: float) -> str:
    """`G1`, `G38.2`, `M3`. Raises GrblError (20, 23)."""
    if not 0.0 <= value < 256.0:
        raise GrblError(UNSUPPORTED)
    whole = math.trunc(value)
    hundredths = round(100.0 * (value - whole))
    if letter == "M" and hundredths:
        raise GrblError(NOT_INTEGER)
    name = f"{letter}{whole}"
    full = name if not hundredths else f"{name}.{hundredths // 10}"
    if hundredths and name not in _FRACTIONS.get(hundredths, ()):
        special = any(name in names for names in _FRACTIONS.values()) or name in ("G90", "G61")
        raise GrblError(UNSUPPORTED if special or name not in _GROUPS else NOT_INTEGER)
    if full not in _GROUPS:
        raise GrblError(UNSUPPORTED)
    return full


def _new_modes(modes: Modes, groups: dict[str, str], values: dict[str, float], jog: bool) -> Modes:
    changes: dict[str, object] = {
        name: groups[name] for name in ("motion", "coordinates", "plane", "units", "distance", "feed", "spindle")
        if name in groups
    }  # fmt: skip
    if groups.get("flow") in ("M0", "M2", "M30"):
        changes["flow"] = groups["flow"]
    coolant = groups.get("coolant")
    if coolant == "M9":
        changes["mist"] = changes["flood"] = False
    elif coolant is not None:
        changes["mist" if coolant == "M7" else "flood"] = True
    if "S" in values:
        changes["spindle_rpm"] = values["S"]
    if "T" in values:
        changes["tool"] = int(values["T"])
    if jog:
        changes["motion"], changes["feed"] = "G1", "G94"
    return replace(modes, **changes) if changes else modes  # type: ignore[arg-type]


def _settle_feed(block: Block, before: Modes, reading: _Reading, jog: bool) -> None:
    """F: its unit is that of the feed mode; G93 wants one on every line that cuts; a change of mode forgets it."""
    modes, value = block.modes, reading.values.get("F")
    unit = INCH_M if modes.units == "G20" else MM_M
    if modes.feed == "G93":
        if value is None and reading.axis_command == "motion" and modes.motion not in ("G0", "G80"):
            raise GrblError(NO_FEED)
        feed = 0.0 if value is None else value / 60.0
    elif value is not None:
        feed = value * unit / 60.0
    elif jog:
        raise GrblError(NO_FEED)
    else:
        feed = before.feed_m_s if before.feed == "G94" else 0.0
    block.feed_m_s = feed
    if not jog:
        block.modes = replace(modes, feed_m_s=feed)


def _to_metres(block: Block, values: dict[str, float]) -> None:
    unit = INCH_M if block.modes.units == "G20" else MM_M
    lengths = {letter: values[letter] * unit for letter in "XYZIJKR" if letter in values}
    block.words = {**values, **lengths}


def _check_commands(block: Block, frame: Frame, reading: _Reading) -> None:
    """Non-modal commands and the target of whatever moves. Takes the words that they use out of `values`."""
    values, command = reading.values, reading.groups.get("non_modal", "")
    if command == "G4" and values.pop("P", None) is None:
        raise GrblError(VALUE_MISSING)
    if reading.axis_command == "length":
        if reading.groups["length"] == "G43.1" and block.named != (False, False, True):
            raise GrblError(BAD_G43)
        block.tool_length_m = block.words["Z"] if reading.groups["length"] == "G43.1" else 0.0
    block.target_m = _target(block, frame, command)
    if command == "G10":
        _check_g10(block, values)
    if command == "G92" and not any(block.named):
        raise GrblError(NO_AXES)
    if command in ("G28", "G30") and not any(block.named):
        block.target_m = frame.position_m
    if command == "G53" and block.modes.motion not in ("G0", "G1"):
        raise GrblError(BAD_G53)
    if command and command != "G53":
        block.action = command


def _check_g10(block: Block, values: dict[str, float]) -> None:
    if not any(block.named):
        raise GrblError(NO_AXES)
    if "P" not in values or "L" not in values:
        raise GrblError(VALUE_MISSING)
    if int(values["P"]) > len(COORDINATE_SYSTEMS):
        raise GrblError(NO_COORDINATES)
    level = int(values["L"])
    if level not in (2, 20) or (level == 2 and "R" in values):
        raise GrblError(UNSUPPORTED)
    del values["P"], values["L"]


def _target(block: Block, frame: Frame, command: str) -> Point:
    offset = frame.work_offset_m(block.modes.coordinates)
    target = list(frame.position_m)
    for axis, letter in enumerate(AXIS_LETTERS):
        if not block.named[axis]:
            continue
        value = block.words[letter]
        if command == "G53":
            target[axis] = value
        elif block.modes.distance == "G90":
            target[axis] = value + offset[axis]
        else:
            target[axis] += value
    return target[0], target[1], target[2]


def _settle_motion(block: Block, frame: Frame, values: dict[str, float]) -> None:
    """Checks of G0 to G38.5 and G80 on a line with axis words or a motion word."""
    motion = block.modes.motion
    if motion == "G80":
        if any(block.named):
            raise GrblError(AXES_WITHOUT_MOTION)
        return
    if motion == "G0":
        block.action = motion if any(block.named) else ""
        return
    if block.feed_m_s == 0.0:
        raise GrblError(NO_FEED)
    if motion == "G1":
        block.action = motion if any(block.named) else ""
        return
    if not any(block.named):
        raise GrblError(NO_AXES)
    if motion in PROBES:
        if block.target_m == frame.position_m:
            raise GrblError(INVALID_TARGET)
    else:
        block.center_m = arc_center(
            motion, PLANE_AXES[block.modes.plane], frame.position_m, block.target_m, block.named, block.words
        )
        for letter in ("R",) if "R" in values else [OFFSET_LETTERS[axis] for axis in PLANE_AXES[block.modes.plane][:2]]:
            values.pop(letter, None)
    block.action = motion


def _check_unused(block: Block, reading: _Reading, jog: bool) -> None:
    values = set(reading.values)
    if jog and (set(reading.groups) - _JOG_GROUPS or values & set("ST") or not any(block.named)):
        raise GrblError(BAD_JOG)
    used = set("NFST") | (set(AXIS_LETTERS) if reading.axis_command else set())
    if values - used:
        raise GrblError(UNUSED_WORDS)
