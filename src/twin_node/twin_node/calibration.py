"""Predictions corrected and re-scaled by what finished jobs on the same machine measured.

Each finished job gives r = ln(measured / predicted). The model is normal-inverse-gamma:

    r ~ N(m, s^2),  m | s^2 ~ N(0, s^2 / K0),  s^2 ~ InvGamma(A0, B0)

with B0 such that, before any job has finished, the predictive distribution (a Student t) has exactly the oracle's own
90 % interval. m is what the machine has of its own (its true powers and losses), s what differs from job to job; K0 and
A0 are the prior's weight, in jobs. The posterior (Murphy, "Conjugate Bayesian analysis of the Gaussian distribution",
2007, eq. 84-89, 108) shrinks a few jobs towards the oracle and follows many:

    k = K0 + n,  a = A0 + n / 2,  m = sum r / k,  b = B0 + (sum (r - mean)^2 + K0 n mean^2 / k) / 2
    next r ~ t(2 a; m, b (k + 1) / (a k))
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from scipy.special import stdtrit

from industriverse_core.artefacts import Estimate, Prediction

PRIOR_JOBS = 1.0  # K0: of the oracle's variance, half is the machine's own, half differs from job to job
PRIOR_SHAPE = 1.5  # A0: the spread between jobs is taken to be as well known as after three of them
LARGEST_RATIO = 3.0  # further off is no residual of a model: a broken meter, another program; left out
NEWEST_JOBS = 50  # machines change; older jobs are left out
NARROWEST = 1e-3  # half of a calibrated interval is never less than this share of the mean


@dataclass(frozen=True, slots=True)
class Residuals:
    """Measured over predicted of finished jobs on one machine, oldest first."""

    time: tuple[float, ...] = field(default=())
    energy: tuple[float, ...] = field(default=())


def ratio(predicted: Estimate | float, measured: float) -> float:
    """Measured over predicted. Raises ValueError unless both are finite and above zero."""
    mean = predicted.mean if isinstance(predicted, Estimate) else predicted
    if not (0.0 < mean < math.inf and 0.0 < measured < math.inf):
        raise ValueError(f"no residual of {measured} against {mean}")
    return measured / mean


def calibrated(estimate: Estimate, ratios: Sequence[float]) -> Estimate:
    """An oracle's estimate, given the ratios (measured / predicted) of finished jobs; unchanged without any.

    The mean is multiplied by exp(m); each side of the interval, as a logarithm, by the ratio of the posterior's to the
    prior's half-width. Ratios beyond LARGEST_RATIO, not finite or not above zero are left out, and of the others all
    but the NEWEST_JOBS. An estimate without an interval gets none.
    """
    logs = [math.log(value) for value in ratios if 1.0 / LARGEST_RATIO <= value <= LARGEST_RATIO][-NEWEST_JOBS:]
    if not logs or not 0.0 < estimate.low < estimate.high:
        return estimate
    half = 0.5 * math.log(estimate.high / estimate.low)
    prior_quantile = float(stdtrit(2.0 * PRIOR_SHAPE, 0.95))
    scale_0 = PRIOR_SHAPE * PRIOR_JOBS / (PRIOR_JOBS + 1.0) * (half / prior_quantile) ** 2  # B0
    count, mean = len(logs), math.fsum(logs) / len(logs)
    jobs, shape = PRIOR_JOBS + count, PRIOR_SHAPE + 0.5 * count
    scatter = math.fsum((value - mean) ** 2 for value in logs)
    scale = scale_0 + 0.5 * (scatter + PRIOR_JOBS * count * mean**2 / jobs)
    location = count * mean / jobs
    quantile = float(stdtrit(2.0 * shape, 0.95)) * math.sqrt(scale * (jobs + 1.0) / (shape * jobs))
    centre = estimate.mean * math.exp(location)
    low = max(math.log(estimate.mean / estimate.low) * quantile / half, NARROWEST)
    high = max(math.log(estimate.high / estimate.mean) * quantile / half, NARROWEST)
    return Estimate(centre, centre * math.exp(-low), centre * math.exp(high))


def calibrated_prediction(prediction: Prediction, residuals: Residuals) -> Prediction:
    """A prediction with time and energy calibrated.

    Heat and every subsystem's energy are scaled as the energy, so that the parts still make the whole: telemetry's
    joules are of the whole machine. Motion, material and peak power stay the oracle's own.
    """
    time_s = calibrated(prediction.time_s, residuals.time)
    energy_j = calibrated(prediction.energy_j, residuals.energy)
    scale = energy_j.mean / prediction.energy_j.mean if prediction.energy_j.mean > 0.0 else 1.0
    return dataclasses.replace(
        prediction,
        time_s=time_s,
        energy_j=energy_j,
        energy_by_subsystem_j={key: _scaled(item, scale) for key, item in prediction.energy_by_subsystem_j.items()},
        heat_j=_scaled(prediction.heat_j, scale),
    )


def _scaled(estimate: Estimate, scale: float) -> Estimate:
    return Estimate(estimate.mean * scale, estimate.low * scale, estimate.high * scale)
