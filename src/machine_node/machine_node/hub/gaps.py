"""Telemetry samples that were sent and never arrived, from the stamps of those that did. Pure.

DDS itself says little: of best-effort samples that the reader's or the writer's history has overwritten, nothing. A
machine stamps its telemetry at a steady rate and counts the periods for which it was itself late
(`missed_deadlines`), so a gap between two stamps without a late period is a loss on the way.
"""

from __future__ import annotations

from collections import deque
from statistics import median

REMEMBERED = 31  # intervals; their median is the period as long as fewer than half of them are gaps
ENOUGH = 8  # of them, before a gap is judged


class Gaps:
    """Of one machine's telemetry."""

    def __init__(self) -> None:
        self._last: tuple[float, int, int] | None = None
        self._intervals: deque[float] = deque(maxlen=REMEMBERED)

    def add(self, stamp_s: float, incarnation: int, missed_deadlines: int) -> int:
        """Samples that are missing between the last one and this one.

        0 where it cannot be told: after a start of the machine's node, after a period for which it was late, and for a
        stamp that is not newer than the last one.

        Args:
            stamp_s: ROS time of the sample [s], at any rate of time.
            incarnation, missed_deadlines: of the message.
        """
        last, self._last = self._last, (stamp_s, incarnation, missed_deadlines)
        if last is None or incarnation != last[1]:
            self._intervals.clear()
            return 0
        interval_s = stamp_s - last[0]
        if not interval_s > 0.0 or missed_deadlines != last[2]:
            return 0
        self._intervals.append(interval_s)
        if len(self._intervals) < ENOUGH:
            return 0
        longest_s = 1.5 * median(self._intervals)
        period_s = median(each for each in self._intervals if each < longest_s)
        return max(0, round(interval_s / period_s) - 1)
