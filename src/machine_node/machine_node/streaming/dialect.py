"""What cutting a program into lines has to know of a controller family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from industriverse_core.program import Plane, Program


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much motion a controller may hold, in steady seconds.

    Attributes:
        target_s: motion in the controller, braking included.
        planned_s: the same without braking.
        spare_s: what a machine that brakes for longer than the target holds beyond its braking time.
        follows_braking: True when such a machine gets as much as it needs to brake from its speed, up to planned_s;
            False when it is kept to the target and so moves slower than planned.
    """

    target_s: float
    planned_s: float
    spare_s: float = 0.0
    follows_braking: bool = False

    def allowed_s(self, tail_s: float) -> float:
        """Motion that may be in the controller, braking included, when braking adds `tail_s` to the planned time."""
        if not self.follows_braking:
            return self.target_s
        return max(self.target_s, min(2.0 * tail_s + self.spare_s, self.planned_s + tail_s))


class Dialect(ABC):
    """The words of one family, and what of a program makes it wait.

    Attributes:
        queue: see QueueLimits.
        barriers: instructions that are sent when all motion before them has ended, and waited for.
        cycles: those of them in which the controller moves for a time, and to a place, that only it knows.
        synchronising: instructions that the controller acknowledges when all motion before them has ended.
        wait: a line that is acknowledged when all motion before it has ended.
        dwell_step_s: smallest pause that can be said.
        repeats_feed: each feed move says its feed, also an unchanged one.
        separator: between the words of a line.
        starts_anywhere: the program begins wherever the tool stands; it is not homed first.
    """

    queue: QueueLimits
    barriers: frozenset[int]
    cycles: frozenset[int]
    synchronising: frozenset[int]
    wait: str
    dwell_step_s: float
    repeats_feed: bool
    separator: str
    starts_anywhere: bool

    @abstractmethod
    def dwell(self, seconds: float) -> str:
        """A pause."""

    @abstractmethod
    def command(self, program: Program, index: int) -> str:
        """An instruction that moves nothing; "" = nothing to send. Raises CoreError for what cannot be said."""

    @abstractmethod
    def reachable_scale(self, allowed: float, rapid: bool) -> float:
        """The share of its speed that a move gets when `allowed` (0 < allowed <= 1) is allowed: the largest one not
        above it that the controller can be given."""

    @abstractmethod
    def feed_scale(self, scale: float) -> float:
        """What a written feed is multiplied with; 1 where the controller's own override slows the move."""

    @abstractmethod
    def straight(self, rapid: bool, scale: float) -> tuple[str, bool]:
        """(G word of a straight move at this reachable scale, whether a feed belongs to it)."""

    @abstractmethod
    def plane(self, plane: Plane) -> tuple[str, ...]:
        """Words that select an arc's plane; () when the controller is in it already."""


def decimal(value: float, places: int) -> str:
    """A number without exponent and without trailing zeros (controllers know no exponents)."""
    text = f"{value:.{places}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
