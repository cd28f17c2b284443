"""Drift: the stated false-alarm probability holds, drift is found, the forecast's line meets the tolerance."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import InputError
from shield_node.drift import FEWEST, DriftMonitor, Tolerance


def alarms(values, seed=0, probability=0.05):
    monitor = DriftMonitor(false_alarm_probability=probability, seed=seed)
    return any(monitor.add(value).drifting for value in values)


@pytest.mark.parametrize("draw", ["gauss", "lognormvariate", "coin"])
def test_false_alarms_stay_below_the_stated_probability(draw):
    streams = 400
    count = 0
    for seed in range(streams):
        source = random.Random(seed)
        values = [float(source.random() < 0.3) if draw == "coin" else getattr(source, draw)(0, 1) for _ in range(200)]
        count += alarms(values, seed + streams)  # ties are broken by chance of their own
    # 5 % are allowed; more than 8.5 % of 400 has a chance below 0.2 % if exactly 5 % are true
    assert count <= 0.085 * streams


def test_a_drift_of_two_deviations_in_a_hundred_jobs_is_found():
    found = 0
    for seed in range(50):
        source = random.Random(seed)
        found += alarms([source.gauss(0.02 * job, 1.0) for job in range(150)], seed)
    assert found >= 40


def test_a_step_is_found_in_either_direction():
    for sign in (-1.0, 1.0):
        source = random.Random(5)
        assert alarms([source.gauss(sign * 3.0 * (job >= 40), 1.0) for job in range(80)])


def test_forecast_of_a_straight_line():
    monitor = DriftMonitor(Tolerance(high=10.0))
    for job in range(20):
        monitor.add(0.25 * job)
    line = monitor.forecast()
    assert [line.slope, line.jobs_left, line.earliest, line.latest] == pytest.approx([0.25, 21.0, 21.0, 21.0])


def test_no_forecast_without_history_none_without_limit_and_0_when_it_is_outside():
    monitor = DriftMonitor(Tolerance(low=0.0))
    free = DriftMonitor()
    for job in range(FEWEST):
        assert math.isnan(monitor.forecast().slope)
        monitor.add(float(-job))
        free.add(float(job))
    assert monitor.forecast().jobs_left == monitor.forecast().latest == 0.0
    assert free.forecast().jobs_left == math.inf
    assert free.forecast().slope == pytest.approx(1.0)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=60))
def test_same_history_same_report_and_evidence_stays_finite(values):
    first, second = DriftMonitor(seed=3), DriftMonitor(seed=3)
    for value in values:
        report = first.add(value)
        assert repr(report) == repr(second.add(value))
        assert 0.0 < report.evidence < math.inf
    line = first.forecast()
    assert repr(line) == repr(second.forecast())
    assert line.earliest <= line.jobs_left <= line.latest


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused_and_change_nothing(value):
    monitor = DriftMonitor()
    monitor.add(1.0)
    with pytest.raises(InputError):
        monitor.add(value)
    assert monitor.add(2.0).jobs == 2


@pytest.mark.parametrize("probability", [0.0, 1.0, math.nan])
def test_a_probability_outside_its_range_is_refused(probability):
    with pytest.raises(InputError):
        DriftMonitor(false_alarm_probability=probability)
