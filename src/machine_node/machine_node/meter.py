"""Power meters: what a reading is, one interface for all of them, and the meter at a serial line.

The serial meter sends lines `<ms>,<volt>,<ampere>,<watt>,<joule counter>` as ESP32/INA219 sketches print them. Meters
at Modbus and MQTT are in meter_modbus.py and meter_mqtt.py; `open_meter` makes the one that an address names.
A meter that is lost is unmeasured (None), and tried again. No job needs one.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from industriverse_core.errors import MachineError
from machine_node.meter_address import ModbusAddress, MqttAddress, SerialAddress, parse_address
from machine_node.transport import SerialTransport

RETRY_S = 2.0
STALE_S = 1.0
MAX_LINE_BYTES = 128
FIELDS = 5
LARGEST = 1e12
MOST_WAITING = 512  # readings that nobody has taken


@dataclass(frozen=True, slots=True)
class MeterReading:
    """One reading. `uptime_s` is the meter's own clock, NaN where it has none; unmeasured is NaN."""

    uptime_s: float
    voltage_v: float
    current_a: float
    power_w: float
    energy_j: float


@dataclass(frozen=True, slots=True)
class ReceivedReading:
    """A reading and the steady time [s] at which it came."""

    reading: MeterReading
    received_s: float


class Meter(Protocol):
    """What the machine's worker sees of any meter."""

    def readers(self) -> list[SerialTransport]:
        """For select."""

    def poll(self, now: float) -> None:
        """Take what has arrived. Never blocks, never raises for what the meter does."""

    def reading(self, now: float) -> MeterReading | None:
        """The last reading, or None when it is too old."""

    def take(self) -> list[ReceivedReading]:
        """All readings since the last call, at most MOST_WAITING."""

    def close(self) -> None:
        """Release what it holds."""


class Readings:
    """The last reading, and those that nobody has taken yet. Any thread may put, any may take."""

    def __init__(self, stale_s: float = STALE_S) -> None:
        self._stale_s = stale_s
        self._lock = threading.Lock()
        self._waiting: deque[ReceivedReading] = deque(maxlen=MOST_WAITING)
        self._last: ReceivedReading | None = None

    def put(self, reading: MeterReading, received_s: float) -> None:
        """A new reading."""
        with self._lock:
            self._last = ReceivedReading(reading, received_s)
            self._waiting.append(self._last)

    def take(self) -> list[ReceivedReading]:
        """See Meter."""
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def reading(self, now: float) -> MeterReading | None:
        """See Meter."""
        last = self._last
        return last.reading if last is not None and now - last.received_s < self._stale_s else None


class NoMeter:
    """Where there is none."""

    def readers(self) -> list[SerialTransport]:
        """See Meter."""
        return []

    def poll(self, now: float) -> None:
        """See Meter."""

    def reading(self, now: float) -> MeterReading | None:
        """See Meter."""
        return None

    def take(self) -> list[ReceivedReading]:
        """See Meter."""
        return []

    def close(self) -> None:
        """See Meter."""


def finite(value: float) -> bool:
    """True for what a meter can have measured."""
    return math.isfinite(value) and abs(value) < LARGEST


def parse_reading(line: bytes) -> MeterReading | None:
    """The reading in one line, or None for anything else (a header, half a line, NaN)."""
    fields = line.strip().split(b",")
    if len(fields) != FIELDS:
        return None
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    if not all(finite(value) for value in values):
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


class MeterPort(Readings):
    """The meter at a serial line: opened when it is there, tried again every RETRY_S.

    Args:
        port: device path.
        baud: [bit/s].
        stale_s: age at which a reading is no longer one.
    """

    def __init__(self, port: str, baud: int, stale_s: float = STALE_S) -> None:
        super().__init__(stale_s)
        self._port, self._baud = port, baud
        self._transport: SerialTransport | None = None
        self._parser = MeterParser()
        self._retry_at = 0.0

    def readers(self) -> list[SerialTransport]:
        """See Meter."""
        return [] if self._transport is None else [self._transport]

    def poll(self, now: float) -> None:
        """See Meter."""
        try:
            if self._transport is None:
                if now < self._retry_at:
                    return
                self._retry_at = now + RETRY_S
                self._transport = SerialTransport(self._port, self._baud)
                self._parser = MeterParser()
            for reading in self._parser.feed(self._transport.read()):
                self.put(reading, now)
        except MachineError:
            self.close()

    def close(self) -> None:
        """See Meter."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None


class ThreadedMeter(Readings):
    """A meter whose client blocks: `run_client` runs in a thread of its own until `self.stopping` is set."""

    def __init__(self, stale_s: float) -> None:
        super().__init__(stale_s)
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self.run_client, name="meter", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def run_client(self) -> None:
        """The thread."""
        raise NotImplementedError

    def arrived(self, reading: MeterReading) -> None:
        """For the thread: a reading has come now."""
        self.put(reading, time.monotonic())

    def readers(self) -> list[SerialTransport]:
        """See Meter."""
        return []

    def poll(self, now: float) -> None:
        """See Meter."""

    def close(self) -> None:
        """See Meter."""
        self.stopping.set()
        self._thread.join(1.0)


def open_meter(text: str, baud: int) -> Meter:
    """The meter that an address names; "" = none. It connects by itself, now and whenever it is lost.

    Args:
        text: see meter_address.py.
        baud: [bit/s] of a serial line whose address does not say it.
    Raises ProfileError (BAD_PARAMETER) for an address that is none.
    """
    address = parse_address(text)
    if isinstance(address, SerialAddress):
        return MeterPort(address.port, address.baud or baud, address.stale_s)
    if isinstance(address, ModbusAddress):
        from machine_node.meter_modbus import ModbusMeter  # a quarter of a second to load, and rarely needed

        modbus = ModbusMeter(address)
        modbus.start()
        return modbus
    if isinstance(address, MqttAddress):
        from machine_node.meter_mqtt import MqttMeter

        mqtt = MqttMeter(address)
        mqtt.start()
        return mqtt
    return NoMeter()
