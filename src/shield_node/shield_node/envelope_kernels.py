"""Energies of states under a mixture of Gaussians: the compiled loop of the envelope."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from industriverse_core.compiled import compiled

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Gaussians.

    Attributes:
        offsets: (k,) log weight - log sqrt((2 pi)^d |covariance|) of each.
        centres: (k, d).
        whiten: (k, d, d) inverse of the lower Cholesky factor of each covariance.
        spreads: (k, d) standard deviations.
    """

    offsets: Array
    centres: Array
    whiten: Array
    spreads: Array

    @staticmethod
    def of(weights: Sequence[float], centres: Sequence[Array], covariances: Sequence[Array]) -> Mixture:
        """From weights that sum to 1, means (d,) and covariances (d, d)."""
        factors = [np.linalg.cholesky(covariance) for covariance in covariances]
        size = len(centres[0])
        offsets = [
            math.log(weight) - 0.5 * size * math.log(2.0 * math.pi) - float(np.log(np.diag(factor)).sum())
            for weight, factor in zip(weights, factors, strict=True)
        ]
        spreads = [np.sqrt(np.diag(covariance)) for covariance in covariances]
        inverses = [np.linalg.inv(factor) for factor in factors]
        return Mixture(np.array(offsets), np.array(centres), np.array(inverses), np.array(spreads))


def energies(mixture: Mixture, whitened: Array) -> Array:
    """(n,) -log p [nat] of states (n, d) in the mixture's coordinates; NaN where a value is not a number."""
    result = np.empty(len(whitened))
    _energies(mixture.offsets, mixture.centres, mixture.whiten, whitened, result)
    return result


@compiled
def _energies(offsets: Array, centres: Array, whiten: Array, states: Array, result: Array) -> None:
    count, size = centres.shape
    logs = np.empty(count)
    for row in range(len(states)):
        highest = -np.inf
        for k in range(count):
            square = 0.0
            for i in range(size):
                z = 0.0
                for j in range(i + 1):
                    z += whiten[k, i, j] * (states[row, j] - centres[k, j])
                square += z * z
            logs[k] = offsets[k] - 0.5 * square
            highest = max(highest, logs[k])
        total = 0.0
        for k in range(count):
            total += math.exp(logs[k] - highest)
        result[row] = -(highest + math.log(total))
