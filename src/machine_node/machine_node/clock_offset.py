"""What has to be added to a source's own clock to get the receiver's: a lower envelope over pairs of stamps.

A sample arrives after it was taken, never before: receipt - source = offset + drift * time + delay, delay >= 0. The
line that lies below all points and nearest to them is offset and drift with the smallest delay (Moon, Skelly, Towsley,
INFOCOM 1999). It is an edge of the lower convex hull, the one over the mean of the times (Zhang, Liu, Xia,
INFOCOM 2002). A delay that every sample has cannot be told from an offset by one-way stamps, and is part of it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

BIN_S = 1.0  # of source time; the least delayed sample of each counts
WINDOW_BINS = 120
GAP_S = 30.0  # silence after which the drift of before says little
RESOLUTION_S = 1e-3  # of the clocks that write milliseconds
MAX_DRIFT = 1e-3  # [1] more than any crystal; what looks like more is delay
DEFAULT_DRIFT = 1e-4  # [1] assumed as unknown until the window is long enough
MIN_SPAN_S = 20.0  # shorter windows say nothing of the drift
MAX_LEVER = 20.0
EARLY_EXCESSES = 4.0  # a sample this many mean delays below the envelope is suspicious ...
EARLY_S = 0.02  # ... and at least this much
EARLY_SAMPLES = 5  # suspicious samples in a row: the source's clock was set
FIRST_SAMPLES = 10  # the first ones may have waited in a buffer: until there are more, none is too early ...
FIRST_EARLY_S = 1.0  # ... within this
LATE_S = 0.5
LATE_SAMPLES = 20  # samples in a row that are all later than this: it was set back


@dataclass(frozen=True, slots=True)
class Offset:
    """`offset_s`: receiver's minus source's clock [s]; `drift` [1]: its change a second; `uncertainty_s`: its error is
    smaller, if the smallest delay is zero."""

    offset_s: float
    drift: float
    uncertainty_s: float


@dataclass(slots=True)
class _Bin:
    """Samples of one bin, relative to the first pair: t = source time, d = receipt - source."""

    number: int
    t: float  # of the least delayed sample
    d: float
    count: int = 0
    sum_t: float = 0.0
    sum_d: float = 0.0


@dataclass(frozen=True, slots=True)
class _Line:
    level: float  # d at t = 0
    slope: float
    excess_s: float  # mean delay above the line
    middle: float  # t at which the line is best known
    half: float  # distance of the points that carry it
    unknown_drift: float

    def at(self, t: float) -> float:
        return self.level + self.slope * t


class ClockOffset:
    """Pairs of stamps in, offset out. A source clock that is set or starts anew is followed, single wild stamps not.

    Not thread-safe. Memory is bounded by WINDOW_BINS.
    """

    def __init__(self) -> None:
        self._bins: deque[_Bin] = deque(maxlen=WINDOW_BINS)
        self._origin = (0.0, 0.0)
        self._count = 0  # samples since the start
        self._last: tuple[float, float] | None = None
        self._line: _Line | None = None
        self._early: deque[tuple[float, float]] = deque(maxlen=EARLY_SAMPLES)
        self._late: deque[tuple[float, float]] = deque(maxlen=LATE_SAMPLES)
        self.resets = 0

    def add(self, source_s: float, receipt_s: float) -> None:
        """One sample: when it was taken by the source's clock, when it came by the receiver's. NaN is ignored."""
        if not (math.isfinite(source_s) and math.isfinite(receipt_s)):
            return
        if self._last is None:
            self._start([(source_s, receipt_s)])
            return
        if receipt_s - self._last[1] > GAP_S:
            self._after_gap(source_s, receipt_s)
            return
        t, d = self._relative(source_s, receipt_s)
        if self._is_set(t, d, source_s, receipt_s):
            return
        self._last = (source_s, receipt_s)
        self._put(t, d)

    @property
    def last_source_s(self) -> float | None:
        """The source's clock at its last sample; None before the first."""
        return None if self._last is None else self._last[0]

    def estimate(self, source_s: float) -> Offset | None:
        """The offset at a time of the source's clock; None before the first sample."""
        line = self._line
        if line is None or not math.isfinite(source_s):
            return None
        t = source_s - self._origin[0]
        away = abs(t - line.middle)
        lever = min(MAX_LEVER, max(1.0, away / line.half if line.half > 0.0 else 1.0))
        unsure = RESOLUTION_S + lever * line.excess_s + line.unknown_drift * away
        return Offset(self._origin[1] - self._origin[0] + line.at(t), line.slope, unsure)

    # --- one sample ---

    def _relative(self, source_s: float, receipt_s: float) -> tuple[float, float]:
        t = source_s - self._origin[0]
        return t, (receipt_s - self._origin[1]) - t

    def _start(self, pairs: list[tuple[float, float]]) -> None:
        self._bins.clear()
        self._count = 0
        self._early.clear()
        self._late.clear()
        self._origin = pairs[0]
        self._line = None
        for pair in pairs:
            self._last = pair
            self._put(*self._relative(*pair))

    def _after_gap(self, source_s: float, receipt_s: float) -> None:
        """What was known still holds if it fits; else the source was started anew meanwhile."""
        t, d = self._relative(source_s, receipt_s)
        assert self._line is not None
        if abs(d - self._line.at(t)) > LATE_S:
            self.resets += 1
            self._start([(source_s, receipt_s)])
            return
        self._last = (source_s, receipt_s)
        self._put(t, d)

    def _is_set(self, t: float, d: float, source_s: float, receipt_s: float) -> bool:
        """True when the sample was dealt with: it is suspicious, or shows that the clock was set."""
        line = self._line
        assert line is not None
        below = line.at(t) - d
        least_s = FIRST_EARLY_S if self._count < FIRST_SAMPLES else EARLY_S
        if below > max(least_s, EARLY_EXCESSES * line.excess_s):
            self._early.append((source_s, receipt_s))
            if len(self._early) == EARLY_SAMPLES:
                self.resets += 1
                self._start(list(self._early))
            return True
        self._early.clear()
        if -below <= LATE_S:
            self._late.clear()
            return False
        self._late.append((source_s, receipt_s))
        if len(self._late) == LATE_SAMPLES:
            self.resets += 1
            self._start(list(self._late))
        return True

    def _put(self, t: float, d: float) -> None:
        self._count += 1
        number = math.floor(t / BIN_S)
        fresh = not self._bins or self._bins[-1].number != number
        if fresh:
            self._bins.append(_Bin(number, t, d))
            while self._bins[-1].number - self._bins[0].number >= WINDOW_BINS:
                self._bins.popleft()
        each = self._bins[-1]
        each.count, each.sum_t, each.sum_d = each.count + 1, each.sum_t + t, each.sum_d + d
        if d < each.d:
            each.t, each.d = t, d
        if fresh or self._line is None or d < self._line.at(t) or len(self._bins) == 1:
            self._line = _fit(list(self._bins))


