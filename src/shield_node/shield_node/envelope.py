"""The energy map: which machine states are known to be good. E(x) = -log p(x), learned from good runs.

p is a mixture of Gaussians around the centres of clusters (k-means, MacQueen 1967) of whitened states. A state is
accepted when every channel is inside its hard limits and inside what was seen, its energy is at most the
threshold, and it is not more likely under the known-bad states. The threshold is split-conformal: of new good states,
at most the stated share is refused (Vovk 2005). Novelty is not fault, and a frequent fault is no novelty: that is why
the hard limits and the known-bad states are asked as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from industriverse_core.errors import ErrorCode, InputError
from shield_node.envelope_kernels import Mixture, energies

Array = NDArray[np.float64]

CLUSTERS = 16
ROWS_PER_CLUSTER = 50  # fewer and a cluster's covariance is noise
FEWEST_ROWS = 100
REFUSED_SHARE = 0.01
SUPPORT_MARGIN = 0.05  # of the range seen, added on each side
RIDGE = 1e-3  # added to each cluster's variances; whitened channels have variance 1


@dataclass(frozen=True, slots=True)
class Channel:
    """One number of a state, its unit, and limits that hold whatever was learned."""

    name: str
    unit: str
    low: float = -math.inf
    high: float = math.inf


class Reason(IntEnum):
    """Why a state is refused, the hardest first."""

    ACCEPTED = 0
    NOT_A_NUMBER = 1
    HARD_LIMIT = 2
    OUTSIDE_SUPPORT = 3
    KNOWN_BAD = 4
    ENERGY = 5


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the envelope says of one state.

    Attributes:
        reason: ACCEPTED or why not.
        energy: -log p [nat]; NaN when a value is not a number.
        channel: the one that is furthest out; "" when accepted.
        message: a sentence; "" when accepted.
    """

    reason: Reason
    energy: float
    channel: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What was learned. Made by `learn_envelope` or `envelope_file.load_envelope`.

    Attributes:
        channels: in the order of a state's numbers.
        centre, scale: (channels,) mean and standard deviation of good states.
        low, high: (channels,) range seen in good runs, margin included.
        good: mixture of whitened good states.
        bad: mixture of whitened known-bad states; None = none are known.
        threshold: highest energy [nat] that is accepted.
        provenance: what it was learned from, for people.
    """

    channels: tuple[Channel, ...]
    centre: Array
    scale: Array
    low: Array
    high: Array
    good: Mixture
    bad: Mixture | None
    threshold: float
    provenance: str = ""
    _floor: Array = field(init=False, repr=False)  # the tighter of what was seen and the hard limits
    _ceiling: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        floor = np.maximum(self.low, [channel.low for channel in self.channels])
        ceiling = np.minimum(self.high, [channel.high for channel in self.channels])
        object.__setattr__(self, "_floor", floor)
        object.__setattr__(self, "_ceiling", ceiling)

    def energy(self, states: Array) -> Array:
        """(n,) E(x) [nat] of states (n, channels)."""
        return energies(self.good, (_rows(states, len(self.channels)) - self.centre) / self.scale)

    def accepts(self, states: Array) -> NDArray[np.bool_]:
        """(n,) True for each state (n, channels) that is accepted."""
        rows = _rows(states, len(self.channels))
        inside = ((rows >= self._floor) & (rows <= self._ceiling)).all(axis=1)
        whitened = (rows - self.centre) / self.scale
        energy = energies(self.good, whitened)
        fine = inside & (energy <= self.threshold)
        if self.bad is not None:
            fine &= energy <= energies(self.bad, whitened)
        accepted: NDArray[np.bool_] = fine
        return accepted

    def judge(self, state: Sequence[float] | Array) -> Judgement:
        """Judge one state, with the reason."""
        row = _rows(np.asarray(state, np.float64)[None, :], len(self.channels))[0]
        if not np.isfinite(row).all():
            at = int(np.flatnonzero(~np.isfinite(row))[0])
            return self._refusal(Reason.NOT_A_NUMBER, math.nan, at, row[at])
        whitened = (row - self.centre) / self.scale
        energy = float(energies(self.good, whitened[None, :])[0])
        for at, channel in enumerate(self.channels):
            if not channel.low <= row[at] <= channel.high:
                return self._refusal(Reason.HARD_LIMIT, energy, at, row[at])
        beyond = np.maximum(self.low - row, row - self.high) / self.scale
        at = int(np.argmax(beyond))
        if beyond[at] > 0.0:
            return self._refusal(Reason.OUTSIDE_SUPPORT, energy, at, row[at])
        if self.bad is not None and energies(self.bad, whitened[None, :])[0] < energy:
            reason = Reason.KNOWN_BAD
        elif energy > self.threshold:
            reason = Reason.ENERGY
        else:
            return Judgement(Reason.ACCEPTED, energy)
        at = self._furthest(whitened)
        return self._refusal(reason, energy, at, row[at])

    def _furthest(self, whitened: Array) -> int:
        """The channel that deviates most from the nearest cluster, in that cluster's standard deviations."""
        deviations = np.abs(whitened - self.good.centres) / self.good.spreads
        nearest = int(np.argmin((deviations**2).sum(axis=1)))
        return int(np.argmax(deviations[nearest]))

    def _refusal(self, reason: Reason, energy: float, at: int, value: float) -> Judgement:
        channel = self.channels[at]
        seen = f"{channel.name} is {value:.6g} {channel.unit}".rstrip()
        allowed = {
            Reason.NOT_A_NUMBER: "which is not a number",
            Reason.HARD_LIMIT: f"the limits are {channel.low:g} to {channel.high:g}",
            Reason.OUTSIDE_SUPPORT: f"good runs were between {self.low[at]:.6g} and {self.high[at]:.6g}",
            Reason.KNOWN_BAD: "the state is more like the known-bad ones than like the good ones",
            Reason.ENERGY: f"the state's energy is {energy:.4g}, at most {self.threshold:.4g} is good",
        }[reason]
        return Judgement(reason, energy, channel.name, f"{seen}; {allowed}.")


