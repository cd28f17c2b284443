"""One heater as a lumped node behind a lagging sensor, fitted to its whole trajectory.

    C dT/dt = u - (UA + UA_fan f) (T - T_a),    tau dy/dt = T - y

u is what the meter says less everything else; exactly 0 while the heater is off, duty times its power where both
heaters are on. Both equations are solved exactly on a grid: u and f constant, T linear over a step. The fit (least
squares, soft-L1 loss) has C, UA, UA_fan, T_a, T at the start, tau, how much later the fan turns than its command was
sent, and the offset of u that the regression's own uncertainty leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import OptimizeResult, least_squares
from scipy.signal import lfilter

from industriverse_core.machine import Heater
from twin_node.identification.power_fit import MAD_TO_SIGMA, PowerFit, drives, inflation
from twin_node.identification.recording import Array, HeaterSeries, Recording, cannot, report_period_s, reports

GRID_S = 0.1
CAPACITY, LOSS, FAN_LOSS, AMBIENT, START, LAG, FAN_DELAY, OFFSET = range(8)
NAMES = ("heat_capacity", "loss", "fan_loss", "ambient", "start", "lag", "fan_delay", "offset")
LEAST_RISE_K = 15.0  # or the heater counts as never heated
FAN_SEEN_S, FAN_SEEN_K = 30.0, 30.0  # time under the fan while so hot; without it there is no UA_fan
FACTOR = 20.0  # within which of the profile's values the fit looks
AMBIENT_BOUNDS_C, LAG_BOUNDS_S, OFFSET_SIGMAS = (-20.0, 90.0), (0.02, 60.0), 6.0
FAN_DELAY_BOUNDS_S = (-3.0, 10.0)
LEAST_OFFSET_W, LEAST_SIGMA_K = 0.005, 0.005
INPUT_DRAWS, DRAW_SEED = 100, 1


@dataclass(frozen=True, slots=True, eq=False)
class HeaterInput:
    """What drives a heater on the grid, and what its sensor showed.

    Attributes:
        power_w, fan, on: shape (n,); `on` = the power was measured there, not known to be 0.
        report_at: in grid steps, shape (k,); report_c: temperatures [degC], shape (k,).
        offset_sigma_w: uncertainty of the power's zero.
        reading_sigma_w: scatter of the power on one grid step.
    """

    power_w: Array
    fan: Array
    on: Array
    report_at: Array
    report_c: Array
    offset_sigma_w: float
    reading_sigma_w: float


@dataclass(frozen=True, slots=True, eq=False)
class ThermalFit:
    """Parameters in the order of NAMES: values, covariance, which were free; scatter of the sensor [K]."""

    value: Array
    covariance: Array
    free: Array
    sigma_k: float


def fit_heater(recording: Recording, name: str, profile: Heater, power: PowerFit) -> ThermalFit:
    """Fit the heater called `name` ("hotend" or "bed"). Raises PredictionError (CANNOT_CALIBRATE)."""
    given = heater_input(recording, name, power)
    rise = float(np.ptp(given.report_c))
    if not np.any(given.on) or rise < LEAST_RISE_K:
        raise cannot(
            f"the {_said(name)} was never heated: its temperature moved by {rise:.1f} K; at least {LEAST_RISE_K:.0f} K "
            "are needed."
        )
    start, low, high = _bounds(profile, given)
    free = high > low
    found, sigma = _solve(given, start, low, high, free)
    value = start.copy()
    value[free] = found.x * _scale(start)[free]
    covariance = np.zeros((len(NAMES), len(NAMES)))
    covariance[np.ix_(free, free)] = _covariance(given, value, found, free, sigma)
    return ThermalFit(value, covariance, free, sigma)


def _said(name: str) -> str:
    return {"hotend": "hot end"}.get(name, name)


def heater_input(recording: Recording, name: str, power: PowerFit) -> HeaterInput:
    """Put meter and reports on one grid."""
    own: HeaterSeries | None = getattr(recording, name)
    other: HeaterSeries | None = recording.bed if name == "hotend" else recording.hotend
    assert own is not None
    start_s = max(recording.time_s[0], recording.power_time_s[0])
    edges = np.arange(start_s, min(recording.time_s[-1], recording.power_time_s[-1]), GRID_S)
    middle = 0.5 * (edges[1:] + edges[:-1])
    interval = np.diff(recording.power_time_s, prepend=recording.power_time_s[0])
    energy = np.interp(edges, recording.power_time_s, np.cumsum(recording.power_w * interval))
    columns = drives(recording, middle)
    index = np.clip(np.searchsorted(recording.time_s, middle, side="right") - 1, 0, len(recording.time_s) - 1)
    off = _off(recording, own, middle)
    alone = np.ones(len(middle), bool) if other is None else _off(recording, other, middle)
    own_w = power.value[5 if name == "hotend" else 6] * np.nan_to_num(own.duty[index])
    power_w = np.where(off, 0.0, np.where(alone, np.diff(energy) / GRID_S - power.base_w(columns), own_w))
    said = reports(recording.time_s, own.temperature_c, own.duty)
    at = (recording.time_s[said] - start_s) / GRID_S
    inside = (at >= 0.0) & (at <= len(middle))
    typical = np.mean(columns[~off, :5], axis=0) if np.any(~off) else np.zeros(5)
    offset = float(np.sqrt(max(0.0, typical @ power.covariance[:5, :5] @ typical)))
    per_step = power.sigma_w * np.sqrt(max(1.0, float(np.median(interval[1:])) / GRID_S))
    return HeaterInput(
        power_w, recording.fan[index] if name == "hotend" else np.zeros(len(middle)), ~off, at[inside],
        own.temperature_c[said][inside], max(LEAST_OFFSET_W, offset), float(per_step),
    )  # fmt: skip


def _off(recording: Recording, heater: HeaterSeries, at_s: Array) -> Array:
    """Whether the heater is off for sure: so say the reports before and after."""
    time_s = recording.time_s
    step, period = float(np.median(np.diff(time_s))), report_period_s(time_s, heater)
    count = np.concatenate([[0], np.cumsum(heater.target_c > 0.0)])
    first = np.clip(np.searchsorted(time_s, at_s - step, side="right") - 1, 0, len(time_s) - 1)
    last = np.clip(np.searchsorted(time_s, at_s + 2.0 * period + step), 0, len(time_s) - 1)
    off: Array = count[last + 1] == count[first]
    return off


def _bounds(profile: Heater, given: HeaterInput) -> tuple[Array, Array, Array]:
    """(start, lowest, highest) of the parameters; equal bounds = not fitted."""
    first_c = float(np.median(given.report_c[:10]))
    fan_k = profile.fan_loss or profile.loss
    start = np.array([profile.heat_capacity, profile.loss, fan_k, first_c, first_c, 1.0, 0.0, 0.0])
    low, high = start / FACTOR, start * FACTOR
    low[[AMBIENT, START]], high[[AMBIENT, START]] = AMBIENT_BOUNDS_C[0], (AMBIENT_BOUNDS_C[1], 400.0)
    low[LAG], high[LAG] = LAG_BOUNDS_S
    low[FAN_DELAY], high[FAN_DELAY] = FAN_DELAY_BOUNDS_S
    high[OFFSET] = OFFSET_SIGMAS * given.offset_sigma_w
    low[OFFSET] = -high[OFFSET]
    hot = np.interp(np.arange(len(given.fan)), given.report_at, given.report_c) > first_c + FAN_SEEN_K
    if np.count_nonzero(hot & (given.fan > 0.0)) * GRID_S < FAN_SEEN_S:
        start[FAN_LOSS] = low[FAN_LOSS] = high[FAN_LOSS] = profile.fan_loss
        low[FAN_DELAY] = high[FAN_DELAY] = 0.0
    return np.clip(start, low, high), low, high


def _scale(start: Array) -> Array:
    """Of the parameters in the fit."""
    scale = np.abs(start)
    scale[[AMBIENT, START]], scale[FAN_DELAY], scale[OFFSET] = 10.0, 1.0, 0.1
    floored: Array = np.maximum(scale, 1e-9)
    return floored


def _solve(given: HeaterInput, start: Array, low: Array, high: Array, free: Array) -> tuple[OptimizeResult, float]:
    """Least squares twice: with a guessed scatter, then with the one found. Returns (solution, scatter [K])."""
    scale, sigma = _scale(start), 0.1
    x = (start / scale)[free]
    bounds = ((low / scale)[free], (high / scale)[free])

    def residual(x: Array, sigma: float) -> Array:
        value = start.copy()
        value[free] = x * scale[free]
        difference = (sensor(given, value) - given.report_c) / sigma
        return np.append(difference, value[OFFSET] / given.offset_sigma_w)

    for _ in range(3):
        found = least_squares(residual, x, bounds=bounds, loss="soft_l1", args=(sigma,), x_scale="jac", xtol=1e-10)
        x = found.x
        sigma = max(LEAST_SIGMA_K, MAD_TO_SIGMA * float(np.median(np.abs(residual(x, sigma)[:-1]))) * sigma)
    return found, sigma


def sensor(given: HeaterInput, value: Array) -> Array:
    """What the sensor shows at the reports [degC], shape (k,)."""
    block = _block(given, value)
    ratio = GRID_S / value[LAG]
    decay = np.exp(-ratio)
    newer = 1.0 - (1.0 - decay) / ratio
    older = (1.0 - decay) / ratio - decay
    filtered = lfilter([newer, older], [1.0, -decay], block[1:], zi=[older * block[0] + decay * block[0]])[0]
    shown = np.concatenate([[block[0]], filtered])
    readings: Array = np.interp(given.report_at, np.arange(len(shown)), shown)
    return readings


def _block(given: HeaterInput, value: Array) -> Array:
    """Temperature of the block at the grid's edges, shape (n + 1,); one linear filter for each setting of the fan."""
    power = given.power_w + value[OFFSET] * given.on
    fan = _delayed(given.fan, value[FAN_DELAY] / GRID_S) if value[FAN_DELAY] else given.fan
    borders = np.concatenate([[0], 1 + np.flatnonzero(np.diff(fan)), [len(power)]])
    block, here = [np.array([value[START]])], value[START]
    for first, last in pairwise(borders):
        loss = value[LOSS] + value[FAN_LOSS] * fan[first]
        decay = np.exp(-GRID_S * loss / value[CAPACITY])
        settled = value[AMBIENT] + power[first:last] / loss
        part = lfilter([1.0 - decay], [1.0, -decay], settled, zi=[decay * here])[0]
        here = part[-1]
        block.append(part)
    edges: Array = np.concatenate(block)
    return edges


