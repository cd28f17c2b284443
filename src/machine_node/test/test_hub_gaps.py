"""Telemetry samples that never arrived, from the stamps of those that did."""

import random

import pytest

from machine_node.hub.gaps import ENOUGH, Gaps


def counted(samples):
    gaps = Gaps()
    return sum(gaps.add(*sample) for sample in samples)


def stream(count, period_s=0.05, seed=1):
    """Stamps that jitter by up to a quarter of a period."""
    draw = random.Random(seed)
    return [(100.0 + n * period_s + draw.uniform(0.0, 0.25) * period_s, 7, 0) for n in range(count)]


@pytest.mark.parametrize("period_s", [0.05, 1.0])  # at speed 1 and 20
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2])
def test_what_is_lost_is_counted(period_s, share):
    samples, draw = stream(2000, period_s), random.Random(3)
    kept = [sample for n, sample in enumerate(samples) if n < ENOUGH + 1 or n == 1999 or draw.random() >= share]
    assert counted(kept) == len(samples) - len(kept)


def test_a_machine_that_was_late_itself_has_lost_nothing():
    samples = stream(50)
    late = [(stamp_s + 0.5, incarnation, 1) for stamp_s, incarnation, _ in samples[20:]]
    assert counted(samples[:20] + late) == 0


def test_a_new_start_and_a_clock_that_is_set_back_are_no_loss():
    samples = stream(50)
    again = [(stamp_s + 60.0, 8, 0) for stamp_s, _, _ in samples]
    back = [(stamp_s - 60.0, 8, 0) for stamp_s, _, _ in samples]
    assert counted(samples + again + back) == 0
