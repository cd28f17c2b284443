"""Unusual behaviour of several channels together: the energy of what a linear model could not foresee.

A vector autoregression predicts each row from the rows before it. Its residuals are averaged over windows of several
lengths: short ones see shocks, long ones see small shifts that hide in noise. Each average gives a Hotelling T^2
(directions that hardly vary are floored, so that it holds T^2 and Q in one number); the score is the mean logarithm of
the T^2s over their medians on good data. The limit is a conformal quantile of out-of-fold scores: in-sample ones are
too small.

Sources: Hotelling's T^2 and Q for processes, Jackson & Mudholkar 1979; residuals of a dynamic model, Ku, Storer &
Georgakis 1995.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from industriverse_core.errors import ErrorCode, InputError

Array = NDArray[np.float64]

LAGS = 2
WINDOWS = (1, 4, 16, 64)
FOLDS = 3
FEWEST_WINDOWS = 4  # whole windows of the longest length in the rows that a fold trains on
RIDGE = 1e-2  # relative to the variance of a channel
FLOOR = 1e-3  # smallest variance of a direction, relative to the mean of all
FALSE_ALARM_RATE = 0.01
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class _Scale:
    """Residuals averaged over one window length: mean (channels,) and whitening (channels, channels)."""

    window: int
    mean: Array
    whiten: Array
    spread: Array  # standard deviation of each channel's average


@dataclass(frozen=True, slots=True)
class ResidualEnergyModel:
    """What good data looks like. Made by `fit_residual_energy`.

    Attributes:
        channels: their names.
        centre, scale: (channels,) mean and standard deviation of good data.
        prediction: (LAGS * channels, channels) coefficients of the autoregression, newest row first.
        scales: the windows, shortest first.
        medians: (windows,) out-of-fold median of each window's energy.
        limit: score above which a sample is unusual.
    """

    channels: tuple[str, ...]
    centre: Array
    scale: Array
    prediction: Array
    scales: tuple[_Scale, ...]
    medians: Array
    limit: float

    def score(self, rows: Array) -> Array:
        """(n,) score of each row of one uninterrupted recording (n, channels), from the rows up to it.

        The first LAGS rows score NaN: nothing foresees them. A row with a value that is not finite scores NaN too, and
        the recording begins anew after it.
        """
        rows = _checked(rows, len(self.channels))
        scores = np.full(len(rows), np.nan)
        for begin, end in _finite_pieces(rows):
            residuals = _residuals((rows[begin:end] - self.centre) / self.scale, self.prediction)
            scores[begin + LAGS : end] = _score(_energies(residuals, self.scales), self.medians)
        return scores


class ResidualEnergyMonitor:
    """The same scores as `ResidualEnergyModel.score`, one row at a time, with what contributed most."""

    def __init__(self, model: ResidualEnergyModel) -> None:
        self._model = model
        self._history: deque[Array] = deque(maxlen=LAGS)
        self._residuals: deque[Array] = deque(maxlen=model.scales[-1].window)
        self._deviations = np.zeros(len(model.channels))

    def step(self, row: Sequence[float] | Array) -> float:
        """The score of the next row, NaN where `ResidualEnergyModel.score` says so."""
        model = self._model
        values = _checked(np.asarray(row, np.float64)[None, :], len(model.channels))[0]
        if not np.isfinite(values).all():
            self._history.clear()
            self._residuals.clear()
            self._deviations[:] = 0.0
            return float("nan")
        scaled = (values - model.centre) / model.scale
        if len(self._history) < LAGS:
            self._history.append(scaled)
            return float("nan")
        past = np.concatenate([self._history[-1 - lag] for lag in range(LAGS)])
        self._residuals.append(scaled - past @ model.prediction)
        self._history.append(scaled)
        recent = np.array(self._residuals)
        energies = np.empty((1, len(model.scales)))
        self._deviations[:] = 0.0
        for at, scale in enumerate(model.scales):
            part = recent[-scale.window :]
            deviation = part.mean(axis=0) - scale.mean
            fill = len(part) / scale.window
            energies[0, at] = fill * float(np.mean((deviation @ scale.whiten) ** 2))
            np.maximum(self._deviations, np.sqrt(fill) * np.abs(deviation) / scale.spread, out=self._deviations)
        return float(_score(energies, model.medians)[0])

    def contributions(self, most: int = 3) -> list[tuple[str, float]]:
        """The channels that deviated most at the last step, in standard deviations of their windowed residual."""
        order = np.argsort(-self._deviations, kind="stable")[:most]
        return [(self._model.channels[at], float(self._deviations[at])) for at in order]


def fit_residual_energy(
    rows: Array,
    channels: Sequence[str] = (),
    *,
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> ResidualEnergyModel:
    """Learn from one uninterrupted recording of good behaviour.

    Args:
        rows: (n, channels); at least 20 rows and, for each fold's training, one row a coefficient is wise.
        channels: their names; numbers where not given.
        false_alarm_rate: fraction of out-of-fold good samples above the limit.
    Raises InputError (UNREADABLE_MESSAGE) for values that are not finite or too few rows.
    """
    rows = _checked(rows, np.shape(rows)[1] if np.ndim(rows) == 2 else 0)
    names = tuple(channels) or tuple(str(number) for number in range(rows.shape[1]))
    if len(rows) < 4 * FOLDS or not np.isfinite(rows).all() or len(names) != rows.shape[1]:
        raise InputError(
            ErrorCode.UNREADABLE_MESSAGE,
            f"a recording of {len(rows)} rows and {rows.shape[1]} channels cannot be learnt from: at least "
            f"{4 * FOLDS} rows of finite numbers and a name a channel are needed.",
            "Record a longer good run.",
        )
    longest = len(rows) * (FOLDS - 1) // FOLDS // FEWEST_WINDOWS
    windows = tuple(window for window in WINDOWS if window <= max(longest, 1))
    edges = np.linspace(0, len(rows), FOLDS + 1).astype(int)
    held_out = []
    for begin, end in pairwise(edges):
        centre, scale, prediction, scales = _learn([rows[:begin], rows[end:]], windows)
        residuals = _residuals((rows[begin:end] - centre) / scale, prediction)
        held_out.append(_energies(residuals, scales))
    energies = np.vstack(held_out)
    medians = np.maximum(np.median(energies, axis=0), _TINY)
    limit = _conformal_limit(_score(energies, medians), len(rows) / windows[-1], false_alarm_rate)
    return ResidualEnergyModel(names, *_learn([rows], windows), medians, limit)


def _conformal_limit(scores: Array, independent: float, false_alarm_rate: float) -> float:
    """The split-conformal quantile of good scores (Vovk 2005) for as many as are independent; at most the highest.

    Scores whose windows overlap are not independent: a recording holds one of them a longest window.
    """
    level = min(1.0, math.ceil((independent + 1.0) * (1.0 - false_alarm_rate)) / independent)
    return float(np.quantile(scores, level))


def _learn(pieces: Sequence[Array], windows: Sequence[int]) -> tuple[Array, Array, Array, tuple[_Scale, ...]]:
    """Centre, scale, prediction and window statistics of good recordings, each uninterrupted."""
    pieces = [piece for piece in pieces if len(piece) > LAGS]
    everything = np.vstack(pieces)
    centre = everything.mean(axis=0)
    scale = np.maximum(everything.std(axis=0), 1e-9 * np.abs(centre) + _TINY)
    scaled = [(piece - centre) / scale for piece in pieces]
    past = np.vstack([_past(piece) for piece in scaled])
    future = np.vstack([piece[LAGS:] for piece in scaled])
    ridge = RIDGE * len(past) * np.eye(past.shape[1])
    prediction = np.linalg.solve(past.T @ past + ridge, past.T @ future)
    residuals = [_residuals(piece, prediction) for piece in scaled]
    scales = tuple(_scale(residuals, window) for window in windows)
    return centre, scale, prediction, scales


def _scale(residuals: Sequence[Array], window: int) -> _Scale:
    averages = np.vstack([_averages(piece, window)[0][min(window - 1, len(piece) - 1) :] for piece in residuals])
    mean = averages.mean(axis=0)
    covariance = np.atleast_2d(np.cov((averages - mean).T))
    variances, directions = np.linalg.eigh(covariance)
    variances = np.maximum(variances, FLOOR * variances.mean() + _TINY)
    return _Scale(window, mean, directions / np.sqrt(variances), np.sqrt(np.diag(covariance) + _TINY))


def _past(scaled: Array) -> Array:
    """(n - LAGS, LAGS * channels) the rows before each row that has as many, newest first."""
    return np.hstack([scaled[LAGS - lag : len(scaled) - lag] for lag in range(1, LAGS + 1)])


def _residuals(scaled: Array, prediction: Array) -> Array:
    """(n - LAGS, channels) what was not foreseen."""
    return scaled[LAGS:] - _past(scaled) @ prediction


def _averages(residuals: Array, window: int) -> tuple[Array, Array]:
    """(n, channels) average of the last `window` rows, and (n,) how full the window is, 0..1."""
    total = np.cumsum(np.vstack([np.zeros((1, residuals.shape[1])), residuals]), axis=0)
    end = np.arange(1, len(residuals) + 1)
    begin = np.maximum(0, end - window)
    return (total[end] - total[begin]) / (end - begin)[:, None], (end - begin) / window


def _energies(residuals: Array, scales: Sequence[_Scale]) -> Array:
    """(n, windows). An average of fewer rows varies more, in the ratio of the numbers, and is weighted down."""
    energies = np.empty((len(residuals), len(scales)))
    for at, scale in enumerate(scales):
        averages, fill = _averages(residuals, scale.window)
        energies[:, at] = fill * np.mean(((averages - scale.mean) @ scale.whiten) ** 2, axis=1)
    return energies


def _score(energies: Array, medians: Array) -> Array:
    score: Array = np.log(np.maximum(energies, _TINY) / medians).mean(axis=1)
    return score


def _checked(rows: Array, channels: int) -> Array:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or rows.shape[1] != channels or channels == 0:
        raise InputError(
            ErrorCode.UNREADABLE_MESSAGE,
            f"rows of shape {rows.shape} do not fit a model of {channels} channels.",
            "Give one row a sample, one column a channel.",
        )
    return rows


def _finite_pieces(rows: Array) -> list[tuple[int, int]]:
    """Begin and end of the runs of finite rows that are longer than LAGS."""
    finite = np.concatenate([[False], np.isfinite(rows).all(axis=1), [False]])
    changes = np.flatnonzero(finite[1:] != finite[:-1])
    runs = zip(changes[::2], changes[1::2], strict=True)
    return [(int(begin), int(end)) for begin, end in runs if end - begin > LAGS]
