"""What people should know of a machine, and what stops nothing: wear from job to job, states that its map knows not.

The history of health numbers is kept on disk; a history that cannot be read or written costs only the drift test.
"""

from __future__ import annotations

from pathlib import Path

from industriverse_core.errors import CoreError
from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import ResidualSample, TelemetrySample
from shield_node import health
from shield_node.envelope_file import load_envelope
from shield_node.envelope_watch import EnvelopeWatch
from shield_node.health import HealthWatch, MachineHealth


class Advice:
    """Of one machine.

    Args:
        profile: the machine.
        history: file of its health numbers; made with the first finished job.
        envelope: its energy map; None = it has none.
    Attributes:
        problem: why there is no drift test; "" = there is one.
    Raises InputError for a map that cannot be read or is another machine's.
    """

    def __init__(self, profile: MachineProfile, history: Path, envelope: Path | None = None) -> None:
        self._watch = HealthWatch()
        self._history_file = history
        self.problem = ""
        try:
            self._health = health.load(history)
        except CoreError as error:
            self._health, self.problem = MachineHealth(), str(error)
        self._map = EnvelopeWatch(load_envelope(envelope), profile) if envelope is not None else None

    def expect(self, job_id: str, motion_time_s: float) -> None:
        """The oracle's prediction of a job's moves and dwells [s]."""
        self._watch.expect(job_id, motion_time_s)

    def observe_residual(self, residual: ResidualSample) -> None:
        """The twin's comparison."""
        self._watch.observe_residual(residual)

    def observe_telemetry(self, sample: TelemetrySample) -> tuple[str, ...]:
        """Sentences that are new."""
        said = []
        finished = self._watch.observe_telemetry(sample)
        if finished is not None and not self.problem:
            reports = self._health.add(finished)
            said += [report.sentence for report in reports if report.drift.drifting]
            try:
                health.save(self._history_file, self._health)
            except (CoreError, OSError) as error:
                said.append(f"the history of health numbers was not kept: {error}")
        if self._map is not None:
            before = self._map.message
            if self._map.observe(sample) and not before:
                said.append(f"the energy map does not know this state: {self._map.message}")
        return tuple(said)

    @property
    def sentence(self) -> str:
        """All that holds now; "" when nothing does."""
        unknown = self._map.message if self._map is not None else ""
        return " ".join(text for text in (self.problem, self._health.sentence, unknown) if text)
