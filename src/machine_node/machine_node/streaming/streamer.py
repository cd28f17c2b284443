"""Which line may go to the controller now, and where the machine is in the program. Pure: time is an argument.

The controller never holds more than QUEUE_LIMIT_S of motion in steady seconds, braking included, so that to stop
sending is to stop. The queue is counted in time with the motion plan's durations. Where the controller reports
its free planner blocks (ADVANCED_OK) the count follows the report, also when it moves slower than planned.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, takewhile

from industriverse_core.machine import MachineProfile
from industriverse_core.motion import MotionPlan
from industriverse_core.program import Program
from industriverse_core.telemetry import UNMEASURED, Vector
from machine_node.streaming import events
from machine_node.streaming.dialect import Dialect
from machine_node.streaming.pace import Pace
from machine_node.streaming.pieces import BARRIERS, Kind, Piece, PieceMaker
from machine_node.streaming.witness import Witness, nearest, tolerance_m

REMEMBERED_PIECES = 512
STILL: Vector = (0.0, 0.0, 0.0)
RECENT_PIECES = 32
PLACED_FOR_S = 0.5
LARGEST_SHIFT_S = 1.0
SURE_BLOCKS, SURE_BLOCKS_PER_LINE = 3, 2  # by so many the held blocks may grow from one report to the next


@dataclass(slots=True)
class _Flight:
    """A piece that was sent and is not finished.

    `end_s` is the steady time, less the streamer's common shift, at which it is estimated to be finished.
    """

    piece: Piece
    line: int  # 0 = there was nothing to send
    duration_s: float  # as expected when it was sent
    end_s: float


@dataclass(frozen=True, slots=True)
class Approach:
    """How a program begins where the tool stands.

    Attributes:
        start_m: where the tool stands.
        way: the motion to `begin_m`; None = there is none.
        begin_m: where the program's first motion begins.
    """

    start_m: Vector
    way: PieceMaker | None
    begin_m: Vector


ApproachRule = Callable[[Vector], Approach]  # of the reported position; raises MachineError


class Streamer:
    """One execution of one program.

    Args:
        program, plan, profile, time_scale, dialect: see PieceMaker.
        planner_free_idle: free planner blocks that the controller reports when idle; 0 = it does not report.
        preamble: commands before the program; they count as no instruction.
        lead_s: steady time by which a block leaves the planner before its motion has ended.
        approach: asked after the preamble, when the controller says where the tool stands at rest; None = the program
            begins wherever the tool is.

    Attributes:
        total, sent, acknowledged, executed: instructions.
        begun: something was sent.
        position_m, velocity_m_s: where the tool is, and its mean velocity over the present piece in steady time, by the
            estimate at the last `advance`.
    """

    def __init__(
        self,
        program: Program,
        plan: MotionPlan,
        profile: MachineProfile,
        time_scale: float,
        dialect: Dialect,
        planner_free_idle: int = 0,
        preamble: Sequence[str] = (),
        lead_s: float = 0.0,
        approach: ApproachRule | None = None,
    ) -> None:
        self.begun = False
        self.total = len(program)
        self.sent = 0
        self.acknowledged = 0
        self.executed = 0
        self.position_m: Vector = UNMEASURED
        self.velocity_m_s: Vector = STILL
        self._dialect = dialect
        self._lead_s = lead_s
        self.witness = Witness(time_scale)
        self._paused_s: float | None = None
        self._rule = approach
        self._awaiting = False  # a report of where the tool stands
        self._way: PieceMaker | None = None
        self._maker = PieceMaker(program, plan, profile, time_scale, dialect)
        self.planner_free_idle = planner_free_idle
        self._pace = Pace()
        self._preamble = deque(_preamble_piece(text) for text in preamble)
        self._next = self._following(1.0)
        self._open: deque[_Flight] = deque()  # sent, not acknowledged
        self._taken: deque[_Flight] = deque()  # acknowledged, not finished
        self._taken_blocks: deque[_Flight] = deque()  # those of them that are planner blocks
        self._unknown_blocks = 0  # how many of them are arcs
        self._reports: deque[int] = deque(maxlen=2)  # blocks held by the last reports, and what may have come since
        self._finished_s: deque[float] = deque(maxlen=REMEMBERED_PIECES)  # durations of blocks taken as finished
        self._recent: deque[_Flight] = deque(maxlen=RECENT_PIECES)  # that were finished last
        self._placed_s = -math.inf  # when the tool's reported place was found on the path
        self._shift_s = 0.0
        self._busy_until = -math.inf
        self._waiting_for: _Flight | None = None

    # --- sending ---

    @property
    def all_sent(self) -> bool:
        """True when nothing is left to send."""
        return self._next is None and not self._awaiting

    @property
    def finished(self) -> bool:
        """True when everything was sent, acknowledged and, by the estimate, executed."""
        return self.all_sent and not self._open and not self._taken

    @property
    def barrier(self) -> Kind | None:
        """The kind of the piece whose acknowledgement everything waits for, or None."""
        return None if self._waiting_for is None else self._waiting_for.piece.kind

    def queued_s(self, now: float) -> float:
        """Estimated motion and dwell in the controller [steady s]."""
        return max(0.0, self._busy_until + self._shift_s - self._moving_until(now))

    def _moving_until(self, now: float) -> float:
        """Motion has gone on until this time: now, or when it was paused."""
        return now if self._paused_s is None else self._paused_s

    def room_in_s(self, now: float) -> float:
        """Steady time until the next piece fits into the queue; 0 = now, inf = after an acknowledgement or never."""
        piece = self._next
        if piece is None or self._waiting_for is not None or self._paused_s is not None:
            return math.inf
        if piece.alone:
            return math.inf if self._open else self.queued_s(now)
        if piece.kind is Kind.INSTANT:
            return 0.0
        queued_s = self.queued_s(now)
        motion_s = piece.duration_s * self._slowdown(piece) + piece.tail_s
        over_s = queued_s + motion_s - self._dialect.queue.allowed_s(piece.tail_s)
        return max(0.0, min(queued_s, over_s))  # into an empty queue anything fits

    @property
    def _learnt(self) -> float:
        """How much slower than planned the controller moves.

        Not learnt where the queue is only just as long as braking takes: a shorter one would itself make it slower.
        """
        return 1.0 if self._dialect.queue.follows_braking else self._pace.slowdown

    def _slowdown(self, piece: Piece) -> float:
        return self._learnt if piece.kind is Kind.MOTION else 1.0

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
        self.witness.on_sent(piece, line)
        if line == 0:
            self._acknowledge_through(0)
        self._next = self._following(speed_scale)

    def _following(self, speed_scale: float) -> Piece | None:
        if self._preamble:
            return self._preamble.popleft()
        if self._rule is not None:
            self._awaiting = True
            return None
        if self._way is not None:
            piece = self._way.next(speed_scale, self._learnt)
            if piece is not None:
                return replace(piece, instruction=-1, last=False)
            self._way = None
        return self._maker.next(speed_scale, self._learnt)

    def home_first(self, command: str) -> None:
        """The controller homes before anything else is sent. Before the first piece, and only with a preamble."""
        assert self._next is not None
        self._preamble.appendleft(self._next)
        self._next = Piece(command, -1, Kind.CYCLE, 0.0, 0.0, UNMEASURED, UNMEASURED, 0, False, True)

    def check_start(self, position_m: Vector) -> None:
        """Raise MachineError when the program cannot begin with the tool here."""
        if self._rule is not None:
            self._rule(position_m)

    def on_tool(self, position_m: Vector, at_rest: bool, now: float, line: int = 0) -> None:
        """Where the controller says the tool is. Raises MachineError: not where it was sent, or not where the program
        can begin."""
        if self._awaiting:
            if at_rest and not self._open and self._rule is not None:
                begin = self._rule(position_m)
                self._rule, self._awaiting, self._way = None, False, begin.way
                self.witness.start_from(begin.start_m)
                self._maker.start_from(begin.begin_m)
                self._next = self._following(1.0)
            return
        error = self.witness.judge(position_m, at_rest and not self._open, line)
        if error is not None:
            raise error
        if not at_rest:
            self._place(position_m, now)

    def _place(self, position_m: Vector, now: float) -> None:
        """Shift the estimate so that the tool is where the controller says. Of two places that a path crosses, the one
        that is nearer in time."""
        limit, best = self._moving_until(now) - self._shift_s, math.inf
        for flight in chain(self._recent, self._taken):
            piece = flight.piece
            off_m, share = nearest(position_m, piece.start_m, piece.end_m)
            if off_m > tolerance_m(piece) or (not self._taken and share >= 1.0):
                continue  # standing at a piece's end says nothing of the time
            late_s = limit - (flight.end_s - (1.0 - share) * flight.duration_s)
            if abs(late_s) < abs(best):
                best = late_s
        if abs(best) < LARGEST_SHIFT_S:
            self._shift_s += best
            self._placed_s = now

    def drop(self) -> None:
        """The controller has dropped what it held: nothing of it is executed any more."""
        self._open.clear()
        self._taken.clear()
        self._taken_blocks.clear()
        self._unknown_blocks = 0
        self._waiting_for = None
        self._busy_until = -math.inf

    def withdraw(self, line: int) -> None:
        """The pieces sent as this line number or a later one are never executed: they were lost, and stay so."""
        self._open = deque(takewhile(lambda flight: flight.line < line, self._open))
        if self._waiting_for is not None and self._waiting_for.line >= line:
            self._waiting_for = None

    # --- what the controller says ---

    def follow(self, event: object, stopping: bool, now: float) -> None:
        """An event of the driver; what says nothing of the stream is ignored. Raises MachineError when the stream is
        not what the program is any more.

        Args:
            stopping: lost lines are not sent again.
        """
        if isinstance(event, events.Acknowledged):
            self.on_acknowledged(event.line, event.planner_free, now)
        elif isinstance(event, events.ResendRequest):
            if stopping:
                self.withdraw(event.line)
            else:
                self.on_resend(now)
        elif isinstance(event, events.PlannerReport):
            self.on_planner(event.planner_free, now)
        elif isinstance(event, events.ToolReport):
            self.on_tool(event.position_m, event.at_rest, now, event.line)
        elif isinstance(event, events.Paused):
            (self.pause if event.paused else self.go_on)(now)
        elif isinstance(event, events.Broken):
            raise event.error

    def pause(self, now: float) -> None:
        """Motion is being held: the estimate stands still."""
        if self._paused_s is None:
            self.advance(now)
            self._paused_s = now

    def go_on(self, now: float) -> None:
        """Motion goes on: everything ends later by the time of the pause."""
        if self._paused_s is not None:
            self._shift_s += now - self._paused_s
            self._paused_s = None
            self._pace.forget()

    def on_planner(self, planner_free: int, now: float) -> None:
        """Free planner blocks at this moment, after all lines that were acknowledged by now."""
        known = now - self._placed_s < PLACED_FOR_S  # a position says more than a number of blocks
        if self.planner_free_idle > 0 and self._paused_s is None and not known:
            self._correct(self.planner_free_idle - planner_free, now)

    def on_acknowledged(self, line: int, planner_free: int | None, now: float) -> None:
        """A line was taken, and with it all before it. Lines of others and repeated ones are ignored."""
        last = self._acknowledge_through(line)
        if last is None:
            return
        if self._waiting_for is last:
            self._waiting_for = None
            last.end_s = self._busy_until = now - self._shift_s
        elif last.piece.kind is Kind.DWELL:
            self._shift_s = now - last.end_s  # G4 is acknowledged when it has ended
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
                self._reports = deque((held + SURE_BLOCKS_PER_LINE for held in self._reports), maxlen=2)
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
        if self._unknown_blocks:
            self._reports.clear()
        elif not self._believable(held):
            return
        if self._unknown_blocks or held <= 0:
            self._pace.forget()
            return  # an arc makes a number of blocks that only the controller knows
        self._pace.on_held(held, now)
        blocks = self._taken_blocks
        missing = held - len(blocks)
        if missing <= 0:
            head = blocks[-held]
            lower, upper, end = now, now + head.duration_s, head.end_s + self._shift_s - self._lead_s
        else:
            # the controller is behind: blocks taken as finished are still there
            behind = list(islice(reversed(self._finished_s), missing))
            lower = now + sum(behind[:-1])
            upper = lower + (behind[-1] if behind else 0.0)
            end = now
            if blocks:
                head = blocks[0]
                end = head.end_s - head.duration_s + self._shift_s - self._lead_s
        self._shift_s += max(lower - end, 0.0) + min(upper - end, 0.0)

    def _believable(self, held: int) -> bool:
        """False for a report that the line has spoilt: a lost digit would hold the stream up for seconds.

        A line adds about one block, so the number cannot jump. The last two reports count, because one of them may
        have been too low in the same way.
        """
        good = not self._reports or held <= max(self._reports) + SURE_BLOCKS
        if good:
            self._reports.append(held)
        return good

    # --- where it is ---

    def advance(self, now: float) -> None:
        """Move the estimate on: finished pieces leave, `executed` and `position_m` follow."""
        taken, limit = self._taken, self._moving_until(now) - self._shift_s
        while taken and taken[0].end_s <= limit:
            flight = taken.popleft()
            piece = flight.piece
            if piece.blocks:
                self._taken_blocks.popleft()
                self._unknown_blocks -= piece.blocks < 0
                self._finished_s.append(flight.duration_s)
                self._recent.append(flight)
            if piece.end_m[0] == piece.end_m[0]:  # not NaN: the preamble is nowhere
                self.position_m = piece.end_m
            if piece.last:
                self.executed = piece.instruction + 1
        self.velocity_m_s = STILL
        if taken and taken[0].piece.kind is Kind.MOTION:
            self.position_m = self._between(taken[0], limit)
            if self._paused_s is None:
                self.velocity_m_s = _velocity(taken[0])

    def finish(self) -> Vector:
        """The controller has confirmed that everything is executed: where the tool is then, without an estimate."""
        self._paused_s = None
        self.advance(math.inf)
        self.executed = self.total
        return self.position_m

    @staticmethod
    def _between(flight: _Flight, limit: float) -> Vector:
        piece = flight.piece
        whole_s = flight.duration_s
        left = min(1.0, max(0.0, (flight.end_s - limit) / whole_s)) if whole_s > 0.0 else 0.0
        x, y, z = (b + left * (a - b) for a, b in zip(piece.start_m, piece.end_m, strict=True))
        return x, y, z


def _velocity(flight: _Flight) -> Vector:
    piece, whole_s = flight.piece, flight.duration_s
    if whole_s <= 0.0 or math.isnan(piece.start_m[0]):
        return STILL
    x, y, z = ((b - a) / whole_s for a, b in zip(piece.start_m, piece.end_m, strict=True))
    return x, y, z


def _preamble_piece(text: str) -> Piece:
    return Piece(text, -1, Kind.INSTANT, 0.0, 0.0, UNMEASURED, UNMEASURED, 0, False)
