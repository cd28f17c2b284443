"""Steps from one override to another, one byte at a time: the controller merges equal bytes that come too close."""

from __future__ import annotations

from machine_node.grbl import protocol as p

STEP_PERIOD_S = 0.02
REPORT_DELAY_S = 0.1  # a report may be older than the last step
LOWEST_PERCENT = 10  # of the feed
RAPIDS = ((100, p.RAPID_100), (50, p.RAPID_50), (25, p.RAPID_25))


def feed_percent(scale: float) -> int:
    """The largest feed override that is not above this scale; LOWEST_PERCENT where none is."""
    return max(LOWEST_PERCENT, min(100, int(scale * 100.0 + 1e-6)))


def rapid_percent(scale: float) -> int:
    """The largest rapid override that is not above this scale; the lowest where none is."""
    return next((percent for percent, _ in RAPIDS if percent <= scale * 100.0 + 1e-6), RAPIDS[-1][0])


class Overrides:
    """What the controller's overrides are believed to be, and the next byte towards what they should be."""

    def __init__(self) -> None:
        self.feed = self.rapid = 100
        self._wanted_feed = self._wanted_rapid = 100
        self._stepped_s = -1e9

    def reset(self) -> None:
        """The controller has restarted: all at 100 %."""
        self.feed = self.rapid = 100

    def want(self, scale: float) -> None:
        """Motion may have this share of its speed."""
        self._wanted_feed, self._wanted_rapid = feed_percent(scale), rapid_percent(scale)

    def on_report(self, feed: int, rapid: int, now: float) -> None:
        """As the controller reports them."""
        if now - self._stepped_s >= REPORT_DELAY_S:
            self.feed, self.rapid = feed, rapid

    def step(self, now: float) -> bytes:
        """The next bytes to write; b"" = none now."""
        if now - self._stepped_s < STEP_PERIOD_S:
            return b""
        out = self._feed_step()
        if self.rapid != self._wanted_rapid:
            self.rapid = self._wanted_rapid
            out += dict(RAPIDS)[self.rapid]
        if out:
            self._stepped_s = now
        return out

    def _feed_step(self) -> bytes:
        missing = self._wanted_feed - self.feed
        if missing == 0:
            return b""
        size = 10 if abs(missing) >= 10 else 1
        self.feed += size if missing > 0 else -size
        if missing > 0:
            return p.FEED_PLUS_10 if size == 10 else p.FEED_PLUS_1
        return p.FEED_MINUS_10 if size == 10 else p.FEED_MINUS_1