def _delayed(fan: Array, steps: float) -> Array:
    """The fan so many grid steps later; a part of a step is a part of the speed."""
    edges = np.arange(len(fan) + 1)
    blown = np.interp(edges - steps, edges, np.concatenate([[0.0], np.cumsum(fan)]))
    later: Array = np.round(np.diff(blown), 12)  # a constant speed stays one
    return later


def _covariance(given: HeaterInput, value: Array, found: OptimizeResult, free: Array, sigma: float) -> Array:
    """Of the free parameters: scatter of the sensor (widened by its correlation), and scatter of the meter.

    The meter's part goes through the node: each of INPUT_DRAWS noisy inputs moves the trajectory, and the linearised
    fit moves the parameters.
    """
    steps = _scale(value)
    jacobian = np.column_stack([_slope(given, value, int(k), 1e-4 * steps[k]) for k in np.flatnonzero(free)]) / sigma
    prior = np.zeros((1, jacobian.shape[1]))
    prior[0, -1] = 1.0 / given.offset_sigma_w  # OFFSET is the last, and always free
    full = np.vstack([jacobian, prior])
    norm = np.linalg.norm(full, axis=0)
    inverse = np.linalg.pinv((full / norm).T @ (full / norm), rcond=1e-14) / np.outer(norm, norm)
    residual = np.clip(found.fun[:-1], -3.0, 3.0)
    own = inverse * max(1.0, float(np.mean(residual**2))) * inflation(residual)
    gain = inverse @ full[:-1].T / sigma
    random = np.random.default_rng(DRAW_SEED)
    calm = sensor(given, value)
    moved = []
    for _ in range(INPUT_DRAWS):
        noise = given.reading_sigma_w * random.standard_normal(len(given.power_w)) * given.on
        shaken = HeaterInput(
            given.power_w + noise, given.fan, given.on, given.report_at, given.report_c, given.offset_sigma_w, 0.0
        )
        moved.append(gain @ (sensor(shaken, value) - calm))
    total: Array = own + np.cov(np.array(moved).T)
    return total


def _slope(given: HeaterInput, value: Array, index: int, step: float) -> Array:
    """Derivative of the sensor's readings by one parameter."""
    up, down = value.copy(), value.copy()
    up[index] += step
    down[index] -= step
    slope: Array = (sensor(given, up) - sensor(given, down)) / (2.0 * step)
    return slope
