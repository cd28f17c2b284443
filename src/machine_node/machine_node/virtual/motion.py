"""The virtual controller's planner and axes: a look-ahead block buffer with classic jerk.

Written after Marlin 1.1's planner.cpp, independent of the project's own motion planner, so that predictions and
machine do not share their mistakes. SI units; time is physics time [s] and always an argument.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from industriverse_core.machine import MachineProfile
from machine_node.virtual.axes import Phase
from machine_node.virtual.instructions import Instruction

Axes = tuple[float, float, float, float]  # x, y, z, filament [m]
MINIMUM_SPEED_M_S = 5e-5  # Marlin's MINIMUM_PLANNER_SPEED
CYCLE_M_S2 = 1e6  # acceleration that marks a cycle of the controller's own


@dataclass(slots=True)
class Limits:
    """What M201, M203, M204 and M205 set."""

    speed_m_s: list[float]
    acceleration_m_s2: list[float]
    jerk_m_s: list[float]
    print_m_s2: float
    travel_m_s2: float
    retract_m_s2: float

    @classmethod
    def of(cls, profile: MachineProfile) -> Limits:
        """The controller's settings at power-on."""
        axes, extruder = profile.kinematics.axes(), profile.extruder
        assert extruder is not None
        return cls(
            [*(axis.max_speed for axis in axes), extruder.max_speed],
            [*(axis.max_acceleration for axis in axes), extruder.max_acceleration],
            [*(axis.jerk for axis in axes), extruder.jerk],
            profile.kinematics.print_acceleration,
            profile.kinematics.travel_acceleration,
            extruder.retract_acceleration,
        )


@dataclass(slots=True)
class Block:
    """One straight move, or a cycle of the controller's own."""

    delta_m: Axes
    length_m: float
    nominal_m_s: float
    acceleration_m_s2: float
    max_entry_m_s: float  # by the corner before it
    added_s: float
    instruction: Instruction | None = None
    last: bool = True  # of its instruction
    followers: list[Instruction] = field(default_factory=list)  # moves without length, done when this one is
    # set when it begins
    entry_m_s: float = 0.0
    exit_m_s: float = 0.0
    cruise_m_s: float = 0.0
    begin_s: float = math.nan
    end_s: float = math.nan
    start_m: Axes = field(default=(0.0, 0.0, 0.0, 0.0))

    def begin(self, at_s: float, start_m: Axes, entry_m_s: float, exit_m_s: float) -> None:
        """Fix the trapezoid."""
        v0, v1, a, length = entry_m_s, exit_m_s, self.acceleration_m_s2, self.length_m
        v1 = min(v1, math.sqrt(v0 * v0 + 2.0 * a * length))
        cruise = min(self.nominal_m_s, math.sqrt(a * length + 0.5 * (v0 * v0 + v1 * v1)))
        cruise = max(cruise, v0, v1)
        ramps = (2.0 * cruise * cruise - v0 * v0 - v1 * v1) / (2.0 * a)
        duration = (2.0 * cruise - v0 - v1) / a + max(0.0, length - ramps) / cruise
        self.entry_m_s, self.cruise_m_s, self.exit_m_s = v0, cruise, v1
        self.begin_s, self.end_s, self.start_m = at_s, at_s + duration, start_m

    def way_m(self, at_s: float) -> float:
        """Distance covered at a time during the move [m]."""
        t, left = at_s - self.begin_s, self.end_s - at_s
        if left <= 0.0:
            return self.length_m
        if t <= 0.0:
            return 0.0
        a = self.acceleration_m_s2
        rise, fall = (self.cruise_m_s - self.entry_m_s) / a, (self.cruise_m_s - self.exit_m_s) / a
        if t < rise:
            return self.entry_m_s * t + 0.5 * a * t * t
        if left < fall:
            return self.length_m - self.exit_m_s * left - 0.5 * a * left * left
        return 0.5 * (self.entry_m_s + self.cruise_m_s) * rise + self.cruise_m_s * (t - rise)

    def phases(self, until_s: float) -> list[Phase]:
        """Its stretches of constant acceleration up to a time; of moves of the filament alone, none."""
        path = math.sqrt(sum(part * part for part in self.delta_m[:3]))
        if path <= 1e-6 or self.acceleration_m_s2 >= CYCLE_M_S2:
            return []
        unit = (self.delta_m[0] / path, self.delta_m[1] / path, self.delta_m[2] / path)
        a = self.acceleration_m_s2
        rise, fall = (self.cruise_m_s - self.entry_m_s) / a, (self.cruise_m_s - self.exit_m_s) / a
        edges = (self.begin_s, self.begin_s + rise, self.end_s - fall, self.end_s)
        speeds = (self.entry_m_s, self.cruise_m_s, self.cruise_m_s)
        return [
            Phase(begin, min(end, until_s), unit, speed, acceleration)
            for begin, end, speed, acceleration in zip(edges, edges[1:], speeds, (a, 0.0, -a), strict=False)
            if min(end, until_s) > begin
        ]

    def point_m(self, at_s: float) -> Axes:
        """Axes at a time during the move."""
        share = self.way_m(at_s) / self.length_m
        x, y, z, e = (s + share * d for s, d in zip(self.start_m, self.delta_m, strict=True))
        return x, y, z, e


