"""The estimated clock offset against known clocks and delays."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machine_node.clock_offset import WINDOW_BINS, ClockOffset


def feed(clock, seconds, *, offset=0.0, drift=0.0, mean_delay=0.01, rate=10.0, start=0.0, seed=1):
    """A source whose receiver's clock is source * (1 + drift) + offset; exponential delays. Returns the last stamp."""
    delays = random.Random(seed)
    source = start
    for number in range(int(seconds * rate)):
        source = start + number / rate
        clock.add(source, source * (1.0 + drift) + offset + delays.expovariate(1.0 / mean_delay))
    return source


@given(
    offset=st.floats(-1e9, 1e9),
    drift=st.floats(-2e-4, 2e-4),
    mean_delay=st.floats(1e-4, 0.05),
    seconds=st.integers(5, 400),
    seed=st.integers(0, 10**6),
)
def test_offset_and_drift_are_found_within_the_stated_uncertainty(offset, drift, mean_delay, seconds, seed):
    clock = ClockOffset()
    last = feed(clock, seconds, offset=offset, drift=drift, mean_delay=mean_delay, seed=seed)
    found = clock.estimate(last)
    assert abs(found.offset_s - (offset + drift * last)) <= found.uncertainty_s
    # the uncertainty is no excuse: a few mean delays, and what an unknown drift can do in a short window
    assert found.uncertainty_s <= 1e-3 + 20.0 * mean_delay + 3e-4 * min(seconds, 20)


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=200))
def test_any_stamps_are_survived_in_bounded_memory(pairs):
    clock = ClockOffset()
    for source, receipt in pairs:
        clock.add(source, receipt)
        clock.estimate(source)
    assert len(clock._bins) <= WINDOW_BINS


def test_a_long_run_knows_the_drift():
    clock = ClockOffset()
    last = feed(clock, 300, offset=50.0, drift=8e-5, mean_delay=0.005)
    assert clock.estimate(last).drift == pytest.approx(8e-5, abs=3e-5)


@pytest.mark.parametrize("wild", [-3600.0, -5.0, 5.0, 1e6])
def test_single_wild_stamps_move_nothing(wild):
    clock = ClockOffset()
    last = feed(clock, 60, offset=7.0)
    before = clock.estimate(last)
    for _ in range(3):
        clock.add(last + 0.1 + wild, last + 7.11)
        last = last + 0.1
        clock.add(last, last + 7.01)
    after = clock.estimate(last)
    assert after.offset_s == pytest.approx(before.offset_s, abs=0.02)
    assert clock.resets == 0


def test_a_source_that_starts_anew_is_followed_at_once():
    clock = ClockOffset()
    last = feed(clock, 100, offset=7.0)
    for number in range(20):  # its uptime begins at zero again
        clock.add(0.1 * number, last + 7.0 + 2.0 + 0.1 * number + 0.01)
    assert clock.resets == 1
    assert clock.estimate(2.0).offset_s == pytest.approx(last + 9.0, abs=0.02)


def test_a_clock_that_is_set_forwards_is_followed():
    clock = ClockOffset()
    last = feed(clock, 100, offset=7.0)
    feed(clock, 10, offset=7.0 - 3600.0, start=last + 3600.1)
    assert clock.estimate(last + 3610.0).offset_s == pytest.approx(7.0 - 3600.0, abs=0.03)


def test_a_gap_keeps_what_still_fits_and_drops_what_does_not():
    clock = ClockOffset()
    last = feed(clock, 100, offset=7.0)
    feed(clock, 5, offset=7.0, start=last + 600.0)
    assert clock.resets == 0
    assert clock.estimate(last + 605.0).offset_s == pytest.approx(7.0, abs=0.02)
    feed(clock, 5, offset=99.0, start=last + 1300.0)
    assert clock.estimate(last + 1305.0).offset_s == pytest.approx(99.0, abs=0.02)


def test_nothing_is_known_before_the_first_sample():
    clock = ClockOffset()
    clock.add(math.nan, 1.0)
    assert clock.estimate(1.0) is None


def test_first_samples_that_waited_in_a_buffer_are_corrected_at_once():
    clock = ClockOffset()
    for number in range(3):
        clock.add(0.1 * number, 7.8)  # all at once
    clock.add(0.3, 7.3)
    assert clock.estimate(0.3).offset_s == pytest.approx(7.0, abs=1e-9)
    assert clock.resets == 0
