"""Marlin's serial protocol without I/O: bytes in, frozen events out; commands in, numbered lines out.

    connection = Connection()
    port.write(connection.frame("G28")[1])
    for event in connection.receive(port.read()): ...

Sources: Marlin's G-code documentation (M110, M155, M154, M115, HOST_KEEPALIVE, ADVANCED_OK, EMERGENCY_PARSER)
and RepRap's checksum rule: XOR of all bytes before the '*'. Garbage becomes an event, never an exception.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import reduce
from operator import xor

from industriverse_core.errors import ErrorCode, MachineError
from machine_node.streaming.events import Acknowledged, ResendRequest

MAX_LINE_BYTES = 1024  # Marlin's longest line is the answer to M115, about 400
MAX_COMMAND_BYTES = 80  # MAX_CMD_SIZE is 96, of which number and checksum take up to 16
HISTORY_LINES = 64  # acknowledged lines that can still be sent again
HARMLESS = "G4"  # waits for the motion and changes nothing. Not M400: with one wrong byte that is M410, which an
# emergency parser obeys before any checksum

# what a controller says of a line that it will ask for again, without the number at its end
RECOVERABLE = (
    "checksum mismatch, last line",
    "no checksum with line number, last line",
    "line number is not last line number+1, last line",
    "no line number with checksum, last line",
)
ALIKE = 0.8  # share of equal text from which a complaint counts as one of those, spoilt on its way here


@dataclass(frozen=True, slots=True)
class Ok:
    """A command was taken. The numbers are there with ADVANCED_OK: line, free planner blocks, free commands."""

    line: int | None = None
    planner_free: int | None = None
    buffer_free: int | None = None


@dataclass(frozen=True, slots=True)
class Busy:
    """Keep-alive of a command that takes long."""

    reason: str


@dataclass(frozen=True, slots=True)
class Temperatures:
    """A temperature report [degC]; duties 0..1; NaN = not in the report."""

    hotend_c: float = math.nan
    hotend_target_c: float = math.nan
    bed_c: float = math.nan
    bed_target_c: float = math.nan
    hotend_duty: float = math.nan
    bed_duty: float = math.nan


@dataclass(frozen=True, slots=True)
class Position:
    """A position report [m]; `actual` when it is where the axes are, else where the last accepted move ends."""

    x_m: float
    y_m: float
    z_m: float
    actual: bool


@dataclass(frozen=True, slots=True)
class Capability:
    """One `Cap:` line of the answer to M115."""

    name: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class Recoverable:
    """A transmission error that the controller mends with a resend request; `last_line` is the last it has taken."""

    text: str
    last_line: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """`Error:` or `!!`: the controller has failed or is halted."""

    text: str

    @property
    def is_halt(self) -> bool:
        """True when it says that nothing goes on until it is reset."""
        return any(word in self.text.lower() for word in ("halted", "kill", "system stopped", "!!"))


@dataclass(frozen=True, slots=True)
class Reset:
    """`start`: the controller has restarted and knows nothing of us any more."""


@dataclass(frozen=True, slots=True)
class Echo:
    """An `echo:` line, for people."""

    text: str


@dataclass(frozen=True, slots=True)
class Other:
    """A line that means nothing here (also garbage); `text` is cut at 80 characters."""

    text: str


Event = (
    Ok | Acknowledged | ResendRequest | Busy | Temperatures | Position | Capability | Recoverable | Fault | Reset
    | Echo | Other
)  # fmt: skip

_NUMBER = r"(-?\d{1,9}(?:\.\d{1,9})?)"
_HOTEND = re.compile(rf"\bT:\s*{_NUMBER}(?:\s*/\s*{_NUMBER})?")
_BED = re.compile(rf"\bB:\s*{_NUMBER}(?:\s*/\s*{_NUMBER})?")
_HOTEND_DUTY = re.compile(r"(?<![A-Za-z])@:\s*(\d{1,3})")
_BED_DUTY = re.compile(r"\bB@:\s*(\d{1,3})")
_POSITION = re.compile(rf"X:{_NUMBER} Y:{_NUMBER} Z:{_NUMBER} E:{_NUMBER}")
_COUNT = re.compile(rf"Count X:\s*{_NUMBER} Y:\s*{_NUMBER} Z:\s*{_NUMBER}")
_OK = re.compile(r"ok\b(?: ?N(\d{1,9}))?(?: ?P(\d{1,5}))?(?: ?B(\d{1,5}))?")
_RESEND = re.compile(r"(?:resend|rs):?\s*N?:?(\d{1,9})\s*$", re.IGNORECASE)
_LAST_LINE = re.compile(r"(.*?):\s*(\d{1,9})$")
_CAPABILITY = re.compile(r"Cap:([A-Z0-9_]{1,40}):([01])")
_DUTY_FULL = 127.0  # Marlin reports the 7-bit soft PWM value


def checksum(line: bytes) -> int:
    """XOR of all bytes."""
    return reduce(xor, line, 0)


def numbered(line: int, command: str) -> bytes:
    """`N<line> <command>*<checksum>` with its newline."""
    body = b"N%d %s" % (line, command.encode("ascii"))
    return b"%s*%d\n" % (body, checksum(body))


def parse_line(text: str) -> tuple[Event, ...]:
    """The events of one line from the controller. Total: any text gives at least one event."""
    if text.startswith("ok"):
        return _parse_ok(text)
    if text.startswith("echo:"):
        rest = text[5:].strip()
        return (Busy(rest[5:].strip()),) if rest.startswith("busy:") else (Echo(rest[:200]),)
    if text == "start":
        return (Reset(),)
    if text.startswith(("Error:", "!!")):
        return (_parse_error(text.removeprefix("Error:").strip()[:200]),)
    if (match := _RESEND.match(text)) is not None:
        return (ResendRequest(int(match[1])),)
    if (match := _CAPABILITY.match(text)) is not None:
        return (Capability(match[1], match[2] == "1"),)
    if (position := _parse_position(text)) is not None:
        return (position,)
    temperatures = _parse_temperatures(text)
    return (Other(text[:80]),) if temperatures is None else (temperatures,)


def _parse_error(reason: str) -> Recoverable | Fault:
    """A complaint about a line may itself arrive spoilt: it must not be taken for a failure of the machine."""
    match = _LAST_LINE.match(reason)
    if match is not None and match[1].lower() in RECOVERABLE:
        return Recoverable(reason, int(match[2]))
    words = reason.rstrip("0123456789: ").lower()
    alike = any(
        known.startswith(words) or SequenceMatcher(None, words, known).ratio() >= ALIKE for known in RECOVERABLE
    )
    return Recoverable(reason) if alike else Fault(reason)


def _parse_ok(text: str) -> tuple[Event, ...]:
    match = _OK.match(text)
    if match is None:
        return (Other(text[:80]),)
    numbers = [None if group is None else int(group) for group in match.groups()]
    ok = Ok(*numbers)
    rest = text[match.end() :]
    report = (_parse_position(rest) or _parse_temperatures(rest)) if rest else None  # some answer M114 in the ok
    return (ok,) if report is None else (ok, report)


def _parse_temperatures(text: str) -> Temperatures | None:
    hotend, bed = _HOTEND.search(text), _BED.search(text)
    if hotend is None and bed is None:
        return None
    duty, bed_duty = _HOTEND_DUTY.search(text), _BED_DUTY.search(text)
    return Temperatures(
        *_pair(hotend),
        *_pair(bed),
        math.nan if duty is None else min(1.0, int(duty[1]) / _DUTY_FULL),
        math.nan if bed_duty is None else min(1.0, int(bed_duty[1]) / _DUTY_FULL),
    )


def _pair(match: re.Match[str] | None) -> tuple[float, float]:
    if match is None:
        return math.nan, math.nan
    return float(match[1]), math.nan if match[2] is None else float(match[2])


def _parse_position(text: str) -> Position | None:
    """Prusa's firmware counts in millimetres (with a decimal point), Marlin's in steps, which say nothing here."""
    match = _POSITION.search(text)
    if match is None:
        return None
    count = _COUNT.search(text, match.end())
    actual = count is not None and any("." in value for value in count.groups())
    values = count.groups() if actual and count is not None else match.groups()[:3]
    x, y, z = (float(value) * 1e-3 for value in values)
    return Position(x, y, z, actual)


class Connection:
    """Line numbers, checksums, acknowledgements and resends of one serial connection. No I/O, no clock.

    Lines count from 1 after `restart`. `unacknowledged` are the lines that the controller has not taken yet; a
    resend request moves those from its line on to `lost`, from where `replay` gives them again. `numbered_oks`: the
    controller names the line in its ok (ADVANCED_OK). Lines below
    `sealed_below` are never given again: the controller gets something harmless with the same number.
    """

    def __init__(self) -> None:
        self._partial = bytearray()
        self._overlong = False
        self.restart()

    def restart(self) -> None:
        """Forget what was sent; the next line has number 1."""
        self.next_line = 1
        self.sealed_below = 0
        self.unacknowledged: deque[tuple[int, bytes]] = deque()
        self.unacknowledged_bytes = 0
        self.lost: deque[tuple[int, bytes]] = deque()
        self._done: deque[tuple[int, bytes]] = deque(maxlen=HISTORY_LINES)
        self._ok_of_resend = False  # the next plain ok is that of a resend request
        self.numbered_oks = False
        self._ok_for_all = -1

    # --- sending ---

    def frame(self, command: str) -> tuple[int, bytes]:
        """Number a command and remember it: (line number, bytes to write).

        Raises MachineError (PROTOCOL) for a command that would break the line protocol.
        """
        if not command.isascii() or not command.isprintable() or "*" in command or len(command) > MAX_COMMAND_BYTES:
            raise MachineError(
                ErrorCode.PROTOCOL,
                f"command {command[:40]!r} cannot be sent: {len(command)} bytes; at most {MAX_COMMAND_BYTES} bytes of "
                "printable ASCII without '*' are allowed.",
                "Compile the program again.",
            )
        line = self.next_line
        self.next_line += 1
        data = numbered(line, command)
        self._remember(line, data)
        return line, data

    def frame_restart(self) -> bytes:
        """The line that sets the controller's line number to 0; its ok must arrive before anything else is sent."""
        self.restart()
        data = numbered(0, "M110 N0")
        self._remember(0, data)
        return data

    def frame_probe(self, all_taken: bool) -> bytes:
        """A harmless numbered line: the answer to it tells what an ok or a request that was lost would have told.

        `all_taken`: the controller has been silent for so long that the next ok can only be that of this line.
        """
        line, data = self.frame(HARMLESS)
        self._ok_for_all = line if all_taken else -1
        return data

    def replay(self) -> tuple[int, bytes] | None:
        """The next lost line to write again, or None."""
        if not self.lost:
            return None
        self._ok_of_resend, self._ok_for_all = False, -1
        line, data = self.lost.popleft()
        if line < self.sealed_below:
            data = numbered(line, HARMLESS)
        self._remember(line, data)
        return line, data

    def seal(self) -> None:
        """What was framed so far is never sent again, whatever the controller asks for from now on."""
        if self.lost:  # the controller waits for this number: the next command takes it
            self.next_line = self.lost[0][0]
            self.lost.clear()
        self.sealed_below = self.next_line

    def _remember(self, line: int, data: bytes) -> None:
        self.unacknowledged.append((line, data))
        self.unacknowledged_bytes += len(data)

    # --- receiving ---

    def receive(self, data: bytes) -> list[Event]:
        """The events of the complete lines in `data` and what was left before it."""
        events: list[Event] = []
        self._partial += data
        while (end := self._partial.find(b"\n")) >= 0:
            raw = bytes(self._partial[:end])
            del self._partial[: end + 1]
            if self._overlong or len(raw) > MAX_LINE_BYTES:
                self._overlong = False
                events.append(Other("(a line that is too long)"))
                continue
            text = raw.decode("ascii", errors="replace").strip("\r \x00")
            if text:
                for event in parse_line(text):
                    self._account(event, events)
        if len(self._partial) > MAX_LINE_BYTES:
            self._partial.clear()
            self._overlong = True
        return events

    def _account(self, event: Event, events: list[Event]) -> None:
        """Turn oks into acknowledgements of lines; apply resend requests."""
        if isinstance(event, Ok):
            of_resend, self._ok_of_resend = self._ok_of_resend and event.line is None, False
            if of_resend:
                return  # Marlin follows each resend request with an ok of its own
            self._acknowledge(event, events)
        elif isinstance(event, ResendRequest):
            self._request(event.line, event, events)
            return
        elif isinstance(event, Recoverable) and event.last_line is not None:
            events.append(event)
            self._request(event.last_line + 1, ResendRequest(event.last_line + 1), events)
            return
        elif isinstance(event, Recoverable):
            self._ok_of_resend = True
        elif not isinstance(event, Other):  # Other may be the request itself, spoilt
            self._ok_of_resend = False
        events.append(event)

    def _request(self, line: int, event: ResendRequest, events: list[Event]) -> None:
        """The complaint and the request that follows it name the same line: whichever of them arrives, counts."""
        self._ok_of_resend = True
        self._ok_for_all = -1
        self._lose(line)
        events.append(event)

    def _acknowledge(self, ok: Ok, events: list[Event]) -> None:
        """An ok with a line number takes all lines up to it (a lost ok heals); without one, the oldest.

        A controller that numbers its oks says a plain one only of a line that it refused (or did not understand).
        """
        waiting = self.unacknowledged
        self.numbered_oks = self.numbered_oks or ok.line is not None
        if not waiting or (ok.line is None and self.numbered_oks):
            return
        last = max(waiting[0][0], self._ok_for_all) if ok.line is None else ok.line
        self._ok_for_all = -1
        if last > waiting[-1][0]:
            return
        while waiting and waiting[0][0] <= last:
            line, data = waiting.popleft()
            self.unacknowledged_bytes -= len(data)
            self._done.append((line, data))
            events.append(Acknowledged(line, ok.planner_free if line == last else None))

    def _lose(self, first: int) -> None:
        """Move the lines from `first` on to `lost`. One that is not remembered moves nothing: see `can_replay`."""
        if first < (self._done or self.unacknowledged or self.lost or ((first, b""),))[0][0]:
            return
        while self.unacknowledged and self.unacknowledged[-1][0] >= first:
            line, data = self.unacknowledged.pop()
            self.unacknowledged_bytes -= len(data)
            self.lost.appendleft((line, data))
        while self._done and self._done[-1][0] >= first:
            self.lost.appendleft(self._done.pop())

    def sent(self, line: int) -> bytes | None:
        """What was written with this number, if that is remembered and was not sealed."""
        known = (data for number, data in (*self.unacknowledged, *self._done, *self.lost) if number == line)
        return next(known, None) if line >= self.sealed_below else None

    def can_replay(self, first: int) -> bool:
        """False when a line from `first` on is not remembered any more, or was never sent."""
        return first == self.next_line or bool(self.lost and self.lost[0][0] <= first)
