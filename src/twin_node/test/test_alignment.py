"""The delay of reported positions: estimated from a job, bounded, forgotten with the job, deaf to what it cannot be."""

import dataclasses
import math

import numpy as np
import pytest

from industriverse_core.telemetry import UNMEASURED, Quantity
from twin_node.alignment import DELAYS_S, OUTLIER, PRIOR_SD_S, Alignment
from twin_node.shadow import Shadow
from twin_node.timeline import build_timeline

EVERY = 5  # so many of the fine samples is one of telemetry
NOISE_M = 1e-4


@pytest.fixture
def late(fine_samples):
    """Samples of a job at 20 Hz whose controller reports where the tool was `delay_s` before, with noise."""
    fine = fine_samples
    stamps = np.array([sample.stamp_s for sample in fine])
    places = np.array([sample.position_m for sample in fine])

    def make(delay_s, seed=1, jitter_s=0.0):
        random = np.random.default_rng(seed)
        samples = []
        for sample in fine[::EVERY]:
            at_s = sample.stamp_s - delay_s + jitter_s * random.standard_normal()
            place = [np.interp(at_s, stamps, axis) + NOISE_M * random.standard_normal() for axis in places.T]
            samples.append(dataclasses.replace(sample, reported_position_m=tuple(place)))
        return samples

    return make


@pytest.fixture
def follow(printer, program, pla):
    def run(samples):
        shadow = Shadow(printer)
        shadow.begin(build_timeline(program, printer, pla), pla)
        channels = [shadow.observe(sample)[Quantity.POSITION - 1] for sample in samples]
        return shadow, [channel for channel in channels if math.isfinite(channel.measured)]

    return run


@pytest.mark.parametrize("delay_s", [0.0, 0.08, 0.25])
@pytest.mark.parametrize("jitter_s", [0.0, 0.02])
def test_the_delay_is_found_and_the_residual_shrinks(late, follow, delay_s, jitter_s, monkeypatch):
    samples = late(delay_s, jitter_s=jitter_s)
    shadow, channels = follow(samples)
    assert shadow.alignment.delay_s == pytest.approx(delay_s, abs=0.01)
    assert shadow.alignment.sd_s < 0.01
    second_half = channels[len(channels) // 2 :]
    assert max(channel.z_score for channel in second_half) < 3.5
    monkeypatch.setattr(Alignment, "observe", lambda *_: None)  # as if the delay were assumed
    assumed = follow(samples)[1][len(channels) // 2 :]
    off_m, off_before_m = (math.fsum(each.measured**2 for each in found) for found in (second_half, assumed))
    assert off_m < (0.01 if jitter_s == 0.0 else 0.15) * off_before_m or delay_s == 0.0
    sigma_m, sigma_before_m = (np.median([each.sigma for each in found]) for found in (second_half, assumed))
    assert sigma_m < 0.6 * sigma_before_m


def test_the_drivers_estimate_has_a_delay_of_its_own(late, follow):
    """Every second sample carries a report that is late; between them counts the estimate, which is not."""
    samples = late(0.2)
    mixed = []
    for number, sample in enumerate(samples):
        same = samples[number - 1].reported_position_m if number % 2 else sample.reported_position_m
        mixed.append(dataclasses.replace(sample, reported_position_m=same))
    shadow, _ = follow(mixed)
    assert shadow.alignment.delay_s == pytest.approx(0.2, abs=0.01)
    assert shadow._alignments[False].delay_s == pytest.approx(0.0, abs=0.005)
    assert shadow._alignments[True].samples > 100
    assert shadow._alignments[False].samples > 100


def test_a_tool_that_is_elsewhere_shows_whatever_the_delay(late, follow):
    samples = late(0.08)
    middle = len(samples) * 3 // 4
    shifted = [
        dataclasses.replace(s, reported_position_m=(s.reported_position_m[0] + 0.02, *s.reported_position_m[1:]))
        for s in samples[middle:]
    ]
    shadow, channels = follow([*samples[:middle], *shifted])
    assert np.median([channel.z_score for channel in channels[-len(shifted) :]]) > 4.0
    assert DELAYS_S[0] <= shadow.alignment.delay_s <= DELAYS_S[-1]


def test_a_stamp_that_repeats_is_no_delay(late, follow):
    """Where /clock is late, every seventh sample carries the stamp of the one before."""
    samples = late(0.08)
    repeated = list(samples)
    for number in range(6, len(samples), 7):
        repeated[number] = dataclasses.replace(samples[number], stamp_s=samples[number - 1].stamp_s)
    shadow, channels = follow(repeated)
    assert shadow.alignment.delay_s == pytest.approx(0.08, abs=0.01)
    assert max(channel.z_score for channel in channels) < 3.5


def test_each_job_begins_with_what_is_assumed(late, follow, printer, program, pla):
    shadow, _ = follow(late(0.25)[:2500])
    shadow.begin(build_timeline(program, printer, pla), pla)
    assert (shadow.alignment.delay_s, shadow.alignment.sd_s) == (0.0, PRIOR_SD_S)


def test_a_delay_beyond_the_grid_stays_within_it(late, follow):
    shadow, _ = follow(late(2.0))
    assert DELAYS_S[0] <= shadow.alignment.delay_s <= DELAYS_S[-1]
    assert shadow.alignment.sd_s <= PRIOR_SD_S


def test_what_says_nothing_changes_nothing():
    alignment = Alignment()
    alignment.observe(np.full(len(DELAYS_S), 0.5), 1e-3)  # nowhere near, whatever the delay
    assert alignment.delay_s == pytest.approx(0.0, abs=1e-4)
    assert alignment.sd_s == pytest.approx(PRIOR_SD_S, rel=0.05)
    before = alignment.delay_s, alignment.sd_s
    alignment.observe(np.full(len(DELAYS_S), math.nan), 1e-3)
    alignment.observe(np.zeros(len(DELAYS_S)), math.nan)
    assert (alignment.delay_s, alignment.sd_s) == before


def test_one_sample_says_no_more_than_its_limit():
    alignment = Alignment()
    alignment.observe(np.abs(DELAYS_S - 0.5), 1e-6)
    assert alignment._evidence.max() == OUTLIER


def test_a_machine_that_reports_no_place_has_no_alignment(late, follow):
    silent = [dataclasses.replace(s, position_m=UNMEASURED, reported_position_m=UNMEASURED) for s in late(0.0)[:3000]]
    shadow, channels = follow(silent)
    assert channels == []
    assert shadow.alignment.samples == 0
