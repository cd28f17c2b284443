"""Fit the weights of the fusion to recorded score tables, and judge them on others.

    python -m shield_node.threats.fit TABLE.npz ... --test TABLE.npz ... --out threats.json

A table holds, for n moments: scores (n, scores), cause (n,) as in Cause, seed (n,) of the machine, and seconds (n,)
that the row stands for. Seeds of the tests are never seeds of the fit. The model is a multinomial logistic regression
with weights >= 0, maximum likelihood with a ridge; one temperature for all log-odds is then fitted on machines that
the weights have not seen (Guo et al. 2017). Rules that need no data (a late message, an impossible
temperature) have a declared lowest weight.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.threats import Cause
from shield_node.threats.fusion import CAUSES, REFERENCE, Array, FusionModel
from shield_node.threats.scores import KINDS, Score, bounded

FAULT_SHARE = 1e-3  # of all seconds that something is wrong: the prior that probabilities are about
RIDGE = 1e-5
LARGEST_WEIGHT = 20.0
CALIBRATION_SHARE = 4  # one machine in so many is kept for the temperature
DECLARED_BIAS = -11.5  # log-odds of a cause that no table shows: one second in a hundred thousand
# (cause, score, lowest weight): rules that never speak beside a sound machine, and what tables of a sound network and a
# whole meter cannot show; at its limit each makes its cause likelier than not
DECLARED = (
    (Cause.NETWORK_FAULT, Score.TELEMETRY_LATE, 12.0),
    (Cause.NETWORK_FAULT, Score.TELEMETRY_ORDER, 12.0),
    (Cause.LOST_STEPS, Score.POSITION_RANGE, 12.0),
    (Cause.LOST_STEPS, Score.RESIDUAL_POSITION, 12.0),
    (Cause.SENSOR_FAULT, Score.ENERGY_COUNTER, 12.0),
    (Cause.SENSOR_FAULT, Score.METER_RANGE, 12.0),
    (Cause.SENSOR_FAULT, Score.HOTEND_SENSOR, 12.0),
    (Cause.SENSOR_FAULT, Score.BED_SENSOR, 12.0),
    (Cause.SENSOR_FAULT, Score.CONTROLLER_SENSOR, 12.0),
    (Cause.HEATER_FAULT, Score.HOTEND_NOT_HEATING, 12.0),
    (Cause.HEATER_FAULT, Score.BED_NOT_HEATING, 12.0),
    (Cause.HEATER_FAULT, Score.CONTROLLER_HEATER, 12.0),
    (Cause.THERMAL_RUNAWAY, Score.HOTEND_RUNAWAY, 12.0),
    (Cause.THERMAL_RUNAWAY, Score.BED_RUNAWAY, 12.0),
)
EDGES = (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 1.0)  # of the reliability curve


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of one or more recordings; `weight` (n,) sums to 1, FAULT_SHARE of it faults, each cause alike."""

    scores: Array
    cause: NDArray[np.int_]  # index into CAUSES
    seed: NDArray[np.int_]
    weight: Array

    def of_seeds(self, chosen: NDArray[np.bool_]) -> Table:
        """Some rows, weighted anew."""
        return _table(self.scores[chosen], self.cause[chosen], self.seed[chosen], self.weight[chosen])


def _table(scores: Array, cause: NDArray[np.int_], seed: NDArray[np.int_], seconds: Array) -> Table:
    weight = np.asarray(seconds, float).copy()
    present = [at for at in np.unique(cause) if at != REFERENCE]
    for at in (REFERENCE, *present):
        share = 1.0 - FAULT_SHARE if at == REFERENCE else FAULT_SHARE / len(present)
        total = weight[cause == at].sum()
        weight[cause == at] *= share / total if total else 0.0
    return Table(scores, cause, seed, weight)


