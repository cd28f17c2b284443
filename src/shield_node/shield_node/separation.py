"""How near a person may be to a moving machine, and how fast it may move at a distance: ISO/TS 15066:2016, 5.5.4.

S_p = S_h + S_r + S_s + C + Z_d + Z_r with the person's way S_h = v_h (T_r + T_s), the machine's way before it brakes
S_r = v_r T_r and while it brakes S_s = v_r^2 / 2a, T_s = v_r / a. Solved for v_r it is the speed that is allowed.
Python on Linux is not safety-rated: this is supervision beside rated devices, never instead of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from industriverse_core.errors import ErrorCode, ProfileError

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SeparationLimits:
    """Parameters of a cell.

    Attributes:
        human_speed_m_s: towards the machine; 1.6 where it is not measured (ISO 13855, walking).
        reaction_s: from the person's movement to the first braking, all parts of the chain.
        deceleration_m_s2: of the machine's slowest axis, as measured.
        intrusion_m: C, how far a body part reaches in before it is seen.
        human_uncertainty_m, machine_uncertainty_m: Z_d and Z_r, of the two positions.
        back_off: distance needed before motion may resume, as a multiple of S_p, at least 1: hysteresis.
    """

    human_speed_m_s: float = 1.6
    reaction_s: float = 0.2
    deceleration_m_s2: float = 1.0
    intrusion_m: float = 0.0
    human_uncertainty_m: float = 0.1
    machine_uncertainty_m: float = 0.01
    back_off: float = 1.2

    def __post_init__(self) -> None:
        positive = (self.human_speed_m_s, self.deceleration_m_s2)
        others = (self.reaction_s, self.intrusion_m, self.human_uncertainty_m, self.machine_uncertainty_m)
        fine = all(0.0 < number < math.inf for number in positive)
        fine = fine and all(0.0 <= number < math.inf for number in others) and 1.0 <= self.back_off < math.inf
        if not fine:
            seen = "separation limits must be finite, speed and deceleration above 0, back_off at least 1"
            raise ProfileError(ErrorCode.BAD_CELL, f"{seen}; seen: {self}.", "Correct the cell description.")

    @property
    def margin_m(self) -> float:
        """C + Z_d + Z_r."""
        return self.intrusion_m + self.human_uncertainty_m + self.machine_uncertainty_m


def protective_distance(limits: SeparationLimits, machine_speed_m_s: float) -> float:
    """Protective separation distance S_p [m]. Raises ValueError on NaN or a negative speed."""
    speed = machine_speed_m_s
    if not 0.0 <= speed < math.inf:
        raise ValueError(f"a machine's speed of {speed} m/s is not a number from 0")
    braking_s = speed / limits.deceleration_m_s2
    human_m = limits.human_speed_m_s * (limits.reaction_s + braking_s)
    return human_m + speed * limits.reaction_s + 0.5 * speed * braking_s + limits.margin_m


def allowed_speed(limits: SeparationLimits, distance_m: float) -> float:
    """The speed [m/s] whose protective distance is `distance_m`; 0 where standing still would need more.

    Raises ValueError on NaN.
    """
    if math.isnan(distance_m):
        raise ValueError("a distance that is not a number")
    free_m = distance_m - limits.margin_m - limits.human_speed_m_s * limits.reaction_s
    if free_m <= 0.0:
        return 0.0
    a = limits.deceleration_m_s2
    b = a * limits.reaction_s + limits.human_speed_m_s
    # sqrt(b^2 + 2 a free) - b without the loss of digits for a small way
    return 2.0 * a * free_m / (math.sqrt(b * b + 2.0 * a * free_m) + b)


class ZoneKind(IntEnum):
    """What a person in a zone means."""

    STOP = 1  # the machine stops, may resume when the zone is empty
    EXCLUSION = 2  # nobody may be there while the machine is permitted: the stop latches


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon on the floor, cell frame [m], at least three corners."""

    name: str
    kind: ZoneKind
    corners: tuple[Point, ...]

    def __post_init__(self) -> None:
        if len(self.corners) < 3 or not all(math.isfinite(value) for corner in self.corners for value in corner):
            seen = f"zone '{self.name}' needs at least three finite corners; it has {len(self.corners)}."
            raise ProfileError(ErrorCode.BAD_CELL, seen, "Correct the cell description.")

    def contains(self, point: Point) -> bool:
        """True for a point inside or on the edge (even-odd rule, edges included: doubt is presence)."""
        inside = False
        x, y = point
        for (ax, ay), (bx, by) in zip(self.corners, (*self.corners[1:], self.corners[0]), strict=True):
            cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
            if cross == 0.0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
                return True
            if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
                inside = not inside
        return inside


class Demand(IntEnum):
    """What separation asks of the machine, the harder the higher."""

    RUN = 0
    REDUCED = 1
    HOLD = 2
    LATCH = 3


@dataclass(frozen=True, slots=True)
class Separation:
    """The demand, the highest speed [m/s] it allows, and why as a sentence."""

    demand: Demand
    speed_m_s: float
    reason: str


class SeparationMonitor:
    """People's positions against the machine's way; holds until they are farther than they were let come.

    Args:
        limits, zones: of the cell.
        full_speed_m_s: the machine's highest speed; below it the demand is REDUCED.
        slowest_m_s: a speed too small to work at: HOLD.
    """

    def __init__(
        self, limits: SeparationLimits, zones: Sequence[Zone], full_speed_m_s: float, slowest_m_s: float = 0.01
    ) -> None:
        self._limits, self._zones = limits, tuple(zones)
        self._full_m_s, self._slowest_m_s = full_speed_m_s, slowest_m_s
        self._held = False

    def observe(self, people: Sequence[Point], machine: Point) -> Separation:
        """The demand now.

        Args:
            people: positions [m] of everybody seen, cell frame. A position that is not finite counts as beside the
                machine.
            machine: position [m] of the machine's nearest moving part.
        """
        for zone in self._zones:
            if any(not _finite(person) or zone.contains(person) for person in people):
                demand = Demand.LATCH if zone.kind is ZoneKind.EXCLUSION else Demand.HOLD
                self._held = True
                return Separation(demand, 0.0, f"a person is in the {zone.kind.name.lower()} zone '{zone.name}'.")
        near_m = min((_distance(person, machine) for person in people), default=math.inf)
        usable_m = near_m / self._limits.back_off if self._held else near_m
        speed = min(self._full_m_s, allowed_speed(self._limits, usable_m))
        if speed < self._slowest_m_s:
            self._held = True
            needed = protective_distance(self._limits, self._slowest_m_s)
            return Separation(Demand.HOLD, 0.0, f"a person is {near_m:.2f} m away; to move needs {needed:.2f} m.")
        self._held = False
        if speed < self._full_m_s:
            reason = f"a person is {near_m:.2f} m away: at most {speed:.2f} m/s."
            return Separation(Demand.REDUCED, speed, reason)
        return Separation(Demand.RUN, self._full_m_s, "")


def _finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _distance(person: Point, machine: Point) -> float:
    distance = math.dist(person, machine)
    return distance if math.isfinite(distance) else 0.0
