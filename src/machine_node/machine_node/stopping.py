"""How an execution is ended at the controller, and how the controller is halted. Time is an argument."""

from __future__ import annotations

from enum import IntEnum

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.permit import StopLevel
from machine_node.marlin.driver import MarlinDriver
from machine_node.marlin.pieces import Kind
from machine_node.marlin.streamer import Streamer

HEATERS_OFF = ("M104 S0", "M140 S0", "M107")
MOTORS_OFF = "M84"
STOP_LIMIT_S = 5.0  # from a stop to the controller's acknowledgement of it
CYCLE_LIMIT_S = 0.3  # the same for a motion of the controller's own; then M112
URGE_PERIOD_S = 0.1  # a command that comes before what it is to break off changes nothing, so it is repeated
KILL_PERIOD_S = 0.5
KILL_LIMIT_S = 5.0  # a board that boots is deaf for some seconds
_URGENT = {Kind.CYCLE: "M410", Kind.WAIT: "M108"}


class Progress(IntEnum):
    """How far a stop is."""

    RUNNING = 1
    DONE = 2  # the controller has acknowledged everything
    HOPELESS = 3  # it has not in time: only M112 helps


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
        first = driver.stop(*HEATERS_OFF, "M400", *power_off, now=now, urgent=self._urgent)
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


class Kill:
    """M112, repeated until the controller says that it has halted, which arrives as its fault."""

    def __init__(self, driver: MarlinDriver, now: float) -> None:
        self._driver = driver
        self._sent_s = now
        self._limit_s = now + KILL_LIMIT_S
        driver.kill()

    def step(self, now: float) -> None:
        """Go on. Raises MachineError (NO_REPLY)."""
        if now >= self._limit_s:
            raise MachineError(ErrorCode.NO_REPLY, "the controller did not confirm M112.", "Switch it off.")
        if now - self._sent_s >= KILL_PERIOD_S:
            self._sent_s = now
            self._driver.kill()


class LatchedLevel:
    """How hard the controller was already stopped for the guard's latch: each latch asks for each level once."""

    def __init__(self) -> None:
        self._latch_id = 0
        self._reached: StopLevel | None = None

    def wants(self, level: StopLevel, latch_id: int, asked: StopLevel | None) -> bool:
        """True when this latch asks for the level and the controller is not stopped as hard as that."""
        if latch_id == 0 or asked is not level:
            return False
        return self._latch_id != latch_id or self._reached is None or self._reached < level

    def reached(self, level: StopLevel, latch_id: int) -> None:
        """The controller is stopped at this level for this latch."""
        self._latch_id, self._reached = latch_id, level
