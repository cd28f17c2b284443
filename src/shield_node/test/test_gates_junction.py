"""Corners: too hard for the axes only where a program raises the planner's limits; slow ones of a mill are noted."""

import math

import numpy as np
import pytest

from industriverse_core.artefacts import Severity
from industriverse_core.machine import load_machine
from industriverse_core.program import Limit, Op, Plane, build_program
from shield_node.gates import check
from shield_node.gates.context import Context
from shield_node.gates.rules_junction import _directions

RULE = "motion.junction"
PRINTER, MILL = load_machine("prusa_mk3s"), load_machine("grbl_mill")
HOME = {"op": Op.HOME, "target": 7}


def line(x, y, z=0.0, speed=0.1):
    return {"op": Op.STRAIGHT_FEED, "x_m": x, "y_m": y, "z_m": z, "feed_m_s": speed}


def arc(x, y, first, second, turns=1, speed=0.1):
    centre = {"center_1_m": first, "center_2_m": second, "turns": turns, "target": Plane.XY}
    return {**line(x, y, speed=speed), "op": Op.ARC_FEED, **centre}


def limit(kind, value):
    return {"op": Op.SET_LIMIT, "target": kind, "value": value}


def found(rows, profile):
    return [item for item in check(build_program(rows), profile).findings if item.rule == RULE]


CORNER = [line(0.1, 0.0), line(0.1, 0.1)]


def test_a_planner_with_its_own_limits_takes_every_corner():
    assert found([HOME, *CORNER], PRINTER) == []


@pytest.mark.parametrize(
    ("jerk", "rows", "value"),
    [
        (0.012, CORNER, 12.0),  # X stops at once from 12 mm/s at the corner
        (0.5, CORNER, 100.0),  # the feed itself
        (0.5, [line(0.1, 0.0), line(0.0, 0.0)], 200.0),  # back where it came from
        (0.5, [line(0.1, 0.0), line(0.2, 0.0)], None),  # straight on
        (0.5, [line(0.1, 0.0), arc(0.1, 0.1, 0.1, 0.05)], None),  # into an arc on its tangent
        (0.5, [line(0.1, 0.0), arc(0.1, 0.1, 0.1, 0.05, -1)], 200.0),  # against it
        (0.5, [line(0.1, 0.0), arc(0.15, 0.05, 0.1, 0.05), line(0.15, 0.1)], None),  # out of it on its tangent
        (0.008, CORNER, None),  # the machine's own
    ],
)
def test_classic_jerk(jerk, rows, value):
    raised = [limit(Limit.JERK_X, jerk), limit(Limit.JERK_Y, jerk)]
    seen = [item for item in found([HOME, *raised, *rows], PRINTER) if "let X" in item.message]
    assert [(item.severity, round(item.value, 6), item.limit) for item in seen] == (
        [] if value is None else [(Severity.WARNING, value, 8.0)]
    )


def test_the_axis_whose_limit_is_not_raised_slows_the_corner_for_both():
    assert found([HOME, limit(Limit.JERK_X, 0.5), *CORNER], PRINTER) == []


def test_corners_before_the_limit_is_raised_do_not_count():
    assert found([HOME, *CORNER, limit(Limit.JERK_X, 0.5), line(0.1, 0.2)], PRINTER) == []


def test_a_right_angle_with_junction_deviation():
    """v = sqrt(a d s / (1 - s)) with s = sin 45 deg: GRBL's own example of a = 100 mm/s2 and d = 0.01 mm."""
    s = math.sqrt(0.5)
    allowed = math.sqrt(100.0 * 0.01 * s / (1.0 - s))
    (note,) = found([line(0.1, 0.0, speed=0.02), line(0.1, 0.1, speed=0.02)], MILL)
    assert note.severity is Severity.INFO
    assert (note.value, note.limit) == (pytest.approx(20.0), pytest.approx(allowed))
    assert found([line(0.1, 0.0, speed=0.003), line(0.1, 0.1, speed=0.003)], MILL) == []
    assert found([line(0.1, 0.0, speed=0.02), line(0.2, 0.0, speed=0.02)], MILL) == []


def test_a_raised_junction_deviation():
    rows = [limit(Limit.JUNCTION_DEVIATION, 9e-5), line(0.1, 0.0, speed=0.02), line(0.1, 0.1, speed=0.02)]
    warning = next(item for item in found(rows, MILL) if item.severity is Severity.WARNING)
    assert warning.value == pytest.approx(3.0 * warning.limit)


def test_klippers_square_corner_velocity_is_its_speed_at_a_right_angle():
    kinematics = PRINTER.kinematics.model_copy(update={"planner": "square_corner", "square_corner_velocity": 5e-3})
    profile = PRINTER.model_copy(update={"kinematics": kinematics})
    rows = [HOME, limit(Limit.JUNCTION_DEVIATION, 1e-3), *CORNER]
    (warning,) = found(rows, profile)
    assert warning.limit == pytest.approx(5.0)
    assert found([HOME, *CORNER], profile) == []


def test_directions_are_tangents():
    rows = [line(0.1, 0.0), arc(0.15, 0.05, 0.1, 0.05), arc(0.15, 0.05, 0.1, 0.05, -2)]
    begin, end = _directions(Context(build_program(rows), PRINTER))
    np.testing.assert_allclose([item[1] for item in begin], [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose([item[1] for item in end], [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose([item[2] for item in begin], [0, -1, 0], atol=1e-9)
