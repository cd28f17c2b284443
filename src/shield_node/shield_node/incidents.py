"""What the shield itself notices and tells the identifier: another program, restarts, late and refused messages.

Weights add to the log-odds of a cause. A program that nobody armed is a fact; late messages are what a busy computer
has, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from industriverse_core.digest import NO_DIGEST, Digest
from industriverse_core.errors import ErrorCode
from industriverse_core.telemetry import MachineState, PowerSample, ResidualSample, TelemetrySample, VibrationSample
from industriverse_core.threats import Cause, Evidence, ThreatEstimate

OTHER_PROGRAM_SAMPLES = 3  # in a row: one may have been on its way when the program was armed
FACT, SUSPICION, HINT = 16.0, 2.0, 0.25
FORGERIES = (ErrorCode.PERMIT_FORGED.name, ErrorCode.PERMIT_REPLAYED.name, ErrorCode.PERMIT_FOREIGN.name)


class Identifier(Protocol):
    """Who fuses what is seen into an estimate (shield_node.threats). Times are the shield's steady clock [s]."""

    def begin_job(self, job_id: str) -> None:
        """A job begins."""

    def reset(self) -> None:
        """An operator has looked at the machine: evidence is gathered anew."""

    def observe_telemetry(self, sample: TelemetrySample, now_s: float) -> None:
        """A sample of the machine."""

    def observe_residual(self, sample: ResidualSample, now_s: float) -> None:
        """The twin's comparison."""

    def observe_vibration(self, sample: VibrationSample, now_s: float) -> None:
        """A burst of the accelerometer."""

    def observe_power(self, sample: PowerSample, now_s: float) -> None:
        """A reading of the power meter."""

    def observe_incident(self, cause: Cause, evidence: Evidence, now_s: float) -> None:
        """Something that was noticed by itself."""

    def estimate(self, now_s: float) -> ThreatEstimate:
        """The estimate at this moment."""


Incident = tuple[Cause, Evidence]


@dataclass(slots=True)
class Incidents:
    """Remembers what it has to, and finds incidents; they wait in `found` until they are taken."""

    found: list[Incident] = field(default_factory=list)
    _others: int = 0  # samples in a row with another program than the armed one
    _late: int = -1  # the machine's missed deadlines
    _refused: dict[str, int] = field(default_factory=dict)

    def take(self) -> list[Incident]:
        """The incidents since the last call."""
        found, self.found = self.found, []
        return found

    def on_telemetry(self, sample: TelemetrySample, armed: Digest) -> bool:
        """Is the machine on time? True when it executes another program than the armed one."""
        executing = sample.state in (MachineState.EXECUTING, MachineState.HOLDING)
        other = executing and armed != NO_DIGEST and sample.program_digest not in (armed, NO_DIGEST)
        self._others = self._others + 1 if other else 0
        if self._others == OTHER_PROGRAM_SAMPLES:
            self._note(Cause.PROGRAM_TAMPERING, "program_digest", "telemetry", self._others, FACT)
        if 0 <= self._late < sample.missed_deadlines:
            self._note(Cause.NETWORK_FAULT, "missed_deadlines", "telemetry", sample.missed_deadlines - self._late, HINT)
        self._late = sample.missed_deadlines
        return self._others >= OTHER_PROGRAM_SAMPLES

    def on_late_tick(self) -> None:
        """A tick of the shield came late."""
        self._note(Cause.NETWORK_FAULT, "missed_deadlines", "shield", 1, HINT)

    def on_restart(self, source: str) -> None:
        """A source came back as another process."""
        self._note(Cause.NETWORK_FAULT, "restarted", source, 1, SUSPICION)

    def on_refused(self, counts: Mapping[str, int]) -> None:
        """The machine's counts of refused permits by reason; they grow while it lives."""
        for reason in FORGERIES:
            count, before = counts.get(reason, 0), self._refused.get(reason)
            if before is not None and count > before:
                self._note(Cause.NETWORK_FAULT, reason.lower(), "permit", count - before, SUSPICION)
            self._refused[reason] = count

    def _note(self, cause: Cause, detector: str, channel: str, value: float, weight: float) -> None:
        self.found.append((cause, Evidence(detector, channel, float(value), 0.0, weight)))
