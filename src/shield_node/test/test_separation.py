"""Separation: both directions of the formula agree, doubt counts as presence, motion resumes farther away."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import ProfileError
from shield_node.separation import (
    Demand,
    SeparationLimits,
    SeparationMonitor,
    Zone,
    ZoneKind,
    allowed_speed,
    protective_distance,
)

LIMITS = SeparationLimits()
SQUARE = Zone("door", ZoneKind.STOP, ((0, 0), (2, 0), (2, 2), (0, 2)))
NOTCHED = Zone("press", ZoneKind.EXCLUSION, ((0, 0), (4, 0), (4, 4), (2, 1), (0, 4)))


def test_the_distance_of_a_worked_example():
    # v_r 1 m/s, T_r 0.2 s, a 1 m/s^2: T_s 1 s; S_h 1.6 * 1.2, S_r 0.2, S_s 0.5, margin 0.11
    assert protective_distance(LIMITS, 1.0) == pytest.approx(1.92 + 0.2 + 0.5 + 0.11)


@given(st.floats(0, 20), st.floats(0.01, 3), st.floats(0, 2), st.floats(0.05, 50), st.floats(0, 1))
def test_distance_and_speed_are_inverse(speed, human, reaction, deceleration, margin):
    limits = SeparationLimits(human, reaction, deceleration, intrusion_m=margin)
    assert allowed_speed(limits, protective_distance(limits, speed)) == pytest.approx(speed, rel=1e-6, abs=1e-9)


@given(st.floats(0, 100), st.floats(0, 100))
def test_nearer_is_never_faster(one, other):
    near, far = sorted((one, other))
    assert allowed_speed(LIMITS, near) <= allowed_speed(LIMITS, far)


def test_a_person_at_the_machine_stops_it():
    assert allowed_speed(LIMITS, 0.0) == allowed_speed(LIMITS, -math.inf) == 0.0


@pytest.mark.parametrize(
    "call", [lambda: allowed_speed(LIMITS, math.nan), lambda: protective_distance(LIMITS, math.nan)]
)
def test_nan_raises(call):
    with pytest.raises(ValueError, match="number"):
        call()


@pytest.mark.parametrize(
    "wrong", [{"human_speed_m_s": 0}, {"deceleration_m_s2": math.nan}, {"reaction_s": -1}, {"back_off": 0.5}]
)
def test_wrong_limits_are_refused(wrong):
    with pytest.raises(ProfileError):
        SeparationLimits(**wrong)


@pytest.mark.parametrize(
    ("zone", "point", "inside"),
    [
        (SQUARE, (1, 1), True),
        (SQUARE, (2, 1), True),
        (SQUARE, (0, 0), True),
        (SQUARE, (2.001, 1), False),
        (NOTCHED, (2, 0.5), True),
        (NOTCHED, (2, 3), False),
        (NOTCHED, (3.5, 3), True),
    ],
)
def test_points_and_polygons(zone, point, inside):
    assert zone.contains(point) is inside


@pytest.mark.parametrize("corners", [((0, 0), (1, 1)), ((0, 0), (1, 1), (math.nan, 0))])
def test_a_zone_without_an_area_is_refused(corners):
    with pytest.raises(ProfileError):
        Zone("x", ZoneKind.STOP, corners)


def test_approach_reduces_then_holds_and_resumes_only_farther_away():
    monitor = SeparationMonitor(LIMITS, (), full_speed_m_s=0.5)
    nearest = protective_distance(LIMITS, 0.01)
    assert monitor.observe([], (0, 0)).demand is Demand.RUN
    assert monitor.observe([(5, 0)], (0, 0)).demand is Demand.RUN
    assert monitor.observe([(0.8, 0), (5, 0)], (0, 0)).demand is Demand.REDUCED
    assert monitor.observe([(nearest - 0.01, 0)], (0, 0)).demand is Demand.HOLD
    assert monitor.observe([(nearest + 0.01, 0)], (0, 0)).demand is Demand.HOLD
    assert monitor.observe([(LIMITS.back_off * nearest + 0.01, 0)], (0, 0)).demand is Demand.REDUCED
    assert monitor.observe([(nearest + 0.01, 0)], (0, 0)).demand is Demand.REDUCED


def test_zones_hold_or_latch_whatever_the_distance():
    monitor = SeparationMonitor(
        LIMITS, (SQUARE, Zone("press", ZoneKind.EXCLUSION, ((90, 90), (99, 90), (99, 99)))), 0.5
    )
    assert monitor.observe([(1, 1)], (50, 50)).demand is Demand.HOLD
    assert "press" in monitor.observe([(98, 91)], (0, 0)).reason
    assert monitor.observe([(98, 91)], (0, 0)).demand is Demand.LATCH


def test_a_position_that_is_not_a_number_counts_as_beside_the_machine():
    assert SeparationMonitor(LIMITS, (), 0.5).observe([(math.nan, 1.0)], (0, 0)).demand is Demand.HOLD


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=4), st.tuples(st.floats(), st.floats()))
def test_any_numbers_give_a_demand(people, machine):
    separation = SeparationMonitor(LIMITS, (SQUARE,), 0.5).observe(people, machine)
    assert 0.0 <= separation.speed_m_s <= 0.5
    assert (separation.demand is Demand.RUN) == (separation.speed_m_s == 0.5)
