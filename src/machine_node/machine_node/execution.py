"""What goes into the machine's worker and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from industriverse_core.digest import NO_DIGEST, Digest
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import MachineProfile
from industriverse_core.motion import MotionPlan
from industriverse_core.program import Program
from industriverse_core.states import Outcome
from industriverse_core.telemetry import UNMEASURED, HeaterReading, MachineState, Vector
from machine_node.drivers import Driver
from machine_node.meter import MeterReading
from machine_node.permit_guard import GuardState, PermitGuard
from machine_node.streaming.streamer import Streamer


class Step(IntEnum):
    """Where an execution is."""

    STREAMING = 1
    FINISHING = 2  # everything was sent; the driver waits for the last move
    STOPPING = 3  # the guard has ended it; the controlled stop is under way


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


def state_of(guard: GuardState, connected: bool, fault: CoreError | None, executing: bool) -> MachineState:
    """The machine's state as it is shown, from what its guard and its connection say."""
    if guard is GuardState.LATCHED:
        return MachineState.LATCHED
    if not connected:
        broken = fault is not None and fault.code is not ErrorCode.PORT_UNAVAILABLE
        return MachineState.FAULT if broken else MachineState.DISCONNECTED
    if guard is GuardState.HOLD:
        return MachineState.HOLDING
    return MachineState.EXECUTING if executing else MachineState.IDLE


def snapshot_of(
    state: MachineState,
    code: ErrorCode,
    message: str,
    guard: PermitGuard,
    execution: Execution | None,
    driver: Driver | None,
    profile: MachineProfile,
    now: float,
) -> Snapshot:
    """What guard, execution and driver know of the machine; renews the challenge."""
    streamer = None if execution is None else execution.streamer
    return Snapshot(
        state=state,
        challenge=guard.challenge(now),
        code=code,
        message=message,
        job_id=execution.job_id if execution is not None else "",
        digest=execution.digest if execution is not None else NO_DIGEST,
        sent=streamer.sent if streamer is not None else 0,
        acknowledged=streamer.acknowledged if streamer is not None else 0,
        executed=streamer.executed if streamer is not None else 0,
        total=streamer.total if streamer is not None else 0,
        progress=0.0 if execution is None else execution.progress,
        reported_position_m=UNMEASURED if driver is None else driver.reported_position_m,
        heaters=() if driver is None else driver.heaters(profile, now),
        permit_sequence=guard.sequence,
        permit_age_s=None if guard.received_s is None else now - guard.received_s,
        latch_id=guard.latch_id,
        queued_s=streamer.queued_s(now) if streamer is not None else 0.0,
        queue_reported=driver is not None and driver.planner_free_idle > 0,
        resends=driver.resends if driver is not None else 0,
        refused_permits=dict(guard.refused),
    )
