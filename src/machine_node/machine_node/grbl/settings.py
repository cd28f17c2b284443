"""What a GRBL controller says of itself: `$I`, `$$`, `$#`, `$G`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import MachineProfile
from industriverse_core.program import Program
from industriverse_core.telemetry import Vector
from machine_node.grbl import protocol as p
from machine_node.grbl.preamble import work_system

REPORT_MASK, REPORT_INCHES, HOMING, LASER = 10, 13, 22, 32
MACHINE_POSITION, BUFFERS = 1, 2  # bits of $10
TOLERANCE = 0.02
INCH_M, MM_M = 25.4e-3, 1e-3
ORIGIN_TOLERANCE_M = 1e-4  # digits of $#, and of what people write into a profile
_WORD = re.compile(r"([XYZ])(-?[\d.]+)")


class ControllerSettings:
    """Gathered from events; empty at first.

    Attributes:
        values: `$$`, by number.
        offsets: `$#`, by name.
        modes: words of `$G`.
        options: of `$I`.
    """

    def __init__(self) -> None:
        self.values: dict[int, float] = {}
        self.offsets: dict[str, Vector] = {}
        self.modes: tuple[str, ...] = ()
        self.options = p.Options("", 0, 0)
        self.firmware = ""

    def take(self, event: p.Event) -> None:
        """An answer; what is none is ignored."""
        if isinstance(event, p.Setting):
            self.values[event.number] = event.value
        elif isinstance(event, p.Offset):
            self.offsets[event.name] = event.values
        elif isinstance(event, p.Modes):
            self.modes = event.words
        elif isinstance(event, p.Options):
            self.options = event
        elif isinstance(event, p.Version):
            self.firmware = f"{event.version} {event.name}".strip()

    @property
    def homes(self) -> bool:
        """It has limit switches to home to."""
        return bool(int(self.values.get(HOMING, 0.0)) & 1)

    @property
    def unit_m(self) -> float:
        """Length unit of reports [m]."""
        return INCH_M if self.values.get(REPORT_INCHES, 0.0) == 1.0 else MM_M

    def wanted_report_mask(self) -> int | None:
        """$10 with what the stream needs to see; None where it is so already, or cannot be known."""
        mask = self.values.get(REPORT_MASK)
        if mask is None:
            return None
        wanted = int(mask) | MACHINE_POSITION | BUFFERS
        return None if wanted == int(mask) else wanted

    def differences(self, profile: MachineProfile) -> list[str]:
        """Where the controller's limits are not the profile's, by which programs are planned and predicted."""
        kinematics = profile.kinematics
        wanted = [(11, "junction deviation", kinematics.junction_deviation * 1e3, "mm")]
        for axis, letter in enumerate("XYZ"):
            limits = kinematics.axes()[axis]
            wanted.append((110 + axis, f"largest speed of {letter}", limits.max_speed * 6e4, "mm/min"))
            wanted.append((120 + axis, f"acceleration of {letter}", limits.max_acceleration * 1e3, "mm/s^2"))
        lines = []
        for number, name, planned, unit in wanted:
            seen = self.values.get(number)
            if seen is not None and abs(seen - planned) > TOLERANCE * planned:
                lines.append(f"${number} ({name}) is {seen:g} {unit}, the profile says {planned:g}; see to either")
        if self.values.get(LASER) == 1.0:
            lines.append("$32=1 (laser mode): the spindle does not wait for the moves before it")
        stated = {name: position.vector_m() for name, position in profile.stored_positions.items()}
        return lines + [f"{text}; jobs are refused" for text in self.misplaced(stated, "the profile")]

    def check_origins(self, program: Program, profile: MachineProfile) -> None:
        """Raise MachineError (POSITION_MISMATCH) where `$#` says another place than the profile, by which the program
        was read and judged, or than the program itself."""
        stated = {name: position.vector_m() for name, position in profile.stored_positions.items()}
        found = self.misplaced(stated, "the profile")
        if program.metadata.work_origin:
            found += self.misplaced({work_system(program): _origin_m(program.metadata.work_origin)}, "the program")
        if found:
            raise MachineError(
                ErrorCode.POSITION_MISMATCH,
                f"{found[0]}.",
                "Set the controller's (G10 L2, G28.1, G30.1), or mend stored_positions and compile the program again.",
            )

    def misplaced(self, stated: Mapping[str, Vector], by: str) -> list[str]:
        """Stored positions that are not where they are stated to be [m]; an axis that is NaN is not stated."""
        lines = []
        for name, place_m in stated.items():
            seen = self.offsets.get(name)
            seen_m = tuple(value * self.unit_m for value in seen) if seen is not None else (math.nan,) * 3
            for letter, wanted, found in zip("XYZ", place_m, seen_m, strict=True):
                if not math.isnan(wanted) and not abs(found - wanted) <= ORIGIN_TOLERANCE_M:
                    said = "unknown" if math.isnan(found) else f"{found * 1e3:.3f} mm"
                    lines.append(f"{letter} of {name} is {said} in the controller and {wanted * 1e3:.3f} mm by {by}")
        return lines


def _origin_m(words: str) -> Vector:
    """Words of G10 L2 [mm]; NaN = not named."""
    found = {letter: float(value) * MM_M for letter, value in _WORD.findall(words)}
    return found.get("X", math.nan), found.get("Y", math.nan), found.get("Z", math.nan)
