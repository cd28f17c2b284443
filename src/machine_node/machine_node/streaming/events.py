"""What a driver tells the stream, whatever the family: frozen, without I/O."""

from __future__ import annotations

from dataclasses import dataclass

from industriverse_core.errors import MachineError
from industriverse_core.telemetry import Vector


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One of our lines was taken; `planner_free` are the free planner blocks as reported with it."""

    line: int
    planner_free: int | None = None


@dataclass(frozen=True, slots=True)
class ResendRequest:
    """The controller wants this line again, and all that followed it."""

    line: int


@dataclass(frozen=True, slots=True)
class PlannerReport:
    """Free planner blocks at this moment; every line that was acknowledged before it had been taken by then."""

    planner_free: int


@dataclass(frozen=True, slots=True)
class ToolReport:
    """Where the tool is in the program's coordinates; `at_rest` when nothing moves and nothing is on its way.

    `line`: the line that is being carried out, as the controller says it; 0 = it does not.
    """

    position_m: Vector
    at_rest: bool
    line: int = 0


@dataclass(frozen=True, slots=True)
class Paused:
    """Motion stands still by the controller's word (feed hold), or goes on again."""

    paused: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream cannot go on, but the controller still listens: a controlled stop is possible."""

    error: MachineError
