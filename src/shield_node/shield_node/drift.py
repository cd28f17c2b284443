"""Slow drift of a machine against its own history: one number a job, a test that may be looked at after each job.

The test asks only whether the jobs' values could have come in any order (exchangeability), so it needs no model of
their distribution: each value's rank among all so far is uniform until something drifts, and a bet against that
(a conformal test martingale, the simple jumper of Vovk et al. 2021) grows when it does. By Ville's inequality the
bet's capital ever reaches 1/a with a probability of at most a on a machine that does not drift, however often one
looks. The forecast is a Theil-Sen line through the newest values (Sen 1968).
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right, insort
from collections import deque
from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

from industriverse_core.errors import ErrorCode, InputError

FALSE_ALARM_PROBABILITY = 0.01  # that a machine which does not drift ever gives an alarm
BETS = (-1.0, 0.0, 1.0)  # on low ranks, on nothing, on high ranks
JUMP = 0.01  # share of the capital that is dealt anew to the bets after each job
RECENT = 50  # jobs that the forecast's line is drawn through
FEWEST = 8  # jobs before there is a forecast
CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Values between which a health number is in order."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What is known of one health number after a job.

    Attributes:
        jobs: values so far.
        evidence: the bet's capital; 1 = none, its highest ever counts for the alarm.
        drifting: the highest capital has reached 1 / false alarm probability.
    """

    jobs: int
    evidence: float
    drifting: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where the recent values lead.

    Attributes:
        slope: change a job; NaN before FEWEST jobs.
        jobs_left, earliest, latest: jobs until the line leaves the tolerance, with 90 % confidence; inf = never.
    """

    slope: float = math.nan
    jobs_left: float = math.inf
    earliest: float = math.inf
    latest: float = math.inf


class DriftMonitor:
    """One health number of one machine, for example a heater's gain or the power at idle.

    Args:
        tolerance: for the forecast.
        false_alarm_probability: of an alarm, ever, on a machine that does not drift; 0 < a < 1.
        seed: breaks ties between equal values, so that the same history gives the same report.
    Raises InputError (USAGE) for a probability outside its range.
    """

    def __init__(
        self,
        tolerance: Tolerance = Tolerance(),
        false_alarm_probability: float = FALSE_ALARM_PROBABILITY,
        seed: int = 0,
    ) -> None:
        if not 0.0 < false_alarm_probability < 1.0:
            seen = f"a false alarm probability of {false_alarm_probability} is not between 0 and 1."
            raise InputError(ErrorCode.USAGE, seen, "Use for example 0.01.")
        self._tolerance = tolerance
        self._needed = 1.0 / false_alarm_probability
        self._ties = random.Random(seed)
        self._sorted: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._capital = [1.0 / len(BETS)] * len(BETS)
        self._highest = 1.0

    def add(self, value: float) -> DriftReport:
        """The next job's value. Raises InputError (UNREADABLE_MESSAGE) when it is not finite; nothing is changed."""
        if not math.isfinite(value):
            seen = f"a health value of {value} is not a finite number."
            raise InputError(ErrorCode.UNREADABLE_MESSAGE, seen, "Leave the job out.")
        self._bet(self._rank(value))
        insort(self._sorted, value)
        self._recent.append(value)
        evidence = math.fsum(self._capital)
        self._highest = max(self._highest, evidence)
        return DriftReport(len(self._sorted), evidence, self._highest >= self._needed)

    def forecast(self) -> Forecast:
        """The line through the recent values."""
        if len(self._recent) < FEWEST:
            return Forecast()
        values = np.array(self._recent)
        slope, intercept, low, high = (float(number) for number in theilslopes(values, alpha=CONFIDENCE))
        now = intercept + slope * (len(values) - 1)
        earliest, latest = sorted((self._jobs_left(now, low), self._jobs_left(now, high)))
        either_way = low < 0.0 < high  # or not at all
        return Forecast(slope, self._jobs_left(now, slope), earliest, math.inf if either_way else latest)

    def _rank(self, value: float) -> float:
        """Smoothed rank among all so far and itself, uniform in 0..1 while the values are exchangeable."""
        below, not_above = bisect_left(self._sorted, value), bisect_right(self._sorted, value)
        return (below + self._ties.random() * (not_above - below + 1)) / (len(self._sorted) + 1)

    def _bet(self, rank: float) -> None:
        total = math.fsum(self._capital)
        dealt = [(1.0 - JUMP) * capital + JUMP * total / len(BETS) for capital in self._capital]
        self._capital = [capital * (1.0 + bet * (rank - 0.5)) for capital, bet in zip(dealt, BETS, strict=True)]

    def _jobs_left(self, now: float, slope: float) -> float:
        """Until a line from `now` leaves the tolerance; 0 = it is outside."""
        if not self._tolerance.low <= now <= self._tolerance.high:
            return 0.0
        limit = self._tolerance.high if slope > 0.0 else self._tolerance.low
        return math.inf if slope == 0.0 or math.isinf(limit) else (limit - now) / slope
