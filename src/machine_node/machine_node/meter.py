"""A serial power meter: lines `<ms>,<volt>,<ampere>,<watt>,<joule counter>` as ESP32/INA219 sketches print them."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
