"""Electric power as a sum of what is switched: P = electronics + motors + k v + fans + duty P_heater.

Only readings over which nothing changed count. A robust regression (Huber's loss on the scaled residual); what the
recording has never switched apart is in the null space of the regressors and is reported as such.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from twin_node.identification.recording import Array, Recording, cannot, report_period_s
from twin_node.steps import HOTEND_FAN_ON_C

ELECTRONICS, MOTORS, MOTION, FAN, HOTEND_FAN, HOTEND, BED = range(7)
NAMES = (
    "power.electronics", "power.motors_enabled", "power.motion_per_speed", "power.fan", "power.hotend_fan",
    "hotend.power", "bed.power",
)  # fmt: skip
FULL = 0.995  # duty
FAN_DOUBT_K = 5.0  # around the temperature at which the hot end's fan starts
SPEED_CHANGE, SLOWEST_M_S = 0.03, 1e-4  # relative; below the latter the machine stands
SHORTEST_GUARD_S = 0.3
FEWEST_READINGS = 10  # with a consumer on
HUBER = 1.345
MAD_TO_SIGMA = 1.4826
ALIASED = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class PowerFit:
    """Consumers of electric power, in the order of NAMES.

    Attributes:
        value: [W], of MOTION [W/(m/s)], shape (7,); where not told apart, the shortest solution.
        covariance: shape (7, 7).
        together: for each consumer the names that it was only ever seen together with; itself alone = identified.
        sigma_w: scatter of one reading.
        readings: how many were used.
    """

    value: Array
    covariance: Array
    together: tuple[tuple[str, ...], ...]
    sigma_w: float
    readings: int

    def identified(self, index: int) -> bool:
        """Whether the recording has told this consumer from the others."""
        return self.together[index] == (NAMES[index],)

    def base_w(self, drives: Array) -> Array:
        """Power of everything but the heaters, from rows of regressors, shape (k, 7) -> (k,)."""
        base: Array = drives[:, :HOTEND] @ self.value[:HOTEND]
        return base


def fit_power(recording: Recording) -> PowerFit:
    """See the module. Raises PredictionError (CANNOT_CALIBRATE) where too few readings are steady."""
    columns = drives(recording, recording.power_time_s)
    steady = _steady(recording)
    a, y = columns[steady], recording.power_w[steady]
    if len(y) < 5 * FEWEST_READINGS:
        raise cannot(f"only {len(y)} readings of the power meter were taken while nothing changed.")
    used = np.array([np.count_nonzero(a[:, k]) >= FEWEST_READINGS for k in range(len(NAMES))])
    a = a * used
    scale = np.where(used, np.max(np.abs(a), axis=0, initial=0.0), 1.0)
    _, singular, rows = np.linalg.svd(a / scale, full_matrices=False)
    kept = singular > ALIASED * singular[0]
    null = np.eye(len(NAMES)) - rows[kept].T @ rows[kept]
    value, covariance, sigma = _robust(a / scale, y, rows[kept].T)
    together = tuple(
        tuple(name for other, name in enumerate(NAMES) if other == k or abs(null[k, other]) > ALIASED)
        if used[k] else ()
        for k in range(len(NAMES))
    )  # fmt: skip
    return PowerFit(value / scale, covariance / np.outer(scale, scale), together, sigma, len(y))


def _robust(a: Array, y: Array, basis: Array) -> tuple[Array, Array, float]:
    """Huber regression in the row space `basis`. Returns (solution, covariance, sigma)."""
    b = a @ basis
    start = np.linalg.lstsq(b, y, rcond=None)[0]
    sigma = max(1e-6, MAD_TO_SIGMA * float(np.median(np.abs(y - b @ start))))
    for _ in range(3):  # the scatter, then the solution under it
        found = least_squares(
            lambda x, s=sigma: (b @ x - y) / s, start, jac=lambda _, s=sigma: b / s, loss="huber", f_scale=HUBER
        )
        start = found.x
        sigma = max(1e-6, MAD_TO_SIGMA * float(np.median(np.abs(y - b @ start))))
    inverse = np.linalg.inv(b.T @ b)
    residual = y - b @ start
    clipped = np.clip(residual, -HUBER * sigma, HUBER * sigma)
    inside = max(0.5, float(np.mean(np.abs(residual) <= HUBER * sigma)))
    spread = float(np.mean(clipped**2)) / inside**2  # Huber 1981, 7.6.7: E psi^2 / (E psi')^2
    covariance = basis @ (inverse * spread * inflation(clipped)) @ basis.T
    return basis @ start, covariance, sigma


def inflation(residual: Array, most: int = 200) -> float:
    """By how much correlated residuals widen a variance: 1 + 2 sum of autocorrelations up to the first below 0."""
    centred = residual - float(np.mean(residual))
    power = float(centred @ centred)
    total = 1.0
    if power <= 0.0:
        return total
    for lag in range(1, min(most, len(centred) // 4)):
        correlation = float(centred[lag:] @ centred[:-lag]) / power
        if correlation <= 0.0:
            break
        total += 2.0 * correlation
    return total


def drives(recording: Recording, at_s: Array) -> Array:
    """Regressors at these times, shape (k, 7): the state of the last sample at or before each."""
    index = np.clip(np.searchsorted(recording.time_s, at_s, side="right") - 1, 0, len(recording.time_s) - 1)
    hotend = recording.hotend
    assert hotend is not None
    speed = np.nan_to_num(speeds(recording))
    columns = np.zeros((len(at_s), len(NAMES)))
    columns[:, ELECTRONICS] = 1.0
    columns[:, MOTORS] = recording.motors_on[index]
    columns[:, MOTION] = np.where(speed[index] > SLOWEST_M_S, speed[index], 0.0)
    columns[:, FAN] = recording.fan[index]
    columns[:, HOTEND_FAN] = hotend.temperature_c[index] > HOTEND_FAN_ON_C
    columns[:, HOTEND] = hotend.duty[index] >= FULL
    columns[:, BED] = 0.0 if recording.bed is None else recording.bed.duty[index] >= FULL
    return columns


def speeds(recording: Recording) -> Array:
    """Path speed [m/s] over the interval that ends at each sample, shape (n,); NaN = not known."""
    way = np.linalg.norm(np.diff(recording.position_m, axis=0), axis=1)
    return np.concatenate([[0.0], way / np.diff(recording.time_s)])


def _steady(recording: Recording) -> Array:
    """Which readings were taken while nothing changed, shape (m,), from well before to well after.

    What the controller reports (duties, temperatures) has to be the same in its next report, too.
    """
    time_s = recording.time_s
    assert recording.hotend is not None
    guard = max(SHORTEST_GUARD_S, 1.2 * float(np.median(np.diff(time_s))))
    report_s = report_period_s(time_s, recording.hotend)
    interval = float(np.median(np.diff(recording.power_time_s)))
    first = np.searchsorted(time_s, recording.power_time_s - interval - guard, side="right") - 1
    quiet = first >= 0
    for doubt, after_s in ((_driven(recording), guard), (_reported(recording), guard + report_s)):
        count = np.cumsum(doubt)
        last = np.searchsorted(time_s, recording.power_time_s + after_s)
        inside = last < len(time_s)
        quiet &= inside & (count[np.where(inside, last, -1)] == count[np.maximum(first, 0)])
    return quiet


def _driven(recording: Recording) -> Array:
    """Samples at which motion, motors or fan have changed, or are in doubt, shape (n,)."""
    speed = np.nan_to_num(speeds(recording), nan=np.inf)
    speed = np.where(speed > SLOWEST_M_S, speed, 0.0)
    before = np.concatenate([speed[:1], speed[:-1]])
    with np.errstate(invalid="ignore"):
        doubt = (np.abs(speed - before) > SPEED_CHANGE * before) | ~np.isfinite(speed)
    doubt |= recording.homing
    for series in (recording.motors_on, recording.fan):
        doubt[1:] |= np.diff(series.astype(float)) != 0.0
    return doubt


def _reported(recording: Recording) -> Array:
    """Samples at which a heater is neither full on nor off, or the hot end's fan may be either, shape (n,)."""
    assert recording.hotend is not None
    doubt = np.abs(recording.hotend.temperature_c - HOTEND_FAN_ON_C) < FAN_DOUBT_K
    for heater in (recording.hotend, recording.bed):
        if heater is not None:
            full, off = heater.duty >= FULL, (heater.duty <= 1.0 - FULL) | (heater.target_c <= 0.0)
            doubt |= ~(full | off)
            doubt[1:] |= np.diff(full.astype(int)) != 0
    return doubt
