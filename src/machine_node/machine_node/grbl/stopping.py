"""How an execution is ended at a GRBL controller. Time is an argument."""

from __future__ import annotations

from machine_node.grbl.driver import GrblDriver
from machine_node.stopping import Progress
from machine_node.streaming.streamer import Streamer

STOP_LIMIT_S = 3.0  # from the feed hold to the report after the reset; the slowest axis brakes within a second
REPEAT_S = 0.5


class GrblStop:
    """Feed hold; when nothing moves any more a soft reset, which loses no position then and drops the queue.

    Spindle and coolant go off with it.
    """

    def __init__(self, driver: GrblDriver, streamer: Streamer, now: float) -> None:
        self._driver, self._streamer = driver, streamer
        self._limit_s = now + STOP_LIMIT_S
        self._held_s = now
        self._reset = False
        driver.break_off(now)

    def step(self, now: float) -> Progress:
        """Go on."""
        driver = self._driver
        if self._reset and driver.stopped:
            return Progress.DONE
        if now >= self._limit_s:
            return Progress.HOPELESS
        if not self._reset and driver.at_rest:
            self._reset = True
            self._streamer.drop()
            driver.complete_stop()
        elif not self._reset and now - self._held_s >= REPEAT_S:
            self._held_s = now
            driver.break_off(now)
        return Progress.RUNNING
