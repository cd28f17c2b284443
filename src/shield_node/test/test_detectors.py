"""Detectors: invariants on made data, and the published protocols on real recordings. One set of defaults for all."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import InputError
from shield_node.detectors.evaluation import Confusion, LabelledSeries, nab_score, windowed_gaussian
from shield_node.detectors.novelty_map import NoveltyMap
from shield_node.detectors.recordings import (
    SKAB_TRAINING,
    TEP_FAULT_BEGINS,
    nab_series,
    skab_files,
    tennessee_eastman,
)
from shield_node.detectors.residual_energy import ResidualEnergyMonitor, fit_residual_energy


def oscillation(rows, seed, shift=0.0):
    """Three coupled channels with noise; `shift` is added to the middle one from the middle on."""
    random = np.random.default_rng(seed)
    phase = 0.2 * np.arange(rows)
    data = np.column_stack([np.sin(phase), np.sin(phase - 0.6), 0.5 * np.sin(phase)]) + 0.1 * random.standard_normal(
        (rows, 3)
    )
    data[rows // 2 :, 1] += shift
    return data


def test_residual_energy_sees_a_shift_that_hides_in_the_noise():
    model = fit_residual_energy(oscillation(1500, 1), ("a", "b", "c"))
    good, bad = model.score(oscillation(1000, 2)), model.score(oscillation(1000, 2, shift=0.2))
    assert np.mean(good > model.limit) < 0.02
    assert np.array_equal(good[:500], bad[:500], equal_nan=True)
    assert np.mean(bad[600:] > model.limit) > 0.8


def test_residual_energy_names_the_channel_that_deviates():
    model = fit_residual_energy(oscillation(1500, 1), ("a", "b", "c"))
    monitor = ResidualEnergyMonitor(model)
    for row in oscillation(1000, 2, shift=0.3):
        monitor.step(row)
    assert monitor.contributions(1)[0][0] == "b"


def test_residual_energy_row_by_row_equals_the_batch_and_begins_anew_after_nan():
    model = fit_residual_energy(oscillation(600, 1))
    rows = oscillation(300, 3, shift=1.0)
    rows[100, 2] = math.nan
    rows[101, 0] = math.inf
    monitor = ResidualEnergyMonitor(model)
    scores = [monitor.step(row) for row in rows]
    np.testing.assert_allclose(scores, model.score(rows), atol=1e-9)
    assert np.isnan(scores[100])
    assert np.isnan(scores[101])
    np.testing.assert_allclose(model.score(rows)[102:], model.score(rows[102:]), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 199), st.integers(0, 10_000))
def test_residual_energy_is_causal(cut, seed):
    model = fit_residual_energy(oscillation(400, 1))
    rows = oscillation(200, seed)
    np.testing.assert_allclose(model.score(rows[:cut]), model.score(rows)[:cut], atol=1e-9)


@pytest.mark.parametrize("rows", [np.zeros((5, 2)), np.full((100, 2), np.nan), np.zeros(100), np.zeros((100, 0))])
def test_residual_energy_refuses_what_it_cannot_learn_from(rows):
    with pytest.raises(InputError):
        fit_residual_energy(rows)


def test_residual_energy_takes_channels_that_stand_still():
    rows = oscillation(600, 1)
    rows[:, 2] = 7.0
    model = fit_residual_energy(rows)
    moved = rows.copy()
    moved[300:, 2] = 7.5
    assert np.isfinite(model.score(rows)[2:]).all()
    assert (model.score(moved)[301:] > model.limit).all()


def test_novelty_map_reports_a_jump_once_and_is_silent_before_its_probation_ends():
    novelty = NoveltyMap(200)
    random = np.random.default_rng(4)
    values = np.concatenate([random.normal(0, 1, 1000), random.normal(40, 1, 100)])
    scores = np.array([novelty.step(value) for value in values])
    assert not scores[:200].any()
    assert scores[1000] > scores[:1000].max()
    assert np.count_nonzero(scores[1000:]) < 10


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(), max_size=80), st.integers(2, 20))
def test_novelty_map_takes_any_numbers(values, probation):
    novelty = NoveltyMap(probation)
    scores = [novelty.step(value) for value in values]
    assert all(math.isfinite(score) and score >= 0 for score in scores)


def test_novelty_map_refuses_a_probation_without_a_range():
    with pytest.raises(InputError):
        NoveltyMap(1)


def test_nab_score_of_silence_is_0_and_of_the_first_sample_of_each_window_100():
    series = LabelledSeries("made", np.zeros(1000), ((300, 399), (700, 749)))
    perfect = np.zeros(1000)
    perfect[[300, 700]] = 1.0
    assert nab_score([series], [np.zeros(1000)])[0] == 0.0
    assert nab_score([series], [perfect])[0] == pytest.approx(100.0)
    late = np.zeros(1000)
    late[[399, 749]] = 1.0
    assert 50.0 < nab_score([series], [late])[0] < 60.0


def test_nab_score_charges_false_alarms():
    series = LabelledSeries("made", np.zeros(1000), ((300, 399),))
    detector = np.zeros(1000)
    detector[[160, 300]] = 1.0  # one before the window: 0.11 of the two points between silence and perfection
    assert nab_score([series], [detector])[0] == pytest.approx(100.0 * (2.0 - 0.11) / 2.0)


def test_confusion_adds_up():
    total = Confusion.of(np.array([True, True, False]), np.array([True, False, True])) + Confusion(1, 0, 4, 0)
    assert (total.f1, total.false_alarm_rate, total.missed_alarm_rate) == (pytest.approx(2 / 3), 0.2, 1 / 3)


def test_skab_valve1(reference_data):
    total = Confusion()
    for _, rows, anomalous in skab_files(reference_data / "sensors" / "skab" / "valve1"):
        model = fit_residual_energy(rows[:SKAB_TRAINING])
        alarms = model.score(rows) > model.limit
        total += Confusion.of(alarms[SKAB_TRAINING:], anomalous[SKAB_TRAINING:])
    assert total.f1 >= 0.80
    assert total.false_alarm_rate <= 0.21


def test_tennessee_eastman(reference_data):
    training, good, faults = tennessee_eastman(reference_data / "sensors" / "tep")
    model = fit_residual_energy(training)
    threshold = np.nanquantile(model.score(good), 0.99)
    missed = [np.mean(model.score(run)[TEP_FAULT_BEGINS:] <= threshold) for run in faults]
    assert np.mean(missed) <= 0.10


def test_nab_beats_the_windowed_gaussian_by_ten_points(reference_data):
    series = list(nab_series(reference_data / "sensors" / "nab"))
    scores = []
    for one in series:
        novelty = NoveltyMap(one.probation)
        scores.append(np.array([novelty.step(value) for value in one.values]))
    peer, _ = nab_score(series, [windowed_gaussian(one.values) for one in series])
    own, _ = nab_score(series, scores)
    assert own >= peer + 10.0
