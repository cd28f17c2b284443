"""People around a machine: what its sensors have last seen, against distances and zones. No ROS, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from industriverse_core.errors import ErrorCode
from industriverse_core.machine import MachineProfile
from industriverse_core.safety import Safety
from industriverse_core.threats import Cause, Evidence, Level, ThreatEstimate
from shield_node.responses import RUN, Response, Steady, certain
from shield_node.separation import (
    Demand,
    Point,
    Separation,
    SeparationLimits,
    SeparationMonitor,
    Zone,
    ZoneKind,
    protective_distance,
)

MOST_POSITIONS = 32  # that PersonsSeen holds
SPEED_STEPS = 20  # speed scales are rounded down to 1/20: a person's every step is no new speed
NOT_KNOWN: Point = (math.nan, math.nan)  # counts as beside the machine
SEVERITY = {Demand.RUN: 0.0, Demand.REDUCED: 0.3, Demand.HOLD: 0.8, Demand.LATCH: 1.0}


class People:
    """The demand of the people of one machine.

    Args:
        safety: of the cell description.
        full_speed_m_s: the machine's highest speed.

    Attributes:
        limits_s: the oldest sighting of each sensor [s], by its name; each is a source of the shield.
        longest_hold_s: a hold for a person latches after this [s].
        place: of the machine [m].
        zones: of the cell.
        found: what was demanded last; None before the first question.
    """

    def __init__(self, safety: Safety, full_speed_m_s: float) -> None:
        self.limits_s = {sensor.name: sensor.limit for sensor in safety.sensors}
        self.longest_hold_s = safety.longest_hold
        self._waits = safety.whole_space_seen
        self.place: Point = safety.place
        self._full_m_s = full_speed_m_s
        self._limits = _limits(safety)
        self.zones = tuple(Zone(zone.name, ZoneKind[zone.kind.upper()], zone.corners) for zone in safety.zones)
        self.found: Separation | None = None
        self._monitor = SeparationMonitor(self._limits, self.zones, full_speed_m_s)
        self._seen: dict[str, tuple[Point, ...]] = {}
        self._steady = Steady()

    def observe(self, sensor: str, positions: Sequence[Point], uncertainty_m: float) -> None:
        """A sighting: everybody whom this sensor sees now. Raises KeyError for a sensor without a limit.

        A sighting that is full may lack somebody, and one that is less certain than the cell description allows says
        nothing about anybody: somebody counts as beside the machine then.
        """
        self.limits_s[sensor]
        seen = tuple(positions)
        if len(seen) >= MOST_POSITIONS or not uncertainty_m <= self._limits.human_uncertainty_m:
            seen = (*seen, NOT_KNOWN)
        self._seen[sensor] = seen

    def everybody(self) -> tuple[Point, ...]:
        """Everybody whom any sensor has seen last; NaN = somewhere."""
        return tuple(position for seen in self._seen.values() for position in seen)

    def ask(self, now_s: float) -> tuple[Response, ThreatEstimate | None]:
        """The response to everybody seen last, and why as an estimate (None for RUN). Call it once a tick."""
        everybody = self.everybody()
        self.found = found = self._monitor.observe(everybody, self.place)
        response = self._steady.observe(self._response(found), now_s)
        if response.level is Level.RUN:
            return response, None
        near_m = min((_distance(person, self.place) for person in everybody), default=math.inf)
        evidence = Evidence("separation", "persons", near_m, protective_distance(self._limits, self._full_m_s), 0.0)
        estimate = certain(Cause.OPERATOR_DANGER, math.nan, response.message, SEVERITY[found.demand])
        return response, replace(estimate, evidence=(evidence,))

    def _response(self, found: Separation) -> Response:
        text = found.reason[:1].upper() + found.reason[1:]
        if found.demand is Demand.RUN:
            return RUN
        if found.demand is Demand.REDUCED:
            steps = max(1, math.floor(found.speed_m_s / self._full_m_s * SPEED_STEPS))
            return Response(Level.REDUCED, steps / SPEED_STEPS, ErrorCode.PERSON_NEAR, text)
        if found.demand is Demand.HOLD:
            return Response(Level.HOLD, 1.0, ErrorCode.PERSON_NEAR, text, waits=self._waits)
        return Response(Level.STOP1, 1.0, ErrorCode.PERSON_NEAR, text)


def people_of(safety: Safety | None, profile: MachineProfile) -> People | None:
    """The people of a machine; None where the cell watches none."""
    if safety is None:
        return None
    kinematics = profile.kinematics
    return People(safety, math.hypot(kinematics.x.max_speed, kinematics.y.max_speed))


def _limits(safety: Safety) -> SeparationLimits:
    """The formula's numbers; the machine's reach counts as intrusion, because distances are from its middle."""
    numbers = safety.separation
    return SeparationLimits(
        human_speed_m_s=numbers.human_speed,
        reaction_s=numbers.reaction,
        deceleration_m_s2=numbers.deceleration,
        intrusion_m=numbers.intrusion + safety.reach,
        human_uncertainty_m=numbers.human_uncertainty,
        machine_uncertainty_m=numbers.machine_uncertainty,
        back_off=numbers.back_off,
    )


def _distance(person: Point, place: Point) -> float:
    distance = math.dist(person, place)
    return distance if math.isfinite(distance) else 0.0
