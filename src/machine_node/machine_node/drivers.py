"""What the worker needs of a controller family and of its driver, and what a driver needs of a port."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from industriverse_core.machine import MachineProfile
from industriverse_core.program import Program
from industriverse_core.telemetry import HeaterReading, Vector
from machine_node.stopping import StopProcedure
from machine_node.streaming.dialect import Dialect
from machine_node.streaming.streamer import ApproachRule, Streamer


class Transport(Protocol):
    """What the driver needs of a serial port."""

    @property
    def wants_write(self) -> bool:
        """True while written bytes have not left."""

    def read(self) -> bytes:
        """What has arrived; b"" = nothing."""

    def write(self, data: bytes) -> None:
        """Write everything, now or soon."""

    def drop_pending(self) -> None:
        """Forget what was written and has not left."""


class Driver(Protocol):
    """One connection to one controller. Never blocks, reads no clock; steady time [s] is an argument.

    Attributes:
        planner_free_idle: free planner blocks that an idle controller reports; 0 = it does not report.
        resends: lines sent again so far.
        firmware: what the controller calls itself.
    """

    planner_free_idle: int
    resends: int
    firmware: str

    @property
    def ready(self) -> bool:
        """True when commands can be sent."""

    @property
    def settled(self) -> bool:
        """True when nothing waits to be sent and everything that was sent has ended."""

    @property
    def locked(self) -> str:
        """Why the controller takes no program though it answers; "" = it does."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What people should know of this controller, once it is ready."""

    @property
    def reported_position_m(self) -> Vector:
        """Where the controller says the tool is, in the program's coordinates; NaN = never."""

    def heaters(self, profile: MachineProfile, now: float) -> tuple[HeaterReading, ...]:
        """The heaters as the controller reports them; () = none, or too long ago."""

    def poll(self, now: float, may_repeat: Callable[[], bool]) -> Sequence[object]:
        """Take what has arrived and go one step on; the events of streaming/events.py among what it gives.

        Raises MachineError for what ends the connection; the driver is of no use after it.
        """

    def can_send(self, command: str) -> bool:
        """True when the command fits into what the controller's receive buffer surely has free."""

    def send(self, command: str, now: float) -> int:
        """Write a command; its line number. The caller has asked `can_send`."""

    def finish(self) -> None:
        """Everything was sent: wait for the last move, then switch off what only a job may have on."""

    def power_off(self) -> None:
        """Switch off what can be, of a controller that executes nothing."""

    def seal(self) -> None:
        """What was sent so far is never sent again, whatever the controller asks for."""

    def kill(self) -> None:
        """Halt the controller at once, whatever it does. Nothing follows."""

    def hold(self, now: float) -> None:
        """The permit has lapsed: hold what is moving, where the controller can. Asked again and again."""

    def go_on(self, now: float) -> None:
        """The permit is back: end the hold that `hold` began. Asked again and again."""

    def look_again(self) -> None:
        """Report the position once more at once: the last report is doubted."""

    def set_speed(self, scale: float, now: float) -> None:
        """Motion may have this share of its speed, also what is queued, where the controller can."""

    def tend(self, now: float) -> None:
        """Called while nothing is executed."""


class Family(ABC):
    """One family of controllers.

    Attributes:
        dialect: see Dialect.
    """

    dialect: Dialect

    @abstractmethod
    def connect(self, transport: Transport, profile: MachineProfile, time_scale: float, now: float) -> Driver:
        """A driver at the beginning of its handshake."""

    @abstractmethod
    def check_sendable(self, program: Program, profile: MachineProfile) -> None:
        """Raise CoreError at the first instruction that this controller is never sent."""

    @abstractmethod
    def preamble(self, program: Program, profile: MachineProfile) -> tuple[str, ...]:
        """What the controller is told before this program."""

    @abstractmethod
    def lead_s(self, time_scale: float) -> float:
        """Steady time by which a block leaves the planner before its motion has ended."""

    @abstractmethod
    def approach(self, program: Program, profile: MachineProfile, time_scale: float) -> ApproachRule | None:
        """How the tool gets to where the program begins; None where the program homes first."""

    @abstractmethod
    def begin(self, driver: Driver, streamer: Streamer, program: Program, profile: MachineProfile) -> None:
        """An execution is about to begin at this controller. Raises MachineError when it cannot."""

    @abstractmethod
    def begin_stop(self, driver: Driver, streamer: Streamer, motors_off: bool, now: float) -> StopProcedure | None:
        """A controlled stop; None when only to halt the controller helps."""
