"""Device verbs of a Marlin controller: handshake, send within the window, resends, stops. Over any transport.

The driver never blocks and reads no clock: `poll(now)` takes what has arrived and goes one step on. Failures are
MachineErrors; after one the driver is of no use any more and its owner opens a new connection.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import MachineProfile
from industriverse_core.program import Heater
from industriverse_core.telemetry import UNMEASURED, HeaterReading, Vector
from machine_node.drivers import Transport
from machine_node.marlin import protocol as p
from machine_node.marlin.echoes import EchoCheck
from machine_node.marlin.faults import explain
from machine_node.streaming.events import Broken

NUMBERING_RETRY_S = 1.0  # while a board boots it does not answer
HANDSHAKE_LIMIT_S = 15.0
COMPLAINT_S = 0.1  # from an `Error:` of unknown words to the request that would make it harmless
QUIET_S = 0.05  # silence after which no more answers to old lines are expected
NO_REPLY_S = 10.0  # Marlin says `busy` every 2 s
PROBE_S = 2.5  # silence after which an ok or a request may have been lost; a busy controller speaks every 2 s
DOUBT_S = 0.3  # the same after a spoilt line, where an ok names its line, so that the question cannot confuse
PATIENT_PROBE_S = 30.0  # the same during M109 and M190, which say no ok for minutes
UNKNOWN_REQUESTS = 3  # in a row; fewer may be a spoilt number
URGENT_RESERVE_BYTES = 24  # of the receive buffer, so that M108 or M410 always fits
LONGEST_WINDOW_BYTES = 2048
LONGEST_POLL_BYTES = 65536  # a device that never stops talking must not keep others waiting
FIRMWARE_NAME = "FIRMWARE_NAME:"

POSITION_POLL_S = 1.0  # where the controller has no automatic reports
REPORT_STALE_S = 5.0  # older temperature reports are not shown

HEATERS_OFF = ("M104 S0", "M140 S0", "M107")
MOTORS_OFF = "M84"
CONNECT = ("G21", "G90", "M83", "M220 S100", "M221 S100", *HEATERS_OFF)


class Phase(Enum):
    """Where the connection is."""

    NUMBERING = auto()  # M110 N0 was sent, its ok has not come
    SETTLING = auto()  # it has come; waiting until answers to repeated ones are over
    CONFIGURING = auto()  # M115 and the settings
    READY = auto()


class MarlinDriver:
    """One connection to one controller.

    Args:
        transport: the open port.
        receive_buffer: of the controller [bytes]; unacknowledged bytes stay below it.
        now: steady time [s].
        time_scale: physics seconds in a steady second; above 1, a controller that does not call itself virtual is
            refused.

    Attributes:
        phase: see Phase; commands can be sent in READY.
        capabilities, firmware: of M115.
        temperatures, position: the last reports, with the time at which they came (-inf = never).
        planner_free_idle: free planner blocks that an idle controller reports; 0 = it does not report.
        resends: lines sent again so far.
        echoes: see EchoCheck.
    """

    def __init__(self, transport: Transport, receive_buffer: int, now: float, time_scale: float = 1.0) -> None:
        self._transport = transport
        self._time_scale = time_scale
        self._virtual_only = time_scale > 1.0
        self._poll_at = 0.0
        self._complaint = ""  # an `Error:` of unknown words; it is about a line when a request for one follows it
        self._complained_s = now
        self._halting = False  # M112 was sent: not one more line
        self._window_bytes = min(LONGEST_WINDOW_BYTES, receive_buffer) - URGENT_RESERVE_BYTES
        self._connection = p.Connection()
        self._commands: deque[str] = deque()  # of the handshake, and of `run`
        self._patient_line = 0  # M109 or M190: temperatures show that the controller lives
        self.phase = Phase.NUMBERING
        self.capabilities: dict[str, bool] = {}
        self.firmware = ""
        self.temperatures = p.Temperatures()
        self.temperatures_s = -math.inf
        self.position: p.Position | None = None
        self.planner_free_idle = 0
        self.resends = 0
        self.echoes = EchoCheck()
        self._began_s = now
        self._numbered_s = -math.inf
        self._heard_s = now
        self._progress_s = now
        self._answered_s = now  # last ok or resend request
        self._probed_s = -math.inf
        self._said: p.Event | Broken = p.Other("")  # what the controller has said last
        self._doubt = False  # a spoilt line has come since the last acknowledgement
        self._unknown_requests = 0
        self._repeated_bytes = 0  # since the last request
        self._resending = False  # a resend was asked for; waiting until requests for lines on their way are over

    # --- state ---

    @property
    def ready(self) -> bool:
        """True when commands can be sent."""
        return self.phase is Phase.READY

    @property
    def has_emergency_parser(self) -> bool:
        """True when M108, M112 and M410 act at once even while the controller is busy."""
        return self.capabilities.get("EMERGENCY_PARSER", False)

    @property
    def settled(self) -> bool:
        """True when nothing waits to be sent and every line was acknowledged."""
        return not self._commands and self._idle

    @property
    def locked(self) -> str:
        """Why the controller takes no program though it answers: never, a halted Marlin does not answer."""
        return ""

    @property
    def notices(self) -> tuple[str, ...]:
        """What people should know of this controller."""
        if self.planner_free_idle > 0:
            return ()
        return ("warning: the controller reports no free planner blocks (ADVANCED_OK); its queue is estimated",)

    @property
    def reported_position_m(self) -> Vector:
        """The last position report; NaN = never."""
        position = self.position
        return UNMEASURED if position is None else (position.x_m, position.y_m, position.z_m)

    def heaters(self, profile: MachineProfile, now: float) -> tuple[HeaterReading, ...]:
        """The last temperature report; () when it is older than REPORT_STALE_S."""
        if now - self.temperatures_s > REPORT_STALE_S:
            return ()
        t = self.temperatures
        readings = [HeaterReading(Heater.HOTEND, t.hotend_c, t.hotend_target_c, t.hotend_duty)]
        if profile.bed is not None:
            readings.append(HeaterReading(Heater.BED, t.bed_c, t.bed_target_c, t.bed_duty))
        return tuple(readings)

    @property
    def _idle(self) -> bool:
        return not self._connection.unacknowledged and not self._connection.lost

    # --- sending ---

    def can_send(self, command: str) -> bool:
        """True when the command fits into what the controller's receive buffer surely has free."""
        if not self.ready or self._commands or not self._may_write or self._connection.lost or self._resending:
            return False
        return self._fits(command, self._window_bytes)

    @property
    def _may_write(self) -> bool:
        """No line queues behind bytes that the port has not taken, and none follows M112."""
        return not self._halting and not self._transport.wants_write

    def _fits(self, command: str, window_bytes: int) -> bool:
        taken = self._connection.unacknowledged_bytes
        return taken == 0 or taken + len(command) + 14 <= window_bytes

    def send(self, command: str, now: float) -> int:
        """Write a command; its line number. The caller has asked `can_send`."""
        line, data = self._connection.frame(command)
        if len(self._connection.unacknowledged) == 1:
            self._progress_s = now
        if command.startswith(("M109", "M190", "M191")):
            self._patient_line = line
        self._transport.write(data)
        return line

    def run(self, *commands: str) -> None:
        """Send these after all before them, as the window allows; `settled` tells when they are done."""
        self._commands.extend(commands)

    def stop(self, *commands: str, now: float, urgent: str = "") -> int:
        """Only these commands are wanted from now on; the urgent one is written at once. Its line number, or the
        first one's.

        What has not left the port is dropped. Lines that the controller has lost, or loses, are not sent again.
        """
        self.seal()
        self._commands.clear()
        self._resending = False
        self._transport.drop_pending()
        self._transport.write(b"\n")  # ends a line of which a part was dropped
        first = self._connection.next_line
        if urgent:
            self.send(urgent, now)
        self._commands.extend(commands)
        return first

    def urge(self, command: str, now: float) -> None:
        """Write an urgent command once more, if it surely fits into the receive buffer."""
        if (
            self._may_write
            and not self._connection.lost
            and self._fits(command, self._window_bytes + URGENT_RESERVE_BYTES)
        ):
            self.send(command, now)

    def finish(self) -> None:
        """Everything was sent: wait for the last move; no job owns the heaters any more."""
        self.run(p.HARMLESS, *HEATERS_OFF)

    def power_off(self) -> None:
        """Motors off, of a controller that executes nothing."""
        self.run(MOTORS_OFF)

    def hold(self, now: float) -> None:
        """Nothing: Marlin has no feed hold; to stop sending is to hold."""

    def go_on(self, now: float) -> None:
        """Nothing: see `hold`."""

    def look_again(self) -> None:
        """Nothing: a resend takes care of what is garbled."""

    def set_speed(self, scale: float, now: float) -> None:
        """Nothing: the feeds that are written say it."""

    def tend(self, now: float) -> None:
        """While nothing is executed: M114 where the controller does not report its position by itself."""
        if now >= self._poll_at and not self.capabilities.get("AUTOREPORT_POS", False) and self.can_send("M114"):
            self._poll_at = now + POSITION_POLL_S / self._time_scale
            self.send("M114", now)

    def seal(self) -> None:
        """What was sent so far is never sent again, whatever the controller asks for."""
        self._connection.seal()
        self.echoes.on_sealed()

    def kill(self) -> None:
        """M112 without a line number, on a line of its own: it works whatever was sent before. Nothing follows it."""
        self._halting = True
        self._transport.drop_pending()
        self._transport.write(b"\nM112\n")

    # --- receiving ---

    def poll(self, now: float, may_repeat: Callable[[], bool] = lambda: True) -> list[p.Event | Broken]:
        """Events of what has arrived, at most LONGEST_POLL_BYTES of it.

        Args:
            now: steady time [s].
            may_repeat: asked before each lost line that is sent again; False while nothing may move.
        Raises MachineError: NO_REPLY, CONTROLLER_ERROR, CONTROLLER_RESET, PROTOCOL, PORT_UNAVAILABLE, BAD_PARAMETER.
        """
        events: list[p.Event | Broken] = []
        received = 0
        while received < LONGEST_POLL_BYTES and (data := self._transport.read()):
            received += len(data)
            events += self._connection.receive(data)
        for event in tuple(events):
            self._on_event(event, now)
            events += self._compare(event)
            self._said = event
        if self._halting:
            return events  # its 'Printer halted' is the only answer that counts
        self._check_complaint(now)
        self._repeat_lost(now, may_repeat)
        if self.phase is not Phase.READY:
            self._go_on(now)
        else:
            self._send_commands(now)
            self._check_silence(now)
        return events

    def _send_commands(self, now: float) -> None:
        while self._commands and self._may_write and not self._connection.lost and not self._resending:
            if not self._fits(self._commands[0], self._window_bytes):
                return
            self.send(self._commands.popleft(), now)
        request = self.echoes.request()
        if request and self.can_send(request):
            self.echoes.on_requested(self.send(request, now))

    def _compare(self, event: p.Event | Broken) -> tuple[Broken, ...]:
        """A line that was taken otherwise than it was sent, by its echo; or without its number, by its ok.

        Where oks name their lines, one that does not, but tells what is free, is that of a line which has lost its
        number: an unknown command, and the controller has just said so, or one that was carried out unchecked.
        """
        wrong, numbered_oks = "", self._connection.numbered_oks
        if isinstance(event, p.Echo):
            wrong = self.echoes.judge(event.text, self._connection.sent)
            wrong = wrong or ("" if numbered_oks else self.echoes.unnumbered(event.text))
        elif self.ready and isinstance(event, p.Ok) and event.line is None and event.planner_free is not None:
            said = self._said  # "Unknown command", of which a letter may be wrong
            unknown = isinstance(said, p.Other) or (
                isinstance(said, p.Echo) and ("nknown" in said.text or "command" in said.text)
            )
            if numbered_oks and not unknown:
                wrong = "the controller has taken a line without its number."
        return (Broken(MachineError(ErrorCode.PROTOCOL, wrong, "Check the cable.")),) if wrong else ()

    def _on_event(self, event: p.Event | Broken, now: float) -> None:
        self._heard_s = now
        if isinstance(event, (p.Ok, p.Acknowledged, p.ResendRequest)):
            self._answered_s = now
        if isinstance(event, p.Other) or event == p.Ok():
            self._doubt = True
        if isinstance(event, p.Acknowledged):
            self._progress_s, self._doubt = now, False
            self.echoes.on_acknowledged(event.line)
            if event.planner_free is not None and self.phase is not Phase.READY:
                self.planner_free_idle = max(self.planner_free_idle, event.planner_free)
        elif isinstance(event, p.Temperatures):
            self.temperatures, self.temperatures_s = event, now
        elif isinstance(event, p.Position):
            self.position = event
        elif isinstance(event, p.Busy):
            self._progress_s = now
        elif isinstance(event, p.Capability):
            self.capabilities[event.name] = event.enabled
        elif isinstance(event, p.Other) and event.text.startswith(FIRMWARE_NAME):
            self.firmware = event.text.removeprefix(FIRMWARE_NAME).strip()
        elif isinstance(event, p.ResendRequest):
            self._on_resend_request(event.line, now)
        elif isinstance(event, p.Fault):
            if event.is_halt:
                raise _failed(event.text)
            if self.phase not in (Phase.NUMBERING, Phase.SETTLING):
                # what a board complains of while it boots (its EEPROM, its card) does not keep it from working
                self._complaint, self._complained_s = event.text, now
        elif isinstance(event, p.Reset):
            self._on_reset(now)

    def _check_complaint(self, now: float) -> None:
        if self._complaint and now - self._complained_s > COMPLAINT_S:
            raise _failed(self._complaint)

    def _on_resend_request(self, line: int, now: float) -> None:
        self._complaint = ""
        if self.phase in (Phase.NUMBERING, Phase.SETTLING):
            return
        self.echoes.on_spoilt()
        if self._connection.can_replay(line):
            self._unknown_requests = 0
            self._repeated_bytes = 0
        else:
            self._unknown_requests += 1
        if self._unknown_requests >= UNKNOWN_REQUESTS:
            raise MachineError(
                ErrorCode.PROTOCOL,
                f"the controller asks for line {line}, which was never sent or is not remembered any more.",
                "Check the cable; start the job again.",
            )
        self._resending = True

    def _on_reset(self, now: float) -> None:
        if self._halting:
            return  # M112 is repeated until it has booted
        if self.phase is Phase.READY:
            raise MachineError(
                ErrorCode.CONTROLLER_RESET, "the controller was reset.", "Check its supply; start the job again."
            )
        self._number(now)

    def _repeat_lost(self, now: float, may_repeat: Callable[[], bool]) -> None:
        """Wait until nothing more comes of the lines that were on their way, then send the lost ones again."""
        if self._resending:
            if now - self._answered_s < QUIET_S:
                return
            self._resending = False
        while self._connection.lost and self._may_write and may_repeat():
            # the controller has emptied its receive buffer before it asked: what it had taken lies there no more,
            # and must not keep the lost lines back when its oks were lost, too
            waiting = min(self._connection.unacknowledged_bytes, self._repeated_bytes)
            if waiting and waiting + len(self._connection.lost[0][1]) > self._window_bytes:
                return
            line_and_data = self._connection.replay()
            assert line_and_data is not None
            self._transport.write(line_and_data[1])
            self._repeated_bytes += len(line_and_data[1])
            self.resends += 1
            self._progress_s = now

    def _check_silence(self, now: float) -> None:
        """A controller that takes a line says so, or that it is busy, or how warm it is while it heats.

        Before its silence counts as a failure it is asked: what it said, or the end of a line, may have been lost.
        """
        waiting = self._connection.unacknowledged
        if not waiting or self._connection.lost:
            return
        patient = waiting[0][0] == self._patient_line
        since = self._heard_s if patient else self._progress_s
        if now - since > NO_REPLY_S:
            raise MachineError(
                ErrorCode.NO_REPLY,
                f"the controller has not answered line {waiting[0][0]} for {NO_REPLY_S:g} s.",
                "Check the cable and that the machine is on.",
            )
        limit_s = PATIENT_PROBE_S if patient else PROBE_S
        if self._doubt and self._connection.numbered_oks and not patient:
            limit_s = DOUBT_S
        if now - max(self._progress_s, self._probed_s) > limit_s:
            self._probe(patient, now)

    def _probe(self, patient: bool, now: float) -> None:
        """End a line whose end was lost, and send a harmless one: the answer tells which lines were taken."""
        reserve = 0 if patient else URGENT_RESERVE_BYTES
        if self._may_write and self._fits(p.HARMLESS, self._window_bytes + reserve):
            self._probed_s, self._doubt = now, False
            self._transport.write(b"\n" + self._connection.frame_probe(all_taken=not patient))

    # --- handshake ---

    def _number(self, now: float) -> None:
        self.phase = Phase.NUMBERING
        self._numbered_s = now
        # a controller inside M109 or G28 is reached by what its emergency parser reads
        self._transport.write(b"\nM108\nM410\n" + self._connection.frame_restart())

    def _go_on(self, now: float) -> None:
        """One step of the handshake: number lines, ask for capabilities, set the modes, heaters off."""
        if now - self._began_s > HANDSHAKE_LIMIT_S:
            raise MachineError(
                ErrorCode.NO_REPLY,
                f"no Marlin controller answered within {HANDSHAKE_LIMIT_S:g} s.",
                "Check the port, the baud rate and that the machine is on.",
            )
        if self.phase is Phase.NUMBERING:
            if self._connection.next_line == 1 and self._idle and self._numbered_s > -math.inf:
                self.phase = Phase.SETTLING
            elif now - self._numbered_s >= NUMBERING_RETRY_S:
                self._number(now)
        elif self.phase is Phase.SETTLING:
            if now - self._answered_s >= QUIET_S:
                self._connection.restart()
                self._commands = deque(("M115", *CONNECT))
                self.phase = Phase.CONFIGURING
        elif self._idle:
            self._configure(now)
        else:
            self._check_silence(now)

    def _configure(self, now: float) -> None:
        """The next setting; automatic reports where the controller has them."""
        if self._commands:
            command = self._commands.popleft()
            if command == "G21":  # the answer to M115 is complete
                self._check_virtual()
                reports = (("AUTOREPORT_TEMP", "M155 S1"), ("AUTOREPORT_POS", "M154 S1"))
                self._commands += [text for name, text in reports if self.capabilities.get(name, False)]
            self.send(command, now)
        else:
            self.phase = Phase.READY

    def _check_virtual(self) -> None:
        if self._virtual_only and "virtual" not in self.firmware.lower():
            raise MachineError(
                ErrorCode.BAD_PARAMETER,
                f"the controller '{self.firmware or 'without a name'}' is not a virtual one; a real machine needs "
                "time_scale 1.",
                "Start the node with time_scale 1.",
            )


def _failed(text: str) -> MachineError:
    return MachineError(
        ErrorCode.CONTROLLER_ERROR, f"the controller reports: {explain(text)}.", "Mend the cause and reset it."
    )
