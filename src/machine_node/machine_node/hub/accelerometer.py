"""An accelerometer at a serial port: opened when it is there, tried again while it is not; bursts become samples."""

from __future__ import annotations

import math

from industriverse_core.errors import MachineError
from industriverse_core.telemetry import VibrationAxis, VibrationSample
from machine_node.clock_offset import ClockOffset
from machine_node.transport import SerialTransport
from machine_node.vibration import Burst, BurstParser, features

RETRY_S = 2.0
BAUD = 921_600
MOST_READS = 16  # a call; the rest comes with the next


class AccelerometerPort:
    """The sensor of one machine.

    Args:
        machine_id: whose vibration it feels.
        port: device path.
    """

    def __init__(self, machine_id: str, port: str) -> None:
        self.machine_id, self._port = machine_id, port
        self._transport: SerialTransport | None = None
        self._parser = BurstParser()
        self._clock = ClockOffset()
        self._retry_at = 0.0
        self.problem: MachineError | None = None

    @property
    def dropped(self) -> int:
        """Lines that were no bursts."""
        return self._parser.dropped

    def poll(self, steady_s: float, ros_s: float) -> list[VibrationSample]:
        """Samples of what has arrived, three axes a burst."""
        try:
            if self._transport is None:
                if steady_s < self._retry_at:
                    return []
                self._retry_at = steady_s + RETRY_S
                self._transport = SerialTransport(self._port, BAUD)
                self._parser, self.problem = BurstParser(), None
            return [sample for burst in self._read() for sample in self._samples(burst, ros_s)]
        except MachineError as error:
            self.problem = error
            self.close()
            return []

    def _read(self) -> list[Burst]:
        assert self._transport is not None
        bursts = []
        for _ in range(MOST_READS):
            data = self._transport.read()
            if not data:
                break
            bursts += self._parser.feed(data)
        return bursts

    def _samples(self, burst: Burst, received_s: float) -> list[VibrationSample]:
        """The burst is complete when its last sample is: that is the stamp to compare with its receipt."""
        last_s = burst.uptime_s + burst.duration_s
        self._clock.add(last_s, received_s)
        offset = self._clock.estimate(last_s)
        offset_s = math.nan if offset is None else offset.offset_s
        made = []
        for axis in VibrationAxis:
            found = features(burst.acceleration_m_s2[:, axis - 1], burst.rate_hz)
            if found is None:
                continue
            sample = VibrationSample(
                stamp_s=burst.uptime_s + offset_s,
                machine_id=self.machine_id,
                received_s=received_s,
                axis=axis,
                samples=len(burst.acceleration_m_s2),
                sample_rate_hz=burst.rate_hz,
                rms_m_s2=found.rms_m_s2,
                kurtosis=found.kurtosis,
                dominant_frequency_hz=found.dominant_frequency_hz,
                band_energy=found.band_energy,
                source_s=burst.uptime_s,
                clock_offset_s=offset_s,
            )
            made.append(sample)
        return made

    def close(self) -> None:
        """Release the port."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None


def parse_ports(text: str) -> dict[str, str]:
    """'machine=/dev/ttyUSB1, other=/dev/ttyUSB2' as machine -> port. Raises ValueError."""
    ports = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        machine, equals, port = item.partition("=")
        if not (equals and machine.strip() and port.strip()):
            raise ValueError(f"'{item}' is not machine=port")
        ports[machine.strip()] = port.strip()
    return ports
