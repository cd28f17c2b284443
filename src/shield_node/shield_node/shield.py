"""The shield of one machine: decides at each tick whether a permit goes out. No ROS, no clock of its own.

Every time is the receiver's steady clock [s]. A source is fresh while its last message is younger than its
limit; a source that comes back with another incarnation was restarted, and that is a stop, not a return.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field

from industriverse_core.artefacts import GateReport, Verdict
from industriverse_core.digest import NO_DIGEST, Digest, short
from industriverse_core.errors import ErrorCode, GateError, PermitError
from industriverse_core.permit import GRACE_S, PERMIT_PERIOD_S, Permit, StopLevel, sign
from industriverse_core.telemetry import MachineState, TelemetrySample
from shield_node.transitions import TABLE, Event, State

MACHINE, TWIN, CONDUCTOR = "machine", "twin", "conductor"
VERDICTS_KEPT = 1000
UNUSED_S = 30.0  # a program that is armed and not executed for so long is disarmed
DEFAULT_LIMITS_S = {MACHINE: 0.3, TWIN: 0.5, CONDUCTOR: 0.5}


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Freshness of one source at one moment."""

    name: str
    age_s: float  # NaN = never heard
    limit_s: float

    @property
    def fresh(self) -> bool:
        """Younger than the limit; never heard is not fresh."""
        return self.age_s <= self.limit_s


