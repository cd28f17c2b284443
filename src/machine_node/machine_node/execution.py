"""What goes into the machine's worker and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from industriverse_core.digest import NO_DIGEST, Digest
from industriverse_core.errors import ErrorCode
from industriverse_core.machine import MachineProfile
from industriverse_core.motion import MotionPlan
from industriverse_core.program import Heater, Program
from industriverse_core.states import Outcome
from industriverse_core.telemetry import UNMEASURED, HeaterReading, MachineState, Vector
from machine_node.marlin.driver import MarlinDriver
from machine_node.marlin.streamer import Streamer
from machine_node.meter import MeterReading

REPORT_STALE_S = 5.0  # older temperature reports are not shown


class Step(IntEnum):
    """Where an execution is."""

    STREAMING = 1
    FINISHING = 2  # everything was sent; M400 and heaters off are on their way
    STOPPING = 3  # the guard has ended it; heaters off is on its way


@dataclass(frozen=True, slots=True)
class Result:
    """How an execution ended."""

    outcome: Outcome
    code: ErrorCode
    message: str
    executed: int


@dataclass(frozen=True, slots=True)
class Execution:
    """What to stream, and whom to tell. `on_end` is called once, in the worker's thread.

    Made by machine_node.preparation.prepare.
    """

    program: Program
    digest: Digest
    plan: MotionPlan
    streamer: Streamer
    job_id: str
    on_end: Callable[[Result], None]

    @property
    def progress(self) -> float:
        """Share of the planned time that is executed, 0..1."""
        executed, whole_s = self.streamer.executed, self.plan.total_s
        if executed == 0:
            return 0.0
        return float(self.plan.end_s[executed - 1]) / whole_s if whole_s > 0.0 else executed / self.streamer.total


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the machine knows of itself at one moment. Unmeasured is NaN or None."""

    state: MachineState
    challenge: int
    code: ErrorCode = ErrorCode.OK
    message: str = ""
    job_id: str = ""
    digest: Digest = NO_DIGEST
    sent: int = 0
    acknowledged: int = 0
    executed: int = 0
    total: int = 0
    progress: float = 0.0
    position_m: Vector = UNMEASURED
    reported_position_m: Vector = UNMEASURED
    heaters: tuple[HeaterReading, ...] = ()
    fan: float = 0.0
    meter: MeterReading | None = None
    permit_sequence: int = 0
    permit_age_s: float | None = None
    latch_id: int = 0
    queued_s: float = 0.0
    queue_reported: bool = False  # False: queued_s rests on the plan's durations alone
    resends: int = 0
    refused_permits: dict[str, int] = field(default_factory=dict)


def heater_readings(driver: MarlinDriver, profile: MachineProfile, now: float) -> tuple[HeaterReading, ...]:
    """The controller's last temperature report; () when it is older than REPORT_STALE_S."""
    if now - driver.temperatures_s > REPORT_STALE_S:
        return ()
    t = driver.temperatures
    readings = [HeaterReading(Heater.HOTEND, t.hotend_c, t.hotend_target_c, t.hotend_duty)]
    if profile.bed is not None:
        readings.append(HeaterReading(Heater.BED, t.bed_c, t.bed_target_c, t.bed_duty))
    return tuple(readings)
