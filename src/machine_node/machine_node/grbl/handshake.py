"""How a connection to a GRBL controller begins: reset it when nothing moves, ask what it is and where the tool is."""

from __future__ import annotations

import math
from collections import deque
from enum import Enum, auto
from typing import Protocol

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.telemetry import Vector
from machine_node.grbl import protocol as p
from machine_node.grbl.settings import ControllerSettings

HANDSHAKE_LIMIT_S = 15.0
PATIENCE_S = 2.0  # for the welcome of a board that boots when its port is opened, before it is reset
RESET_RETRY_S = 2.0
HOLD_RETRY_S = 0.2
QUESTIONS = ("$I", "$$", "$#", "$G")


class Phase(Enum):
    """Where the connection is."""

    LISTENING = auto()  # is it there, does it move
    RESETTING = auto()  # 0x18 was written, the welcome has not come
    ASKING = auto()  # build info, settings, offsets, modes
    LOCATING = auto()  # waiting for a report that says where the tool is
    DONE = auto()


class Link(Protocol):
    """What the handshake needs of the driver."""

    status: p.Status
    status_s: float
    settings: ControllerSettings

    @property
    def answered(self) -> bool:
        """Every line has its answer."""

    @property
    def reported_position_m(self) -> Vector:
        """NaN = not known."""

    def write_now(self, data: bytes) -> None:
        """Real-time bytes."""

    def restart(self) -> None:
        """No answer to what was sent will come."""

    def send(self, command: str, now: float) -> int:
        """A line."""


class Handshake:
    """One handshake. Time is an argument.

    Args:
        virtual_only: refuse a controller that does not call itself virtual.
    """

    def __init__(self, link: Link, now: float, virtual_only: bool) -> None:
        self._link = link
        self._virtual_only = virtual_only
        self.phase = Phase.LISTENING
        self._questions: deque[str] = deque()
        self._began_s = now
        self._wrote_s = -math.inf

    @property
    def done(self) -> bool:
        """Commands can be sent."""
        return self.phase is Phase.DONE

    def on_welcome(self) -> None:
        """The controller has started."""
        self.phase = Phase.ASKING
        self._questions = deque(QUESTIONS)

    def step(self, now: float) -> bool:
        """Go on; True when it is done. Raises MachineError: NO_REPLY, BAD_PARAMETER."""
        if now - self._began_s > HANDSHAKE_LIMIT_S:
            raise MachineError(
                ErrorCode.NO_REPLY,
                f"no GRBL controller answered within {HANDSHAKE_LIMIT_S:g} s.",
                "Check the port, the baud rate and that the machine is on.",
            )
        link = self._link
        if self.phase is Phase.LISTENING:
            self._listen(now)
        elif self.phase is Phase.RESETTING:
            if now - self._wrote_s >= RESET_RETRY_S:
                self._reset(now)
        elif self.phase is Phase.ASKING:
            if link.answered:
                self._ask_next(now)
        elif link.status_s > self._wrote_s and not math.isnan(link.reported_position_m[0]):
            self.phase = Phase.DONE
        return self.done

    def _listen(self, now: float) -> None:
        """A job of somebody else is held before the reset: so its position is not lost."""
        status = self._link.status
        if self._link.status_s == -math.inf:
            if now - self._began_s >= PATIENCE_S:
                self._reset(now)
        elif status.state in p.MOVING or (status.state == "Hold" and status.substate == 1):
            if now - self._wrote_s > HOLD_RETRY_S:
                self._wrote_s = now
                self._link.write_now(p.HOLD)
        else:
            self._reset(now)

    def _reset(self, now: float) -> None:
        self.phase, self._wrote_s = Phase.RESETTING, now
        self._link.restart()
        self._link.write_now(p.RESET)

    def _ask_next(self, now: float) -> None:
        link = self._link
        if self._questions:
            link.send(self._questions.popleft(), now)
            return
        firmware = link.settings.firmware
        if self._virtual_only and "virtual" not in firmware.lower():
            raise MachineError(
                ErrorCode.BAD_PARAMETER,
                f"the controller '{firmware or 'without a name'}' is not a virtual one; a real machine needs "
                "time_scale 1.",
                "Start the node with time_scale 1.",
            )
        mask = link.settings.wanted_report_mask()
        if mask is not None:
            link.settings.values.pop(10)  # asked for once: what it answers is enough
            link.send(f"$10={mask}", now)
            return
        self.phase, self._wrote_s = Phase.LOCATING, now
