"""Virtual time: events in order, processes' own clocks, and messages that take their time on the way."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any


class World:
    """Discrete events. `now` is true time [s]; no process of the cell sees it, each has a `SteadyClock` of its own.

    Args:
        seed: of every draw that the run makes.
    """

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.draw = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Let something happen; what happens at the same moment happens in the order of the calls."""
        self._number += 1
        heapq.heappush(self._events, (self.now + max(0.0, delay_s), self._number, action))

    def run(self, for_s: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let events happen for so long, or until the condition holds, which is asked every 5 ms. Whether it held."""
        end_s, asked_s = self.now + for_s, -math.inf
        while self._events and self._events[0][0] <= end_s:
            self.now, _, action = heapq.heappop(self._events)
            action()
            if self.now - asked_s >= 0.005:
                asked_s = self.now
                if until():
                    return True
        self.now = end_s
        return until()


class SteadyClock:
    """A process's own steady clock: begins anywhere, runs a little too fast or too slow, never jumps."""

    def __init__(self, world: World, offset_s: float, rate: float) -> None:
        self._world = world
        self._offset_s = offset_s
        self.rate = rate

    def __call__(self) -> float:
        """Steady time [s]."""
        return self._offset_s + self.rate * self._world.now


class WallClock:
    """The computer's clock of the day, which somebody may set."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.jump_s = 0.0

    def nanoseconds(self) -> int:
        """Since 1970 [ns]."""
        return round(1.7e18 + (self._world.now + self.jump_s) * 1e9)


class Channel:
    """One topic from its publisher to one subscriber.

    What is wrong with it at the moment stands in its attributes; healthy by default.

    Attributes:
        loss, double, late: share of the messages that are lost, arrive twice, are overtaken (by up to `late_s`).
        delay_s: that every message takes on top of the usual.
        change: what is made of a message on its way; None = nothing arrives of it.
        seen: every message that was ever published, as an eavesdropper keeps them.
    """

    def __init__(self, world: World, deliver: Callable[[Any], None]) -> None:
        self._world, self._deliver = world, deliver
        self.seen: deque[Any] = deque(maxlen=500)
        self.heal()

    def heal(self) -> None:
        """Everything in order again; what is on its way still arrives as it would have."""
        self.loss = self.double = self.late = self.delay_s = self.late_s = 0.0
        self.change: Callable[[Any], Any] | None = None

    def send(self, message: Any) -> None:
        """Publish."""
        self.seen.append(message)
        draw = self._world.draw
        for _ in range(2 if draw.random() < self.double else 1):
            if draw.random() < self.loss:
                continue
            extra_s = draw.uniform(0.0, self.late_s) if draw.random() < self.late else 0.0
            changed = message if self.change is None else self.change(message)
            if changed is not None:
                self.inject(changed, self.delay_s + extra_s)

    def inject(self, message: Any, delay_s: float = 0.0) -> None:
        """Deliver a message, whoever sent it."""
        usual_s = self._world.draw.uniform(0.2e-3, 2e-3)
        self._world.after(usual_s + delay_s, lambda: self._deliver(message))
