"""How an execution is ended at a Marlin controller. Time is an argument."""

from __future__ import annotations

from machine_node.marlin.driver import HEATERS_OFF, MOTORS_OFF, MarlinDriver
from machine_node.marlin.protocol import HARMLESS
from machine_node.stopping import Progress
from machine_node.streaming.pieces import Kind
from machine_node.streaming.streamer import Streamer

STOP_LIMIT_S = 5.0  # from a stop to the controller's acknowledgement of it
CYCLE_LIMIT_S = 0.3  # the same for a motion of the controller's own; then M112
URGE_PERIOD_S = 0.1  # a command that comes before what it is to break off changes nothing, so it is repeated
_URGENT = {Kind.CYCLE: "M410", Kind.WAIT: "M108"}


class Stop:
    """The controlled stop of one execution: what the controller does by itself is broken off, the heaters go off.

    Args:
        driver: ready.
        streamer: of the execution; what the controller will never execute is withdrawn from it.
        now: steady time [s].
    """

    def __init__(self, driver: MarlinDriver, streamer: Streamer, motors_off: bool, now: float) -> None:
        self._driver, self._streamer = driver, streamer
        self._barrier = streamer.barrier
        self._urgent = "" if self._barrier is None else _URGENT[self._barrier]
        self._urged_s = now
        self._limit_s = now + (CYCLE_LIMIT_S if self._barrier is Kind.CYCLE else STOP_LIMIT_S)
        power_off = (MOTORS_OFF,) if motors_off else ()
        first = driver.stop(*HEATERS_OFF, HARMLESS, *power_off, now=now, urgent=self._urgent)
        streamer.withdraw(first)
        self._settle_limit_s = now + STOP_LIMIT_S

    @staticmethod
    def is_possible(driver: MarlinDriver, streamer: Streamer) -> bool:
        """False when the controller is busy and would not hear anything but M112."""
        return streamer.barrier is None or driver.has_emergency_parser

    def step(self, now: float) -> Progress:
        """Go on."""
        if self._driver.settled:
            return Progress.DONE
        if self._streamer.barrier is None:
            return Progress.HOPELESS if now >= self._settle_limit_s else Progress.RUNNING
        if now >= self._limit_s:
            return Progress.HOPELESS
        if now - self._urged_s >= URGE_PERIOD_S:
            self._urged_s = now
            self._driver.urge(self._urgent, now)
        return Progress.RUNNING