def learn_envelope(
    states: Array,
    channels: Sequence[Channel],
    bad: Array | None = None,
    *,
    refused_share: float = REFUSED_SHARE,
    provenance: str = "",
    seed: int = 0,
) -> Envelope:
    """Learn from good states; every second one is kept for the threshold.

    Args:
        states: (n, channels), n at least FEWEST_ROWS. States of one run are alike: give windows' averages that do not
            overlap, or the share refused will be larger than stated.
        bad: (m, channels) known-bad states, or None.
        refused_share: of new good states, at most; the conformal guarantee.
    Raises InputError (UNREADABLE_MESSAGE) for too few states or values that are not finite.
    """
    rows = _rows(states, len(channels))
    if len(rows) < FEWEST_ROWS or not np.isfinite(rows).all():
        seen = f"an envelope needs at least {FEWEST_ROWS} states of finite numbers; {len(rows)} were given."
        raise InputError(ErrorCode.UNREADABLE_MESSAGE, seen, "Record more good runs.")
    training, calibration = rows[::2], rows[1::2]
    centre = training.mean(axis=0)
    scale = np.maximum(training.std(axis=0), 1e-9 * np.abs(centre) + 1e-12)
    margin = SUPPORT_MARGIN * np.maximum(np.ptp(rows, axis=0), scale)
    good = _mixture((training - centre) / scale, seed)
    scores = np.sort(energies(good, (calibration - centre) / scale))
    place = math.ceil((len(scores) + 1) * (1.0 - refused_share))
    threshold = float(scores[min(place, len(scores)) - 1])
    known_bad = None
    if bad is not None and len(bad):
        bad_rows = _rows(bad, len(channels))
        known_bad = _mixture((bad_rows[np.isfinite(bad_rows).all(axis=1)] - centre) / scale, seed)
    low, high = rows.min(axis=0) - margin, rows.max(axis=0) + margin
    return Envelope(tuple(channels), centre, scale, low, high, good, known_bad, threshold, provenance)


def _mixture(whitened: Array, seed: int) -> Mixture:
    """Gaussians around the centres of k-means clusters, weighted by their sizes."""
    count = max(1, min(CLUSTERS, len(whitened) // ROWS_PER_CLUSTER))
    _, labels = kmeans2(whitened, count, minit="++", seed=seed)
    parts = [whitened[labels == label] for label in range(count)]
    # a cluster of a few states has no covariance of its own: it takes the whole's
    whole = np.atleast_2d(np.cov(whitened.T)) if len(whitened) > 1 else np.eye(whitened.shape[1])
    parts = [part for part in parts if len(part)]
    covariances = [np.atleast_2d(np.cov(part.T)) if len(part) > part.shape[1] else whole for part in parts]
    return Mixture.of(
        [len(part) / len(whitened) for part in parts],
        [part.mean(axis=0) for part in parts],
        [covariance + RIDGE * np.eye(len(covariance)) for covariance in covariances],
    )


def _rows(states: Array, channels: int) -> Array:
    rows = np.ascontiguousarray(states, np.float64)
    if rows.ndim != 2 or rows.shape[1] != channels or channels == 0:
        seen = f"states of shape {rows.shape} do not fit an envelope of {channels} channels."
        raise InputError(ErrorCode.UNREADABLE_MESSAGE, seen, "Give one row a state, one column a channel.")
    return rows
