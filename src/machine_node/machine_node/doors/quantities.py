"""The numbers that every door shows of a machine, each with its unit and range. One list for all protocols."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from industriverse_core.machine import MachineProfile
from industriverse_core.program import Heater
from machine_node.doors.model import MachineView

ROOM_C = -40.0  # lowest temperature that a thermistor of a machine is expected to show
MEASURED_MARGIN = 1.2  # a measured value may lie above what the profile allows; it must stay in the stated range


class Unit(StrEnum):
    """SI units of the numbers."""

    METRE = "m"
    CELSIUS = "degC"
    WATT = "W"
    JOULE = "J"
    SECOND = "s"
    RATIO = "1"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a machine.

    Attributes:
        key: unique in the machine; a valid identifier.
        title: for people.
        unit: of `of`, `low` and `high`.
        low, high: the range in which it is expected; NaN = none is known.
        of: the number in a view; NaN = not known.
    """

    key: str
    title: str
    unit: Unit
    low: float
    high: float
    of: Callable[[MachineView], float]


def quantities(profile: MachineProfile) -> tuple[Quantity, ...]:
    """What is shown of a machine of this profile: axes, heaters, fan, power, progress."""
    found: list[Quantity] = []
    for number, (name, axis) in enumerate(zip("xyz", profile.kinematics.axes(), strict=True)):
        bounds = (axis.minimum, axis.maximum)
        title = f"{name.upper()} axis position"
        found += [
            Quantity(f"{name}_commanded", f"{title}, as commanded", Unit.METRE, *bounds, partial(_position, number)),
            Quantity(f"{name}_reported", f"{title}, as reported", Unit.METRE, *bounds, partial(_reported, number)),
        ]
    for heater, part in ((Heater.HOTEND, profile.hotend), (Heater.BED, profile.bed)):
        if part is not None:
            found += _heater(heater, part.max_temperature)
    if profile.extruder is not None:
        found.append(Quantity("fan", "part-cooling fan, as commanded", Unit.RATIO, 0.0, 1.0, partial(_field, "fan")))
    return (
        *found,
        Quantity("power", "electric power", Unit.WATT, 0.0, _most_power_w(profile), partial(_electric, "power_w")),
        Quantity("energy", "electric energy", Unit.JOULE, math.nan, math.nan, partial(_electric, "energy_j")),
        Quantity("progress", "executed fraction", Unit.RATIO, 0.0, 1.0, partial(_field, "progress")),
        Quantity("queued", "motion queued in the controller", Unit.SECOND, 0.0, 1.0, partial(_field, "queued_s")),
    )


def _heater(heater: Heater, most_c: float) -> tuple[Quantity, Quantity]:
    name = heater.name.lower()
    return (
        Quantity(
            f"{name}_temperature",
            f"{name} temperature",
            Unit.CELSIUS,
            ROOM_C,
            most_c * MEASURED_MARGIN,
            partial(_reading, heater, "temperature_c"),
        ),
        Quantity(f"{name}_target", f"{name} target", Unit.CELSIUS, 0.0, most_c, partial(_reading, heater, "target_c")),
    )


def _most_power_w(profile: MachineProfile) -> float:
    """All that can be switched on at once [W], with a margin for what is measured."""
    power = profile.power
    fixed_w = power.electronics + power.motors_enabled + power.fan + power.hotend_fan + power.coolant
    heaters_w = sum(part.power for part in (profile.hotend, profile.bed) if part is not None)
    motion_w = power.motion_per_speed * math.hypot(*(axis.max_speed for axis in profile.kinematics.axes()))
    spindle_w = 0.0
    if profile.spindle is not None:
        spindle_w = profile.spindle.max_power or 10.0 * profile.spindle.idle_power
    return MEASURED_MARGIN * (fixed_w + heaters_w + motion_w + spindle_w)


def _field(name: str, view: MachineView) -> float:
    return math.nan if view.sample is None or not view.online else float(getattr(view.sample, name))


def _position(axis: int, view: MachineView) -> float:
    return math.nan if view.sample is None or not view.online else view.sample.position_m[axis]


def _reported(axis: int, view: MachineView) -> float:
    return math.nan if view.sample is None or not view.online else view.sample.reported_position_m[axis]


def _reading(heater: Heater, name: str, view: MachineView) -> float:
    reading = view.sample.reading(heater) if view.sample is not None and view.online else None
    return math.nan if reading is None else float(getattr(reading, name))


def _electric(name: str, view: MachineView) -> float:
    """The meter's reading as telemetry carries it: one source, so that power and energy belong together."""
    return _field(name, view)
