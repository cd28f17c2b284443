"""GRBL 1.1 as one family of controllers; see drivers.Family."""

from __future__ import annotations

from functools import partial

from industriverse_core.machine import MachineProfile
from industriverse_core.program import Program
from machine_node.drivers import Driver, Family, Transport
from machine_node.grbl import dialect
from machine_node.grbl.approach import approach
from machine_node.grbl.driver import GrblDriver
from machine_node.grbl.preamble import HOME, preamble, work_system
from machine_node.grbl.stopping import GrblStop
from machine_node.streaming.pieces import Kind
from machine_node.streaming.streamer import ApproachRule, Streamer

SEGMENT_BUFFER_S = 0.05  # GRBL 1.1 computes five segments of 10 ms ahead; a block in them has left the planner


class GrblFamily(Family):
    """Mills: characters counted, feed hold and overrides, no resends, no heaters."""

    dialect = dialect.DIALECT

    def connect(self, transport: Transport, profile: MachineProfile, time_scale: float, now: float) -> GrblDriver:
        """See Family."""
        return GrblDriver(transport, profile, time_scale, now)

    def check_sendable(self, program: Program, profile: MachineProfile) -> None:
        """See Family."""
        dialect.check_sendable(program)

    def preamble(self, program: Program, profile: MachineProfile) -> tuple[str, ...]:
        """See Family: limits are the controller's settings; where they differ from the profile, the driver says so."""
        return preamble(program)

    def lead_s(self, time_scale: float) -> float:
        """See Family."""
        return SEGMENT_BUFFER_S / time_scale

    def approach(self, program: Program, profile: MachineProfile, time_scale: float) -> ApproachRule:
        """See Family."""
        return partial(approach, program, profile, time_scale)

    def begin(self, driver: Driver, streamer: Streamer, program: Program, profile: MachineProfile) -> None:
        """See Family: a controller that an alarm has locked homes first, under the job's permit. One whose stored
        positions are others than those by which the program was read and judged is refused."""
        assert isinstance(driver, GrblDriver)
        driver.settings.check_origins(program, profile)
        if driver.must_home:
            streamer.home_first(HOME)
        else:
            position_m = driver.position_in(work_system(program))
            if position_m[0] == position_m[0]:  # judged again after the preamble; said now where it can be
                streamer.check_start(position_m)

    def begin_stop(self, driver: Driver, streamer: Streamer, motors_off: bool, now: float) -> GrblStop | None:
        """See Family: homing hears no feed hold, only a reset."""
        assert isinstance(driver, GrblDriver)
        return None if streamer.barrier is Kind.CYCLE else GrblStop(driver, streamer, now)
