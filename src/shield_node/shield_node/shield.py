"""The shield of one machine: decides at each tick whether a permit goes out. No ROS, no clock of its own.

Every time is the receiver's steady clock [s]. A source is fresh while its last message is younger than its
limit; a source that comes back with another incarnation was restarted, and that is a stop, not a return.

A tick uses what was observed before it, in the order of the stamps, at the tick's own time: whoever knows which
messages a tick had makes its decision again, bit for bit.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace

from industriverse_core.artefacts import GateReport, Verdict
from industriverse_core.digest import NO_DIGEST, Digest, short
from industriverse_core.errors import ErrorCode, GateError, PermitError
from industriverse_core.permit import GRACE_S, PERMIT_PERIOD_S, Permit, PermitLevel, StopLevel, sign
from industriverse_core.telemetry import MachineState, PowerSample, ResidualSample, TelemetrySample, VibrationSample
from industriverse_core.threats import Cause, Decision, Level, ThreatEstimate
from shield_node.incidents import Identifier, Incidents
from shield_node.people import People
from shield_node.responses import RUN, Responder, Response, certain
from shield_node.separation import Point
from shield_node.transitions import TABLE, Event, State

MACHINE, TWIN, CONDUCTOR = "machine", "twin", "conductor"
VERDICTS_KEPT = 1000
UNUSED_S = 30.0  # a program that is armed and not executed for so long is disarmed
DEFAULT_LIMITS_S = {MACHINE: 0.3, TWIN: 0.5, CONDUCTOR: 0.5}
MOST_WAITING = 1000  # messages that no tick has used yet; a shield that does not tick forgets the oldest
LATCHED_LEVEL = {StopLevel.HOLD: Level.HOLD, StopLevel.STOP1: Level.STOP1, StopLevel.STOP0: Level.STOP0}
STOPS = {Level.STOP1: StopLevel.STOP1, Level.STOP0: StopLevel.STOP0}

NO_THREAT = certain(Cause.NONE)
Observed = TelemetrySample | ResidualSample | VibrationSample | PowerSample
_ORDER: tuple[type, ...] = (TelemetrySample, ResidualSample, VibrationSample, PowerSample)  # of the same stamp


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
        identifier: fuses threats; None = there are none but people.
        people: around the machine; their sensors are sources, too. None = nobody is watched.
        ticks: so far, counted from 1.
    """

    machine_id: str
    key: bytes
    incarnation: int
    limits_s: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_LIMITS_S))
    kept_latch: InitVar[Latch | None] = None
    identifier: Identifier | None = None
    people: People | None = None
    state: State = State.IDLE
    ticks: int = 0
    permits_issued: int = 0
    missed_deadlines: int = 0
    _sources: dict[str, _Source] = field(default_factory=dict)
    _passed: dict[Digest, Verdict] = field(default_factory=dict)
    _digest: Digest = NO_DIGEST
    _latch: Latch | None = None
    _withheld_since_s: float = math.inf
    _doubt_since_s: float = math.inf  # within that: since when it is for something that latches after the grace time
    _withheld: tuple[ErrorCode, str] = (ErrorCode.OK, "")
    _telemetry: TelemetrySample | None = None
    _residual_stamp_s: float = math.nan
    _waiting: deque[Observed] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    _incidents: Incidents = field(default_factory=Incidents)
    _responder: Responder = field(default_factory=Responder)
    _response: Response = RUN
    _threat: ThreatEstimate = NO_THREAT
    _latched_for: ThreatEstimate | None = None  # the threat that latched
    _cleared_machine_latch: int = 0
    _last_tick_s: float = math.nan
    _used_s: float = math.inf  # when the machine last executed the armed program, or it was armed

    def __post_init__(self, kept_latch: Latch | None) -> None:
        if self.people is not None:
            self.limits_s = {**self.limits_s, **self.people.limits_s}
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
            self._incidents.on_restart(name)
            self.stop(StopLevel.STOP1, ErrorCode.SOURCE_RESTARTED, f"The {name} was restarted during the execution.")

    def observe_telemetry(self, sample: TelemetrySample, now_s: float) -> None:
        """Telemetry of the machine arrived: a source, and the machine's own latches and faults."""
        self._telemetry = sample
        self._waiting.append(sample)
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
        if self._incidents.on_telemetry(sample, self._digest):
            cause = f"The machine executes program {short(sample.program_digest)}; {short(self._digest)} is armed."
            self._stop_for(certain(Cause.PROGRAM_TAMPERING, sample.stamp_s, cause, 1.0), StopLevel.STOP1, cause)

    def observe_residual(self, sample: ResidualSample, now_s: float) -> None:
        """The twin's comparison arrived: a source, and evidence."""
        self._residual_stamp_s = sample.stamp_s
        self._waiting.append(sample)
        self.observe_source(TWIN, sample.incarnation, now_s)

    def observe_sensor(self, sample: VibrationSample | PowerSample) -> None:
        """The accelerometer or the power meter has spoken. Evidence only: no source."""
        self._waiting.append(sample)

    def observe_persons(
        self, sensor: str, incarnation: int, positions: Sequence[Point], uncertainty_m: float, now_s: float
    ) -> None:
        """A sighting: a source, and everybody whom it sees. Raises KeyError for a sensor that the cell has not."""
        if self.people is None:
            raise KeyError(sensor)
        self.people.observe(sensor, positions, uncertainty_m)
        self.observe_source(sensor, incarnation, now_s)

    def observe_refused_permits(self, counts: Mapping[str, int]) -> None:
        """The machine's counts of refused permits, by the name of the error code."""
        self._incidents.on_refused(counts)

    def stop(self, level: StopLevel, code: ErrorCode, cause: str) -> Latch:
        """Latch a stop. Always possible; a harder level replaces a softer one, the first cause stays."""
        self.state = TABLE.next_state(self.state, Event.STOP)
        return self._hold_latch(level, code, cause)

    def _stop_for(self, threat: ThreatEstimate, level: StopLevel, cause: str) -> None:
        if self._latch is None:
            self._latched_for = threat
        code = ErrorCode.PERSON_NEAR if threat.cause is Cause.OPERATOR_DANGER else ErrorCode.THREAT
        self.stop(level, code, cause)

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
        if self.identifier is not None:
            self.identifier.begin_job(short(digest))
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
        self._latch, self._latched_for = None, None
        self._cleared_machine_latch = self._telemetry.latch_id
        self._forget_evidence()
        return latch

    def _forget_evidence(self) -> None:
        self._waiting.clear()
        if self.identifier is not None:
            self.identifier.reset()  # a person has looked at the machine
        self._responder, self._response, self._threat = Responder(), RUN, NO_THREAT

    # --- the tick ---

    def tick(self, now_s: float) -> Permit | None:
        """With each telemetry sample, and some 50 ms after the last tick: the permit to publish, or None.

        Silence is a stop. While the machine waits for people to go, the permit is for no program: stand still, go on
        waiting.
        """
        if now_s - self._last_tick_s > 1.5 * PERMIT_PERIOD_S:
            self.missed_deadlines += 1
            self._incidents.on_late_tick()
        self._last_tick_s = now_s
        self.ticks += 1
        self._judge(now_s)
        self._evaluate(now_s)
        if self.state is State.PERMITTING:
            return self._issue(self._digest)
        if self.state is State.WITHHELD and self._response.waits and math.isinf(self._doubt_since_s):
            return self._issue(NO_DIGEST)
        if self.state is State.IDLE and self._cleared_machine_latch:
            return self._issue(NO_DIGEST)  # moves nothing; tells the machine that its latch is cleared
        return None

    def _judge(self, now_s: float) -> None:
        """What threats and people ask for."""
        self._feed(now_s)
        self._threat = NO_THREAT if self.identifier is None else self.identifier.estimate(now_s)
        self._response = self._responder.observe(self._threat, now_s)
        if self.people is not None:
            near, why = self.people.ask(now_s)
            if why is not None and near.hardness >= self._response.hardness:
                self._response, self._threat = near, why

    def _feed(self, now_s: float) -> None:
        """Give the identifier what has arrived, in the order of the stamps; no sensor is ahead of the machine."""
        incidents, identifier = self._incidents.take(), self.identifier
        newest_s = self._telemetry.stamp_s if self._telemetry is not None else -math.inf
        waiting = sorted(self._waiting, key=lambda sample: (sample.stamp_s, _ORDER.index(type(sample))))
        self._waiting.clear()
        if identifier is None:
            return
        for sample in waiting:
            match sample:
                case TelemetrySample():
                    identifier.observe_telemetry(sample, now_s)
                case ResidualSample():
                    identifier.observe_residual(sample, now_s)
                case _ if sample.stamp_s > newest_s:
                    self._waiting.append(sample)
                case VibrationSample():
                    identifier.observe_vibration(sample, now_s)
                case PowerSample():
                    identifier.observe_power(sample, now_s)
        for cause, evidence in incidents:
            identifier.observe_incident(cause, evidence, now_s)

    def _evaluate(self, now_s: float) -> None:
        """Let threats, people, freshness and the grace time act on the state."""
        response = self._response
        stop_level = STOPS.get(response.level)
        if stop_level is not None and (response.at_rest or self.state in (State.PERMITTING, State.WITHHELD)):
            self._stop_for(self._threat, stop_level, response.message)
        if self.state not in (State.ARMED, State.PERMITTING, State.WITHHELD):
            return
        if now_s - self._used_s > UNUSED_S:
            self.disarm()  # whoever armed it has gone; a forgotten permission must not lie about
            return
        stale = [status for status in self.sources(now_s) if not status.fresh]
        if stale or response.level >= Level.HOLD:
            self._withhold(stale, now_s)
        elif self.state is not State.PERMITTING:
            self.state = TABLE.next_state(self.state, Event.FRESH)
            self._forget_withholding()
            for source in self._sources.values():
                source.armed_incarnation = source.armed_incarnation or source.incarnation

    def _withhold(self, stale: list[SourceStatus], now_s: float) -> None:
        """No permit for the program: since when, why, and whether that has been too long."""
        response = self._response
        code, cause = (ErrorCode.SOURCE_STALE, _silence(stale[0])) if stale else (response.code, response.message)
        if self.state is State.PERMITTING:
            self.state = TABLE.next_state(self.state, Event.STALE if stale else Event.HOLD)
            self._withheld_since_s = now_s
        if self.state is not State.WITHHELD:
            return
        if code is not self._withheld[0]:
            self._withheld = code, cause
        waits = not stale and response.waits
        self._doubt_since_s = math.inf if waits else min(self._doubt_since_s, now_s)
        longest_s = self.people.longest_hold_s if self.people is not None else math.inf
        if now_s - self._doubt_since_s > GRACE_S or (waits and now_s - self._withheld_since_s > longest_s):
            self.state = TABLE.next_state(self.state, Event.GRACE_OVER)
            if not stale:
                self._latched_for = self._threat
            self._hold_latch(StopLevel.STOP1 if stale else StopLevel.HOLD, code, cause)

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
        if digest != NO_DIGEST and self._response.level is Level.REDUCED:
            permit = replace(permit, level=PermitLevel.REDUCED, speed_scale=self._response.speed_scale)
        return sign(permit, self.key)

    def _forget_program(self) -> None:
        self._digest = NO_DIGEST
        self._forget_withholding()

    def _forget_withholding(self) -> None:
        self._withheld_since_s = self._doubt_since_s = math.inf
        self._withheld = (ErrorCode.OK, "")

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
            code, cause = self._withheld
        elif self.state is State.ARMED:
            code, cause = ErrorCode.SOURCE_STALE, _waiting([item for item in sources if not item.fresh])
            if not cause and self._response.level >= Level.HOLD:
                code, cause = self._response.code, self._response.message
        return Snapshot(
            self.state, self._digest, self._latch, code, cause, sources, self.permits_issued, self.missed_deadlines
        )

    def decision(self, tick_s: float, now_s: float, stamp_s: float) -> Decision:
        """What the tick at `tick_s` decided, and from what; becomes Decision.msg.

        `now_s`: when its permit had gone out; `stamp_s`: the same in ROS time.
        """
        level = self._response.level
        if self._latch is not None:
            level = LATCHED_LEVEL[self._latch.level]
        elif self.state in (State.ARMED, State.WITHHELD):
            level = Level.HOLD
        scale = {Level.RUN: 1.0, Level.REDUCED: self._response.speed_scale}.get(level, 0.0)
        threat = self._latched_for or self._threat
        message = threat.message or self.snapshot(tick_s).cause
        return Decision(
            stamp_s=stamp_s,
            machine_id=self.machine_id,
            incarnation=self.incarnation,
            tick=self.ticks,
            steady_s=tick_s,
            level=level,
            speed_scale=scale,
            threat=replace(threat, message=message),
            state=int(self.state),
            program_digest=self._digest,
            telemetry_stamp_s=self._telemetry.stamp_s if self._telemetry is not None else math.nan,
            residual_stamp_s=self._residual_stamp_s,
            latency_s=self._status(MACHINE, now_s).age_s,
        )


def _silence(status: SourceStatus) -> str:
    if math.isnan(status.age_s):
        return f"The {status.name} was never heard."
    return f"The {status.name} was silent for {status.age_s:.2f} s; {status.limit_s:.2f} s are allowed."


def _waiting(stale: list[SourceStatus]) -> str:
    return f"Waiting for {', '.join(item.name for item in stale)}." if stale else ""
