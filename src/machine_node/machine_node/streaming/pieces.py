"""A program as a sequence of pieces that a controller can be given one at a time.

A move is cut in time: along a straight line into collinear pieces, along an arc by angle, each short enough that
the streamer can keep the controller's queue below its limit. What the pieces do together is what the move did.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import MachineProfile
from industriverse_core.motion import MotionPlan, path_point
from industriverse_core.program import Op, Plane, Program
from industriverse_core.telemetry import Vector
from industriverse_core.units import filament_area_m2
from machine_node.streaming.dialect import Dialect, decimal

QUEUE_LIMIT_S = 0.2  # steady seconds of motion in the controller; the contract (docs/safety.md)
QUEUE_TARGET_S = 0.18  # what the streamer fills up to: the rest covers the error of the time estimate
LONGEST_PIECE_S = 0.05
SHORTEST_PIECE_S = 0.02
LARGEST = 1e3  # [m], [m/s], [m^3], turns: no machine, but every computation stays finite
LARGEST_VALUE = 1e9
SLOWEST_M_S = 1e-7
PLANE_AXES = {Plane.XY: (0, 1), Plane.ZX: (2, 0), Plane.YZ: (1, 2)}
SAME_PLACE_M = 1e-9
CHUNK = 4096  # instructions whose columns are unpacked at once

MOTION = (Op.STRAIGHT_TRAVERSE, Op.STRAIGHT_FEED, Op.ARC_FEED)


class Kind(IntEnum):
    """How a piece occupies the controller."""

    INSTANT = 0  # takes no time
    MOTION = 1  # takes `duration_s` and moves
    DWELL = 2  # takes `duration_s` and does not move
    WAIT = 3  # takes an unknown time, until it is acknowledged; does not move
    CYCLE = 4  # the same, but the controller moves for a time that only it knows (homing, levelling)


BARRIERS = (Kind.WAIT, Kind.CYCLE)


@dataclass(frozen=True, slots=True)
class Piece:
    """One line for the controller.

    Attributes:
        text: the command without number; "" = nothing to send.
        instruction: index of the program's instruction that it belongs to; -1 = none (the preamble).
        kind: see Kind.
        duration_s: [s] steady time (physics time / time_scale) that it takes.
        tail_s: [s] steady time that braking adds when this is the last piece of the queue.
        start_m, end_m: tool position before and after.
        blocks: planner blocks that it makes; -1 = unknown (an arc).
        last: no further piece of this instruction follows.
        alone: sent only when everything before it was acknowledged and executed.
    """

    text: str
    instruction: int
    kind: Kind
    duration_s: float
    tail_s: float
    start_m: Vector
    end_m: Vector
    blocks: int
    last: bool
    alone: bool = False


@dataclass(frozen=True, slots=True)
class _Ramp:
    """Trapezoid of one move in physics time."""

    duration_s: float
    length_m: float
    entry_m_s: float
    cruise_m_s: float
    exit_m_s: float
    acceleration_m_s2: float

    def at(self, t: float) -> tuple[float, float]:
        """(fraction of the path, speed [m/s]) at `t` [s] after the start."""
        if t >= self.duration_s:
            return 1.0, self.exit_m_s
        if self.length_m <= 0.0 or self.acceleration_m_s2 <= 0.0:
            return t / self.duration_s, self.cruise_m_s
        a = self.acceleration_m_s2
        rise, fall = (self.cruise_m_s - self.entry_m_s) / a, (self.cruise_m_s - self.exit_m_s) / a
        left = self.duration_s - t
        if t < rise:
            way, speed = self.entry_m_s * t + 0.5 * a * t * t, self.entry_m_s + a * t
        elif left < fall:
            way = self.length_m - self.exit_m_s * left - 0.5 * a * left * left
            speed = self.exit_m_s + a * left
        else:
            way = 0.5 * (self.entry_m_s + self.cruise_m_s) * rise + self.cruise_m_s * (t - rise)
            speed = self.cruise_m_s
        return min(1.0, max(0.0, way / self.length_m)), speed


def check_values(program: Program) -> None:
    """Raise MachineError (PROTOCOL) at a number that no plan and no text can be made of."""
    columns = program.columns
    moves, arcs = np.isin(program.op, MOTION), program.op == Op.ARC_FEED
    everywhere = np.ones(len(program), dtype=bool)
    limits = [
        ("x_m", everywhere, LARGEST), ("y_m", everywhere, LARGEST), ("z_m", everywhere, LARGEST),
        ("value", ~moves, LARGEST_VALUE), ("extrude_m3", moves, LARGEST), ("center_1_m", arcs, LARGEST),
        ("center_2_m", arcs, LARGEST), ("turns", arcs, LARGEST),
    ]  # fmt: skip
    for name, where, limit in limits:
        wrong = np.flatnonzero(where & ~(np.abs(columns[name].astype(float)) <= limit))
        if len(wrong):
            index = int(wrong[0])
            seen = f"has {name} = {columns[name][index]}; finite numbers up to {limit:g} are allowed"
            raise unsendable(program, index, seen)
    feed = columns["feed_m_s"]
    wrong = np.flatnonzero(moves & ~np.isnan(feed) & ~((feed >= SLOWEST_M_S) & (feed <= LARGEST)))
    if len(wrong):
        index = int(wrong[0])
        seen = f"has a feed of {feed[index]:g} m/s; {SLOWEST_M_S:g} to {LARGEST:g} m/s is allowed"
        raise unsendable(program, index, seen)


def unsendable(program: Program, index: int, seen: str) -> MachineError:
    """The refusal of one instruction."""
    line = int(program.line[index])
    return MachineError(
        ErrorCode.PROTOCOL,
        f"instruction {index} (line {line}) {seen}.",
        "Check the program: industriverse check FILE.",
    )


class PieceMaker:
    """Cuts a program into pieces, lazily and in order.

    Args:
        program: what to send; `check_sendable` must have passed.
        plan: its motion plan for this machine.
        profile: the machine.
        time_scale: physics seconds in a steady second.
        dialect: the controller's.
        origin_m: where the tool stands at the program's start (0, 0, 0); added to every position.
    """

    def __init__(
        self,
        program: Program,
        plan: MotionPlan,
        profile: MachineProfile,
        time_scale: float,
        dialect: Dialect,
        origin_m: Vector = (0.0, 0.0, 0.0),
    ) -> None:
        self._dialect = dialect
        self._origin_m = origin_m
        self._program = program
        self._plan = plan
        self._rapid_m_s = profile.kinematics.rapid_speed
        self._scale = time_scale
        self._area_m2 = filament_area_m2(program.metadata.filament_diameter_m)
        self._total = len(program)
        self._index = 0
        self._done_s = 0.0  # physics time of the current move that is already cut off
        self._chunk_start = 0
        self._chunk_end = 0
        self._position: Vector = origin_m  # end of the last piece
        self._moves = False  # the planner may hold moves that no wait has waited for
        self._cycled = False  # the controller's own motion has ended where only the controller knows
        self._tool_m = 0.0  # length offset in force
        self._feed_text = ""
        self._fed_mm = 0.0  # filament of the whole program so far, exact
        self._written_mm = 0.0  # the same as written, so that rounding does not add up

    def next(self, speed_scale: float, slowdown: float = 1.0) -> Piece | None:
        """The next piece, or None after the end.

        Args:
            speed_scale: 0 < scale <= 1; moves get this share of their feed.
            slowdown: >= 1; how much slower than planned the controller moves; moves are cut shorter.
        """
        if self._index >= self._chunk_end and self._index < self._total:
            self._unpack()
        op = self._ops[self._index - self._chunk_start] if self._index < self._total else None
        if self._moves and (self._cycled or op in self._dialect.barriers):
            return self._wait_for_moves()
        if op is None:
            return None
        if op in MOTION:
            piece = self._motion(op, speed_scale, slowdown)
            self._moves = True
            return piece
        return self._dwell() if op == Op.DWELL else self._command(op)

    def start_from(self, position_m: Vector) -> None:
        """The tool stands here, not at the program's start. Before the first piece."""
        self._position = position_m

    def _wait_for_moves(self) -> Piece:
        """Its acknowledgement is the controller's word that every move before it has ended.

        Before a barrier, so that the barrier never queues behind motion: M410 would flush the motion and the barrier
        would then begin. After the first move since a cycle (a CYCLE itself): nobody knows how far that one goes.
        """
        kind = Kind.CYCLE if self._cycled else Kind.DWELL
        self._moves = self._cycled = False
        instruction = self._index if self._done_s > 0.0 else self._index - 1
        return Piece(self._dialect.wait, instruction, kind, 0.0, 0.0, self._position, self._position, 0, False)

    def _unpack(self) -> None:
        """Columns of the next instructions as plain lists: indexing numpy one by one is slow."""
        start, end = self._index, min(self._index + CHUNK, self._total)
        columns, plan = self._program.columns, self._plan
        self._chunk_start, self._chunk_end = start, end
        self._ops = columns["op"][start:end].tolist()
        ends = (columns[name][start:end] + self._origin_m[axis] for axis, name in enumerate(("x_m", "y_m", "z_m")))
        self._ends = list(zip(*(values.tolist() for values in ends), strict=True))
        self._feeds = columns["feed_m_s"][start:end].tolist()
        self._extrusions = columns["extrude_m3"][start:end].tolist()
        arrays = (
            plan.duration_s, plan.length_m, plan.entry_m_s, plan.cruise_m_s, plan.exit_m_s, plan.acceleration_m_s2,
        )  # fmt: skip
        self._ramps = list(zip(*(array[start:end].tolist() for array in arrays), strict=True))

    def _command(self, op: int) -> Piece:
        """Everything that is not a move."""
        index = self._index
        row = index - self._chunk_start
        position = self._position if self._dialect.starts_anywhere else self._ends[row]
        if op == Op.USE_TOOL_LENGTH_OFFSET:
            position = self._other_tip(index, row)
        text = self._dialect.command(self._program, index)
        kind = Kind.INSTANT
        if op in self._dialect.cycles:
            kind = Kind.CYCLE
        elif op in self._dialect.barriers and text:
            kind = Kind.WAIT
        elif op in self._dialect.synchronising and text:
            kind = Kind.DWELL
        self._cycled = self._cycled or kind is Kind.CYCLE
        piece = Piece(text, index, kind, 0.0, 0.0, self._position, position, 0, True, kind in BARRIERS)
        self._position = position
        self._feed_text = ""
        self._index += 1
        return piece

    def _other_tip(self, index: int, row: int) -> Vector:
        """Where the tool's tip is by another length offset: nothing moves, its Z is another one."""
        tool_m = float(self._program.columns["value"][index])
        (x, y, z), programmed_z = self._position, self._ends[row][2]
        z += self._tool_m - tool_m
        self._tool_m = tool_m
        return x, y, programmed_z if abs(z - programmed_z) < SAME_PLACE_M else z

    def _dwell(self) -> Piece:
        """A part of a dwell, short enough that a stop need not wait for it; whole steps, as the controller reads."""
        whole_s = self._ramps[self._index - self._chunk_start][0]
        left_s, step_s = whole_s - self._done_s, self._dialect.dwell_step_s
        longest_s = max(step_s, math.floor(LONGEST_PIECE_S * self._scale / step_s + 1e-9) * step_s)
        last = left_s <= longest_s
        part_s = left_s if last else longest_s
        text = self._dialect.dwell(part_s) if whole_s > 0.0 else self._dialect.wait
        piece = Piece(text, self._index, Kind.DWELL, part_s / self._scale, 0.0, self._position, self._position, 0, last)
        self._done_s = 0.0 if last else self._done_s + part_s
        self._index += last
        return piece

    def _motion(self, op: int, speed_scale: float, slowdown: float) -> Piece:
        row = self._index - self._chunk_start
        speed_scale = self._dialect.reachable_scale(speed_scale, op == Op.STRAIGHT_TRAVERSE)
        ramp = _Ramp(*self._ramps[row])
        tail_limit = ramp.cruise_m_s / (2.0 * ramp.acceleration_m_s2) if ramp.acceleration_m_s2 > 0.0 else 0.0
        # a queue of one piece less must still be long enough to brake from this speed, or the speed would oscillate
        queue, tail_limit = self._dialect.queue, tail_limit / self._scale
        longest = queue.allowed_s(tail_limit) - 2.0 * tail_limit - 0.02
        longest = min(LONGEST_PIECE_S, max(SHORTEST_PIECE_S, longest)) * self._scale * speed_scale / slowdown
        if (
            self._dialect.starts_anywhere
            and self._done_s == 0.0
            and self._position == self._ends[row]
            and op != Op.ARC_FEED
        ):
            return self._no_motion()
        left = ramp.duration_s - self._done_s
        count = max(1, math.ceil(left / longest - 1e-9))
        if op == Op.ARC_FEED:  # one G2 or G3 turns by less than a full circle
            turns = abs(int(self._program.columns["turns"][self._index]))
            count = max(count, math.ceil(2.0 * turns * left / max(ramp.duration_s, 1e-9)))
        since, until = self._done_s, ramp.duration_s if count == 1 else self._done_s + left / count
        begin = ramp.at(since)[0] if since > 0.0 else 0.0
        fraction, speed = ramp.at(until) if count > 1 else (1.0, ramp.exit_m_s)
        tail = speed / (2.0 * ramp.acceleration_m_s2) if ramp.acceleration_m_s2 > 0.0 else 0.0
        end = self._point(row, op, begin, fraction)
        piece = Piece(
            self._text(row, op, begin, fraction, end, speed_scale),
            self._index,
            Kind.MOTION,
            (until - since) / self._scale / speed_scale,
            tail / self._scale if queue.follows_braking else min(tail / self._scale, queue.target_s - LONGEST_PIECE_S),
            self._position,
            end,
            -1 if op == Op.ARC_FEED else int(ramp.length_m > 0.0),
            count == 1,
        )
        self._position = end
        self._done_s = until
        if count == 1:
            self._index += 1
            self._done_s = 0.0
        return piece

    def _no_motion(self) -> Piece:
        """The tool is there already: nothing to send."""
        piece = Piece("", self._index, Kind.INSTANT, 0.0, 0.0, self._position, self._position, 0, True)
        self._index += 1
        return piece

    def _point(self, row: int, op: int, begin: float, fraction: float) -> Vector:
        """The tool's position at a fraction of the current move."""
        end: Vector = self._ends[row]
        if fraction >= 1.0:
            return end
        if op == Op.ARC_FEED:
            x, y, z = (
                a + b for a, b in zip(path_point(self._program, self._index, fraction), self._origin_m, strict=True)
            )
            return x, y, z
        share = (fraction - begin) / (1.0 - begin)
        x, y, z = (a + share * (b - a) for a, b in zip(self._position, end, strict=True))
        return x, y, z

    def _text(self, row: int, op: int, begin: float, fraction: float, end: Vector, speed_scale: float) -> str:
        """The G-code of one piece: absolute millimetres, relative filament, the feed where it changes."""
        arc = op == Op.ARC_FEED
        if arc:
            words, fed = self._arc_words(), True
        else:
            word, fed = self._dialect.straight(op == Op.STRAIGHT_TRAVERSE, speed_scale)
            words = [word]
        for letter, old, new in zip("XYZ", self._position, end, strict=True):
            if new != old or arc or self._cycled:
                words.append(f"{letter}{decimal(new * 1e3, 4)}")
        extruded = self._extrusions[row] / self._area_m2 * 1e3
        if extruded != 0.0:
            self._fed_mm += extruded * (fraction - begin)
            step = round(self._fed_mm - self._written_mm, 5)
            self._written_mm += step
            words.append(f"E{decimal(step, 5)}")
        if fed:
            feed = self._feeds[row]
            feed = (feed if feed == feed else self._rapid_m_s) * self._dialect.feed_scale(speed_scale)  # NaN = rapid
            feed_text = f"F{decimal(feed * 6e4, 3)}"
            if feed_text != self._feed_text or self._dialect.repeats_feed:
                words.append(feed_text)
                self._feed_text = feed_text
        return self._dialect.separator.join(words)

    def _arc_words(self) -> list[str]:
        """G2 or G3 with the centre relative to the piece's start; the plane, where it is not XY."""
        columns, index = self._program.columns, self._index
        plane = Plane(int(columns["target"][index]))
        first, second = PLANE_AXES[plane]
        one_m = float(columns["center_1_m"][index]) + self._origin_m[first] - self._position[first]
        two_m = float(columns["center_2_m"][index]) + self._origin_m[second] - self._position[second]
        code = "G3" if columns["turns"][index] > 0 else "G2"
        words = [code, f"{'IJK'[first]}{decimal(one_m * 1e3, 4)}", f"{'IJK'[second]}{decimal(two_m * 1e3, 4)}"]
        return [*self._dialect.plane(plane), *words]
