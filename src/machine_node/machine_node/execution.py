"""What goes into the machine's worker and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from industriverse_core.digest import NO_DIGEST, Digest
from industriverse_core.errors import ErrorCode
from industriverse_core.motion import MotionPlan
from industriverse_core.program import Program
from industriverse_core.states import Outcome
from industriverse_core.telemetry import UNMEASURED, HeaterReading, MachineState, Vector
from machine_node.meter import MeterReading


@dataclass(frozen=True, slots=True)
class Result:
    """How an execution ended."""

    outcome: Outcome
    code: ErrorCode
    message: str
    executed: int


@dataclass(frozen=True, slots=True)
class Execution:
    """What to stream, and whom to tell. `on_end` is called once, in the worker's thread."""

    program: Program
    digest: Digest
    plan: MotionPlan
    job_id: str
    on_end: Callable[[Result], None]


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
    resends: int = 0
    refused_permits: dict[str, int] = field(default_factory=dict)
