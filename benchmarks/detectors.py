"""What the detectors reach on published recordings, and what a sample costs. Needs the reference data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shield_node.detectors import recordings
from shield_node.detectors.evaluation import Confusion, nab_score, windowed_gaussian
from shield_node.detectors.novelty_map import NoveltyMap
from shield_node.detectors.residual_energy import ResidualEnergyMonitor, fit_residual_energy

DATA = Path(__file__).parents[2] / "shared" / "data" / "sensors"


def run() -> Iterator[dict]:
    if not DATA.is_dir():
        return
    yield from _skab()
    yield from _tennessee_eastman()
    yield from _nab()


def _skab() -> Iterator[dict]:
    total = Confusion()
    for _, rows, anomalous in recordings.skab_files(DATA / "skab" / "valve1"):
        model = fit_residual_energy(rows[: recordings.SKAB_TRAINING])
        alarms = model.score(rows) > model.limit
        total += Confusion.of(alarms[recordings.SKAB_TRAINING :], anomalous[recordings.SKAB_TRAINING :])
    yield {"metric": "SKAB valve1 F1", "value": round(total.f1, 3), "unit": "1"}
    yield {"metric": "SKAB valve1 false alarms", "value": round(100 * total.false_alarm_rate, 1), "unit": "%"}
    yield {"metric": "SKAB valve1 missed", "value": round(100 * total.missed_alarm_rate, 1), "unit": "%"}


def _tennessee_eastman() -> Iterator[dict]:
    training, good, faults = recordings.tennessee_eastman(DATA / "tep")
    model = fit_residual_energy(training)
    threshold = np.nanquantile(model.score(good), 0.99)
    missed = [np.mean(model.score(run)[recordings.TEP_FAULT_BEGINS :] <= threshold) for run in faults]
    yield {"metric": "Tennessee Eastman 1-8 missed", "value": round(float(np.mean(missed)), 3), "unit": "1"}
    yield {"metric": "of these fault 3", "value": round(float(missed[2]), 3), "unit": "1"}
    monitor = ResidualEnergyMonitor(model)
    started = time.process_time()
    for row in good:
        monitor.step(row)
    cost = (time.process_time() - started) / len(good)
    yield {"metric": "residual energy, 52 channels", "value": round(1e6 * cost, 1), "unit": "us/sample"}


def _nab() -> Iterator[dict]:
    series = list(recordings.nab_series(DATA / "nab"))
    started, scores = time.process_time(), []
    for one in series:
        novelty = NoveltyMap(one.probation)
        scores.append(np.array([novelty.step(value) for value in one.values]))
    cost = (time.process_time() - started) / sum(len(one.values) for one in series)
    yield {"metric": "NAB novelty map", "value": round(float(nab_score(series, scores)[0]), 1), "unit": "points"}
    peer = [windowed_gaussian(one.values) for one in series]
    yield {"metric": "NAB windowed Gaussian", "value": round(float(nab_score(series, peer)[0]), 1), "unit": "points"}
    yield {"metric": "novelty map", "value": round(1e6 * cost, 1), "unit": "us/sample"}
