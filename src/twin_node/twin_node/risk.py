"""What runs that break off cost: the expected loss, and a premium for the bad days (CVaR).

A run breaks off in at most one way, at a moment that is uniform over its duration. What it has cost until then is
lost, and so is its set-up. It is repeated until one run ends, so that one finished run comes with q / (1 - q) broken
ones, q = the sum of the probabilities. The quadrature over the moment is by midpoints: no random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

TAIL = 0.05  # CVaR95: the mean of the worst 5 %
MOMENTS = 500


@dataclass(frozen=True, slots=True)
class LossEvent:
    """One way in which a run ends early. `fixed` is lost whenever it happens."""

    name: str
    probability: float
    fixed: float


@dataclass(frozen=True, slots=True)
class Risk:
    """Losses for each finished run, in the tariff's currency."""

    expected: float
    cvar95: float  # mean loss of the worst 5 % of the runs
    premium: float
    by_event: dict[str, float]  # expected loss of each


def risk_of(events: Sequence[LossEvent], spent: Callable[[np.ndarray], np.ndarray], aversion: float) -> Risk:
    """R = sum p_i L_i + aversion (CVaR95 - E[L]), for each finished run.

    `spent`: what a run has cost when a share of its time has passed, shape (n,) to (n,), not falling. The premium is
    charged for each run that is begun. Raises ValueError when the probabilities sum to 1 or more.
    """
    probability = math.fsum(event.probability for event in events)
    if not 0.0 <= probability < 1.0:
        raise ValueError(f"the probabilities sum to {probability}")
    share = (np.arange(MOMENTS) + 0.5) / MOMENTS
    variable = spent(share)
    losses = [event.fixed + variable for event in events]
    weights = [np.full(MOMENTS, event.probability / MOMENTS) for event in events]
    begun = [event.probability * float(loss.mean()) for event, loss in zip(events, losses, strict=True)]
    expected = math.fsum(begun)
    tail = cvar(np.concatenate([[0.0], *losses]), np.concatenate([[1.0 - probability], *weights]))
    runs = 1.0 / (1.0 - probability)
    return Risk(
        expected=expected * runs,
        cvar95=tail,
        premium=aversion * max(0.0, tail - expected) * runs,
        by_event={event.name: loss * runs for event, loss in zip(events, begun, strict=True)},
    )


def cvar(losses: np.ndarray, probabilities: np.ndarray, tail: float = TAIL) -> float:
    """Mean of the worst share `tail` of a discrete distribution, shapes (n,) (Rockafellar and Uryasev 2002)."""
    order = np.argsort(losses)[::-1]
    reached = np.minimum(np.cumsum(probabilities[order]), tail)
    return float(np.sum(np.diff(reached, prepend=0.0) * losses[order])) / tail
