"""What the virtual mill's controller keeps in its EEPROM: settings, offsets, startup lines, build text.

Numbers, units and checks follow GRBL 1.1's published list of settings; the machine's own values come from the profile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from industriverse_core.machine import MachineProfile
from industriverse_core.units import MM, RPM
from machine_node.virtual.grbl_motion import Limits, Point
from machine_node.virtual.grbl_words import GrblError

COORDINATE_SYSTEMS = ("G54", "G55", "G56", "G57", "G58", "G59")
STEPS_PER_MM = 800.0  # a screw of 2 mm pitch, 200 steps, 8 microsteps
ORIGIN: Point = (0.0, 0.0, 0.0)
WHOLE = frozenset((0, 1, 2, 3, 4, 5, 6, 10, 13, 20, 21, 22, 23, 26, 30, 31, 32))  # printed without decimals
LOWEST_PULSE_US = 3
PULL_OFF_MM = 1.0
PLACES = ("G28", "G30")
BUILD = "Industriverse virtual mill"  # the owner's text in $I: a host can tell it from a real machine

NEGATIVE_VALUE, SHORT_PULSE, INVALID_STATEMENT, SOFT_LIMIT_NEEDS_HOMING = 4, 6, 3, 10


def _defaults(profile: MachineProfile) -> dict[int, float]:
    kinematics, spindle = profile.kinematics, profile.spindle
    assert spindle is not None
    values: dict[int, float] = {
        0: 10, 1: 25, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 10: 1, 11: kinematics.junction_deviation / MM, 12: 0.002, 13: 0,
        20: 0, 21: 0, 22: 1, 23: 0, 24: 50.0, 25: 1500.0, 26: 250, 27: PULL_OFF_MM,
        30: round(spindle.max_speed / RPM), 31: 0, 32: 0,
    }  # fmt: skip
    for index, axis in enumerate(kinematics.axes()):
        values[100 + index] = STEPS_PER_MM
        values[110 + index] = axis.max_speed / MM * 60.0
        values[120 + index] = axis.max_acceleration / MM
        values[130 + index] = (axis.maximum - axis.minimum) / MM
    return dict(sorted((number, round(value, 3)) for number, value in values.items()))


@dataclass(slots=True)
class Eeprom:
    """What survives a reset and a power cycle.

    Attributes:
        values: settings by number, in GRBL's own units (mm, mm/min, mm/s^2, rpm).
        offsets_m: origins of G54 to G59 in machine coordinates.
        places_m: of G28 and G30.
        startup: lines of $N0 and $N1.
        build: text of $I=.
    """

    profile: MachineProfile
    values: dict[int, float] = field(default_factory=dict)
    offsets_m: dict[str, Point] = field(default_factory=dict)
    places_m: dict[str, Point] = field(default_factory=dict)
    startup: list[str] = field(default_factory=lambda: ["", ""])
    build: str = ""

    @classmethod
    def of(cls, profile: MachineProfile) -> Eeprom:
        """As its owner has set it up: the machine's limits, and the work origin that the profile's axes count from."""
        made = cls(profile)
        made.restore_settings()
        made.restore_parameters()
        made.build = BUILD
        made.offsets_m["G54"] = tuple(-axis.maximum for axis in profile.kinematics.axes())  # type: ignore[assignment]
        return made

    def restore_settings(self) -> None:
        """$RST=$"""
        self.values = _defaults(self.profile)

    def restore_parameters(self) -> None:
        """$RST=#"""
        self.offsets_m = dict.fromkeys(COORDINATE_SYSTEMS, ORIGIN)
        self.places_m = dict.fromkeys(PLACES, ORIGIN)

    def restore_all(self) -> None:
        """$RST=*"""
        self.restore_settings()
        self.restore_parameters()
        self.startup = ["", ""]
        self.build = ""

    # --- reading ---

    def flag(self, number: int) -> bool:
        """A setting that is on or off."""
        return bool(self.values[number])

    def axes(self, first: int) -> Point:
        """Three axis settings, as they are written."""
        return self.values[first], self.values[first + 1], self.values[first + 2]

    def limits(self) -> Limits:
        """What the planner needs [m, m/s, m/s^2]."""
        speed, acceleration = self.axes(110), self.axes(120)
        return Limits(
            (speed[0] * MM / 60.0, speed[1] * MM / 60.0, speed[2] * MM / 60.0),
            (acceleration[0] * MM, acceleration[1] * MM, acceleration[2] * MM),
            max(1e-9, self.values[11] * MM),
        )

    def beyond_travel(self, point_m: Point) -> bool:
        """True outside of the box that $130-$132 allow: machine zero is its upper corner."""
        return any(
            value > 1e-9 or value < -travel * MM - 1e-9
            for value, travel in zip(point_m, self.axes(130), strict=True)
        )  # fmt: skip

    def line(self, number: int) -> str:
        """`$110=2000.000`"""
        value = self.values[number]
        return f"${number}={value:.0f}" if number in WHOLE else f"${number}={value:.3f}"

    # --- writing ---

    def store(self, number: int, value: float) -> None:
        """`$number=value`. Raises GrblError."""
        if value < 0.0:
            raise GrblError(NEGATIVE_VALUE)
        if number not in self.values:
            raise GrblError(INVALID_STATEMENT)
        check = _CHECKS.get(number)
        if check is not None:
            check(self, value)
        whole = number in WHOLE and number not in (30, 31)
        if number >= 100 or number == 11:
            value = max(value, 1e-3)  # the real one divides by it
        self.values[number] = float(int(value)) % 256 if whole else min(value, 1e6)
        if number == 22 and not value:
            self.values[20] = 0.0


def _check_pulse(_: Eeprom, value: float) -> None:
    if value < LOWEST_PULSE_US:
        raise GrblError(SHORT_PULSE)


def _check_soft_limits(eeprom: Eeprom, value: float) -> None:
    if value and not eeprom.flag(22):
        raise GrblError(SOFT_LIMIT_NEEDS_HOMING)


_CHECKS: dict[int, Callable[[Eeprom, float], None]] = {0: _check_pulse, 20: _check_soft_limits}
