"""How detectors are judged on labelled recordings: the protocols that their data sets publish."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NAB_PROBATION = 0.15  # of a series, and of at most NAB_LONGEST samples
NAB_LONGEST = 5000
NAB_FALSE_POSITIVE = 0.11  # weight of the standard profile
NAB_LATEST = 3.0  # window widths after a window, from which on a false positive counts whole


@dataclass(frozen=True, slots=True)
class Confusion:
    """Samples judged right and wrong; sums of files add up."""

    true_positives: int = 0
    false_positives: int = 0
    true_negatives: int = 0
    false_negatives: int = 0

    @staticmethod
    def of(alarms: NDArray[np.bool_], anomalous: NDArray[np.bool_]) -> Confusion:
        """Of two flags a sample."""
        return Confusion(
            int((alarms & anomalous).sum()),
            int((alarms & ~anomalous).sum()),
            int((~alarms & ~anomalous).sum()),
            int((~alarms & anomalous).sum()),
        )

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.true_negatives + other.true_negatives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.true_positives / (2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def false_alarm_rate(self) -> float:
        """Share of the good samples that raise an alarm."""
        return self.false_positives / (self.false_positives + self.true_negatives)

    @property
    def missed_alarm_rate(self) -> float:
        """Share of the anomalous samples that raise none."""
        return self.false_negatives / (self.false_negatives + self.true_positives)


@dataclass(frozen=True, slots=True)
class LabelledSeries:
    """One NAB series: values (n,), and the windows (first, last sample) in which it is anomalous, in order."""

    name: str
    values: Array
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """Samples at the start that are not judged."""
        return int(NAB_PROBATION * min(len(self.values), NAB_LONGEST))


def nab_score(series: Sequence[LabelledSeries], scores: Sequence[Array]) -> tuple[float, float]:
    """The benchmark's score, 0 = silent, 100 = perfect, standard profile; and the threshold that gives it.

    One threshold for all series, the best one, as the benchmark defines it (Lavin & Ahmad 2015). A detection in a
    window counts once, the more the earlier; one outside costs, the more the farther behind the last window.

    Args:
        scores: of each series, one a sample; higher is more unusual.
    """
    worth, window, height = [], [], []
    windows = 0
    for one, heights in zip(series, scores, strict=True):
        gains, numbers = _gains(one)
        judged = slice(one.probation, None)
        worth.append(gains[judged])
        window.append(np.where(numbers >= 0, numbers + windows, -1)[judged])
        height.append(np.asarray(heights, np.float64)[judged])
        windows += len(one.windows)
    best, threshold = _best(np.concatenate(worth), np.concatenate(window), np.concatenate(height), windows)
    return 100.0 * (best + windows) / (2.0 * windows), threshold


def _best(worth: Array, window: NDArray[np.int_], height: Array, windows: int) -> tuple[float, float]:
    """Highest sum over all thresholds: missed windows count -1, found ones what their best detection is worth."""
    total, threshold = -float(windows), math.inf
    best, found = total, np.full(windows, -1.0)
    order = np.argsort(-height, kind="stable")
    for at, next_at in zip(order, [*order[1:], -1], strict=True):
        number = window[at]
        if number < 0:
            total += worth[at]
        elif worth[at] > found[number]:
            total += worth[at] - found[number]
            found[number] = worth[at]
        if (next_at < 0 or height[next_at] < height[at]) and total > best:
            best, threshold = total, float(height[at])
    return best, threshold


def _gains(series: LabelledSeries) -> tuple[Array, NDArray[np.int_]]:
    """What a detection at each sample is worth, and the number of the window it lies in (-1 = none)."""
    gains = np.full(len(series.values), -NAB_FALSE_POSITIVE)
    numbers = np.full(len(series.values), -1)
    for number, (first, last) in enumerate(series.windows):
        width = last - first + 1
        inside = np.arange(first, last + 1)
        gains[inside] = [_sigmoid(-(last - at + 1) / width) / _sigmoid(-1.0) for at in inside]
        numbers[inside] = number
        following = series.windows[number + 1][0] if number + 1 < len(series.windows) else len(gains)
        after = np.arange(last + 1, following)
        gains[after] = [NAB_FALSE_POSITIVE * _sigmoid((at - last) / (width - 1)) for at in after]
    return gains, numbers


def _sigmoid(position: float) -> float:
    """1 well before, 0 at the end of a window, -1 well behind it; `position` in window widths from its end."""
    return -1.0 if position > NAB_LATEST else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def windowed_gaussian(values: Array, window: int = 6400, step: int = 100) -> Array:
    """The benchmark's simple peer: tail probability of each value under a Gaussian of the samples before it."""
    scores = np.zeros(len(values))
    recent: list[float] = []
    waiting: list[float] = []
    count, mean, squares = 0, 0.0, 0.0
    for at, value in enumerate(values):
        if recent:
            deviation = math.sqrt(max(squares / count, 0.0)) or 1e-6
            scores[at] = 1.0 - 0.5 * math.erfc(abs(value - mean) / deviation / math.sqrt(2.0))
        if len(recent) < window:
            recent.append(float(value))
            count += 1  # Welford 1962
            before = value - mean
            mean += before / count
            squares += before * (value - mean)
            continue
        waiting.append(float(value))
        if len(waiting) == step:
            recent, waiting = recent[step:] + waiting, []
            mean = float(np.mean(recent))
            squares = float(np.var(recent)) * count
    return scores
