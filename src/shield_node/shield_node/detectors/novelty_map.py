"""Unusual behaviour of one channel: how rare its value and its step are among all seen so far.

A two-dimensional histogram over (value, step to it) of everything since the start. A sample's novelty is -log of the
share of samples in its cell and the cells around it, more where it lies outside the range seen in the probation. Only
a novelty that exceeds all of the last probation length is reported: the rest of an unusual episode is not news.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from industriverse_core.errors import ErrorCode, InputError

CELLS = 32
MARGIN = 0.5  # of the probation's range, added on each side
OUTSIDE_WEIGHT = 5.0  # novelty added for a value outside by the whole width of the map
UNSEEN = 1e-3  # samples that an empty neighbourhood counts as
FLAT = 1e-3  # width of the map of a channel that did not move in the probation, relative to its value

# nearer cells count more: 1 / (1 + squared distance)
_WEIGHTS = np.array([[1 / 3, 1 / 2, 1 / 3], [1 / 2, 1.0, 1 / 2], [1 / 3, 1 / 2, 1 / 3]])


class NoveltyMap:
    """One channel, one sample at a time.

    Args:
        probation: samples from which the range is learnt; they score 0. At least 2.
    Raises InputError (USAGE) for a shorter probation.
    """

    def __init__(self, probation: int) -> None:
        if probation < 2:
            raise InputError(ErrorCode.USAGE, f"a probation of {probation} samples is too short.", "Use at least 2.")
        self._probation = probation
        self._first: list[float] = []
        self._previous = math.nan
        self._low = self._width = 0.0
        # one cell of padding all around, so that every cell has neighbours; `_capacity` is their weight inside the map
        self._counts = np.zeros((CELLS + 2, CELLS + 2))
        self._capacity = np.zeros_like(self._counts)
        self._capacity[1:-1, 1:-1] = 1.0
        self._seen = 0
        self._highest: deque[tuple[int, float]] = deque()  # falling novelties of the last probation length

    def step(self, value: float) -> float:
        """The novelty of the next sample if it is news, else 0. A value that is not finite is skipped (0)."""
        if not math.isfinite(value):
            return 0.0
        if len(self._first) < self._probation:
            self._first.append(value)
            if len(self._first) == self._probation:
                self._begin()
            return 0.0
        return self._news(self._novelty(value))

    def _begin(self) -> None:
        """Fix the map's range and enter the probation's samples."""
        low, high = min(self._first), max(self._first)
        width = (high - low) or max(abs(low), 1.0) * FLAT
        self._low, self._width = low - MARGIN * width, (1.0 + 2.0 * MARGIN) * width
        self._previous = self._first[0]
        for value in self._first:
            self._news(self._novelty(value))

    def _novelty(self, value: float) -> float:
        """Of one sample, which is then entered."""
        row = self._cell((value - self._low) / self._width)
        column = self._cell((value - self._previous) / (2.0 * self._width) + 0.5)
        around = np.s_[row - 1 : row + 2, column - 1 : column + 2]
        share = float((self._counts[around] * _WEIGHTS).sum()) / float((self._capacity[around] * _WEIGHTS).sum())
        outside = max(self._low - value, value - self._low - self._width, 0.0) / self._width
        novelty = math.log((self._seen + 1.0) / (share + UNSEEN)) + OUTSIDE_WEIGHT * outside
        self._counts[row, column] += 1.0
        self._seen += 1
        self._previous = value
        return novelty

    @staticmethod
    def _cell(fraction: float) -> int:
        return 1 + min(CELLS - 1, max(0, math.floor(min(max(fraction, 0.0), 1.0) * CELLS)))

    def _news(self, novelty: float) -> float:
        """The novelty if none of the last probation length was as high, else 0."""
        highest = self._highest
        while highest and highest[0][0] < self._seen - self._probation:
            highest.popleft()
        news = novelty if not highest or novelty > highest[0][1] else 0.0
        while highest and highest[-1][1] <= novelty:
            highest.pop()
        highest.append((self._seen, novelty))
        return news
