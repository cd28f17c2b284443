"""The shield's decisions, made again from a bag.

The logic is that of the shield's node (shield_node.shield). A Decision is a tick: it has the shield's own time and
names the newest telemetry and residual that the tick had, so these are given to the logic before it and no others. What
comes without a name (heartbeats, sightings, power, vibration, stop requests) counts at its receipt in the recorder.

A bag without Decisions is decided by receipts alone, and without threats, which its shield did not know. Two things
that the node knew are not in messages of their own and are read off what it published:

- The ticks of such a bag. A permit or a SafetyState stands for the tick that sent it; a tick that changes nothing sends
  a SafetyState every second time.
- Calls of arm_program and clear_stop. The shield publishes its state as soon as it has answered: a new digest is an
  arming, its end a disarming, the end of a latch id a clearing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from industriverse_cli.bags.comparison import Comparison
from industriverse_cli.bags.inputs import Heartbeat, Input, SafetySeen, Sighting, StopAsked
from industriverse_core.artefacts import GateReport
from industriverse_core.digest import NO_DIGEST, Digest, short
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import MachineProfile
from industriverse_core.permit import KEY_BYTES, Permit, StopLevel
from industriverse_core.safety import Safety as CellSafety
from industriverse_core.states import Safety
from industriverse_core.telemetry import PowerSample, ResidualSample, TelemetrySample, VibrationSample
from industriverse_core.threats import Decision
from shield_node.people import people_of
from shield_node.shield import CONDUCTOR, DEFAULT_LIMITS_S, TWIN, Latch, Shield
from shield_node.threats.identifier import ThreatIdentifier

OWN_NAME = "shield"  # source of the stop requests that the shield sends
NO_KEY = bytes(KEY_BYTES)  # MACs are no decision; the cell's key is never in a bag
STAMP_S = 1e-6  # stamps of messages are told apart by more than that; a float of them is good to 0.3 us
Named = TelemetrySample | ResidualSample  # a Decision names the newest of these


class ShieldAgain:
    """The shield of one machine.

    Attributes:
        comparison: with the recorded SafetyState: state, level, program.
        decisions: with the recorded Decision: state, level, cause.
        exact: remade decisions whose probabilities are the recorded ones to the last bit.
        widest: largest difference of a probability. What was learnt before the recording began is not in the bag.
        causes: with its error code. Of two causes that come at once, shield and recorder may hear another one first.
        permits: with each recorded permit, whether the logic permits, too.
        unknown_sources: sources that the live shield waited for and that are not replayed here.

    Args:
        profile: of the machine in a bag with Decisions; None for a bag without.
        safety: of the cell, where it watched people.
    """

    def __init__(
        self,
        machine_id: str,
        reports: Sequence[GateReport],
        profile: MachineProfile | None = None,
        safety: CellSafety | None = None,
    ) -> None:
        self.machine_id = machine_id
        self.comparison, self.causes, self.permits = Comparison(), Comparison(), Comparison()
        self.decisions, self.exact, self.widest = Comparison(), 0, 0.0
        self.unknown_sources: set[str] = set()
        self._reports, self._profile, self._safety = reports, profile, safety
        self._at_s = 0.0  # the bag's time
        self._offset_s = math.nan if profile is not None else 0.0  # from it to the logic's clock; NaN = not known yet
        self._early: SafetySeen | None = None  # what came before the first Decision
        self._named: list[tuple[Named, float]] = []  # with the time of receipt; not used yet
        self._newest_s = -math.inf  # stamp of telemetry
        self._due: Decision | None = None  # its telemetry has not come yet
        self._permit: Permit | None = None  # recorded since the last Decision
        self._shield: Shield | None = None
        self._seen: SafetySeen | None = None
        self._settled = False

    def take(self, item: Input) -> list[dict[str, Any]]:
        """Decide on one input; the verdicts that follow from it."""
        value, self._at_s = item.value, item.now_s
        if getattr(value, "machine_id", "") not in ("", self.machine_id):
            return []
        if isinstance(value, Decision):
            return self._on_decision(value) if self._profile is not None else []
        if math.isnan(self._offset_s):
            self._early = value if isinstance(value, SafetySeen) else self._early
            return []
        return self._take(value, self._at_s + self._offset_s)

    def _take(self, value: Any, now_s: float) -> list[dict[str, Any]]:
        if isinstance(value, SafetySeen):
            return self._on_safety(value, now_s)
        shield = self._shield
        if shield is None:
            return []
        match value:
            case TelemetrySample() | ResidualSample() if self._profile is not None:
                self._named.append((value, now_s))
                if isinstance(value, TelemetrySample):
                    self._newest_s = max(self._newest_s, value.stamp_s)
                    return self._decide_if_complete()
            case TelemetrySample() | ResidualSample():
                self._hear(shield, value, now_s)
            case VibrationSample() | PowerSample():
                shield.observe_sensor(value)
            case Sighting() if shield.people is not None and value.sensor in shield.people.limits_s:
                sighting = (value.sensor, value.incarnation, value.positions, value.uncertainty_m)
                shield.observe_persons(*sighting, now_s)
            case Heartbeat() if CONDUCTOR in shield.limits_s:
                shield.observe_source(CONDUCTOR, value.incarnation, now_s)
            case StopAsked():
                self._on_stop(shield, value)
            case Permit() if self._profile is not None:
                self._permit = value
            case Permit():
                return [self._on_permit(shield, value, now_s)]
        return []

    @staticmethod
    def _hear(shield: Shield, sample: Named, now_s: float) -> None:
        if isinstance(sample, TelemetrySample):
            shield.observe_telemetry(sample, now_s)
        elif TWIN in shield.limits_s:
            shield.observe_residual(sample, now_s)

    # --- a bag with decisions ---

    def _on_decision(self, recorded: Decision) -> list[dict[str, Any]]:
        """A tick. It waits for the telemetry that it names, at most until the next one."""
        offset_s = recorded.steady_s - self._at_s
        self._offset_s = offset_s if math.isnan(self._offset_s) else max(self._offset_s, offset_s)
        verdicts = []
        if self._early is not None:
            verdicts, self._early = self._on_safety(self._early, recorded.steady_s), None
        if self._due is not None:
            verdicts += self._decide(self._due)
        self._due = recorded
        return verdicts + self._decide_if_complete()

    def _decide_if_complete(self) -> list[dict[str, Any]]:
        due = self._due
        if due is None or self._newest_s < due.telemetry_stamp_s - STAMP_S:  # False for NaN: nothing was named
            return []
        return self._decide(due)

    def _decide(self, recorded: Decision) -> list[dict[str, Any]]:
        self._due, shield, now_s = None, self._shield, recorded.steady_s
        if shield is None or shield.incarnation != recorded.incarnation:
            return []
        later = []
        for sample, heard_s in self._named:
            telemetry = isinstance(sample, TelemetrySample)
            newest_s = recorded.telemetry_stamp_s if telemetry else recorded.residual_stamp_s
            if sample.stamp_s <= newest_s + STAMP_S:
                self._hear(shield, sample, min(heard_s, now_s))
            else:
                later.append((sample, heard_s))
        self._named = later
        permit = shield.tick(now_s)
        again = shield.decision(now_s, now_s, recorded.stamp_s)
        if self._settled:
            self._compare_decisions(recorded, again, permit)
        return [
            {
                "now_s": self._at_s,
                "machine": self.machine_id,
                "what": "decision",
                "tick": recorded.tick,
                "state": Safety(again.state).name,
                "level": again.level.name,
                "speed_scale": again.speed_scale,
                "cause": again.threat.cause.name,
                "probability": again.threat.probability,
                "permit": "none" if permit is None else _permit_text(permit),
            }
        ]

    def _compare_decisions(self, recorded: Decision, again: Decision, permit: Permit | None) -> None:
        evidence = f"The shield's: {recorded.threat.message or 'none'} The bag's: {again.threat.message or 'none'}"
        self.decisions.see(self._at_s, _decision_text(recorded), _decision_text(again), evidence)
        pairs = zip(recorded.threat.probabilities, again.threat.probabilities, strict=False)
        difference = max((abs(float(live) - remade) for live, remade in pairs), default=0.0)
        self.exact += difference == 0.0
        self.widest = max(self.widest, difference)
        live = "none" if self._permit is None else _permit_text(self._permit)
        self.permits.see(self._at_s, live, "none" if permit is None else _permit_text(permit), evidence)
        self._permit = None

    @staticmethod
    def _on_stop(shield: Shield, asked: StopAsked) -> None:
        """As the node does; what the shield itself tells the machine follows from a latch and is no cause of one."""
        if asked.source != OWN_NAME:
            level = StopLevel(asked.level) if asked.level in set(StopLevel) else StopLevel.STOP1
            reason = asked.reason or "no reason given"
            shield.stop(level, ErrorCode.STOP_REQUESTED, f"{asked.source or 'someone'} asked to stop: {reason}.")

    def _on_permit(self, shield: Shield, recorded: Permit, now_s: float) -> dict[str, Any]:
        """A permit went out at this tick. Does it again?"""
        again = shield.tick(now_s)
        live_text = _permit_text(recorded)
        again_text = "none" if again is None else _permit_text(again)
        if self._settled:
            self.permits.see(self._at_s, live_text, again_text, shield.snapshot(now_s).cause or "all sources are fresh")
        return {"now_s": self._at_s, "machine": self.machine_id, "what": "permit", "permit": again_text}

    def _on_safety(self, seen: SafetySeen, now_s: float) -> list[dict[str, Any]]:
        if self._shield is None or self._seen is None or seen.incarnation != self._seen.incarnation:
            self._start(seen)
        assert self._shield is not None
        verdicts = self._calls(self._shield, seen, now_s)
        if self._profile is None:
            self._shield.tick(now_s)
        self._seen = seen
        snapshot = self._shield.snapshot(now_s)
        latch = snapshot.latch
        again = _state_text(snapshot.state, int(latch.level) if latch else 0, snapshot.digest)
        live = _state_text(seen.state, seen.level, seen.program_digest)
        self._settled = self._settled or live == again
        if self._settled:
            live_ages = ", ".join(f"{each.name} {each.age_s:.3f} s" for each in seen.sources)
            bag_ages = ", ".join(f"{each.name} {each.age_s:.3f} s" for each in snapshot.sources)
            self.comparison.see(self._at_s, live, again, f"The shield saw {live_ages}; the bag has {bag_ages}.")
            if live == again:
                evidence = f"The shield's: {seen.cause or 'none'} The bag's: {snapshot.cause or 'none'}"
                self.causes.see(self._at_s, _code(seen.code).name, snapshot.code.name, evidence)
        verdicts.append(
            {
                "now_s": self._at_s,
                "machine": self.machine_id,
                "what": "shield",
                "state": snapshot.state.name,
                "level": int(latch.level) if latch else 0,
                "code": snapshot.code.name,
                "cause": snapshot.cause,
                "program": short(snapshot.digest) if any(snapshot.digest) else "",
                "sources": {each.name: [each.age_s, each.fresh] for each in snapshot.sources},
            }
        )
        return verdicts

    def _start(self, seen: SafetySeen) -> None:
        """A shield as it was when the recording began, or when its process was started again."""
        limits = {each.name: each.limit_s for each in seen.sources}
        people = people_of(self._safety, self._profile) if self._profile is not None else None
        known = DEFAULT_LIMITS_S.keys() | (people.limits_s.keys() if people is not None else set())
        self.unknown_sources |= limits.keys() - known
        limits = {name: limit for name, limit in limits.items() if name in DEFAULT_LIMITS_S}
        kept = None
        if seen.latch_id:
            level = StopLevel(seen.level) if seen.level in set(StopLevel) else StopLevel.STOP1
            kept = Latch(seen.latch_id, level, _code(seen.code), seen.cause)
        identifier = ThreatIdentifier(self._profile) if self._profile is not None else None
        limits = limits or dict(DEFAULT_LIMITS_S)
        self._shield = Shield(self.machine_id, NO_KEY, seen.incarnation, limits, kept, identifier, people)
        for report in self._reports:
            self._shield.remember(report)
        self._seen, self._settled = None, False

    def _calls(self, shield: Shield, seen: SafetySeen, now_s: float) -> list[dict[str, Any]]:
        """The service calls that a recorded state shows, made again; what was refused."""
        before = self._seen
        before_digest = before.program_digest if before else NO_DIGEST
        verdicts = []
        if before is not None and before.latch_id and not seen.latch_id:
            verdicts += self._call("clear", lambda: shield.clear(shield.latched().latch_id, "recorded", now_s))
        if any(seen.program_digest) and seen.program_digest != before_digest:
            verdicts += self._call("arm", lambda: shield.arm(seen.program_digest, now_s))
        elif any(before_digest) and not any(seen.program_digest) and seen.state != Safety.LATCHED:
            shield.disarm()
        return verdicts

    def _call(self, name: str, call: Any) -> list[dict[str, Any]]:
        try:
            call()
        except CoreError as error:
            return [{"now_s": self._at_s, "machine": self.machine_id, "what": name, "refused": error.code.name}]
        return []


def _state_text(state: int, level: int, digest: Digest) -> str:
    name = Safety(state).name if state in set(Safety) else f"state {state}"
    parts = [name]
    if level:
        parts.append(StopLevel(level).name if level in set(StopLevel) else f"level {level}")
    if any(digest):
        parts.append(short(digest))
    return " ".join(parts)


def _decision_text(decision: Decision) -> str:
    name = Safety(decision.state).name if decision.state in set(Safety) else f"state {decision.state}"
    return f"{name} {decision.level.name} {decision.speed_scale:g} {decision.threat.cause.name}"


def _permit_text(permit: Permit) -> str:
    return f"{permit.level.name} {permit.speed_scale:g} {short(permit.program_digest)} {permit.cleared_latch}"


def _code(number: int) -> ErrorCode:
    return ErrorCode(number) if number in set(ErrorCode) else ErrorCode.LATCHED
