"""Power over time: the energy of the timeline, in intervals."""

import math

import numpy as np
import pytest

from industriverse_core.artefacts import Subsystem
from industriverse_core.program import build_program
from twin_node.power import DEFAULT_POINTS, power_series
from twin_node.timeline import build_timeline


@pytest.fixture(scope="module")
def timeline(program, printer, pla):
    return build_timeline(program, printer, pla)


@pytest.mark.parametrize("resolution_s", [None, 0.1, 1.0, 7.3, 900.0, 1e6])
def test_power_times_time_is_the_energy_of_each_subsystem(timeline, resolution_s):
    series = power_series(timeline, resolution_s)
    assert series.edges_s[0] == 0.0
    assert series.edges_s[-1] == timeline.total_s
    for subsystem, power in series.power_w.items():
        energy = float(np.sum(power * np.diff(series.edges_s)))
        assert energy == pytest.approx(timeline.energy_j[subsystem].sum(), rel=1e-9), subsystem
    assert len(series.total_w) <= DEFAULT_POINTS if resolution_s is None else True


def test_heating_shows_at_full_power_and_printing_below(timeline, printer):
    series = power_series(timeline, 1.0)
    bed = series.power_w[Subsystem.BED]
    assert bed[5] == pytest.approx(printer.bed.power)
    assert bed[-40] == pytest.approx(printer.bed.loss * (50.0 - printer.ambient), rel=1e-6)
    assert series.highest_mean_w == series.total_w.max() <= timeline.peak_power_w


def test_the_longest_interval_is_the_mean_power_of_the_job(timeline):
    assert power_series(timeline, 1e5).highest_mean_w == pytest.approx(timeline.electric_j / timeline.total_s)


@pytest.mark.parametrize("resolution_s", [0.0, -1.0, math.nan, math.inf, 1e-9])
def test_what_is_no_resolution_is_refused(timeline, resolution_s):
    with pytest.raises(ValueError, match="no resolution"):
        power_series(timeline, resolution_s)


def test_a_job_without_time_has_no_power(printer, pla):
    series = power_series(build_timeline(build_program([]), printer, pla))
    assert len(series.edges_s) == 1
    assert series.highest_mean_w == 0.0
