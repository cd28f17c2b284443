"""How much later than the motion clock a machine's reported position is: estimated from the job that runs.

A Bayes filter over a grid of delays. Each new position is compared with where the tool was planned to be, for every
delay of the grid; -2 ln likelihood is the squared distance over its variance, cut off at OUTLIER so that a position
which no delay explains (lost steps) says nothing. Old samples fade, the prior stays: without samples the estimate is
0 +/- PRIOR_SD_S, and it never leaves the grid. Fast moves say much, slow ones little. Nothing is linearised, so a delay
may span many short moves.
"""

from __future__ import annotations

import math

import numpy as np

STEP_S = 0.01
DELAYS_S = np.arange(-40, 61) * STEP_S  # a controller that reports half a second late is at its limit
PRIOR_SD_S = 0.1
MEMORY = 200  # samples: 10 s of telemetry
OUTLIER = 9.0  # squared standard deviations that one sample can say at most


class Alignment:
    """The delay of one source of positions.

    Attributes:
        delay_s: the estimate [s]; above 0, positions are older than the sample that carries them.
        sd_s: its standard deviation [s], at most PRIOR_SD_S.
        samples: how many were taken in.
    """

    def __init__(self) -> None:
        self._prior = (DELAYS_S / PRIOR_SD_S) ** 2
        self._evidence = np.zeros(len(DELAYS_S))
        self.delay_s, self.sd_s, self.samples = 0.0, PRIOR_SD_S, 0

    def observe(self, distances_m: np.ndarray, sigma_m: float) -> None:
        """Take in one position.

        Args:
            distances_m: between it and the planned one of each of DELAYS_S, same shape; not finite = left out.
            sigma_m: standard deviation of a distance, were the delay known.
        """
        if not (sigma_m > 0.0 and np.isfinite(distances_m).all()):
            return
        said = np.minimum((distances_m / sigma_m) ** 2, OUTLIER)
        self._evidence += said - self._evidence / MEMORY
        self.samples += 1
        score = self._prior + self._evidence
        weight = np.exp(-0.5 * (score - score.min()))
        weight /= weight.sum()
        self.delay_s = float(weight @ DELAYS_S)
        spread = float(weight @ (DELAYS_S - self.delay_s) ** 2)
        self.sd_s = min(PRIOR_SD_S, math.sqrt(spread + STEP_S**2 / 12.0))