def load_tables(paths: Sequence[Path]) -> Table:
    """All rows of these files. Raises InputError (UNREADABLE_MESSAGE, FILE_NOT_FOUND)."""
    parts = [_load(path) for path in paths]
    scores, cause, seed, seconds = (np.concatenate(column) for column in zip(*parts, strict=True))
    number_of = {int(value): at for at, value in enumerate(CAUSES)}
    return _table(scores, np.array([number_of[int(each)] for each in cause]), seed, seconds)


def _load(path: Path) -> tuple[Array, ...]:
    try:
        with np.load(path) as file:
            scores, cause, seed, seconds = (file[name] for name in ("scores", "cause", "seed", "seconds"))
    except FileNotFoundError as error:
        raise InputError(ErrorCode.FILE_NOT_FOUND, f"there is no table {path}.", "Name another.") from error
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(path, str(error)) from error
    rows = len(scores)
    fits = scores.shape == (rows, len(KINDS)) and all(each.shape == (rows,) for each in (cause, seed, seconds))
    if not fits or not rows or not set(np.unique(cause).tolist()) <= set(map(int, Cause)):
        raise _unreadable(path, f"shape {scores.shape}")
    return bounded(scores.astype(float)), cause, seed, seconds.astype(float)


def fit(table: Table, provenance: dict[str, object]) -> FusionModel:
    """Weights and temperature."""
    seeds = np.unique(table.seed)
    kept = np.isin(table.seed, seeds[::CALIBRATION_SHARE])
    bias, weights = _maximum_likelihood(table.of_seeds(~kept))
    temperature = _temperature(bias, weights, table.of_seeds(kept))
    bias, weights = bias / temperature, weights / temperature
    declared = _declare(bias, weights)
    about = provenance | {
        "model": "multinomial logistic, weights >= 0, ridge, one temperature",
        "fault_share": FAULT_SHARE,
        "temperature": round(temperature, 4),
        "rows": len(table.scores),
        "machines": len(seeds),
        "declared": declared,
    }
    return FusionModel(bias, weights, about)


def _maximum_likelihood(table: Table) -> tuple[Array, Array]:
    fitted = [at for at in np.unique(table.cause) if at != REFERENCE]
    place = {at: row for row, at in enumerate(fitted)}
    count, width = len(fitted), len(KINDS)
    target = np.zeros((len(table.cause), count))
    for at, row in place.items():
        target[table.cause == at, row] = 1.0

    def loss(parameters: Array) -> tuple[float, Array]:
        bias, weights = parameters[:count], parameters[count:].reshape(count, width)
        logits = bias + table.scores @ weights.T
        top = np.maximum(logits.max(axis=1), 0.0)
        odds = np.exp(logits - top[:, None])
        total = odds.sum(axis=1) + np.exp(-top)
        likelihood = (target * logits).sum(axis=1) - top - np.log(total)
        slope = table.weight[:, None] * (odds / total[:, None] - target)
        ridge = RIDGE * FAULT_SHARE
        gradient = np.concatenate([slope.sum(axis=0), (slope.T @ table.scores + 2.0 * ridge * weights).ravel()])
        return float(-(table.weight * likelihood).sum() + ridge * (weights**2).sum()) / FAULT_SHARE, (
            gradient / FAULT_SHARE
        )

    start = np.concatenate([np.full(count, np.log(FAULT_SHARE / count)), np.zeros(count * width)])
    bounds = [(-15.0, 0.0)] * count + [(0.0, LARGEST_WEIGHT)] * (count * width)
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 400})
    bias, weights = np.full(len(CAUSES), DECLARED_BIAS), np.zeros((len(CAUSES), width))
    bias[REFERENCE] = 0.0
    bias[fitted] = found.x[:count]
    weights[fitted] = found.x[count:].reshape(count, width)
    return bias, weights


def _temperature(bias: Array, weights: Array, table: Table) -> float:
    """By which all log-odds are divided so that they fit machines that were not seen."""

    def loss(temperature: float) -> float:
        model = FusionModel(bias / temperature, weights / temperature, {})
        return _log_loss(model, table)

    return float(minimize_scalar(loss, bounds=(0.5, 3.0), method="bounded").x)


