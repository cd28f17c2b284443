"""How much slower than planned a controller moves, from the planner blocks that it says it holds."""

from __future__ import annotations

from collections import deque

WINDOW_S = 0.6  # of steady time that the estimate looks back
SHORTEST_WINDOW_S = 0.25
DEADBAND = 1.1  # an estimate is known to within one piece of the window; below this the plan is believed
SLOWEST = 4.0
MOST_BLOCKS = 2048


class Pace:
    """Planned durations of the blocks that were finished, against the time that passed.

    Attributes:
        slowdown: real over planned duration, 1 to SLOWEST; 1 until something else is known.
    """

    def __init__(self) -> None:
        self.slowdown = 1.0
        self._taken_s = deque([0.0], maxlen=MOST_BLOCKS)  # planned time to the end of each block that was taken
        self._seen: deque[tuple[float, float]] = deque()  # (steady time, planned time executed by then)

    def on_taken(self, planned_s: float) -> None:
        """The planner has taken a block."""
        self._taken_s.append(self._taken_s[-1] + planned_s)

    def on_held(self, held: int, now: float) -> None:
        """With the newest block the planner holds this number, so all before them are finished."""
        if not 0 < held < len(self._taken_s):
            return
        finished_s, head_end_s = self._taken_s[-held - 1], self._taken_s[-held]
        # the first of them is somewhere in its middle, or begins now
        executed_s = 0.5 * (finished_s + head_end_s) if held > 1 else finished_s
        if held <= 1:
            self._seen.clear()  # it had run empty: what passed before was waiting
        self._seen.append((now, executed_s))
        while now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        elapsed_s, done_s = now - self._seen[0][0], executed_s - self._seen[0][1]
        if elapsed_s >= SHORTEST_WINDOW_S:
            ratio = min(SLOWEST, elapsed_s / max(done_s, 1e-3))
            self.slowdown = ratio if ratio > DEADBAND else 1.0

    def forget(self) -> None:
        """Something else than known blocks was executed."""
        self._seen.clear()
