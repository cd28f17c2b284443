"""A serial power meter: lines `<ms>,<volt>,<ampere>,<watt>,<joule counter>` as ESP32/INA219 sketches print them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from industriverse_core.errors import MachineError
from machine_node.transport import SerialTransport

RETRY_S = 2.0
STALE_S = 1.0
MAX_LINE_BYTES = 128
FIELDS = 5


@dataclass(frozen=True, slots=True)
class MeterReading:
    """One line of the meter; `uptime_s` is the meter's own clock."""

    uptime_s: float
    voltage_v: float
    current_a: float
    power_w: float
    energy_j: float


def parse_reading(line: bytes) -> MeterReading | None:
    """The reading in one line, or None for anything else (a header, half a line, NaN)."""
    fields = line.strip().split(b",")
    if len(fields) != FIELDS:
        return None
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    if not all(math.isfinite(value) and abs(value) < 1e12 for value in values):
        return None
    return MeterReading(values[0] * 1e-3, *values[1:])


class MeterParser:
    """Bytes in, readings out. Garbage and overlong lines are dropped."""

    def __init__(self) -> None:
        self._partial = bytearray()
        self._synchronised = False  # the first line may be the rest of one

    def feed(self, data: bytes) -> list[MeterReading]:
        """The readings completed by `data`."""
        self._partial += data
        readings = []
        while (end := self._partial.find(b"\n")) >= 0:
            line = bytes(self._partial[:end])
            del self._partial[: end + 1]
            reading = parse_reading(line) if self._synchronised and len(line) <= MAX_LINE_BYTES else None
            self._synchronised = True
            if reading is not None:
                readings.append(reading)
        if len(self._partial) > MAX_LINE_BYTES:
            self._partial.clear()
            self._synchronised = False
        return readings


class MeterPort:
    """The meter's serial port: opened when it is there, tried again every RETRY_S. The job does not need it.

    Args:
        port: device path; "" = there is no meter.
        baud: [bit/s].
    """

    def __init__(self, port: str, baud: int) -> None:
        self._port, self._baud = port, baud
        self._transport: SerialTransport | None = None
        self._parser = MeterParser()
        self._retry_at = 0.0
        self._last: MeterReading | None = None
        self._last_s = 0.0

    def readers(self) -> list[SerialTransport]:
        """For select."""
        return [] if self._transport is None else [self._transport]

    def poll(self, now: float) -> None:
        """Take what has arrived."""
        if not self._port:
            return
        try:
            if self._transport is None:
                if now < self._retry_at:
                    return
                self._retry_at = now + RETRY_S
                self._transport = SerialTransport(self._port, self._baud)
                self._parser = MeterParser()
            readings = self._parser.feed(self._transport.read())
            if readings:
                self._last, self._last_s = readings[-1], now
        except MachineError:
            self.close()

    def reading(self, now: float) -> MeterReading | None:
        """The last reading, or None when it is older than STALE_S."""
        return self._last if now - self._last_s < STALE_S else None

    def close(self) -> None:
        """Release the port."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
