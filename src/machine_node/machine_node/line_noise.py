"""A bad serial line as a process of its own, between a host and a controller (also a virtual one):

    python -m machine_node.line_noise --from /dev/ttyACM0 --link /tmp/noisy --garble 0.01 --lose 0.001 --seed 7

The host opens the link. In both directions lines are garbled (one byte of the line becomes another one), bytes are
lost, and the cable is pulled: the link vanishes, the host's port hangs up, and after some seconds both are back.
With `--baud` bytes pass at that rate (10 bits a byte), as through a real UART. What was done is counted and printed
as one JSON object at the end, so that a test can tell what the line did from what the driver did.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from industriverse_core.errors import CoreError, ErrorCode, MachineError
from machine_node.transport import SerialTransport
from machine_node.virtual.port import Port

BITS_PER_BYTE = 10  # start, eight data, stop
TICK_S = 0.002
CONNECTION_CHECK_S = 0.02
RETRY_S = 0.2
UART_BYTES = 16  # what a paced line takes from the host in advance, as a UART's FIFO


@dataclass(slots=True)
class Counts:
    """What one direction has seen and done."""

    bytes: int = 0
    lines: int = 0
    garbled_lines: int = 0
    lost_bytes: int = 0


@dataclass(slots=True)
class Report:
    """What the whole line has done."""

    to_controller: Counts = field(default_factory=Counts)
    to_host: Counts = field(default_factory=Counts)
    pulls: int = 0
    connections: int = 0


class Noise:
    """One direction of a bad line. No I/O, no clock; the same seed and bytes give the same noise.

    Args:
        garble: probability that one byte of a line becomes another one, 0..1.
        lose: probability that a byte is lost, 0..1.
        seed: of this direction.

    Attributes:
        counts: what was done.
        on_spoilt: called with a line (or the part of it that has come) before and after it was spoilt.
    """

    def __init__(self, garble: float, lose: float, seed: int) -> None:
        self._garble, self._lose = garble, lose
        self._random = random.Random(seed)
        self._until_loss = self._gap()
        self._line_open = False
        self.counts = Counts()
        self.on_spoilt: Callable[[bytes, bytes], None] = _ignore

    def _gap(self) -> int:
        """Bytes until the next one that is lost: geometric, so that one draw serves many bytes."""
        if self._lose <= 0.0:
            return sys.maxsize
        if self._lose >= 1.0:
            return 0
        return int(math.log(1.0 - self._random.random()) / math.log(1.0 - self._lose))

    def pass_through(self, data: bytes) -> bytes:
        """What comes out at the other end."""
        self.counts.bytes += len(data)
        out = []
        for piece in data.splitlines(keepends=True):
            spoilt = self._spoil(piece)
            if spoilt != piece:
                self.on_spoilt(piece, spoilt)
            out.append(spoilt)
        return b"".join(out)

    def _spoil(self, piece: bytes) -> bytes:
        """A line, or what has come of it: it is garbled in the part with which it begins."""
        out = bytearray(piece)
        if not self._line_open:
            self.counts.lines += 1
            if self._random.random() < self._garble:
                out[self._random.randrange(len(out))] ^= self._random.randrange(1, 256)
                self.counts.garbled_lines += 1
        self._line_open = not piece.endswith((b"\n", b"\r"))
        if self._until_loss >= len(out):
            self._until_loss -= len(out)
            return bytes(out)
        kept = bytearray()
        for byte in out:
            if self._until_loss == 0:
                self.counts.lost_bytes += 1
                self._until_loss = self._gap()
            else:
                self._until_loss -= 1
                kept.append(byte)
        return bytes(kept)


def _ignore(before: bytes, after: bytes) -> None:
    """Nobody wants to know."""


class Pace:
    """How many bytes may pass by a time, at a baud rate; 0 = as many as there are."""

    def __init__(self, baud: int, now: float) -> None:
        self._bytes_per_s = baud / BITS_PER_BYTE
        self._free_at = now

    def allowed(self, now: float) -> int:
        """Bytes that may pass now; never more than what a tick is late for."""
        if self._bytes_per_s <= 0.0:
            return sys.maxsize
        self._free_at = max(self._free_at, now - UART_BYTES / self._bytes_per_s)
        return max(0, int((now - self._free_at) * self._bytes_per_s))

    def take(self, count: int) -> None:
        """So many have passed."""
        if self._bytes_per_s > 0.0:
            self._free_at += count / self._bytes_per_s


class BadLine:
    """The relay. `step` does what is due now; the owner calls it often, or calls `run`.

    The controller's port is opened when a host opens the link and closed when the host closes it or the cable is
    pulled, so that a controller which resets at the opening of its port (DTR) does so.

    Args:
        source: the controller's port.
        link: path of the port for the host.
        garble, lose: see Noise; of both directions.
        baud: rate at which bytes pass; 0 = at once.
        seed: of the noise.
    Raises MachineError (PORT_UNAVAILABLE) when the link cannot be made.
    """

    def __init__(
        self, source: str, link: Path, garble: float = 0.0, lose: float = 0.0, baud: int = 0, seed: int = 0
    ) -> None:
        self._source, self._link, self._baud = source, link, baud
        self.to_controller, self.to_host = Noise(garble, lose, 2 * seed), Noise(garble, lose, 2 * seed + 1)
        self.report = Report(self.to_controller.counts, self.to_host.counts)
        self._host: Port | None = Port(link)
        self._controller: SerialTransport | None = None
        now = time.monotonic()
        self._paces = (Pace(baud, now), Pace(baud, now))
        self._waiting = (bytearray(), bytearray())  # to the controller, to the host
        self._pull_s = -1.0  # asked for and not done
        self._back_at = 0.0
        self._checked_s = self._retry_at = -math.inf
        self._stopping = False

    @property
    def link(self) -> Path:
        """Where the host finds the port; absent while the cable is out."""
        return self._link

    def pull(self, seconds: float) -> None:
        """Pull the cable for so long, at the next step. From any thread."""
        self._pull_s = seconds

    def _obey_pull(self, now: float) -> None:
        if self._pull_s < 0.0:
            return
        self.report.pulls += 1
        self._back_at, self._pull_s = now + self._pull_s, -1.0
        self._drop_controller()
        if self._host is not None:
            self._host.close()
            self._host = None

    def stop(self, *_: object) -> None:
        """Let `run` return; a signal handler."""
        self._stopping = True

    def run(self, pulls: Sequence[tuple[float, float]] = ()) -> None:
        """Until `stop`. `pulls`: (seconds after the start, seconds out), in order."""
        began = time.monotonic()
        due = list(pulls)
        while not self._stopping:
            if due and time.monotonic() - began >= due[0][0]:
                self.pull(due.pop(0)[1])
            self._wait()
            self.step(time.monotonic())

    def _wait(self) -> None:
        ports = [port for port in (self._host if self._connected else None, self._controller) if port is not None]
        paced = self._baud and (self._waiting[0] or self._waiting[1])
        select.select([] if paced else ports, [], [], TICK_S if paced else CONNECTION_CHECK_S)

    @property
    def _connected(self) -> bool:
        return self._host is not None and self._host.connected

    def step(self, now: float) -> None:
        """Pass on what may pass now."""
        self._obey_pull(now)
        if self._host is None:
            if now >= self._back_at:
                self._host = Port(self._link)
            return
        self._check_connection(now)
        if self._controller is None:
            return
        try:
            self._carry(self._controller, now)
        except MachineError:
            self._drop_controller()
            self._retry_at = now + RETRY_S

    def _check_connection(self, now: float) -> None:
        """Open the controller's port for a host that has opened ours, and the other way round."""
        assert self._host is not None
        if now - self._checked_s < CONNECTION_CHECK_S:
            return
        self._checked_s = now
        if self._host.check_connection():
            self.report.connections += 1
            self._drop_controller()
        if not self._host.connected:
            self._drop_controller()
        elif self._controller is None and now >= self._retry_at:
            self._retry_at = now + RETRY_S
            try:
                self._controller = SerialTransport(self._source, self._baud or 115200)
            except MachineError:
                return  # it is off: the host hears nothing

    def _carry(self, controller: SerialTransport, now: float) -> None:
        assert self._host is not None
        down, up = self._waiting
        if len(down) < UART_BYTES or not self._baud:  # a host that floods waits in its own port, as on a real line
            down += self.to_controller.pass_through(self._host.read()) if self._host.connected else b""
        up += self.to_host.pass_through(controller.read())
        for waiting, pace, write in ((down, self._paces[0], controller.write), (up, self._paces[1], self._host.write)):
            count = min(len(waiting), pace.allowed(now))
            if count:
                write(bytes(waiting[:count]))
                del waiting[:count]
                pace.take(count)

    def _drop_controller(self) -> None:
        if self._controller is not None:
            self._controller.close()
            self._controller = None
        for waiting in self._waiting:
            waiting.clear()

    def close(self) -> None:
        """Close both ports and remove the link."""
        self._drop_controller()
        if self._host is not None:
            self._host.close()


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return value


