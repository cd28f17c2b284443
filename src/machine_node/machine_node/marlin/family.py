"""Marlin as one family of controllers; see families.Family."""

from __future__ import annotations

from industriverse_core.machine import MachineProfile
from industriverse_core.program import Program
from machine_node.drivers import Driver, Family, Transport
from machine_node.marlin import dialect
from machine_node.marlin.driver import MarlinDriver
from machine_node.marlin.preamble import preamble
from machine_node.marlin.stopping import Stop
from machine_node.streaming.streamer import Streamer


class MarlinFamily(Family):
    """Printers: line numbers and resends, heaters, no feed hold."""

    dialect = dialect.DIALECT

    def connect(self, transport: Transport, profile: MachineProfile, time_scale: float, now: float) -> MarlinDriver:
        """See Family."""
        return MarlinDriver(transport, round(profile.protocol.receive_buffer * time_scale), now, time_scale)

    def check_sendable(self, program: Program, profile: MachineProfile) -> None:
        """See Family."""
        dialect.check_sendable(program)

    def preamble(self, program: Program, profile: MachineProfile) -> tuple[str, ...]:
        """See Family."""
        return preamble(profile)

    def lead_s(self, time_scale: float) -> float:
        """See Family: a block stays in the planner until it has ended."""
        return 0.0

    def approach(self, program: Program, profile: MachineProfile, time_scale: float) -> None:
        """See Family: a printer's program homes first."""

    def begin(self, driver: Driver, streamer: Streamer, program: Program, profile: MachineProfile) -> None:
        """See Family."""

    def begin_stop(self, driver: Driver, streamer: Streamer, motors_off: bool, now: float) -> Stop | None:
        """See Family: a controller that is busy without an emergency parser hears nothing but M112."""
        assert isinstance(driver, MarlinDriver)
        return Stop(driver, streamer, motors_off, now) if Stop.is_possible(driver, streamer) else None
