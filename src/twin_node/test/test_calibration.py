"""Calibration: nothing changes without jobs, few are shrunk, many are followed; coverage by simulation."""

import math

import numpy as np
import pytest

from industriverse_core.artefacts import Estimate
from twin_node.calibration import LARGEST_RATIO, NEWEST_JOBS, Residuals, calibrated, calibrated_prediction, ratio
from twin_node.oracle import predict

PRIOR = Estimate(100.0, 90.0, 112.0)
HALF = 0.5 * math.log(112.0 / 90.0)
SD = HALF / 1.6448536  # of the prior predictive, if it were normal
MACHINES = 3000


def coverage(jobs, own_sd, job_sd, bias=0.0, machines=MACHINES, seed=1):
    """Share of next jobs that lie in the interval calibrated by `jobs` before it, over many machines; its width."""
    random, symmetric = np.random.default_rng(seed), Estimate(100.0, 100.0 * math.exp(-HALF), 100.0 * math.exp(HALF))
    inside, width = 0, 0.0
    for _ in range(machines):
        own = bias + own_sd * random.standard_normal()
        seen = np.exp(own + job_sd * random.standard_normal(jobs + 1))
        estimate = calibrated(symmetric, seen[:-1].tolist())
        inside += estimate.low <= 100.0 * seen[-1] <= estimate.high
        width += (estimate.high - estimate.low) / machines
    return inside / machines, width


@pytest.mark.parametrize("jobs", [0, 1, 2, 3, 5, 10, 30])
def test_the_interval_holds_nine_of_ten_whatever_the_number_of_jobs(jobs):
    """Machines and jobs spread as the prior says: half of the variance belongs to the machine."""
    share, _ = coverage(jobs, math.sqrt(0.5) * SD, math.sqrt(0.5) * SD)
    assert 0.85 <= share <= 0.95


@pytest.mark.parametrize("jobs", [1, 3, 10, 30])
def test_it_holds_more_where_the_machine_explains_more_of_the_spread(jobs):
    assert coverage(jobs, math.sqrt(0.8) * SD, math.sqrt(0.2) * SD)[0] >= 0.88


def test_where_jobs_alone_differ_few_of_them_promise_too_much_and_many_do_not():
    """What the prior cannot know: with one job of a kind that only scatters, four fifths are held."""
    shares = [coverage(jobs, 0.0, SD)[0] for jobs in (1, 10, 40)]
    assert shares[0] >= 0.75
    assert shares[1] >= 0.82
    assert shares[2] >= 0.87


def test_a_machine_far_from_its_profile_is_learnt():
    """A bias of three standard deviations: the raw interval misses nearly always, ten jobs repair it."""
    missed, _ = coverage(0, 0.0, 0.3 * SD, bias=3.0 * SD)
    learnt, _ = coverage(10, 0.0, 0.3 * SD, bias=3.0 * SD)
    assert missed < 0.1
    assert learnt > 0.85


def test_a_machine_that_scatters_more_than_stated_gets_a_wider_interval():
    alone, narrow = coverage(0, 0.0, 2.0 * SD)
    learnt, wide = coverage(30, 0.0, 2.0 * SD)
    assert alone < 0.7
    assert learnt > 0.86
    assert wide > 1.5 * narrow


def test_jobs_that_agree_narrow_the_interval():
    widths = [coverage(jobs, 0.9 * SD, 0.1 * SD, machines=300)[1] for jobs in (0, 1, 5, 30)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.5 * widths[0]


def test_without_jobs_nothing_changes():
    assert calibrated(PRIOR, ()) is PRIOR


def test_one_job_moves_the_mean_a_part_of_the_way_and_many_all_of_it():
    one, many = calibrated(PRIOR, [1.1]), calibrated(PRIOR, [1.1] * 40)
    assert PRIOR.mean < one.mean < 110.0
    assert many.mean == pytest.approx(110.0, rel=0.005)
    assert one.low < one.mean < one.high


def test_what_is_no_residual_is_left_out():
    broken = [math.nan, math.inf, 0.0, -1.0, 2 * LARGEST_RATIO, 1e-9]
    assert calibrated(PRIOR, broken) is PRIOR
    assert calibrated(PRIOR, [*broken, 1.1]) == calibrated(PRIOR, [1.1])


def test_old_jobs_are_forgotten():
    assert calibrated(PRIOR, [0.5] * 20 + [1.1] * NEWEST_JOBS) == calibrated(PRIOR, [1.1] * NEWEST_JOBS)


def test_what_is_exact_stays_exact():
    exact = Estimate.exact(5.0)
    assert calibrated(exact, [1.1, 1.2]) is exact
    assert calibrated(Estimate.exact(0.0), [1.1]) == Estimate.exact(0.0)


@pytest.mark.parametrize(("predicted", "measured"), [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.inf)])
def test_a_ratio_needs_two_amounts(predicted, measured):
    with pytest.raises(ValueError, match="no residual"):
        ratio(predicted, measured)
    assert ratio(PRIOR, 110.0) == ratio(100.0, 110.0) == pytest.approx(1.1)


def test_a_calibrated_prediction_still_adds_up(program, printer, pla):
    raw = predict(program, printer, pla)
    prediction = calibrated_prediction(raw, Residuals(time=(1.01, 1.02), energy=(1.1, 1.08, 1.12)))
    assert prediction.energy_j.mean > raw.energy_j.mean
    assert prediction.time_s.mean > raw.time_s.mean
    parts = sum(item.mean for item in prediction.energy_by_subsystem_j.values())
    assert parts == pytest.approx(prediction.energy_j.mean, rel=1e-9)
    assert (prediction.material_kg, prediction.motion_time_s) == (raw.material_kg, raw.motion_time_s)
    assert calibrated_prediction(raw, Residuals()).digest == raw.digest
