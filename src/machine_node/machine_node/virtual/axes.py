"""The machine's axes as bodies: what the motors can move, what the belts give, where the tool really is.

The controllers count steps; the tool follows while the motor has the force. The force of a stepper falls with speed;
a move that needs more loses steps on that axis, and nobody tells the controller. Friction and force are drawn from
the seed; forces are per kilogram of carriage [m/s^2], so that no mass is needed.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float, float]
HISTORY_S = 0.4  # of phases, for the accelerometer
FORCE_RESERVE = 2.5  # force at standstill over what the profile's acceleration needs
NO_FORCE_SPEED = 4.0  # times the profile's speed: where a motor has no force left
FRICTION_SHARE = 0.15  # of the force that the profile's acceleration needs
LOST_SHARE = (0.2, 1.0)  # of an overloaded move's way


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of constant acceleration along one straight line."""

    begin_s: float
    end_s: float
    unit: Point
    speed_m_s: float
    acceleration_m_s2: float


@dataclass(frozen=True, slots=True)
class AxisLimits:
    """What the profile says about one axis."""

    speed_m_s: float
    acceleration_m_s2: float


class Axes:
    """Three axes between their motors and the tool.

    Args:
        limits: of x, y and z, from the profile.
        draw: the source of unknown parameters.
    """

    def __init__(self, limits: tuple[AxisLimits, AxisLimits, AxisLimits], draw: random.Random) -> None:
        self._random = draw
        spread = draw.uniform
        self._force = tuple(each.acceleration_m_s2 * FORCE_RESERVE * spread(0.9, 1.1) for each in limits)
        self._friction = tuple(each.acceleration_m_s2 * FRICTION_SHARE * spread(0.7, 1.3) for each in limits)
        self._no_force_m_s = tuple(each.speed_m_s * NO_FORCE_SPEED * spread(0.9, 1.1) for each in limits)
        # eigenfrequency and damping of each axis on its belt or screw, typical of this class of machines
        self.resonance_hz = (spread(38.0, 70.0), spread(30.0, 55.0), spread(70.0, 120.0))
        self.damping = (spread(0.04, 0.1), spread(0.04, 0.1), spread(0.06, 0.12))
        self.force_factor = 1.0  # of all motors: supply voltage and faults
        self.offset_m = [0.0, 0.0, 0.0]  # where the tool is, less where the controller believes it to be
        self.lost_steps_m = 0.0  # sum over all moves and axes
        self.phases: deque[Phase] = deque()
        self._direction = [0.0, 0.0, 0.0]

    def observe(self, phase: Phase) -> None:
        """Keep a stretch of motion for the accelerometer, and remember which way the belts are pulled."""
        self.phases.append(phase)
        for axis, part in enumerate(phase.unit):
            if part:
                self._direction[axis] = math.copysign(1.0, part)
        self.forget(phase.end_s - HISTORY_S)

    def forget(self, before_s: float) -> None:
        """Drop what ended before this time."""
        while self.phases and self.phases[0].end_s < before_s:
            self.phases.popleft()

    def drive(self, delta_m: Point, peak_m_s: float, acceleration_m_s2: float) -> Point:
        """One move: the steps that it loses [m] on each axis, which are added to the offset.

        A motor's force falls linearly from standstill to its no-force speed (constant voltage drive). A move loses
        steps where acceleration and friction together need more.
        """
        length = math.sqrt(sum(part * part for part in delta_m))
        lost = [0.0, 0.0, 0.0]
        for axis, part in enumerate(delta_m):
            share = abs(part) / length if length > 0.0 else 0.0
            if share < 1e-6:
                continue
            speed = peak_m_s * share
            force = self._force[axis] * self.force_factor * max(0.0, 1.0 - speed / self._no_force_m_s[axis])
            if acceleration_m_s2 * share + self._friction[axis] > force:
                lost[axis] = part * self._random.uniform(*LOST_SHARE)
                self.offset_m[axis] -= lost[axis]
                self.lost_steps_m += abs(lost[axis])
        return lost[0], lost[1], lost[2]

    def slip(self, axis: int, distance_m: float) -> None:
        """A belt jumps over its pulley's teeth."""
        self.offset_m[axis] += distance_m

    def tool_m(self, believed_m: Point, acceleration_m_s2: Point = (0.0, 0.0, 0.0)) -> Point:
        """Where the tool is: lost steps, the belt's stretch under acceleration (a / omega^2), and the way that
        friction leaves it behind when the axis rests."""
        place = [0.0, 0.0, 0.0]
        for axis in range(3):
            stiffness = (2.0 * math.pi * self.resonance_hz[axis]) ** 2
            pull = acceleration_m_s2[axis] + self._friction[axis] * self._direction[axis]
            place[axis] = believed_m[axis] + self.offset_m[axis] - pull / stiffness
        return place[0], place[1], place[2]

    def tool_of(self, believed_m: Point, moving: Sequence[Phase]) -> Point:
        """As `tool_m`, with the acceleration of the stretch in progress, the last of `moving`."""
        if not moving:
            return self.tool_m(believed_m)
        x, y, z = moving[-1].unit
        acceleration = moving[-1].acceleration_m_s2
        return self.tool_m(believed_m, (x * acceleration, y * acceleration, z * acceleration))

    def homed(self, axis: int) -> None:
        """The axis has found its switch: the controller's place is the true one again."""
        self.offset_m[axis] = 0.0

    def stop_dead(self, unit: Point, speed_m_s: float) -> None:
        """The steps end in mid-motion: the carriage coasts on against motor force and friction, v^2 / 2a."""
        for axis, part in enumerate(unit):
            speed = abs(part) * speed_m_s
            way = speed * speed / (2.0 * (self._force[axis] + self._friction[axis]))
            self.offset_m[axis] += math.copysign(way, part)
