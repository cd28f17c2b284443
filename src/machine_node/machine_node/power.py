"""From a meter's readings to power samples: stamps in ROS time, with the estimated offset of the meter's clock."""

from __future__ import annotations

import math

from industriverse_core.telemetry import PowerSample
from machine_node.clock_offset import ClockOffset
from machine_node.meter import ReceivedReading


class PowerSamples:
    """Of one machine's meter.

    Args:
        machine_id: whose.
        time_scale: ROS seconds in a steady second.
    """

    def __init__(self, machine_id: str, time_scale: float) -> None:
        self._machine_id, self._scale = machine_id, time_scale
        self._clock = ClockOffset()

    def of(self, readings: list[ReceivedReading], ros_s: float, steady_s: float) -> list[PowerSample]:
        """Samples of readings that came at steady times up to now, which is `ros_s` in ROS time."""
        return [self._of(each, ros_s - (steady_s - each.received_s) * self._scale) for each in readings]

    def _of(self, received: ReceivedReading, received_s: float) -> PowerSample:
        """A meter without a clock is stamped at receipt."""
        r = received.reading
        self._clock.add(r.uptime_s, received_s)
        offset = self._clock.estimate(r.uptime_s)
        stamp_s = received_s if offset is None else r.uptime_s + offset.offset_s
        return PowerSample(
            stamp_s=stamp_s,
            machine_id=self._machine_id,
            received_s=received_s,
            source_s=r.uptime_s,
            clock_offset_s=math.nan if offset is None else offset.offset_s,
            voltage_v=r.voltage_v,
            current_a=r.current_a,
            power_w=r.power_w,
            energy_j=r.energy_j,
        )
