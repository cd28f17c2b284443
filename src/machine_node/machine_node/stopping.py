"""How a controller is halted, and how hard it was stopped already; whatever its family. Time is an argument."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.permit import StopLevel

KILL_PERIOD_S = 0.5
KILL_LIMIT_S = 5.0  # a board that boots is deaf for some seconds


class Progress(IntEnum):
    """How far a stop is."""

    RUNNING = 1
    DONE = 2  # the controller has acknowledged everything
    HOPELESS = 3  # it has not in time: only to halt it helps


class StopProcedure(Protocol):
    """The controlled stop of one execution."""

    def step(self, now: float) -> Progress:
        """Go on."""


class Halting(Protocol):
    """A controller that can be halted at once."""

    def kill(self) -> None:
        """Halt it, whatever it does."""


class Kill:
    """The halt command, repeated until the controller says that it has halted, which arrives as its fault."""

    def __init__(self, driver: Halting, now: float) -> None:
        self._driver = driver
        self._sent_s = now
        self._limit_s = now + KILL_LIMIT_S
        driver.kill()

    def step(self, now: float) -> None:
        """Go on. Raises MachineError (NO_REPLY)."""
        if now >= self._limit_s:
            raise MachineError(ErrorCode.NO_REPLY, "the controller does not say that it halted.", "Switch it off.")
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
