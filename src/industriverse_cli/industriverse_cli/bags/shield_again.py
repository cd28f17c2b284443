"""The shield's decisions, made again from a bag.

The logic is that of the shield's node (shield_node.shield); its inputs are the recorded ones at their receipt in the
recorder. Two things that the node knew are not in messages of their own and are read off what it published:

- The ticks. A permit or a SafetyState stands for the tick that sent it; a tick that changes nothing sends a
  SafetyState every second time.
- Calls of arm_program and clear_stop. The shield publishes its state as soon as it has answered: a new digest is an
  arming, its end a disarming, the end of a latch id a clearing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from industriverse_cli.bags.comparison import Comparison
from industriverse_cli.bags.inputs import Heartbeat, Input, SafetySeen, StopAsked
from industriverse_core.artefacts import GateReport
from industriverse_core.digest import NO_DIGEST, Digest, short
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.permit import KEY_BYTES, Permit, StopLevel
from industriverse_core.states import Safety
from industriverse_core.telemetry import ResidualSample, TelemetrySample
from shield_node.shield import CONDUCTOR, DEFAULT_LIMITS_S, TWIN, Latch, Shield

OWN_NAME = "shield"  # source of the stop requests that the shield sends
NO_KEY = bytes(KEY_BYTES)  # MACs are no decision; the cell's key is never in a bag


class ShieldAgain:
    """The shield of one machine.

    Attributes:
        comparison: with the recorded SafetyState: state, level, program.
        causes: with its error code. Of two causes that come at once, shield and recorder may hear another one first.
        permits: with each recorded permit, whether the logic permits, too.
        unknown_sources: sources that the live shield waited for and that are not replayed here.
    """

    def __init__(self, machine_id: str, reports: Sequence[GateReport]) -> None:
        self.machine_id = machine_id
        self.comparison, self.causes, self.permits = Comparison(), Comparison(), Comparison()
        self.unknown_sources: set[str] = set()
        self._reports = reports
        self._shield: Shield | None = None
        self._seen: SafetySeen | None = None
        self._settled = False

    def take(self, item: Input) -> list[dict[str, Any]]:
        """Decide on one input; the verdicts that follow from it."""
        value, now_s = item.value, item.now_s
        if isinstance(value, SafetySeen):
            return self._on_safety(value, now_s) if value.machine_id == self.machine_id else []
        shield = self._shield
        if shield is None:
            return []
        if isinstance(value, TelemetrySample) and value.machine_id == self.machine_id:
            shield.observe_telemetry(value, now_s)
        elif isinstance(value, ResidualSample) and value.machine_id == self.machine_id and TWIN in shield.limits_s:
            shield.observe_source(TWIN, value.incarnation, now_s)
        elif isinstance(value, Heartbeat) and CONDUCTOR in shield.limits_s:
            shield.observe_source(CONDUCTOR, value.incarnation, now_s)
        elif isinstance(value, StopAsked) and value.machine_id in ("", self.machine_id):
            self._on_stop(shield, value)
        elif isinstance(value, Permit) and value.machine_id == self.machine_id:
            return [self._on_permit(shield, value, now_s)]
        return []

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
            self.permits.see(now_s, live_text, again_text, shield.snapshot(now_s).cause or "all sources are fresh")
        return {"now_s": now_s, "machine": self.machine_id, "what": "permit", "permit": again_text}

    def _on_safety(self, seen: SafetySeen, now_s: float) -> list[dict[str, Any]]:
        if self._shield is None or self._seen is None or seen.incarnation != self._seen.incarnation:
            self._start(seen)
        assert self._shield is not None
        verdicts = self._calls(self._shield, seen, now_s)
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
            self.comparison.see(now_s, live, again, f"The shield saw {live_ages}; the bag has {bag_ages}.")
            if live == again:
                evidence = f"The shield's: {seen.cause or 'none'} The bag's: {snapshot.cause or 'none'}"
                self.causes.see(now_s, _code(seen.code).name, snapshot.code.name, evidence)
        verdicts.append(
            {
                "now_s": now_s,
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
        self.unknown_sources |= limits.keys() - DEFAULT_LIMITS_S.keys()
        limits = {name: limit for name, limit in limits.items() if name in DEFAULT_LIMITS_S}
        kept = None
        if seen.latch_id:
            level = StopLevel(seen.level) if seen.level in set(StopLevel) else StopLevel.STOP1
            kept = Latch(seen.latch_id, level, _code(seen.code), seen.cause)
        self._shield = Shield(self.machine_id, NO_KEY, seen.incarnation, limits or dict(DEFAULT_LIMITS_S), kept)
        for report in self._reports:
            self._shield.remember(report)
        self._seen, self._settled = None, False

    def _calls(self, shield: Shield, seen: SafetySeen, now_s: float) -> list[dict[str, Any]]:
        """The service calls that a recorded state shows, made again; what was refused."""
        before = self._seen
        before_digest = before.program_digest if before else NO_DIGEST
        verdicts = []
        if before is not None and before.latch_id and not seen.latch_id:
            verdicts += self._call(now_s, "clear", lambda: shield.clear(shield.latched().latch_id, "recorded", now_s))
        if any(seen.program_digest) and seen.program_digest != before_digest:
            verdicts += self._call(now_s, "arm", lambda: shield.arm(seen.program_digest, now_s))
        elif any(before_digest) and not any(seen.program_digest) and seen.state != Safety.LATCHED:
            shield.disarm()
        return verdicts

    def _call(self, now_s: float, name: str, call: Any) -> list[dict[str, Any]]:
        try:
            call()
        except CoreError as error:
            return [{"now_s": now_s, "machine": self.machine_id, "what": name, "refused": error.code.name}]
        return []


def _state_text(state: int, level: int, digest: Digest) -> str:
    name = Safety(state).name if state in set(Safety) else f"state {state}"
    parts = [name]
    if level:
        parts.append(StopLevel(level).name if level in set(StopLevel) else f"level {level}")
    if any(digest):
        parts.append(short(digest))
    return " ".join(parts)


def _permit_text(permit: Permit) -> str:
    return f"{permit.level.name} {permit.speed_scale:g} {short(permit.program_digest)} {permit.cleared_latch}"


def _code(number: int) -> ErrorCode:
    return ErrorCode(number) if number in set(ErrorCode) else ErrorCode.LATCHED
