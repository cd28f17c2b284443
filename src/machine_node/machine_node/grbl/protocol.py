"""GRBL 1.1's serial protocol without I/O: bytes in, frozen events out; lines counted against the receive buffer.

    connection = Connection(receive_buffer=128)
    port.write(connection.frame("G1X10F600")[1])
    for event in connection.receive(port.read()): ...

Source: the interface document of GRBL 1.1. Tolerant of what grblHAL and FluidNC say more: other welcome lines, larger
buffers, more axes, more fields. Garbage becomes an event, never an exception.

There are no checksums, line numbers are optional, and an answer does not say what it answers: each line is answered by
one `ok` or `error:N`, in order. Real-time bytes are no lines: they are not counted and not answered.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.telemetry import Vector
from machine_node.streaming.events import Acknowledged

MAX_LINE_BYTES = 1024
MAX_COMMAND_BYTES = 78  # LINE_BUFFER_SIZE is 80
LARGEST_LINE_NUMBER = 9_999_999  # N; the next one is 1

RESET, REPORT, HOLD, RESUME = b"\x18", b"?", b"!", b"~"
FEED_100, FEED_PLUS_10, FEED_MINUS_10, FEED_PLUS_1, FEED_MINUS_1 = (bytes((code,)) for code in range(0x90, 0x95))
RAPID_100, RAPID_50, RAPID_25 = b"\x95", b"\x96", b"\x97"


@dataclass(frozen=True, slots=True)
class Ok:
    """A line was taken."""


@dataclass(frozen=True, slots=True)
class Refused:
    """`error:N`: a line was not carried out; those after it are. `line` is ours; 0 = unknown."""

    code: int
    line: int = 0


@dataclass(frozen=True, slots=True)
class Alarm:
    """`ALARM:N`: everything has stopped, G-code is locked out."""

    code: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """The controller has restarted and knows nothing of us any more."""

    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """A status report. Lengths and rates in the units of reports ($13), NaN or None = not in this report.

    Attributes:
        state, substate: `Hold:0` is ("Hold", 0); -1 = none.
        machine, work, offset: MPos, WPos, WCO.
        planner_free, receive_free: Bf.
        line: Ln, of the block that is being carried out.
        feed, spindle_rpm: FS.
        overrides: Ov, feed, rapid and spindle [%].
        pins, accessories: letters of Pn and A.
    """

    state: str
    substate: int = -1
    machine: Vector | None = None
    work: Vector | None = None
    offset: Vector | None = None
    planner_free: int | None = None
    receive_free: int | None = None
    line: int | None = None
    feed: float = math.nan
    spindle_rpm: float = math.nan
    overrides: tuple[int, int, int] | None = None
    pins: str = ""
    accessories: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """`$110=500.000`"""

    number: int
    value: float


@dataclass(frozen=True, slots=True)
class Version:
    """`[VER:1.1h.20190825:name]`"""

    version: str
    name: str


@dataclass(frozen=True, slots=True)
class Options:
    """`[OPT:VL,15,128]`: letters, planner blocks, bytes of the receive buffer; 0 = not said."""

    letters: str
    planner_blocks: int
    receive_buffer: int


@dataclass(frozen=True, slots=True)
class Offset:
    """`[G54:0.000,0.000,0.000]`, also G28, G30, G92."""

    name: str
    values: Vector


@dataclass(frozen=True, slots=True)
class Modes:
    """`[GC:G0 G54 G17 ...]`"""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """`[PRB:0.000,0.000,-5.000:1]` in machine coordinates."""

    position: Vector
    touched: bool


@dataclass(frozen=True, slots=True)
class Message:
    """`[MSG:...]`, `[HLP:...]`, for people."""

    text: str


@dataclass(frozen=True, slots=True)
class Echo:
    """`[echo:...]`: the line as the controller has received it, in builds that say so."""

    text: str


@dataclass(frozen=True, slots=True)
class StartupLine:
    """`>G54G20:ok`: a stored line that was carried out at the start; no answer to one of ours."""

    text: str


@dataclass(frozen=True, slots=True)
class Other:
    """A line that means nothing here (also garbage); `text` is cut at 80 characters."""

    text: str


@dataclass(frozen=True, slots=True)
class Surplus:
    """An `ok` or `error:N` though every line had its answer."""


Event = (
    Ok | Refused | Alarm | Welcome | Status | Setting | Version | Options | Offset | Modes | Probe | Message | Echo
    | StartupLine | Other | Surplus | Acknowledged
)  # fmt: skip

STATES = ("Idle", "Run", "Hold", "Jog", "Home", "Alarm", "Check", "Door", "Sleep", "Tool")
MOVING = ("Run", "Jog", "Home")
_NUMBER = r"[-+]?\d{1,9}(?:\.\d{0,9})?"
_CODE = re.compile(r"(error|ALARM):\s*(\d{1,4})")
_WELCOME = re.compile(r"grbl(?:hal)?\s+v?\d+\.\d+\S*\s*\[", re.IGNORECASE)
_SETTING = re.compile(rf"\$(\d{{1,4}})\s*=\s*({_NUMBER})(?:\s|$|\()")
_STATE = re.compile(r"([A-Z][a-z]{1,5})(?::(\d{1,3}))?$")
_OFFSET = re.compile(r"\[(G5\d(?:\.\d)?|G28|G30|G92):([^\]]*)\]$")
_PROBE = re.compile(r"\[PRB:([^:\]]*):([01])\]$")
_VERSION = re.compile(r"\[VER:([^:\]]*):?(.*)\]$")
_OPTIONS = re.compile(r"\[OPT:([^,\]]*)(?:,(\d{1,6}))?(?:,(\d{1,7}))?[^\]]*\]$")
_LISTED = re.compile(rf"{_NUMBER}(?:,{_NUMBER}){{0,8}}$")


def parse_line(text: str) -> Event:
    """The event of one line from the controller. Total: any text gives one."""
    if text == "ok":
        return Ok()
    if text.startswith("<"):
        return _parse_status(text) or Other(text[:80])
    if text.startswith("["):
        return _parse_bracket(text)
    if (match := _CODE.match(text)) is not None:
        code = int(match[2])
        return Refused(code) if match[1] == "error" else Alarm(code)
    if text.startswith("error:"):
        return Refused(0)  # GRBL before 1.1 says it in words
    if (match := _SETTING.match(text)) is not None:
        return Setting(int(match[1]), float(match[2]))
    if text.startswith(">"):
        return StartupLine(text[:80])
    if _WELCOME.match(text) is not None:
        return Welcome(text[:80])
    return Other(text[:80])


def _parse_bracket(text: str) -> Event:
    if (match := _OFFSET.match(text)) is not None and (values := _vector(match[2])) is not None:
        return Offset(match[1], values)
    if (match := _PROBE.match(text)) is not None and (values := _vector(match[1])) is not None:
        return Probe(values, match[2] == "1")
    if (match := _VERSION.match(text)) is not None:
        return Version(match[1], match[2].strip(": "))
    if (match := _OPTIONS.match(text)) is not None:
        return Options(match[1], int(match[2] or 0), int(match[3] or 0))
    if text.startswith("[GC:") and text.endswith("]"):
        return Modes(tuple(text[4:-1].split()[:32]))
    if text.startswith("[echo:") and text.endswith("]"):
        return Echo(text[6:-1].strip())
    if text.startswith(("[MSG:", "[HLP:")):
        return Message(text[5:].removesuffix("]").strip()[:200])
    return Other(text[:80])


def _parse_status(text: str) -> Status | None:
    """None for a report that is torn or whose state is unknown; fields that are unknown or malformed are left out."""
    if not text.endswith(">") or text.count("<") != 1:
        return None
    state, *fields = text[1:-1].split("|")
    match = _STATE.match(state)
    if match is None or match[1] not in STATES:
        return None
    seen: dict[str, str] = {}
    for field in fields:
        name, found, value = field.partition(":")
        if not found or name in seen:
            return None
        seen[name] = value
    feeds = _numbers(seen.get("FS", seen.get("F", "")))
    blocks, overrides = _numbers(seen.get("Bf", "")), _numbers(seen.get("Ov", ""))
    line = _numbers(seen.get("Ln", ""))
    return Status(
        match[1],
        -1 if match[2] is None else int(match[2]),
        _vector(seen.get("MPos", "")),
        _vector(seen.get("WPos", "")),
        _vector(seen.get("WCO", "")),
        int(blocks[0]) if len(blocks) == 2 else None,
        int(blocks[1]) if len(blocks) == 2 else None,
        int(line[0]) if line else None,
        feeds[0] if feeds else math.nan,
        feeds[1] if len(feeds) > 1 else math.nan,
        (int(overrides[0]), int(overrides[1]), int(overrides[2])) if len(overrides) == 3 else None,
        seen.get("Pn", "")[:16],
        seen.get("A", "")[:8],
    )


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")] if _LISTED.match(text) else []


def _vector(text: str) -> Vector | None:
    numbers = _numbers(text)
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) >= 3 else None


class Connection:
    """Lines and their answers on one serial connection. No I/O, no clock.

    Args:
        receive_buffer: of the controller [bytes]; `fits` keeps the bytes of unanswered lines below it.

    Attributes:
        numbered: lines begin with N, because the controller says in Ln which one it carries out.
        unanswered: (line, bytes) of those that have no answer yet.
    """

    def __init__(self, receive_buffer: int) -> None:
        self.receive_buffer = receive_buffer
        self.numbered = False
        self._partial = bytearray()
        self._overlong = False
        self.next_line = 1
        self.unanswered: deque[tuple[int, bytes]] = deque()
        self.unanswered_bytes = 0

    @property
    def oldest(self) -> str:
        """The oldest line that has no answer yet; "" = none."""
        return self.unanswered[0][1].decode("ascii").strip() if self.unanswered else ""

    def sent_lately(self, number: int, window: int) -> bool:
        """True when this N word belongs to one of the last lines."""
        return self.next_line - 1 - self.line_of(number) < window

    def line_of(self, number: int) -> int:
        """The newest line with this N word."""
        newest = max(1, self.next_line - 1)
        return newest - (number_of(newest) - number) % LARGEST_LINE_NUMBER

    def forget(self) -> None:
        """The controller has restarted: no answer to what was sent will come."""
        self.unanswered.clear()
        self.unanswered_bytes = 0

    def fits(self, command: str) -> bool:
        """True when the controller's receive buffer surely has room for this line."""
        size = len(command) + 1 + (9 if self.numbered else 0)
        return not self.unanswered or self.unanswered_bytes + size < self.receive_buffer

    def frame(self, command: str) -> tuple[int, bytes]:
        """The next line's number and bytes. Raises MachineError (PROTOCOL) for what is no single short line."""
        if not command or not command.isascii() or not command.isprintable() or len(command) > MAX_COMMAND_BYTES:
            raise MachineError(
                ErrorCode.PROTOCOL,
                f"command {command[:40]!r} cannot be sent: {len(command)} bytes; 1 to {MAX_COMMAND_BYTES} bytes of "
                "printable ASCII are allowed.",
                "Compile the program again.",
            )
        if any(letter in command for letter in "?!~"):
            raise MachineError(
                ErrorCode.PROTOCOL, f"command {command[:40]!r} contains a real-time character.", "Compile it again."
            )
        line = self.next_line
        self.next_line += 1
        number = b"N%d" % number_of(line) if self.numbered and not command.startswith("$") else b""
        data = number + command.encode("ascii") + b"\n"
        self.unanswered.append((line, data))
        self.unanswered_bytes += len(data)
        return line, data

    def receive(self, data: bytes) -> Iterator[Event]:
        """The events of the complete lines in `data` and what was left before it, one by one: what is unanswered is
        always as it was when the controller said the line."""
        self._partial += data
        while (end := self._partial.find(b"\n")) >= 0:
            raw = bytes(self._partial[:end])
            del self._partial[: end + 1]
            if self._overlong or len(raw) > MAX_LINE_BYTES:
                self._overlong = False
                yield Other("(a line that is too long)")
                continue
            text = raw.decode("ascii", errors="replace").strip("\r \x00")
            if text:
                yield self._account(parse_line(text))
        if len(self._partial) > MAX_LINE_BYTES:
            self._partial.clear()
            self._overlong = True

    def _account(self, event: Event) -> Event:
        """Each `ok` or `error:N` answers the oldest line that has no answer yet."""
        if not isinstance(event, (Ok, Refused)):
            return event
        if not self.unanswered:
            return Surplus()
        line, sent = self.unanswered.popleft()
        self.unanswered_bytes -= len(sent)
        return Acknowledged(line) if isinstance(event, Ok) else Refused(event.code, line)


def number_of(line: int) -> int:
    """The N word of a line."""
    return (line - 1) % LARGEST_LINE_NUMBER + 1
