"""What machines report and the twin compares: frozen samples that flow between the rooms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from industriverse_core.digest import NO_DIGEST, Digest
from industriverse_core.program import Heater

Vector = tuple[float, float, float]
UNMEASURED: Vector = (math.nan, math.nan, math.nan)


class MachineState(IntEnum):
    """Values as in MachineTelemetry.msg."""

    DISCONNECTED = 1
    IDLE = 2
    EXECUTING = 3
    HOLDING = 4
    LATCHED = 5
    FAULT = 6


@dataclass(frozen=True, slots=True)
class HeaterReading:
    """One heater as the controller reports it. Duty 0..1, NaN = not reported."""

    heater: Heater
    temperature_c: float
    target_c: float
    duty: float = math.nan


@dataclass(frozen=True, slots=True)
class TelemetrySample:
    """The state of one machine at `stamp_s` (ROS time). Unmeasured is NaN. Fields as in MachineTelemetry.msg."""

    stamp_s: float
    machine_id: str
    incarnation: int
    challenge: int
    state: MachineState
    error_code: int = 0
    error_msg: str = ""
    job_id: str = ""
    program_digest: Digest = NO_DIGEST
    instruction: int = 0
    progress: float = 0.0
    position_m: Vector = UNMEASURED
    reported_position_m: Vector = UNMEASURED
    heaters: tuple[HeaterReading, ...] = ()
    fan: float = 0.0
    power_w: float = math.nan
    energy_j: float = math.nan
    permit_sequence: int = 0
    permit_age_s: float = math.nan
    latch_id: int = 0
    queued_s: float = 0.0
    missed_deadlines: int = 0
    realtime: bool = False

    def reading(self, heater: Heater) -> HeaterReading | None:
        """The reading of one heater, or None."""
        return next((reading for reading in self.heaters if reading.heater is heater), None)


@dataclass(frozen=True, slots=True)
class Trace:
    """How far the machine is in the program: numbers of instructions. Fields as in ExecutionTrace.msg."""

    stamp_s: float
    machine_id: str
    job_id: str
    program_digest: Digest
    sent: int
    acknowledged: int
    executed: int
    total: int


class Quantity(IntEnum):
    """What a residual compares. Values as in ResidualChannel.msg."""

    HOTEND_TEMPERATURE = 1
    BED_TEMPERATURE = 2
    POSITION = 3
    POWER = 4


@dataclass(frozen=True, slots=True)
class ResidualChannel:
    """Expected against measured, with the standard deviation that the twin claims for the difference."""

    quantity: Quantity
    expected: float
    measured: float
    sigma: float

    @property
    def z_score(self) -> float:
        """Difference in standard deviations; NaN when unmeasured."""
        return (self.measured - self.expected) / self.sigma if self.sigma > 0 else math.nan


@dataclass(frozen=True, slots=True)
class ResidualSample:
    """The shadow twin's comparison at one telemetry stamp. Fields as in Residual.msg."""

    stamp_s: float
    machine_id: str
    incarnation: int
    job_id: str
    program_digest: Digest
    instruction: int
    channels: tuple[ResidualChannel, ...]
    lag_s: float


BANDS = 8  # of VibrationSample.band_energy


@dataclass(frozen=True, slots=True)
class PowerSample:
    """One reading of a power meter. Unmeasured is NaN. Fields as in PowerReading.msg.

    `stamp_s` and `received_s` are ROS time; `source_s` is the meter's own clock, `clock_offset_s` what has to be added
    to it to get ROS time.
    """

    stamp_s: float
    machine_id: str
    received_s: float
    source_s: float = math.nan
    clock_offset_s: float = math.nan
    voltage_v: float = math.nan
    current_a: float = math.nan
    power_w: float = math.nan
    energy_j: float = math.nan


class VibrationAxis(IntEnum):
    """Values as in VibrationFeatures.msg."""

    X = 1
    Y = 2
    Z = 3


@dataclass(frozen=True, slots=True)
class VibrationSample:
    """Features of one accelerometer burst on one axis, without its mean. Fields as in VibrationFeatures.msg.

    `band_energy` [(m/s^2)^2]: mean square in BANDS equal bands from 0 to half the sample rate; they add up to the
    square of `rms_m_s2`. Clocks as in PowerSample.
    """

    stamp_s: float
    machine_id: str
    received_s: float
    axis: VibrationAxis
    samples: int
    sample_rate_hz: float
    rms_m_s2: float
    kurtosis: float
    dominant_frequency_hz: float
    band_energy: tuple[float, ...]
    source_s: float = math.nan
    clock_offset_s: float = math.nan
