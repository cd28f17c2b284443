"""The accelerometer's lines, and what is computed from a burst."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from machine_node.vibration import (
    FEWEST_SAMPLES,
    MAX_LINE_BYTES,
    MOST_SAMPLES,
    BurstParser,
    features,
    parse_burst,
)


def line(ms, rate, samples):
    body = ",".join(str(value) for value in (ms, rate, len(samples), *(v for xyz in samples for v in xyz))).encode()
    check = 0
    for byte in body:
        check ^= byte
    return body + b"*%02x\n" % check


BURSTS = st.lists(st.tuples(*[st.integers(-20000, 20000)] * 3), min_size=1, max_size=40)


@given(ms=st.integers(0, 10**10), rate=st.integers(1, 4000), samples=BURSTS, cut=st.integers(1, 50))
def test_a_burst_comes_through_however_it_is_cut(ms, rate, samples, cut):
    data = b"half a line\n" + line(ms, rate, samples) + line(ms + 5, rate, samples)
    parser = BurstParser()
    found = [burst for at in range(0, len(data), cut) for burst in parser.feed(data[at : at + cut])]
    assert [burst.uptime_s for burst in found] == [ms * 1e-3, (ms + 5) * 1e-3]
    assert np.allclose(found[0].acceleration_m_s2 * 1e3, samples)
    assert found[0].rate_hz == rate
    assert parser.dropped == 0


@given(samples=BURSTS, place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_is_never_taken_for_a_burst_of_other_values(samples, place, bit):
    good = bytearray(line(1000, 1600, samples))
    place %= len(good) - 1
    good[place] ^= 1 << bit
    found = parse_burst(bytes(good))
    # only the case of the two hexadecimal digits says the same
    assert found is None or np.allclose(found.acceleration_m_s2 * 1e3, samples)


@given(st.lists(st.binary(max_size=300), max_size=50))
def test_any_bytes_are_survived(chunks):
    parser = BurstParser()
    for chunk in chunks:
        parser.feed(chunk)
    assert len(parser._partial) <= MAX_LINE_BYTES


def test_an_endless_line_is_dropped_in_bounded_memory():
    parser = BurstParser()
    for _ in range(100):
        parser.feed(b"1" * 10_000)
        assert len(parser._partial) <= MAX_LINE_BYTES
    assert parser.feed(b"\n" + line(1, 100, [(1, 2, 3)]))
    assert parser.dropped > 0


@pytest.mark.parametrize(
    "bad",
    [b"", b"*", b"1,2*00", b"1,100,2,1,2,3*", b"1,0,1,1,2,3", b"1,100,0", b"-1,100,1,1,2,3", b"1,100,1,1,2,99999999"],
)
def test_what_is_no_burst_is_none(bad):
    check = 0
    for byte in bad:
        check ^= byte
    assert parse_burst(bad + b"*%02x" % check) is None
    assert parse_burst(bad) is None
    assert parse_burst(line(1, 100, [(1, 2, 3)] * (MOST_SAMPLES + 1))) is None


@given(arrays(float, st.integers(FEWEST_SAMPLES, 300), elements=st.floats(-100, 100)))
def test_bands_add_up_to_the_mean_square(samples):
    found = features(samples, 1600.0)
    assert sum(found.band_energy) == pytest.approx(found.rms_m_s2**2, rel=1e-9, abs=1e-12)
    assert found.rms_m_s2 == pytest.approx(np.std(samples), rel=1e-9, abs=1e-9)


@given(frequency=st.floats(20.0, 780.0), phase=st.floats(0, 6.28), amplitude=st.floats(0.01, 50.0))
def test_the_frequency_of_a_tone_is_found_to_a_small_part_of_a_bin(frequency, phase, amplitude):
    count, rate = 256, 1600.0
    t = np.arange(count) / rate
    found = features(9.81 + amplitude * np.sin(2 * np.pi * frequency * t + phase), rate)
    assert found.dominant_frequency_hz == pytest.approx(frequency, abs=0.1 * rate / count)
    assert found.rms_m_s2 == pytest.approx(amplitude / math.sqrt(2), rel=0.05)
    assert found.kurtosis == pytest.approx(1.5, abs=0.1)  # of a sine
    assert int(np.argmax(found.band_energy)) in {int((frequency + d) / 100.0) for d in (-7, 0, 7)}


def test_noise_is_gaussian_and_stillness_has_no_frequency():
    found = features(np.random.default_rng(2).normal(size=4096), 1000.0)
    assert found.kurtosis == pytest.approx(3.0, abs=0.3)
    still = features(np.full(64, 9.81), 1000.0)
    assert still.rms_m_s2 < 1e-9
    assert math.isnan(still.kurtosis)
    assert math.isnan(still.dominant_frequency_hz)
    assert features(np.zeros(FEWEST_SAMPLES - 1), 1000.0) is None
