"""The energy map, asked live: evidence for a threat without a name while the newest window is not known to be good.

Novelty is not fault: what the map says weighs little by itself, and more beside what other detectors see.
"""

from __future__ import annotations

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import MachineState, TelemetrySample
from industriverse_core.threats import Evidence
from shield_node.envelope import Envelope, Reason
from shield_node.machine_states import LiveStates, channels_of

DETECTOR = "energy_map"
# log-odds of the unknown cause; judgements: one good window in a hundred has too high an energy, none is outside
WEIGHTS = {
    Reason.NOT_A_NUMBER: 0.5,
    Reason.HARD_LIMIT: 4.0,
    Reason.OUTSIDE_SUPPORT: 2.0,
    Reason.KNOWN_BAD: 3.0,
    Reason.ENERGY: 0.5,
}


class EnvelopeWatch:
    """One machine and its map.

    Attributes:
        evidence: of the newest window; None = it is known to be good, or there is none.
        message: what the map says of it, as a sentence.
    Raises InputError (USAGE) for another machine's map.
    """

    def __init__(self, envelope: Envelope, profile: MachineProfile) -> None:
        channels = channels_of(profile)
        names, wanted = ([channel.name for channel in some] for some in (envelope.channels, channels))
        if names != wanted:
            seen = f"the map's states are {', '.join(names)}; those of {profile.id} are {', '.join(wanted)}."
            raise InputError(ErrorCode.USAGE, seen, "Learn a map for this machine.")
        self._envelope = envelope
        self._live = LiveStates(channels)
        self.evidence: Evidence | None = None
        self.message = ""

    def observe(self, sample: TelemetrySample) -> Evidence | None:
        """The evidence that counts now."""
        if sample.state is not MachineState.EXECUTING:
            self.evidence, self.message = None, ""
        state = self._live.observe(sample)
        if state is None:
            return self.evidence
        judgement = self._envelope.judge(state)
        self.message = judgement.message
        self.evidence = None
        if judgement.reason is not Reason.ACCEPTED:
            weight, limit = WEIGHTS[judgement.reason], self._envelope.threshold
            self.evidence = Evidence(DETECTOR, judgement.channel, judgement.energy, limit, weight)
        return self.evidence