@dataclass(frozen=True, slots=True)
class Latch:
    """A stop that only the operator clears."""

    latch_id: int
    level: StopLevel
    code: ErrorCode
    cause: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the shield allows and why, at one moment; becomes SafetyState."""

    state: State
    digest: Digest
    latch: Latch | None
    code: ErrorCode
    cause: str
    sources: tuple[SourceStatus, ...]
    permits_issued: int
    missed_deadlines: int


@dataclass(slots=True)
class _Source:
    """Last word of one source."""

    heard_s: float = -math.inf
    incarnation: int = 0
    armed_incarnation: int = 0  # the one that was alive when permits began


@dataclass(slots=True)
class Shield:
    """Permits for one machine.

    Attributes:
        machine_id: whom the permits are for.
        key: the cell's key, for the MAC.
        incarnation: start of this shield [ns since 1970]; grows with every restart.
        limits_s: sources that are needed and how old their last message may be [s].
        kept_latch: a stop that a predecessor had latched; it is still latched.
    """

    machine_id: str
    key: bytes
    incarnation: int
    limits_s: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_LIMITS_S))
    kept_latch: InitVar[Latch | None] = None
    state: State = State.IDLE
    permits_issued: int = 0
    missed_deadlines: int = 0
    _sources: dict[str, _Source] = field(default_factory=dict)
    _passed: dict[Digest, Verdict] = field(default_factory=dict)
    _digest: Digest = NO_DIGEST
    _latch: Latch | None = None
    _withheld_since_s: float = math.inf
    _withheld_cause: str = ""
    _telemetry: TelemetrySample | None = None
    _cleared_machine_latch: int = 0
    _last_tick_s: float = math.nan
    _used_s: float = math.inf  # when the machine last executed the armed program, or it was armed

    def __post_init__(self, kept_latch: Latch | None) -> None:
        self._sources = {name: _Source() for name in self.limits_s}
        if kept_latch is not None:
            self.state, self._latch = TABLE.next_state(self.state, Event.STOP), kept_latch

    # --- what the world says ---

    def remember(self, report: GateReport) -> None:
        """Keep the verdict of a program that was checked for this machine. Refusing the armed one stops it.

        A refusal stays: nobody gets a program through by asking again in other words (another material).
        """
        if report.machine_id != self.machine_id:
            return
        known = self._passed.pop(report.program_digest, None)
        self._passed[report.program_digest] = known if known is Verdict.REFUSE else report.verdict
        if len(self._passed) > VERDICTS_KEPT:
            del self._passed[next(iter(self._passed))]  # the oldest
        if report.verdict is Verdict.REFUSE and report.program_digest == self._digest:
            self.stop(StopLevel.STOP1, ErrorCode.GATE_REFUSED, "The gates now refuse the running program.")

    def observe_source(self, name: str, incarnation: int, now_s: float) -> None:
        """A message of a source arrived."""
        source = self._sources[name]
        source.heard_s, source.incarnation = now_s, incarnation
        running = self.state in (State.PERMITTING, State.WITHHELD)
        if running and source.armed_incarnation and incarnation != source.armed_incarnation:
            self.stop(StopLevel.STOP1, ErrorCode.SOURCE_RESTARTED, f"The {name} was restarted during the execution.")

    def observe_telemetry(self, sample: TelemetrySample, now_s: float) -> None:
        """Telemetry of the machine arrived: a source, and the machine's own latches and faults."""
        self._telemetry = sample
        if sample.program_digest == self._digest != NO_DIGEST:
            self._used_s = now_s
        self.observe_source(MACHINE, sample.incarnation, now_s)
        if sample.latch_id == 0 or sample.latch_id != self._cleared_machine_latch:
            self._cleared_machine_latch = 0
        if sample.latch_id and sample.latch_id != self._cleared_machine_latch and self.state is not State.LATCHED:
            cause = sample.error_msg or "The machine has latched a stop."
            self.stop(StopLevel.STOP1, ErrorCode.MACHINE_LATCHED, cause)
        if sample.state is MachineState.FAULT and self.state not in (State.IDLE, State.LATCHED):
            self.stop(StopLevel.STOP1, ErrorCode.MACHINE_FAULT, sample.error_msg or "The controller reports a fault.")

    def stop(self, level: StopLevel, code: ErrorCode, cause: str) -> Latch:
        """Latch a stop. Always possible; a harder level replaces a softer one, the first cause stays."""
        self.state = TABLE.next_state(self.state, Event.STOP)
        return self._hold_latch(level, code, cause)

    def _hold_latch(self, level: StopLevel, code: ErrorCode, cause: str) -> Latch:
        first = self._latch
        if first is None:
            self._latch = Latch(secrets.randbits(63) | 1, level, code, cause)
        elif level > first.level:
            self._latch = Latch(first.latch_id, level, first.code, first.cause)
        self._forget_program()
        assert self._latch is not None
        return self._latch

    # --- what the conductor and the operator ask ---

    def arm(self, digest: Digest, now_s: float) -> None:
        """Begin to permit a program. Raises GateError (not checked, refused) or PermitError (latched, busy)."""
        verdict = self._passed.get(digest)
        if verdict is None:
            raise GateError(
                ErrorCode.NOT_CHECKED,
                f"Program {short(digest)} has not been checked for {self.machine_id} since the shield started.",
                "Check it first.",
            )
        if verdict is Verdict.REFUSE:
            raise GateError(ErrorCode.GATE_REFUSED, f"The gates refused program {short(digest)}.", "Mend the program.")
        self.state = TABLE.next_state(self.state, Event.ARM)
        self._digest, self._used_s = digest, now_s
        for source in self._sources.values():
            source.armed_incarnation = 0
        self._evaluate(now_s)

    def disarm(self) -> None:
        """End the permission. Always possible."""
        self.state = TABLE.next_state(self.state, Event.DISARM)
        self._forget_program()

    def latched(self) -> Latch:
        """The latch, for the operator's first step. Raises PermitError (NOTHING_TO_CLEAR)."""
        if self._latch is None:
            raise PermitError(ErrorCode.NOTHING_TO_CLEAR, "Nothing is latched.")
        return self._latch

    def clear(self, latch_id: int, reason: str, now_s: float) -> Latch:
        """The operator's second step; returns what was cleared.

        Raises PermitError: nothing latched, another latch than the one that was shown, no reason, or a silent
        machine (its own latch could not be seen).
        """
        latch = self.latched()
        if not reason.strip():
            raise PermitError(ErrorCode.REASON_MISSING, "A stop is cleared with a reason.", "Say why it is safe now.")
        if latch_id != latch.latch_id:
            raise PermitError(
                ErrorCode.CLEAR_MISMATCH,
                "Another stop was latched in the meantime.",
                "Read the new cause and clear that one.",
            )
        if self._telemetry is None or not self._status(MACHINE, now_s).fresh:
            raise PermitError(
                ErrorCode.SOURCE_STALE,
                f"The machine {self.machine_id} is silent; its own state cannot be seen.",
                "Bring machine_node back, then clear.",
            )
        self.state = TABLE.next_state(self.state, Event.CLEAR)
        self._latch = None
        self._cleared_machine_latch = self._telemetry.latch_id
        return latch

    # --- the tick ---

    def tick(self, now_s: float) -> Permit | None:
        """Every 50 ms: the permit to publish, or None. Silence is a stop."""
        if now_s - self._last_tick_s > 1.5 * PERMIT_PERIOD_S:
            self.missed_deadlines += 1
        self._last_tick_s = now_s
        self._evaluate(now_s)
        if self.state is State.PERMITTING:
            return self._issue(self._digest)
        if self.state is State.IDLE and self._cleared_machine_latch:
            return self._issue(NO_DIGEST)  # moves nothing; tells the machine that its latch is cleared
        return None

    def _evaluate(self, now_s: float) -> None:
        """Let freshness and the grace time act on the state."""
        if self.state not in (State.ARMED, State.PERMITTING, State.WITHHELD):
            return
        if now_s - self._used_s > UNUSED_S:
            self.disarm()  # whoever armed it has gone; a forgotten permission must not lie about
            return
        stale = [status for status in self.sources(now_s) if not status.fresh]
        if not stale and self.state is not State.PERMITTING:
            self.state = TABLE.next_state(self.state, Event.FRESH)
            self._withheld_since_s, self._withheld_cause = math.inf, ""
            for source in self._sources.values():
                source.armed_incarnation = source.armed_incarnation or source.incarnation
        elif stale and self.state is State.PERMITTING:
            self.state = TABLE.next_state(self.state, Event.STALE)
            self._withheld_since_s = now_s
            self._withheld_cause = _silence(stale[0])
        elif stale and self.state is State.WITHHELD and now_s - self._withheld_since_s > GRACE_S:
            self.state = TABLE.next_state(self.state, Event.GRACE_OVER)
            self._hold_latch(StopLevel.STOP1, ErrorCode.SOURCE_STALE, _silence(stale[0]))

    def _issue(self, digest: Digest) -> Permit:
        self.permits_issued += 1
        assert self._telemetry is not None
        permit = Permit(
            machine_id=self.machine_id,
            incarnation=self.incarnation,
            sequence=self.permits_issued,
            challenge=self._telemetry.challenge,
            program_digest=digest,
            cleared_latch=self._cleared_machine_latch,
        )
        return sign(permit, self.key)

    def _forget_program(self) -> None:
        self._digest = NO_DIGEST
        self._withheld_since_s, self._withheld_cause = math.inf, ""

    # --- what is shown ---

    def _status(self, name: str, now_s: float) -> SourceStatus:
        heard_s = self._sources[name].heard_s
        age_s = now_s - heard_s if math.isfinite(heard_s) else math.nan
        return SourceStatus(name, age_s, self.limits_s[name])

    def sources(self, now_s: float) -> tuple[SourceStatus, ...]:
        """Freshness of every source."""
        return tuple(self._status(name, now_s) for name in self.limits_s)

    def snapshot(self, now_s: float) -> Snapshot:
        """The whole state, for SafetyState."""
        sources = self.sources(now_s)
        code, cause = ErrorCode.OK, ""
        if self._latch is not None:
            code, cause = self._latch.code, self._latch.cause
        elif self.state is State.WITHHELD:
            code, cause = ErrorCode.SOURCE_STALE, self._withheld_cause
        elif self.state is State.ARMED:
            code, cause = ErrorCode.SOURCE_STALE, _waiting([item for item in sources if not item.fresh])
        return Snapshot(
            self.state, self._digest, self._latch, code, cause, sources, self.permits_issued, self.missed_deadlines
        )


def _silence(status: SourceStatus) -> str:
    if math.isnan(status.age_s):
        return f"The {status.name} was never heard."
    return f"The {status.name} was silent for {status.age_s:.2f} s; {status.limit_s:.2f} s are allowed."


def _waiting(stale: list[SourceStatus]) -> str:
    return f"Waiting for {', '.join(item.name for item in stale)}." if stale else ""
