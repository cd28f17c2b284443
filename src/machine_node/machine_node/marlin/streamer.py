"""Which line may go to the controller now, and where the machine is in the program. Pure: time is an argument.

The controller never holds more than QUEUE_LIMIT_S of motion in steady seconds, braking included, so that to stop
sending is to stop. The queue is counted in time with the motion plan's durations. Where the controller reports
its free planner blocks (ADVANCED_OK) the count follows the report, also when it moves slower than planned.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from industriverse_core.machine import MachineProfile
from industriverse_core.motion import MotionPlan
from industriverse_core.program import Program
from industriverse_core.telemetry import UNMEASURED, Vector
from machine_node.marlin.pace import Pace
from machine_node.marlin.pieces import QUEUE_TARGET_S, Kind, Piece, PieceMaker

BARRIERS = (Kind.WAIT, Kind.CYCLE)
REMEMBERED_PIECES = 512


@dataclass(slots=True)
class _Flight:
    """A piece that was sent and is not finished.

    `end_s` is the steady time, less the streamer's common shift, at which it is estimated to be finished.
    """

    piece: Piece
    line: int  # 0 = there was nothing to send
    duration_s: float  # as expected when it was sent
    end_s: float


class Streamer:
    """One execution of one program.

    Args:
        program, plan, profile, time_scale: see PieceMaker.
        planner_free_idle: free planner blocks that the controller reports when idle; 0 = it does not report.
        preamble: commands before the program; they count as no instruction.

    Attributes:
        total, sent, acknowledged, executed: instructions.
        begun: something was sent.
        position_m: where the tool is, by the estimate.
    """

    def __init__(
        self,
        program: Program,
        plan: MotionPlan,
        profile: MachineProfile,
        time_scale: float,
        planner_free_idle: int = 0,
        preamble: Sequence[str] = (),
    ) -> None:
        self.begun = False
        self.total = len(program)
        self.sent = 0
        self.acknowledged = 0
        self.executed = 0
        self.position_m: Vector = UNMEASURED
        self._maker = PieceMaker(program, plan, profile, time_scale)
        self.planner_free_idle = planner_free_idle
        self._pace = Pace()
        self._preamble = deque(_preamble_piece(text) for text in preamble)
        self._next = self._following(1.0)
        self._open: deque[_Flight] = deque()  # sent, not acknowledged
        self._taken: deque[_Flight] = deque()  # acknowledged, not finished
        self._taken_blocks: deque[_Flight] = deque()  # those of them that are planner blocks
        self._unknown_blocks = 0  # how many of them are arcs
        self._finished_s: deque[float] = deque(maxlen=REMEMBERED_PIECES)  # durations of blocks taken as finished
        self._shift_s = 0.0
        self._busy_until = -math.inf
        self._waiting_for: _Flight | None = None

    # --- sending ---

    @property
    def all_sent(self) -> bool:
        """True when nothing is left to send."""
        return self._next is None

    @property
    def finished(self) -> bool:
        """True when everything was sent, acknowledged and, by the estimate, executed."""
        return self._next is None and not self._open and not self._taken

    @property
    def barrier(self) -> Kind | None:
        """The kind of the piece whose acknowledgement everything waits for, or None."""
        return None if self._waiting_for is None else self._waiting_for.piece.kind

    def queued_s(self, now: float) -> float:
        """Estimated motion and dwell in the controller [steady s]."""
        return max(0.0, self._busy_until + self._shift_s - now)

    def room_in_s(self, now: float) -> float:
        """Steady time until the next piece fits into the queue; 0 = now, inf = after an acknowledgement or never."""
        piece = self._next
        if piece is None or self._waiting_for is not None:
            return math.inf
        if piece.alone:
            return math.inf if self._open else self.queued_s(now)
        if piece.kind is Kind.INSTANT:
            return 0.0
        queued_s = self.queued_s(now)
        over_s = queued_s + piece.duration_s * self._slowdown(piece) + piece.tail_s - QUEUE_TARGET_S
        return max(0.0, min(queued_s, over_s))  # into an empty queue anything fits

    def _slowdown(self, piece: Piece) -> float:
        return self._pace.slowdown if piece.kind is Kind.MOTION else 1.0

    def peek(self, now: float) -> Piece | None:
        """The piece that may be sent now, or None. Call `take` when it was written."""
        return self._next if self.room_in_s(now) <= 0.0 else None

    def take(self, line: int, now: float, speed_scale: float) -> None:
        """The piece of `peek` was written as this line number (0: it has no text and needs no line)."""
        piece = self._next
        assert piece is not None
        self.begun = True
        start = max(now - self._shift_s, self._busy_until)
        duration_s = piece.duration_s * self._slowdown(piece)
        flight = _Flight(piece, line, duration_s, start + duration_s)
        self._open.append(flight)
        if piece.kind in BARRIERS:
            self._waiting_for = flight
        else:
            self._busy_until = flight.end_s
        if piece.last:
            self.sent = piece.instruction + 1
        if line == 0:
            self._acknowledge_through(0)
        self._next = self._following(speed_scale)

    def _following(self, speed_scale: float) -> Piece | None:
        return self._preamble.popleft() if self._preamble else self._maker.next(speed_scale, self._pace.slowdown)

    def withdraw(self, line: int) -> None:
        """The pieces sent as this line number or a later one are never executed: they were lost, and stay so."""
        self._open = deque(takewhile(lambda flight: flight.line < line, self._open))
        if self._waiting_for is not None and self._waiting_for.line >= line:
            self._waiting_for = None

    # --- what the controller says ---

    def on_acknowledged(self, line: int, planner_free: int | None, now: float) -> None:
        """A line was taken, and with it all before it. Lines of others and repeated ones are ignored."""
        last = self._acknowledge_through(line)
        if last is None:
            return
        if self._waiting_for is last:
            self._waiting_for = None
            last.end_s = self._busy_until = now - self._shift_s
        elif last.piece.kind is Kind.DWELL:
            self._shift_s = now - last.end_s  # G4 and M400 are acknowledged when they have ended
            self._pace.forget()
        if planner_free is not None and self.planner_free_idle > 0 and last.piece.kind is Kind.MOTION:
            self._correct(self.planner_free_idle - planner_free, now)

    def on_resend(self, now: float) -> None:
        """The lines that are not acknowledged are being sent once more: their motion begins later than estimated."""
        if self._open:
            first = self._open[0]
            begin = first.end_s - first.duration_s + self._shift_s
            self._shift_s += max(0.0, now - begin)

    def _acknowledge_through(self, line: int) -> _Flight | None:
        """Move the pieces up to this line from open to taken; the last one that had a line."""
        last = None
        while self._open and (self._open[0].line <= line):
            flight = self._open.popleft()
            self._taken.append(flight)
            if flight.piece.blocks:
                self._taken_blocks.append(flight)
                self._unknown_blocks += flight.piece.blocks < 0
                self._pace.on_taken(flight.piece.duration_s)
            if flight.piece.last:
                self.acknowledged = flight.piece.instruction + 1
            last = flight if flight.line else last
        while self._open and self._open[0].line == 0:
            self._acknowledge_through(0)
        return last

    def _correct(self, held: int, now: float) -> None:
        """The planner has just taken a block and now holds `held`: shift the estimate so that it agrees.

        The first of the held blocks moves now, so it ends between now and now + its duration.
        """
        if self._unknown_blocks or held <= 0:
            self._pace.forget()
            return  # an arc makes a number of blocks that only the controller knows
        self._pace.on_held(held, now)
        blocks = self._taken_blocks
        missing = held - len(blocks)
        if missing <= 0:
            head = blocks[-held]
            lower, upper, end = now, now + head.duration_s, head.end_s + self._shift_s
        else:
            # the controller is behind: blocks taken as finished are still there
            behind = list(islice(reversed(self._finished_s), missing))
            lower = now + sum(behind[:-1])
            upper = lower + (behind[-1] if behind else 0.0)
            end = now
            if blocks:
                head = blocks[0]
                end = head.end_s - head.duration_s + self._shift_s
        self._shift_s += max(lower - end, 0.0) + min(upper - end, 0.0)

    # --- where it is ---

    def advance(self, now: float) -> None:
        """Move the estimate on: finished pieces leave, `executed` and `position_m` follow."""
        taken, limit = self._taken, now - self._shift_s
        while taken and taken[0].end_s <= limit:
            flight = taken.popleft()
            piece = flight.piece
            if piece.blocks:
                self._taken_blocks.popleft()
                self._unknown_blocks -= piece.blocks < 0
                self._finished_s.append(flight.duration_s)
            if piece.instruction >= 0:
                self.position_m = piece.end_m
            if piece.last:
                self.executed = piece.instruction + 1
        if taken and taken[0].piece.kind is Kind.MOTION:
            self.position_m = self._between(taken[0], limit)

    @staticmethod
    def _between(flight: _Flight, limit: float) -> Vector:
        piece = flight.piece
        whole_s = flight.duration_s
        left = min(1.0, max(0.0, (flight.end_s - limit) / whole_s)) if whole_s > 0.0 else 0.0
        x, y, z = (b + left * (a - b) for a, b in zip(piece.start_m, piece.end_m, strict=True))
        return x, y, z


def _preamble_piece(text: str) -> Piece:
    return Piece(text, -1, Kind.INSTANT, 0.0, 0.0, UNMEASURED, UNMEASURED, 0, False)