class Motion:
    """Planner and axes.

    Args:
        profile: the machine.
        capacity: BLOCK_BUFFER_SIZE; one block less can be planned.
        horizon: blocks that the look-ahead sees; 0 = all. A buffer that is deeper only because physics runs
            faster must not plan further ahead than the real one.
        on_begin, on_end: called with the time at which motion starts from and comes to rest.
        on_done: called with (time, block) as each block ends.
    """

    def __init__(
        self,
        profile: MachineProfile,
        capacity: int,
        horizon: int = 0,
        on_begin: Callable[[float], None] = lambda _: None,
        on_end: Callable[[float], None] = lambda _: None,
        on_done: Callable[[float, Block], None] = lambda _, __: None,
    ) -> None:
        self.capacity = capacity
        self.limits = Limits.of(profile)
        self._profile = profile
        self._horizon = horizon or capacity - 1
        self._on_begin, self._on_end, self._on_done = on_begin, on_end, on_done
        self._blocks: deque[Block] = deque()  # the first one moves once `_running`
        self._running: Block | None = None
        self._rest_m: Axes = (0.0, 0.0, 0.0, 0.0)  # where the axes are while nothing moves
        self._last_end_s = -math.inf
        self._last_exit_m_s = 0.0
        self._moving = False
        self._previous: tuple[Axes, float, float] | None = None  # speeds, nominal and safe speed of the newest block
        self._travelled_m = 0.0  # of finished blocks
        self.target_m: Axes = self._rest_m  # end of the newest block

    def reset(self) -> None:
        """Power-on settings; the axes stay where they are."""
        self.limits = Limits.of(self._profile)

    # --- state ---

    @property
    def planned(self) -> int:
        """Blocks in the buffer, the moving one included."""
        return len(self._blocks)

    @property
    def free(self) -> int:
        """Blocks that can be added."""
        return self.capacity - 1 - len(self._blocks)

    @property
    def idle(self) -> bool:
        """True when nothing moves or waits."""
        return not self._blocks

    def next_end_s(self) -> float:
        """When the moving block ends; inf when nothing moves."""
        return math.inf if self._running is None else self._running.end_s

    def position_m(self, at_s: float) -> Axes:
        """Where the axes are."""
        return self._rest_m if self._running is None else self._running.point_m(at_s)

    def newest(self) -> Block | None:
        """The block that was added last, if it has not ended."""
        return self._blocks[-1] if self._blocks else None

    def running(self) -> Block | None:
        """The block that moves."""
        return self._running

    def travelled_m(self, at_s: float) -> float:
        """Path length since power-on [m]."""
        return self._travelled_m + (0.0 if self._running is None else self._running.way_m(at_s))

    # --- adding ---

    def add(
        self, target_m: Axes, feed_m_s: float, at_s: float, instruction: Instruction | None = None, last: bool = True
    ) -> bool:
        """Plan a straight move. False when it is too short to be one. The caller has checked `free`."""
        x0, y0, z0, e0 = self.target_m
        dx, dy, dz, de = target_m[0] - x0, target_m[1] - y0, target_m[2] - z0, target_m[3] - e0
        path = math.sqrt(dx * dx + dy * dy + dz * dz)
        length = path if path > 1e-6 else abs(de)
        if length <= 1e-6:
            return False
        self.target_m = target_m
        shares = (dx / length, dy / length, dz / length, de / length)
        limits = self.limits
        nominal = max(feed_m_s, 1e-4)
        acceleration = limits.retract_m_s2 if path <= 1e-6 else limits.print_m_s2 if de else limits.travel_m_s2
        for axis in range(4):
            share = abs(shares[axis])
            if share > 0.0:
                nominal = min(nominal, limits.speed_m_s[axis] / share)
                acceleration = min(acceleration, limits.acceleration_m_s2[axis] / share)
        speeds = (shares[0] * nominal, shares[1] * nominal, shares[2] * nominal, shares[3] * nominal)
        safe = self._safe_speed(speeds, nominal)
        junction = self._junction_speed(speeds, nominal, safe)
        self._previous = (speeds, nominal, safe)
        self._blocks.append(
            Block((dx, dy, dz, de), length, nominal, acceleration, junction, at_s, instruction, last)
        )  # fmt: skip
        self.advance(at_s)
        return True

    def add_cycle(self, end_m: Axes, duration_s: float, speed_m_s: float, at_s: float) -> None:
        """A motion of the controller's own (homing, levelling) of a given duration. The planner must be idle."""
        delta = tuple(b - a for a, b in zip(self._rest_m, end_m, strict=True))
        length = speed_m_s * max(duration_s, 1e-3)
        self._blocks.append(Block(delta, length, speed_m_s, CYCLE_M_S2, speed_m_s, at_s))  # type: ignore[arg-type]
        self._previous = None
        self.target_m = end_m
        self.advance(at_s)

    def _safe_speed(self, speeds: Axes, nominal: float) -> float:
        """Speed from and to which the move may jump by jerk alone."""
        safe = nominal
        for axis in range(4):
            speed, jerk = abs(speeds[axis]), self.limits.jerk_m_s[axis]
            if speed > jerk:
                safe = min(safe, nominal * jerk / speed)
        return max(safe, MINIMUM_SPEED_M_S)

    def _junction_speed(self, speeds: Axes, nominal: float, safe: float) -> float:
        """Speed at the corner with the newest block (Marlin 1.1, classic jerk)."""
        if self._previous is None or not self._blocks:
            return safe
        before, nominal_before, safe_before = self._previous
        speed = min(nominal, nominal_before)
        if speed <= 0.0:
            return safe
        scale_before, scale, factor = speed / nominal_before, speed / nominal, 1.0
        for axis in range(4):
            leaving, entering = before[axis] * scale_before * factor, speeds[axis] * scale * factor
            jerk = abs(leaving - entering)
            if leaving * entering < 0.0:
                jerk = max(abs(leaving), abs(entering))  # a reversal passes through standstill
            if jerk > self.limits.jerk_m_s[axis]:
                factor *= self.limits.jerk_m_s[axis] / jerk
        speed *= factor
        if safe_before > 0.99 * speed and safe > 0.99 * speed:
            speed = min(safe, nominal_before)
        return max(speed, MINIMUM_SPEED_M_S)

    def _speed_into(self, first: int) -> float:
        """Highest speed [m/s] at which block number `first` may be entered, so that the axes can still come to
        rest at the end of what the look-ahead sees."""
        speed = MINIMUM_SPEED_M_S
        seen = list(islice(self._blocks, first, self._horizon))
        for block in reversed(seen):
            reachable = math.sqrt(speed * speed + 2.0 * block.acceleration_m_s2 * block.length_m)
            speed = min(block.max_entry_m_s, reachable)
        return speed

    # --- time ---

    def advance(self, at_s: float) -> None:
        """Let the axes move until this time."""
        while True:
            running = self._running
            if running is not None:
                if running.end_s > at_s:
                    return
                self._rest_m = running.point_m(running.end_s)
                self._travelled_m += running.length_m
                self._last_end_s = running.end_s
                self._running = None
                self._blocks.popleft()
                self._on_done(running.end_s, running)
            if not self._blocks:
                if self._moving:
                    self._moving = False
                    self._on_end(self._last_end_s)
                return
            self._begin_next()

    def _begin_next(self) -> None:
        block = self._blocks[0]
        begin = max(self._last_end_s, block.added_s)
        if self._moving and begin > self._last_end_s:
            self._moving = False
            self._on_end(self._last_end_s)
        entry = self._last_exit_m_s if self._moving else self._speed_into(0)
        leaving = self._speed_into(1)
        if block.acceleration_m_s2 >= CYCLE_M_S2:
            entry = leaving = block.nominal_m_s  # a cycle has no ramps
        block.begin(begin, self._rest_m, min(entry, block.max_entry_m_s), leaving)
        self._last_exit_m_s = block.exit_m_s
        self._running = block
        if not self._moving:
            self._moving = True
            self._on_begin(begin)

    def halt(self, at_s: float) -> list[Block]:
        """Stop at once and forget the buffer (M410, kill). The axes stay where they are. Returns what was dropped."""
        self.advance(at_s)
        dropped = list(self._blocks)
        if self._running is not None:
            self._travelled_m += self._running.way_m(at_s)
            self._rest_m = self._running.point_m(at_s)
            self._last_end_s = at_s
        self._running, self._previous = None, None
        self._blocks.clear()
        self.target_m = self._rest_m
        if self._moving:
            self._moving = False
            self._on_end(at_s)
        return dropped

    def set_position(self, position_m: Axes) -> None:
        """G92 and homing: rename where the axes are. The planner must be idle."""
        self._rest_m = self.target_m = position_m