def _fit(bins: list[_Bin]) -> _Line:
    """The supporting line below all points, by the hull's edge over their mean time."""
    count = sum(each.count for each in bins)
    mean_t = sum(each.sum_t for each in bins) / count
    mean_d = sum(each.sum_d for each in bins) / count
    hull = _lower_hull(sorted({each.t: each.d for each in bins}.items()))
    slope, middle, half, unknown = 0.0, mean_t, 0.0, DEFAULT_DRIFT
    if hull[-1][0] - hull[0][0] >= MIN_SPAN_S:
        left, right = _edge_over(hull, mean_t)
        found = (right[1] - left[1]) / (right[0] - left[0])
        if abs(found) <= MAX_DRIFT:
            slope, unknown = found, 0.0
            middle, half = 0.5 * (left[0] + right[0]), 0.5 * (right[0] - left[0])
    level = min(each.d - slope * each.t for each in bins)
    return _Line(level, slope, max(0.0, mean_d - slope * mean_t - level), middle, half, unknown)


def _lower_hull(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Andrew's monotone chain; points sorted by t, no t twice."""
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) >= 2 and _turns_right(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns_right(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0.0


def _edge_over(hull: list[tuple[float, float]], t: float) -> tuple[tuple[float, float], tuple[float, float]]:
    for left, right in pairwise(hull):
        if right[0] >= t:
            return left, right
    return hull[-2], hull[-1]
