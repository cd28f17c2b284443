"""The energy map, asked live: what it says of the newest window of a machine that executes. Novelty is not fault."""

from __future__ import annotations

from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import MachineState, TelemetrySample
from shield_node.envelope import Envelope
from shield_node.machine_states import LiveStates, need_map_of


class EnvelopeWatch:
    """One machine and its map.

    Attributes:
        message: why the newest window is not known to be good, as a sentence; "" = it is, or there is none.
    Raises InputError (USAGE) for another machine's map.
    """

    def __init__(self, envelope: Envelope, profile: MachineProfile) -> None:
        need_map_of(envelope, profile)
        self._envelope = envelope
        self._live = LiveStates(envelope.channels)
        self.message = ""

    def observe(self, sample: TelemetrySample) -> str:
        """The message that holds now."""
        if sample.state is not MachineState.EXECUTING:
            self.message = ""
        state = self._live.observe(sample)
        if state is not None:
            self.message = self._envelope.judge(state).message
        return self.message
