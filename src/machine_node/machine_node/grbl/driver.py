"""Device verbs of a GRBL controller: handshake, send within its receive buffer, hold, resume, reset, overrides.

The driver never blocks and reads no clock: `poll(now)` takes what has arrived and goes one step on. What ends the
connection is raised as a MachineError. What ends the stream alone (a refused line, answers that do not fit) is given as
Broken: the controller still listens, so a controlled stop is possible.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import UNMEASURED, HeaterReading, Vector
from machine_node.drivers import Transport
from machine_node.grbl import protocol as p
from machine_node.grbl.codes import alarm_name, error_name
from machine_node.grbl.handshake import Handshake
from machine_node.grbl.modes import PERIOD_S as MODES_PERIOD_S
from machine_node.grbl.modes import QUESTION, ModesWitness
from machine_node.grbl.overrides import Overrides
from machine_node.grbl.settings import ControllerSettings
from machine_node.streaming import events as told

REPORT_PERIOD_S = 0.1  # in physics time: a report must see as much of the way at any time scale
SHORTEST_PERIOD_S = 0.005
FAST_PERIOD_S = 0.025  # while a hold, a stop or an end is waited for
SILENCE_LIMIT_S = 1.5  # reports come every REPORT_PERIOD_S
HOMING_LIMIT_S = 120.0  # GRBL says nothing while it homes
MISSING_ANSWER_S = 1.0  # idle with a line that has no answer
REPEAT_S = 0.2  # a real-time byte that had no effect by then is written again
LONGEST_POLL_BYTES = 65536
LINE_WINDOW = 4096  # Ln is one of the last lines
FINISH = ("G4P0", "M5", "M9")


class GrblDriver:
    """One connection to one controller; see Driver.

    Args:
        transport: the open port.
        profile: the machine's; its buffers count where the controller names none.
        time_scale: physics seconds in a steady second; above 1, a controller that does not call itself virtual is
            refused.
        now: steady time [s].

    Attributes:
        status, status_s: last report, and when it came.
        settings: of `$$`, `$#`, `$G` and `$I`.
        probe: the last probe's result.
    """

    def __init__(self, transport: Transport, profile: MachineProfile, time_scale: float, now: float) -> None:
        self._transport = transport
        self._profile = profile
        self._connection = p.Connection(round(profile.protocol.receive_buffer * time_scale))
        self._commands: deque[str] = deque()
        self._events: list[object] = []
        self.settings = ControllerSettings()
        self.status = p.Status("Unknown")
        self.status_s = -math.inf
        self.probe: p.Probe | None = None
        self._handshake = Handshake(self, now, virtual_only=time_scale > 1.0)
        self.planner_free_idle = 0
        self.resends = 0
        self._overrides = Overrides()
        self._modes = ModesWitness()
        self._modes_line = 0  # the question whose answer is waited for
        self._scale = max(1.0, time_scale)
        self._offset: Vector | None = None
        self._alarm = ""
        self._heard_s = self._progress_s = now
        self._asked_s = self._held_s = self._resumed_s = -math.inf
        self._idle_reports = 0  # in a row, with nothing on its way
        self._held = False  # by us
        self._resuming = False  # our resume was written, its effect was not seen
        self._paused = False  # as told to the stream
        self._stopping = False  # nothing of the stream is wanted any more
        self._expects_reset = False
        self._halting = False
        self._homing_line = self._pause_line = 0

    # --- state ---

    @property
    def ready(self) -> bool:
        """See Driver."""
        return self._handshake.done

    @property
    def firmware(self) -> str:
        """See Driver."""
        return self.settings.firmware

    @property
    def settled(self) -> bool:
        """See Driver: two reports in a row say Idle with nothing on its way."""
        return not self._commands and not self._connection.unanswered and self._idle_reports >= 2

    @property
    def must_home(self) -> bool:
        """Locked by an alarm, and homing ends that."""
        return self.status.state == "Alarm" and self.settings.homes

    @property
    def locked(self) -> str:
        """See Driver."""
        state = self.status.state
        if state in ("Idle", "Run", "Hold") or self.must_home:
            return ""
        if state != "Alarm":
            return f"the controller is in the state {state}."
        alarm = f" by {self._alarm}" if self._alarm else ""
        return f"the controller is locked{alarm}: its position is not certain, and it cannot home ($22=0)."

    @property
    def notices(self) -> tuple[str, ...]:
        """See Driver."""
        lines = [f"warning: {line}" for line in self.settings.differences(self._profile)]
        if self.planner_free_idle == 0:
            lines.append("warning: the controller reports no free planner blocks (Bf); its queue is estimated")
        return tuple(lines)

    @property
    def reported_position_m(self) -> Vector:
        """See Driver: the work position."""
        status, unit_m = self.status, self.settings.unit_m
        if status.work is not None:
            x, y, z = (value * unit_m for value in status.work)
        elif status.machine is not None and self._offset is not None:
            x, y, z = ((value - zero) * unit_m for value, zero in zip(status.machine, self._offset, strict=True))
        else:
            return UNMEASURED
        return x, y, z

    def position_in(self, system: str) -> Vector:
        """Where the tool will stand [m] when this work system is in force, without shift and tool length; NaN = not
        known."""
        place, origin = self.status.machine, self.settings.offsets.get(system)
        if place is None or origin is None:
            return UNMEASURED
        x, y, z = ((value - zero) * self.settings.unit_m for value, zero in zip(place, origin, strict=True))
        return x, y, z

    def heaters(self, profile: MachineProfile, now: float) -> tuple[HeaterReading, ...]:
        """See Driver: none."""
        return ()

    # --- sending ---

    @property
    def _may_write(self) -> bool:
        """No line queues behind bytes that the port has not taken, and none follows a reset that was not answered."""
        return not self._halting and not self._expects_reset and not self._transport.wants_write

    def can_send(self, command: str) -> bool:
        """See Driver."""
        free = self.ready and not self._commands and self._may_write and not self._held and not self._stopping
        return free and self._connection.fits(command)

    def send(self, command: str, now: float) -> int:
        """See Driver."""
        if not self._connection.unanswered:
            self._progress_s = now
        line, data = self._connection.frame(command)
        self._modes.on_sent(command)
        if command == "$H":
            self._homing_line = line
        elif command in ("M0", "M1"):
            self._pause_line = line
        self._idle_reports = 0
        self._transport.write(data)
        return line

    def _send_commands(self, now: float) -> None:
        while self._commands and self._may_write and self._connection.fits(self._commands[0]):
            self.send(self._commands.popleft(), now)

    def _real_time(self, data: bytes) -> None:
        """Bytes that act at once. Where the port takes none, what waits there is given up, and with it the stream."""
        if self._transport.wants_write:
            self._transport.drop_pending()
            self._break(ErrorCode.PROTOCOL, "the port took no bytes; lines were lost.", "Check the cable.")
        self._transport.write(data)

    def finish(self) -> None:
        """See Driver."""
        self._commands.extend(FINISH)

    def power_off(self) -> None:
        """See Driver: spindle and coolant; the motors follow $1."""
        if not self.locked and not self.must_home:
            self._commands.extend(FINISH[1:])

    def look_again(self) -> None:
        """See Driver."""
        self._asked_s = -math.inf

    def seal(self) -> None:
        """Nothing: GRBL never asks for a line again."""

    def tend(self, now: float) -> None:
        """Nothing: reports are asked for in every state."""

    def kill(self) -> None:
        """See Driver: soft reset. Where something moves, the position is lost."""
        self._halting = True
        self._transport.drop_pending()
        self._transport.write(p.RESET)

    def hold(self, now: float) -> None:
        """See Driver: feed hold."""
        if self._pause_line or (self.status.state == "Hold" and not self._held and not self._resuming):
            return  # a program stop, or somebody's own hold: nothing moves, and our resume would end it
        if not self._held:
            self._resuming = False
            self._held, self._held_s, self._asked_s = True, now, -math.inf
            self._pause(True)
            self._real_time(p.HOLD)
        elif self.status.state == "Run" and self.status_s - self._held_s > REPEAT_S:
            self._held_s = now
            self._real_time(p.HOLD)

    def go_on(self, now: float) -> None:
        """See Driver: resume, once the hold is complete."""
        ignored = self._resuming and self.status_s - self._resumed_s > REPEAT_S
        if self._pause_line or not (self._held or ignored):
            return
        # an Idle may have been on its way when the hold was written, before a line began to move
        still = self.status.state == "Idle" and self.status_s - self._held_s > REPEAT_S
        if self.status_s > self._held_s and (still or (self.status.state == "Hold" and self.status.substate != 1)):
            self._held, self._resuming = False, True
            self._resumed_s, self._asked_s = now, -math.inf
            self._real_time(p.RESUME)

    def set_speed(self, scale: float, now: float) -> None:
        """See Driver: overrides of feed and rapids."""
        self._overrides.want(scale)

    def break_off(self, now: float) -> None:
        """Feed hold, and no line of the stream any more. `complete_stop` follows when nothing moves."""
        self._stopping = True
        self._commands.clear()
        self._held, self._held_s, self._asked_s = True, now, -math.inf
        self._pause(True)
        self._transport.drop_pending()
        self._transport.write(p.HOLD)

    @property
    def at_rest(self) -> bool:
        """A report that came after the hold says that nothing moves: a reset loses no position now."""
        status = self.status
        still = status.state not in p.MOVING and not (status.state == "Hold" and status.substate == 1)
        return self.status_s > self._held_s and still and not (status.state == "Door" and status.substate >= 2)

    def complete_stop(self) -> None:
        """Soft reset: the queue is dropped, spindle and coolant go off."""
        self._expects_reset = True
        self._transport.write(p.RESET)

    @property
    def stopped(self) -> bool:
        """The reset of `complete_stop` is done, and a report has come after it."""
        return not self._stopping

    # --- receiving ---

    def poll(self, now: float, may_repeat: Callable[[], bool] = lambda: True) -> list[object]:
        """See Driver. Raises MachineError: NO_REPLY, CONTROLLER_ERROR, CONTROLLER_RESET, BAD_PARAMETER,
        PORT_UNAVAILABLE."""
        received = 0
        while received < LONGEST_POLL_BYTES and (data := self._transport.read()):
            received += len(data)
            for event in self._connection.receive(data):
                self._on_event(event, now)
        if not self._halting:
            self._ask(now)
            if self.ready:
                self._send_commands(now)
                self._ask_modes(now)
                self._step_overrides(now)
                self._check_silence(now)
            elif self._handshake.step(now):
                self._become_ready(now)
        out, self._events = self._events, []
        return out

    def _ask(self, now: float) -> None:
        fast = self._held or self._stopping or (self._idle_reports and not self.settled) or not self.ready
        period_s = max(SHORTEST_PERIOD_S, (FAST_PERIOD_S if fast else REPORT_PERIOD_S) / self._scale)
        if now - self._asked_s >= period_s and not self._transport.wants_write:
            self._asked_s = now
            self._transport.write(p.REPORT)

    def _ask_modes(self, now: float) -> None:
        """While it moves: an idle mill may be somebody else's."""
        if (
            self.status.state == "Run"
            and not self._pause_line
            and self._modes.wants(now, MODES_PERIOD_S / self._scale)
            and self.can_send(QUESTION)
        ):
            self._modes_line = self.send(QUESTION, now)
            self._modes.on_asked(now)

    def _step_overrides(self, now: float) -> None:
        if self._transport.wants_write or self.status.state == "Alarm":
            return
        data = self._overrides.step(now)
        if data:
            self._transport.write(data)

    def _on_event(self, event: p.Event, now: float) -> None:
        self._heard_s = now
        if isinstance(event, p.Status):
            self._on_status(event, now)
        elif isinstance(event, told.Acknowledged):
            self._on_answer(event.line, now)
            self._events.append(event)
        elif isinstance(event, p.Refused):
            self._on_refused(event, now)
        elif isinstance(event, p.Surplus):
            self._break(
                ErrorCode.PROTOCOL, "the controller gave one answer too many; a line was torn.", "Check the cable."
            )
        elif isinstance(event, p.Alarm):
            self._on_alarm(event)
        elif isinstance(event, p.Welcome):
            self._on_welcome(now)
        elif isinstance(event, p.Echo):
            self._on_echo(event)
        else:
            if isinstance(event, p.Probe):
                self.probe = event
            elif isinstance(event, p.Modes):
                self._modes.on_told(event.words)
            self.settings.take(event)

    def _on_answer(self, line: int, now: float) -> None:
        self._progress_s = now
        if line == self._homing_line:
            self._homing_line, self._alarm = 0, ""
        if line == self._pause_line:
            self._pause_line = 0
        if line == self._modes_line and (wrong := self._modes.on_end()) is not None:
            self._modes_line = 0
            if self.ready and not self._stopping and not self._halting:
                self._events.append(told.Broken(wrong))

    def _on_refused(self, event: p.Refused, now: float) -> None:
        self._on_answer(event.line, now)
        if self.ready:
            self._break(
                ErrorCode.CONTROLLER_ERROR,
                f"the controller refused line {event.line} with {error_name(event.code)}.",
                "Check the cable and the program.",
            )

    def _on_echo(self, event: p.Echo) -> None:
        sent = self._connection.oldest
        if sent and event.text.replace(" ", "").upper() != sent.upper():
            text = f"the controller received {event.text[:40]!r} instead of {sent!r}."
            self._break(ErrorCode.PROTOCOL, text, "Check the cable.")

    def _on_alarm(self, event: p.Alarm) -> None:
        self._alarm = alarm_name(event.code)
        if self.ready and not self._halting and not self._expects_reset:
            raise MachineError(
                ErrorCode.CONTROLLER_ERROR, f"the controller reports {self._alarm}.", "Mend the cause, then home it."
            )

    def _on_welcome(self, now: float) -> None:
        self._connection.forget()
        self._modes.forget()
        self._overrides.reset()
        self._idle_reports = self._homing_line = self._pause_line = 0
        if self._halting:
            raise MachineError(ErrorCode.CONTROLLER_ERROR, "the controller was halted by a soft reset.")
        if self._expects_reset:
            self._expects_reset = self._held = False
            self._held_s, self._asked_s = now, -math.inf
            self._pause(False)
        elif self.ready:
            raise MachineError(
                ErrorCode.CONTROLLER_RESET, "the controller was reset.", "Check its supply; start the job again."
            )
        else:
            self._handshake.on_welcome()

    def _on_status(self, status: p.Status, now: float) -> None:
        changed = status.state != self.status.state
        self.status, self.status_s = status, now
        if status.offset is not None:
            self._offset = status.offset
        if status.overrides is not None:
            self._overrides.on_report(status.overrides[0], status.overrides[1], now)
        if status.state == "Idle":
            self._alarm = ""
        else:
            self._progress_s = now  # a program stop and a move have their answers when they end
        if not self.ready or self._expects_reset:
            return
        if self._stopping:
            self._stopping = not (status.state in ("Idle", "Alarm") and not self._held)
            return
        resting = status.state == "Idle" and not self._connection.unanswered
        self._idle_reports = self._idle_reports + 1 if resting else 0
        self._tell(status, changed, now)

    def _tell(self, status: p.Status, changed: bool, now: float) -> None:
        """What the stream wants to know of a report."""
        if status.state in ("Alarm", "Door", "Sleep", "Check"):
            if not changed:
                return
            name = status.state if status.substate < 0 else f"{status.state}:{status.substate}"
            text = f"the controller is in the state {name}{': ' + self._alarm if self._alarm else ''}."
            self._break(ErrorCode.CONTROLLER_LOCKED, text, "Close the door, or home the machine.")
            return
        if status.state == "Hold":
            self._pause(True)
        elif status.state in ("Run", "Idle") and not self._held:
            if now - self._resumed_s > REPEAT_S:  # an earlier one may have been on its way when the resume was written
                self._resuming = False
            self._pause(False)
        if status.planner_free is not None and not self._paused:
            self._events.append(told.PlannerReport(status.planner_free))
        position_m = self.reported_position_m
        if position_m[0] == position_m[0] and status.state in ("Idle", "Run", "Hold"):
            line = self._connection.line_of(status.line) if status.line and status.state == "Run" else 0
            self._events.append(told.ToolReport(position_m, self._idle_reports >= 2, line))
        if status.line and not self._connection.sent_lately(status.line, LINE_WINDOW):
            text = f"the controller carries out line N{status.line}, which was not sent."
            self._break(ErrorCode.PROTOCOL, text, "Check the cable.")
        if status.state == "Idle" and self._connection.unanswered and now - self._progress_s > MISSING_ANSWER_S:
            text = f"the controller is idle and has not answered line {self._connection.unanswered[0][0]}."
            self._break(ErrorCode.PROTOCOL, text, "Check the cable.")

    def _pause(self, paused: bool) -> None:
        if paused is not self._paused:
            self._paused = paused
            self._events.append(told.Paused(paused))

    def _break(self, code: ErrorCode, text: str, remedy: str) -> None:
        if self.ready and not self._stopping and not self._halting:
            self._events.append(told.Broken(MachineError(code, text, remedy)))

    def _check_silence(self, now: float) -> None:
        limit_s = HOMING_LIMIT_S if self._homing_line else SILENCE_LIMIT_S
        if now - self._heard_s > limit_s:
            raise MachineError(
                ErrorCode.NO_REPLY,
                f"the controller has said nothing for {limit_s:g} s.",
                "Check the cable and that the machine is on.",
            )

    # --- handshake ---

    def write_now(self, data: bytes) -> None:
        """Real-time bytes of the handshake."""
        self._transport.write(data)

    def restart(self) -> None:
        """The controller is being reset: no answer to what was sent will come."""
        self._connection.forget()

    @property
    def answered(self) -> bool:
        """Every line has its answer."""
        return not self._connection.unanswered

    def _become_ready(self, now: float) -> None:
        options = self.settings.options
        if options.receive_buffer:
            self._connection.receive_buffer = options.receive_buffer
        self._connection.numbered = "N" in options.letters
        if self.status.planner_free is not None:
            self.planner_free_idle = self.status.planner_free or options.planner_blocks
        self._heard_s = now
