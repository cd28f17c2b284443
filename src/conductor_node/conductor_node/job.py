"""A job, what can happen to it (events) and what is to be done about it (commands): frozen, without ROS.

Times named `_s` here are seconds of the steady clock, except `submitted_s` (UTC).
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, replace
from enum import StrEnum

from conductor_node.states import ENDED, State
from industriverse_core.artefacts import GateReport, LedgerEntry, Prediction, ProgramRef, Quote
from industriverse_core.digest import NO_DIGEST, Digest
from industriverse_core.errors import ErrorCode
from industriverse_core.states import Outcome, Safety
from industriverse_core.telemetry import MachineState

MAX_INTENT_BYTES = 4096


class Stage(StrEnum):
    """What a job can be waiting for an answer from."""

    COMPILE = "compile_intent"
    CHECK = "check_program"
    PREDICT = "predict"
    PRICE = "price"
    ARM = "arm_program"
    EXECUTE = "execute_program"
    LEDGER = "close_ledger"


@dataclass(frozen=True, slots=True)
class Policy:
    """How the loop decides. Limits in steady seconds."""

    automatic_approval: bool = True
    service_limit_s: float = 60.0  # longest wait for an answer of a stage
    ledger_limit_s: float = 15.0
    permit_limit_s: float = 10.0  # longest wait of an armed program for permits before it is disarmed again
    retry_s: float = 1.0  # before arming again
    ending_limit_s: float = 3.0  # how long the machine may take to say how a stopped execution ended
    silence_limit_s: float = 3.0  # telemetry gap after which an executing job is given up
    stale_s: float = 0.5  # oldest telemetry that says anything about now
    orphan_limit_s: float = 10.0  # machine idle, job executing, no result


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an execution is being stopped; the machine may state more until the deadline."""

    code: ErrorCode
    cause: str
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Live:
    """What is known of a job only while this conductor runs; never stored."""

    pending: Stage | None = None
    deadline_s: float = math.inf
    armed: bool = False
    retry_at_s: float = -math.inf
    ending: Ending | None = None
    machine_incarnation: int = 0  # of the machine that executes
    idle_since_s: float = math.inf  # machine idle although the job executes
    note_code: int = 0  # why it waits or is held
    note: str = ""
    instruction: int = 0
    progress: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `quantity` copies are made one after the other; `copy` is the current one, from 1.

    `ledger` is the account of the last copy that ended. `version` counts the journal's rows.
    """

    number: int
    uuid: str
    intent: str
    machine_id: str
    asked_material: str = ""  # "" = as the intent says
    asked_quantity: int = 0  # 0 = as the intent says
    submitted_s: float = 0.0  # UTC
    version: int = 0
    state: State = State.RECEIVED
    copy: int = 1
    quantity: int = 0  # 0 = not yet known
    material: str = ""  # from COMPILED on
    understood: str = ""
    program: ProgramRef | None = None
    report: GateReport | None = None
    prediction: Prediction | None = None
    quote: Quote | None = None
    ledger: LedgerEntry | None = None
    approved: bool = False
    rechecked: bool = False  # the gates ran again because the shield had forgotten the program
    copy_made: bool = False  # the current copy is executed, its books are open
    error_code: int = 0
    error_msg: str = ""
    live: Live = Live()

    @property
    def job_id(self) -> str:
        """What people call it."""
        return f"J{self.number}"

    @property
    def ended(self) -> bool:
        """True in a terminal state."""
        return self.state in ENDED

    @property
    def digest(self) -> Digest:
        """Digest of the program; NO_DIGEST before it is compiled."""
        return self.program.digest if self.program else NO_DIGEST

    @property
    def execution_id(self) -> str:
        """The same for the same copy of the same job, however often it is asked: the machine starts it once."""
        return str(uuid.uuid5(uuid.UUID(self.uuid), f"copy {self.copy}"))

    def durable(self) -> Job:
        """The job as the journal keeps it."""
        return replace(self, live=Live())


@dataclass(frozen=True, slots=True)
class MachineView:
    """What the conductor knows of its machine and shield at one moment. Ages in steady seconds, inf = never."""

    age_s: float = math.inf
    state: MachineState | None = None
    incarnation: int = 0
    job_id: str = ""
    instruction: int = 0
    progress: float = 0.0
    error_code: int = 0
    error_msg: str = ""
    safety: Safety | None = None
    safety_digest: Digest = NO_DIGEST
    safety_error_code: int = 0
    safety_error_msg: str = ""


# --- events ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observed:
    """Time has passed; this is what the cell looks like."""

    view: MachineView


@dataclass(frozen=True, slots=True)
class Compiled:
    """Answer to Compile."""

    program: ProgramRef
    material: str
    quantity: int
    understood: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """Answer to Check."""

    report: GateReport


@dataclass(frozen=True, slots=True)
class Predicted:
    """Answer to Predict."""

    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Priced:
    """Answer to Price."""

    quote: Quote


@dataclass(frozen=True, slots=True)
class Armed:
    """Answer to Arm."""


@dataclass(frozen=True, slots=True)
class Started:
    """The machine has accepted the program."""


@dataclass(frozen=True, slots=True)
class Executed:
    """The machine's account of an execution that has ended."""

    outcome: Outcome
    error_code: int = 0
    error_msg: str = ""
    executed: int = 0


@dataclass(frozen=True, slots=True)
class LedgerClosed:
    """Answer to CloseLedger."""

    ledger: LedgerEntry


@dataclass(frozen=True, slots=True)
class Failed:
    """A stage answered with an error."""

    stage: Stage
    error_code: int
    error_msg: str


@dataclass(frozen=True, slots=True)
class Approve:
    """A person has said yes."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A person has said no."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The conductor has found this job in its journal."""


Event = (
    Observed
    | Compiled
    | Checked
    | Predicted
    | Priced
    | Armed
    | Started
    | Executed
    | LedgerClosed
    | Failed
    | Approve
    | Cancel
    | Restarted
)


# --- commands -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compile:
    """Ask for the program of an intent."""

    job_id: str
    intent: str
    machine_id: str
    material: str


@dataclass(frozen=True, slots=True)
class Check:
    """Run the gates."""

    job_id: str
    program: ProgramRef
    machine_id: str
    material: str


@dataclass(frozen=True, slots=True)
class Predict:
    """Ask the oracle."""

    job_id: str
    program: ProgramRef
    machine_id: str
    material: str


@dataclass(frozen=True, slots=True)
class Price:
    """Ask for the price."""

    job_id: str
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Arm:
    """Ask the shield to permit the program."""

    job_id: str
    digest: Digest
    machine_id: str


@dataclass(frozen=True, slots=True)
class Disarm:
    """Ask the shield to permit nothing."""

    job_id: str
    machine_id: str


@dataclass(frozen=True, slots=True)
class Execute:
    """Hand the program to the machine."""

    job_id: str
    program: ProgramRef
    execution_id: str


@dataclass(frozen=True, slots=True)
class CancelExecution:
    """Tell the machine to stop executing."""

    job_id: str


@dataclass(frozen=True, slots=True)
class CloseLedger:
    """Ask for the account of the execution."""

    job_id: str
    machine_id: str


Command = Compile | Check | Predict | Price | Arm | Disarm | Execute | CancelExecution | CloseLedger
