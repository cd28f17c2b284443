"""The virtual mill's planner and axes: GRBL's look-ahead with junction deviation, holds and live overrides.

Written after the published description of GRBL 1.1's planner (Sonny Jeon, "Improving Grbl: Cornering Algorithm",
2011), independent of the project's own motion planner. SI units; time is physics time [s] and always an argument.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from machine_node.virtual.axes import Phase
from machine_node.virtual.instructions import Instruction

Point = tuple[float, float, float]
SHORTEST_M = 1e-9
SLOWEST_M_S = 1e-3 / 60.0  # GRBL's MINIMUM_FEED_RATE, 1 mm/min
STRAIGHT_COSINE = -0.999999  # of the angle between the old direction reversed and the new one
REVERSED_COSINE = 0.999999
NO_MOTION: tuple[float, float] = (0.0, 0.0)


@dataclass(slots=True)
class Limits:
    """What $11, $110-$112 and $120-$122 set."""

    speed_m_s: Point
    acceleration_m_s2: Point
    junction_deviation_m: float


@dataclass(slots=True)
class Block:
    """One straight move in the buffer."""

    start_m: Point
    end_m: Point
    unit: Point
    length_m: float
    feed_m_s: float  # inf = rapid
    highest_m_s: float  # by the axes
    acceleration_m_s2: float
    junction_m_s: float  # corner speed by junction deviation; 0 after rest
    follows_override: bool
    instruction: Instruction | None
    last: bool  # of its instruction
    peak_m_s: float = 0.0
    followers: list[Instruction] = field(default_factory=list)  # moves without length, done when this one is


@dataclass(slots=True)
class _Piece:
    """Constant acceleration along the moving block."""

    begin_s: float
    end_s: float
    way_m: float
    speed_m_s: float
    acceleration_m_s2: float

    def at(self, at_s: float) -> tuple[float, float]:
        """(way [m], speed [m/s])."""
        t = min(max(at_s, self.begin_s), self.end_s) - self.begin_s
        speed = self.speed_m_s + self.acceleration_m_s2 * t
        return self.way_m + 0.5 * (self.speed_m_s + speed) * t, max(0.0, speed)


class GrblMotion:
    """Planner and axes.

    Args:
        limits: the settings in force; may be replaced between moves.
        capacity: blocks that fit.
        horizon: blocks that the look-ahead sees. A buffer that is deeper only because physics runs faster must not
            plan further ahead than the real one.
        on_done: called with (time, block) as each block ends.
        on_phase: called with each stretch of constant acceleration as it ends.
    """

    def __init__(
        self,
        limits: Limits,
        capacity: int,
        horizon: int,
        on_done: Callable[[float, Block], None] = lambda _, __: None,
        on_phase: Callable[[Phase], None] = lambda _: None,
    ) -> None:
        self.limits = limits
        self.capacity = capacity
        self.feed_override = 1.0
        self.rapid_override = 1.0
        self._horizon = horizon
        self._on_done, self._on_phase = on_done, on_phase
        self._blocks: deque[Block] = deque()
        self._pieces: deque[_Piece] = deque()
        self._moving = False
        self._holding = False
        self._grown = False  # blocks were added since the last plan
        self._now_s = 0.0
        self._way_m, self._speed_m_s = NO_MOTION
        self._rest_m: Point = (0.0, 0.0, 0.0)
        self._travelled_m = 0.0
        self._unit_before: Point = (0.0, 0.0, 0.0)
        self.target_m: Point = self._rest_m

    # --- state ---

    @property
    def free(self) -> int:
        """Blocks that can be added."""
        return self.capacity - len(self._blocks)

    @property
    def empty(self) -> bool:
        """True when nothing moves or waits."""
        return not self._blocks

    @property
    def moving(self) -> bool:
        """True while the axes turn."""
        return self._moving

    def next_end_s(self) -> float:
        """When the present stretch of constant acceleration ends; inf when nothing moves."""
        return self._pieces[0].end_s if self._moving and self._pieces else math.inf

    def _present(self, at_s: float) -> tuple[float, float]:
        if self._moving and self._pieces:
            return self._pieces[0].at(at_s)
        return self._way_m, self._speed_m_s

    def position_m(self, at_s: float) -> Point:
        """Where the controller believes the axes to be."""
        if not self._blocks:
            return self._rest_m
        block, (way, _) = self._blocks[0], self._present(at_s)
        (x, y, z), (ux, uy, uz) = block.start_m, block.unit
        return x + way * ux, y + way * uy, z + way * uz

    def speed_m_s(self, at_s: float) -> float:
        """Path speed."""
        return self._present(at_s)[1] if self._moving else 0.0

    def phase(self, at_s: float) -> list[Phase]:
        """What was done until now of the stretch in progress; it is reported when it ends."""
        if not (self._moving and self._pieces) or at_s <= self._pieces[0].begin_s:
            return []
        piece = self._pieces[0]
        return [Phase(piece.begin_s, at_s, self._blocks[0].unit, piece.speed_m_s, piece.acceleration_m_s2)]

    def running(self) -> Block | None:
        """The block that moves or is held."""
        return self._blocks[0] if self._blocks else None

    def waiting(self) -> Iterator[Block]:
        """All blocks that have not ended."""
        return iter(self._blocks)

    def travelled_m(self, at_s: float) -> float:
        """Path length since power-on [m]."""
        return self._travelled_m + (self._present(at_s)[0] if self._blocks else 0.0)

    # --- adding ---

    def add(
        self,
        end_m: Point,
        feed_m_s: float,
        instruction: Instruction | None = None,
        last: bool = True,
        follows_override: bool = True,
    ) -> bool:
        """Plan a straight move; `feed_m_s` inf = rapid. False when it has no length. The caller has checked `free`."""
        start = self.target_m
        delta = (end_m[0] - start[0], end_m[1] - start[1], end_m[2] - start[2])
        length = math.sqrt(delta[0] ** 2 + delta[1] ** 2 + delta[2] ** 2)
        if length <= SHORTEST_M:
            return False
        unit = (delta[0] / length, delta[1] / length, delta[2] / length)
        highest = _limit(unit, self.limits.speed_m_s)
        acceleration = _limit(unit, self.limits.acceleration_m_s2)
        junction = self._junction(unit) if self._blocks else 0.0
        self._blocks.append(
            Block(
                start, end_m, unit, length, max(feed_m_s, SLOWEST_M_S), highest, acceleration, junction,
                follows_override, instruction, last,
            )
        )  # fmt: skip
        self._unit_before = unit
        self._grown = True
        self.target_m = end_m
        return True

    def newest(self) -> Block | None:
        """The block that was added last, if it has not ended."""
        return self._blocks[-1] if self._blocks else None

    def _junction(self, unit: Point) -> float:
        """Corner speed [m/s]: the circle that stays within the deviation, at the acceleration of the turn."""
        before = self._unit_before
        cosine = -(before[0] * unit[0] + before[1] * unit[1] + before[2] * unit[2])
        if cosine > REVERSED_COSINE:
            return 0.0
        if cosine < STRAIGHT_COSINE:
            return math.inf
        turn = (unit[0] - before[0], unit[1] - before[1], unit[2] - before[2])
        size = math.sqrt(turn[0] ** 2 + turn[1] ** 2 + turn[2] ** 2)
        acceleration = _limit((turn[0] / size, turn[1] / size, turn[2] / size), self.limits.acceleration_m_s2)
        sine = math.sqrt(0.5 * (1.0 - cosine))  # of half the angle
        return math.sqrt(acceleration * self.limits.junction_deviation_m * sine / (1.0 - sine))

    def _nominal(self, block: Block) -> float:
        """Speed that the block would keep, with the overrides of this moment."""
        if math.isinf(block.feed_m_s):
            return max(SLOWEST_M_S, block.highest_m_s * self.rapid_override)
        feed = block.feed_m_s * (self.feed_override if block.follows_override else 1.0)
        return max(SLOWEST_M_S, min(feed, block.highest_m_s))

    def _exit_speed(self) -> float:
        """Speed at which the first block may end, so that the axes can rest at the end of what is seen."""
        speed = 0.0
        seen = list(islice(self._blocks, self._horizon))
        for at in range(len(seen) - 1, 0, -1):
            block = seen[at]
            reachable = math.sqrt(speed * speed + 2.0 * block.acceleration_m_s2 * block.length_m)
            speed = min(block.junction_m_s, self._nominal(block), self._nominal(seen[at - 1]), reachable)
        return speed

    # --- running ---

    def start(self, at_s: float) -> None:
        """Let what is planned move (cycle start), and what was added since count in the look-ahead."""
        self.advance(at_s)
        if not self._blocks or self._holding or (self._moving and not self._grown):
            return
        self._moving, self._now_s = True, at_s
        self._plan(at_s)

    def hold(self, at_s: float) -> None:
        """Decelerate to rest along the path. `advance` then finds `moving` false."""
        self.advance(at_s)
        self._holding = True
        if self._moving:
            self._plan(at_s)

    def release(self) -> None:
        """End a hold; `start` goes on."""
        self._holding = False

    def replan(self, at_s: float) -> None:
        """After overrides changed."""
        if self._moving:
            self.advance(at_s)
            if self._moving:
                self._plan(at_s)

    def _plan(self, at_s: float) -> None:
        """Cut the stretch in progress here and lay out the rest of the moving block."""
        self._cut(at_s)
        self._grown = False
        block = self._blocks[0]
        left = max(0.0, block.length_m - self._way_m)
        speed, a = self._speed_m_s, block.acceleration_m_s2
        if self._holding:
            brake = min(left, speed * speed / (2.0 * a))
            self._lay(at_s, [((speed - math.sqrt(max(0.0, speed * speed - 2.0 * a * brake))) / a, -a)])
            return
        nominal = self._nominal(block)
        leaving = min(self._exit_speed(), nominal)
        square = speed * speed
        slowest = math.sqrt(max(0.0, square - 2.0 * a * left))
        leaving = max(slowest, min(leaving, math.sqrt(square + 2.0 * a * left)))
        peak = min(nominal, math.sqrt(max(0.0, a * left + 0.5 * (square + leaving * leaving))))
        if speed > nominal:  # an override was lowered, or the corner was
            peak = max(nominal, leaving)
            if square - leaving * leaving >= 2.0 * a * left * (1.0 - 1e-12):
                self._lay(at_s, [((speed - leaving) / a, -a)])
                return
        first = -a if speed > peak else a
        ways = (abs(peak * peak - square) + abs(peak * peak - leaving * leaving)) / (2.0 * a)
        cruise = max(0.0, left - ways) / peak if peak > 0.0 else 0.0
        self._lay(at_s, [(abs(peak - speed) / a, first), (cruise, 0.0), (max(0.0, peak - leaving) / a, -a)])

    def _lay(self, at_s: float, stretches: list[tuple[float, float]]) -> None:
        self._pieces.clear()
        begin, way, speed = at_s, self._way_m, self._speed_m_s
        for duration, acceleration in stretches:
            if duration <= 0.0:
                continue
            piece = _Piece(begin, begin + duration, way, speed, acceleration)
            self._pieces.append(piece)
            way, speed = piece.at(piece.end_s)
            begin = piece.end_s

    def _cut(self, at_s: float) -> None:
        """Make the present place and speed the beginning of what is laid out next."""
        if self._pieces:
            piece = self._pieces[0]
            self._report(piece, at_s)
            self._way_m, self._speed_m_s = piece.at(at_s)
            self._pieces.clear()

    def _report(self, piece: _Piece, until_s: float) -> None:
        if until_s > piece.begin_s:
            block = self._blocks[0]
            block.peak_m_s = max(block.peak_m_s, piece.speed_m_s, piece.at(until_s)[1])
            self._on_phase(Phase(piece.begin_s, until_s, block.unit, piece.speed_m_s, piece.acceleration_m_s2))

    def advance(self, at_s: float) -> None:
        """Let the axes move until this time."""
        while self._moving:
            if self._pieces:
                piece = self._pieces[0]
                if piece.end_s > at_s:
                    return
                self._report(piece, piece.end_s)
                self._way_m, self._speed_m_s = piece.at(piece.end_s)
                self._now_s = piece.end_s
                self._pieces.popleft()
                if self._pieces:
                    continue
            self._block_or_hold_ends()

    def _block_or_hold_ends(self) -> None:
        block = self._blocks[0]
        if self._holding and block.length_m - self._way_m > SHORTEST_M:
            self._moving, self._speed_m_s = False, 0.0
            return
        self._blocks.popleft()
        self._travelled_m += block.length_m
        self._rest_m = block.end_m
        self._way_m = 0.0
        self._on_done(self._now_s, block)
        if not self._blocks or (self._holding and self._speed_m_s <= 0.0):
            self._moving, self._speed_m_s = False, 0.0
            return
        self._plan(self._now_s)

    def flush(self, at_s: float) -> list[Block]:
        """Stop at once where it is and forget the buffer. Returns the blocks that did not end."""
        self.advance(at_s)
        position = self.position_m(at_s)
        self._travelled_m = self.travelled_m(at_s)
        if self._moving:
            self._cut(at_s)
        dropped = list(self._blocks)
        self._blocks.clear()
        self._pieces.clear()
        self._moving = self._holding = False
        self._way_m, self._speed_m_s = NO_MOTION
        self._rest_m = self.target_m = position
        return dropped

    def set_position(self, position_m: Point) -> None:
        """Homing and reset: rename where the axes are. The buffer must be empty."""
        self._rest_m = self.target_m = position_m


def _limit(unit: Point, limits: Point) -> float:
    """Largest length along a unit vector whose parts stay within the axes' limits."""
    return min(limit / abs(part) for part, limit in zip(unit, limits, strict=True) if abs(part) > 1e-12)