def _log_loss(model: FusionModel, table: Table) -> float:
    shares = model.probabilities(table.scores)[np.arange(len(table.cause)), table.cause]
    return float(-(table.weight * np.log(np.maximum(shares, 1e-12))).sum())


def _declare(bias: Array, weights: Array) -> list[str]:
    """Raise what is below its declared weight; what was raised, by name."""
    raised = []
    for cause, score, weight in DECLARED:
        at = CAUSES.index(cause)
        if weights[at, score] < weight:
            weights[at, score] = weight
            raised.append(f"{cause.name} by {score.name}")
        bias[at] = max(bias[at], DECLARED_BIAS)
    return raised


@dataclass(frozen=True, slots=True)
class Judgement:
    """How good probabilities are on a table.

    Attributes:
        brier: weighted mean of the squared distance between probabilities and truth (0 = perfect), all causes.
        constant_brier: of one that always says the shares of the table.
        log_loss: [nat].
        reliability: of P(something is wrong), by bin: lower edge, mean probability, share that was wrong, time's share.
        calibration_error: weighted mean distance of the two in the bins, relative to FAULT_SHARE.
    """

    brier: float
    constant_brier: float
    log_loss: float
    reliability: tuple[tuple[float, float, float, float], ...]
    calibration_error: float


def judge(model: FusionModel, table: Table) -> Judgement:
    """Brier score (Brier 1950), log loss and the reliability curve."""
    shares = model.probabilities(table.scores)
    truth = np.zeros_like(shares)
    truth[np.arange(len(truth)), table.cause] = 1.0
    base = (table.weight[:, None] * truth).sum(axis=0)
    brier = float((table.weight * ((shares - truth) ** 2).sum(axis=1)).sum())
    constant = float((table.weight * ((base - truth) ** 2).sum(axis=1)).sum())
    wrong, said = table.cause != REFERENCE, 1.0 - shares[:, REFERENCE]
    curve, error = [], 0.0
    bins = np.clip(np.searchsorted(EDGES, said, side="right") - 1, 0, len(EDGES) - 2)
    for at in range(len(EDGES) - 1):
        inside = bins == at
        total = float(table.weight[inside].sum())
        if total > 0.0:
            mean = float((table.weight[inside] * said[inside]).sum()) / total
            share = float((table.weight[inside] * wrong[inside]).sum()) / total
            curve.append((EDGES[at], mean, share, total))
            error += total * abs(mean - share)
    return Judgement(brier, constant, _log_loss(model, table), tuple(curve), error / FAULT_SHARE)


def _unreadable(path: Path, seen: str) -> InputError:
    return InputError(
        ErrorCode.UNREADABLE_MESSAGE, f"{path} is no score table of {len(KINDS)} scores ({seen}).", "Record it anew."
    )


def check_apart(training: Table, test: Table) -> None:
    """Raise InputError (USAGE) where a machine is in both."""
    common = np.intersect1d(training.seed, test.seed)
    if len(common):
        raise InputError(
            ErrorCode.USAGE, f"{len(common)} machines are in the fit and in the test, {common[0]} first.",
            "Record the test with other seeds.",
        )  # fmt: skip


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--test", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--about", default="", help="where the tables come from, for the file")
    options = parser.parse_args()
    try:
        training = load_tables(options.tables)
        model = fit(training, {"data": options.about})
        if options.test:
            test = load_tables(options.test)
            check_apart(training, test)
            print(json.dumps(_as_json(judge(model, test))))
    except InputError as error:
        parser.exit(2, f"{error}\n")
    options.out.write_text(model.to_json())


def _as_json(judgement: Judgement) -> dict[str, object]:
    curve = [dict(zip(("from", "said", "was", "share"), row, strict=True)) for row in judgement.reliability]
    return {
        "brier": judgement.brier, "constant_brier": judgement.constant_brier, "log_loss": judgement.log_loss,
        "calibration_error": judgement.calibration_error, "reliability": curve,
    }  # fmt: skip


if __name__ == "__main__":
    main()