def _pull(text: str) -> tuple[float, float]:
    at, _, seconds = text.partition(":")
    try:
        pull = float(at), float(seconds or "2")
    except ValueError:
        pull = -1.0, -1.0
    if not (0.0 <= pull[0] < math.inf and 0.0 <= pull[1] < math.inf):
        raise argparse.ArgumentTypeError(f"'{text}' is not SECONDS or SECONDS:DURATION")
    return pull


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="line_noise", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="source", required=True, help="serial port of the controller")
    parser.add_argument("--link", type=Path, required=True, help="path of the serial port to make for the host")
    parser.add_argument("--garble", type=_share, default=0.0, help="share of lines with one wrong byte (%(default)s)")
    parser.add_argument("--lose", type=_share, default=0.0, help="share of bytes that are lost (%(default)s)")
    pull = "pull the cable so long after the start, for 2 s or DURATION; may be repeated"
    parser.add_argument("--pull", type=_pull, action="append", default=[], metavar="SECONDS[:DURATION]", help=pull)
    parser.add_argument("--baud", type=int, default=0, help="pass bytes at this rate; 0 = at once (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit status 0 = told to end, 2 = bad input."""
    options = parse(arguments)
    try:
        SerialTransport(options.source, options.baud or 115200).close()  # say now what is wrong with it
        line = BadLine(options.source, options.link, options.garble, options.lose, options.baud, options.seed)
    except CoreError as error:
        print(f"line_noise: [{ErrorCode(error.code).name}] {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, line.stop)
    print(options.link, flush=True)
    try:
        line.run(sorted(options.pull))
    finally:
        line.close()
        print(json.dumps(asdict(line.report)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
