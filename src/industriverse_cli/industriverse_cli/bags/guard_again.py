"""The machine's own judgement of its permits, made again from a bag (machine_node.permit_guard).

Begin and end of an execution are read off the telemetry, as are the random numbers of the guard: challenges and latch
ids. What the machine latched for reasons of its own (a fault of the controller) is an input; what follows from permits,
their absence or a stop request the guard must find by itself.
"""

from __future__ import annotations

import math
from typing import Any

from industriverse_cli.bags.comparison import Comparison
from industriverse_cli.bags.inputs import Input, StopAsked
from industriverse_core.digest import NO_DIGEST, short
from industriverse_core.errors import ErrorCode
from industriverse_core.permit import KEY_BYTES, Permit, StopLevel, sign
from industriverse_core.telemetry import MachineState, TelemetrySample
from machine_node.permit_guard import CHALLENGE_PERIOD_S, Cause, GuardState, PermitGuard

OWN_KEY = bytes(KEY_BYTES)
DERIVED = (ErrorCode.PERMIT_LAPSED, ErrorCode.STOP_REQUESTED, ErrorCode.SHIELD_RESTARTED)
RENEWED_S = CHALLENGE_PERIOD_S + 1e-6  # a challenge of this age is renewed, whatever rounding does
SHOWN = {
    GuardState.HOLD: "HOLDING",
    GuardState.LATCHED: "LATCHED",
    GuardState.WAITING: "EXECUTING",
    GuardState.LIVE: "EXECUTING",
    GuardState.IDLE: "IDLE",
}


class GuardAgain:
    """The guard of one machine.

    Attributes:
        comparison: with the state in the telemetry.
        accepted: permits that the guard took.
        key: the cell's key; without it every recorded MAC is taken as good.
    """

    def __init__(self, machine_id: str, key: bytes | None = None) -> None:
        self.machine_id = machine_id
        self.comparison = Comparison()
        self.accepted = 0
        self.key = key
        self._number = 1  # the next random number
        self._guard = PermitGuard(machine_id, key or OWN_KEY, lambda: self._number)
        self._challenge = 0
        self._challenged_s = -math.inf
        self._executing: tuple[str, bytes] = ("", NO_DIGEST)
        self._state = GuardState.IDLE
        self._settled = False

    @property
    def refused(self) -> dict[str, int]:
        """Refused permits by reason."""
        return dict(sorted(self._guard.refused.items()))

    def take(self, item: Input) -> list[dict[str, Any]]:
        """Judge one input; the verdict, if the guard's state has changed by it."""
        value, now_s = item.value, item.now_s
        if isinstance(value, TelemetrySample) and value.machine_id == self.machine_id:
            self._on_telemetry(value, now_s)
        elif isinstance(value, StopAsked) and self._challenge:
            level = StopLevel(value.level) if value.level in set(StopLevel) else StopLevel.STOP1
            self._guard.on_stop(value.machine_id, level, value.source, value.reason, now_s)
        elif isinstance(value, Permit) and value.machine_id == self.machine_id and self._challenge:
            before = self._guard.received_s
            self._guard.on_permit(value if self.key else sign(value, OWN_KEY), now_s)
            self.accepted += self._guard.received_s != before
        return self._changed(now_s)

    def _changed(self, now_s: float) -> list[dict[str, Any]]:
        guard = self._guard
        if guard.state is self._state:
            return []
        self._state = guard.state
        cause = guard.cause if guard.state is GuardState.LATCHED else None
        return [
            {
                "now_s": now_s,
                "machine": self.machine_id,
                "what": "guard",
                "state": guard.state.name,
                "code": cause.code.name if cause else "",
                "cause": cause.message if cause else "",
                "program": short(guard.digest) if any(guard.digest) else "",
                "speed_scale": guard.speed_scale,
                "accepted": self.accepted,
                "refused_permits": self.refused,
            }
        ]

    def _on_telemetry(self, sample: TelemetrySample, now_s: float) -> None:
        guard = self._guard
        guard.tick(now_s)
        if sample.challenge != self._challenge:  # the live guard drew a new number
            # how old the first one is, nobody knows: the next may come at once
            due_s = self._challenged_s + RENEWED_S if self._challenge else now_s - RENEWED_S
            self._challenged_s = max(now_s, due_s) if self._challenge else due_s
            self._challenge = self._number = sample.challenge
            guard.challenge(self._challenged_s)
        self._follow_execution(sample, now_s)
        if sample.latch_id:
            code = ErrorCode(sample.error_code) if sample.error_code in set(ErrorCode) else ErrorCode.MACHINE_FAULT
            # an interrupted homing latches without the time of grace
            own_reason = code not in DERIVED or guard.state is GuardState.HOLD or not self._settled
            if guard.state is not GuardState.LATCHED and own_reason:
                guard.latch(Cause(code, sample.error_msg), now_s)
            if guard.state is GuardState.LATCHED:
                guard.latch_id = sample.latch_id
        self._compare(sample, now_s)

    def _follow_execution(self, sample: TelemetrySample, now_s: float) -> None:
        executing = (sample.job_id, sample.program_digest)
        if executing == self._executing:
            return
        self._executing = executing
        if not sample.latch_id:  # else the latch has ended it
            self._guard.end(now_s)
        if any(sample.program_digest) and self._guard.state is GuardState.IDLE:
            self._guard.accept(sample.program_digest, now_s)

    def _compare(self, sample: TelemetrySample, now_s: float) -> None:
        """The machine's states beyond the guard's (disconnected, fault) say nothing about permits."""
        if sample.state in (MachineState.DISCONNECTED, MachineState.FAULT):
            return
        live, again = sample.state.name, SHOWN[self._guard.state]
        self._settled = self._settled or live == again
        if self._settled:
            age = f"last permit {sample.permit_age_s:.3f} s ago, number {sample.permit_sequence}"
            self.comparison.see(now_s, live, again, f"The machine had its {age}; {self.accepted} were accepted again.")
