"""The planner against closed forms and its own limits; test_motion_reference.py has slow and real planners."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core import motion
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import load_machine
from industriverse_core.motion import plan_motion, position_at, positions_at
from industriverse_core.program import Limit, Op, build_program
from industriverse_core.units import filament_area_m2

PRINTER, MILL, VORON = load_machine("prusa_mk3s"), load_machine("grbl_mill"), load_machine("voron_24")
AREA = filament_area_m2(1.75e-3)


def line(x=None, y=None, z=None, feed=0.05, op=Op.STRAIGHT_FEED, **more):
    place = {name: value for name, value in (("x_m", x), ("y_m", y), ("z_m", z)) if value is not None}
    return {"op": op, "feed_m_s": feed, **place, **more}


def without_jerk(profile):
    axes = {name: getattr(profile.kinematics, name).model_copy(update={"jerk": 0.0}) for name in "xyz"}
    return profile.model_copy(update={"kinematics": profile.kinematics.model_copy(update=axes)})


def test_a_long_move_is_a_trapezoid():
    plan = plan_motion(build_program([line(x=0.1, feed=0.1)]), without_jerk(PRINTER))
    assert plan.acceleration_m_s2[0] == pytest.approx(1.0)  # M201 X is below the travel acceleration
    assert plan.total_s == pytest.approx(0.1 / 0.1 + 0.1 / 1.0)  # L/v + v/a
    assert plan.cruise_m_s[0] == pytest.approx(0.1)


def test_a_short_move_is_a_triangle():
    plan = plan_motion(build_program([line(x=0.004, feed=0.1)]), without_jerk(PRINTER))
    assert plan.total_s == pytest.approx(2 * math.sqrt(0.004 / 1.0))
    assert plan.cruise_m_s[0] == pytest.approx(math.sqrt(1.0 * 0.004))


def test_a_first_move_starts_at_the_jerk_speed_and_the_last_ends_at_rest():
    plan = plan_motion(build_program([line(x=0.1, feed=0.1)]), PRINTER)
    assert (plan.entry_m_s[0], plan.exit_m_s[0]) == (pytest.approx(0.008), 0.0)


def test_collinear_moves_take_as_long_as_one():
    whole = plan_motion(build_program([line(x=0.1, feed=0.1)]), PRINTER)
    parts = plan_motion(build_program([line(x=0.1 * k / 10, feed=0.1) for k in range(1, 11)]), PRINTER)
    assert parts.total_s == pytest.approx(whole.total_s, rel=1e-9)


def test_a_right_angle_is_taken_at_the_jerk_of_both_axes():
    plan = plan_motion(build_program([line(x=0.1, feed=0.1), line(y=0.1, feed=0.1)]), PRINTER)
    assert plan.exit_m_s[0] == plan.entry_m_s[1] == pytest.approx(0.008)


def test_a_right_angle_by_junction_deviation_is_the_closed_form():
    moves = [line(x=0.1, feed=0.03), line(y=0.1, feed=0.03)]
    plan = plan_motion(build_program(moves), MILL)
    s = math.sin(math.pi / 4)
    # the turn points along (-1, 1): both axes brake, so the path may accelerate by sqrt(2) times one axis
    expected = math.sqrt(math.sqrt(2) * 0.1 * 1e-5 * s / (1 - s))
    assert plan.entry_m_s[1] == pytest.approx(expected, rel=1e-6)
    assert plan.entry_m_s[0] == 0.0


def test_a_reversal_stops_a_mill():
    plan = plan_motion(build_program([line(x=0.1, feed=0.03), line(x=0.0, feed=0.03)]), MILL)
    assert plan.exit_m_s[0] == 0.0


@pytest.mark.parametrize("op", [Op.DWELL, Op.WAIT_HEATER, Op.HOME, Op.CHANGE_TOOL, Op.PROGRAM_STOP])
def test_motion_stops_where_an_instruction_waits(op):
    moves = [line(x=0.05), {"op": op, "value": 0.0}, line(x=0.1)]
    assert plan_motion(build_program(moves), PRINTER).exit_m_s[0] == 0.0
    moves[1]["op"] = Op.SET_FAN
    assert plan_motion(build_program(moves), PRINTER).exit_m_s[0] == pytest.approx(0.05)


def test_a_dwell_takes_its_seconds_and_waits_none():
    plan = plan_motion(build_program([{"op": Op.DWELL, "value": 2.5}, {"op": Op.WAIT_HEATER, "value": 200.0}]), PRINTER)
    assert list(plan.duration_s) == [2.5, 0.0]


def test_set_limit_counts_from_there_on():
    limit = {"op": Op.SET_LIMIT, "target": Limit.TRAVEL_ACCELERATION, "value": 0.5}
    plan = plan_motion(build_program([line(x=0.05), limit, line(x=0.1)]), PRINTER)
    assert list(plan.acceleration_m_s2) == [1.0, 0.0, 0.5]


def test_kinds_of_moves_have_their_acceleration():
    values = {Limit.PRINT_ACCELERATION: 0.3, Limit.TRAVEL_ACCELERATION: 0.4, Limit.RETRACT_ACCELERATION: 0.6}
    limits = [{"op": Op.SET_LIMIT, "target": limit, "value": value} for limit, value in values.items()]
    moves = [line(x=0.01, extrude_m3=1e-10), line(x=0.02), line(extrude_m3=-1e-3 * AREA)]
    plan = plan_motion(build_program(limits + moves), PRINTER)
    assert plan.acceleration_m_s2[3:] == pytest.approx([0.3, 0.4, 0.6])
    assert plan.length_m[5] == pytest.approx(1e-3, rel=1e-4)  # of the filament; volumes lie on a grid


def test_axis_limits_lower_speed_and_acceleration():
    plan = plan_motion(build_program([line(z=0.1, feed=0.1)]), PRINTER)
    assert plan.cruise_m_s[0] == pytest.approx(0.012)
    assert plan.acceleration_m_s2[0] == pytest.approx(0.2)


def test_a_rapid_moves_every_axis_of_a_mill_as_fast_as_it_can():
    rapid = line(x=0.1, y=0.1, feed=math.nan, op=Op.STRAIGHT_TRAVERSE)
    assert plan_motion(build_program([rapid]), MILL).cruise_m_s[0] == pytest.approx(math.sqrt(2) * 0.0333)


@pytest.mark.parametrize("turns", [1, -1])
@pytest.mark.parametrize("profile", [PRINTER, MILL], ids=["printer", "mill"])
def test_an_arc_has_its_length_and_a_cornering_speed(profile, turns):
    arc = line(x=0.02, op=Op.ARC_FEED, center_1_m=0.01, turns=turns, feed=0.2)
    plan = plan_motion(build_program([arc]), profile)
    assert plan.length_m[0] == pytest.approx(0.01 * math.pi)
    tight = line(x=0.002, op=Op.ARC_FEED, center_1_m=0.001, turns=turns, feed=0.2)
    assert plan_motion(build_program([tight]), profile).cruise_m_s[0] < plan.cruise_m_s[0]


def test_a_full_circle_and_a_helix():
    circle = line(op=Op.ARC_FEED, center_1_m=0.01, turns=1)
    helix = line(z=0.005, op=Op.ARC_FEED, center_1_m=0.01, turns=2)
    plan = plan_motion(build_program([circle, helix]), MILL)
    assert plan.length_m[0] == pytest.approx(0.02 * math.pi)
    assert plan.length_m[1] == pytest.approx(math.hypot(0.04 * math.pi, 0.005))


@pytest.mark.parametrize(
    "row",
    [
        line(x=math.nan), line(x=math.inf), line(x=0.01, feed=0.0), line(x=0.01, feed=-1.0),
        {"op": Op.DWELL, "value": -1.0}, {"op": Op.DWELL, "value": math.nan},
        {"op": Op.SET_LIMIT, "target": Limit.SPEED_X, "value": math.nan},
        line(x=0.0, op=Op.ARC_FEED, turns=1),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused_with_its_line(row):
    with pytest.raises(CoreError, match="line 7") as caught:
        plan_motion(build_program([{**row, "line": 7}]), PRINTER)
    assert caught.value.code == ErrorCode.CANNOT_PREDICT


def test_a_mill_feeds_no_filament():
    with pytest.raises(CoreError, match="acceleration"):
        plan_motion(build_program([line(extrude_m3=1e-9)]), MILL)


def test_an_empty_program_takes_no_time():
    assert plan_motion(build_program([]), PRINTER).total_s == 0.0


def test_position_follows_the_plan():
    arc = line(x=0.06, y=0.0, op=Op.ARC_FEED, center_1_m=0.05, turns=1)
    program = build_program([line(x=0.04), {"op": Op.DWELL, "value": 1.0}, arc])
    plan = plan_motion(program, PRINTER)
    dwelling = position_at(plan, program, plan.end_s[0] + 0.5)
    assert (dwelling.instruction, dwelling.position_m, dwelling.speed_m_s) == (1, (0.04, 0.0, 0.0), 0.0)
    middle = position_at(plan, program, plan.end_s[1] + plan.duration_s[2] / 2)
    assert middle.position_m == pytest.approx((0.05, -0.01, 0.0), abs=4e-4)
    assert math.dist(middle.position_m, (0.05, 0.0, 0.0)) == pytest.approx(0.01)
    assert position_at(plan, program, -1.0).position_m == (0.0, 0.0, 0.0)
    assert position_at(plan, program, 1e9).position_m == pytest.approx((0.06, 0.0, 0.0))
    with pytest.raises(ValueError, match="needs a time"):
        position_at(plan, program, math.nan)


@pytest.mark.parametrize("profile", [PRINTER, MILL], ids=lambda each: each.id)
def test_many_positions_are_those_of_each_time(profile):
    rows = [
        line(x=0.03, feed=0.03), {"op": Op.DWELL, "value": 0.5}, {"op": Op.SET_FAN, "value": 0.5},
        line(x=0.05, y=0.02, feed=0.05), line(feed=0.03), line(x=0.05, y=0.02, z=0.001, feed=0.01),
        line(x=0.03, y=0.04, feed=0.05, op=Op.ARC_FEED, center_1_m=0.03, center_2_m=0.02, turns=1),
        line(x=0.0, y=0.0, feed=0.1),
    ]  # fmt: skip
    program = build_program(rows)
    plan = plan_motion(program, profile)
    times_s = np.concatenate([np.linspace(-1.0, plan.total_s + 1.0, 500), plan.end_s])
    expected = np.array([position_at(plan, program, float(t)).position_m for t in times_s])
    np.testing.assert_allclose(positions_at(plan, program, times_s), expected, rtol=0.0, atol=1e-12)
    with pytest.raises(ValueError, match="times"):
        positions_at(plan, program, np.array([0.0, math.nan]))


def program_for(profile, moves):
    """A mill feeds no filament."""
    return build_program([{**move, "extrude_m3": move["extrude_m3"] * (profile is not MILL)} for move in moves])


points = st.integers(0, 100).map(lambda mm: mm * 1e-3)
moves_of_all_kinds = st.lists(
    st.builds(
        lambda x, y, z, feed, e: line(x=x, y=y, z=z * 0.1, feed=feed, extrude_m3=e * 1e-3 * AREA),
        points, points, points, st.sampled_from([1e-3, 0.02, 0.1, 0.5, math.nan]), st.integers(-2, 5),
    ),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(moves_of_all_kinds, st.sampled_from([PRINTER, MILL]))
def test_no_limit_is_ever_exceeded(moves, profile):
    program = program_for(profile, moves)
    plan = plan_motion(program, profile)
    delta = np.diff(np.vstack([np.zeros((1, 3)), program.positions_m()]), axis=0)
    path = np.linalg.norm(delta, axis=1)
    for axis, limits in enumerate(profile.kinematics.axes()):
        share = np.divide(np.abs(delta[:, axis]), path, out=np.zeros(len(path)), where=path > 0)
        assert np.all(share * plan.cruise_m_s <= limits.max_speed * (1 + 1e-9))
        assert np.all(share * plan.acceleration_m_s2 <= limits.max_acceleration * (1 + 1e-9))
    feed = np.where(np.isnan(program.feed_m_s), np.inf, program.feed_m_s)
    assert np.all(plan.cruise_m_s <= feed * (1 + 1e-9))
    assert np.all(plan.entry_m_s <= plan.cruise_m_s * (1 + 1e-9))
    assert np.all(plan.exit_m_s <= plan.cruise_m_s * (1 + 1e-9))


@settings(max_examples=100, deadline=None)
@given(moves_of_all_kinds, st.sampled_from([PRINTER, MILL, VORON]))
def test_each_trapezoid_covers_its_length_and_meets_the_next(moves, profile):
    program = program_for(profile, moves)
    plan = plan_motion(program, profile)
    moving = np.flatnonzero(plan.length_m > 0)
    v0, v, v1, a = (
        getattr(plan, name)[moving] for name in ("entry_m_s", "cruise_m_s", "exit_m_s", "acceleration_m_s2")
    )
    ramps = (2 * v**2 - v0**2 - v1**2) / (2 * a)
    flat = plan.duration_s[moving] - (2 * v - v0 - v1) / a
    assert plan.length_m[moving] == pytest.approx(ramps + flat * v, rel=1e-6, abs=1e-12)
    assert np.all(flat >= -1e-9)
    # a move that follows another without a stop enters as the other left
    assert v1[:-1] == pytest.approx(np.minimum(v0[1:], v[:-1]))
    assert np.all(np.diff(plan.end_s) >= 0)


@settings(max_examples=60, deadline=None)
@given(moves_of_all_kinds, st.floats(0, 1))
def test_position_is_continuous_and_speed_is_its_derivative(moves, when):
    program = build_program(moves)
    plan = plan_motion(program, PRINTER)
    t, dt = when * plan.total_s, 1e-6
    here, there = position_at(plan, program, t), position_at(plan, program, t + dt)
    assert math.dist(here.position_m, there.position_m) <= 0.5 * dt + 1e-12


@settings(max_examples=100, deadline=None)
@given(moves_of_all_kinds, st.integers(0, 29), st.sampled_from([PRINTER, MILL, VORON]))
def test_a_move_in_two_halves_never_saves_time(moves, which, profile):
    """Nor does a horizon end earlier for it: each half is a block of its own."""
    which %= len(moves)
    program = program_for(profile, moves)
    start, end = program.starts_m()[which], program.positions_m()[which]
    fed = moves[which]["extrude_m3"] / 2
    half = {name: (a + b) / 2 for name, a, b in zip(("x_m", "y_m", "z_m"), start, end, strict=True)}
    halves = [{**moves[which], **half, "extrude_m3": fed}, {**moves[which], "extrude_m3": fed}]
    split = program_for(profile, [*moves[:which], *halves, *moves[which + 1 :]])
    whole_s = plan_motion(program, profile).total_s
    assert plan_motion(split, profile).total_s >= whole_s * (1 - 1e-6)


@settings(max_examples=100, deadline=None)
@given(moves_of_all_kinds, st.sampled_from([PRINTER, MILL, VORON]))
def test_no_move_is_shorter_than_at_its_cruising_speed(moves, profile):
    plan = plan_motion(program_for(profile, moves), profile)
    moving = plan.cruise_m_s > 0
    assert np.all(plan.duration_s[moving] >= plan.length_m[moving] / plan.cruise_m_s[moving] * (1 - 1e-9))


def limit(kind, value):
    return {"op": Op.SET_LIMIT, "target": kind, "value": value}


def test_klipper_obeys_the_acceleration_of_m204_alone():
    move = line(x=0.1, feed=0.5)
    ignored = [limit(kind, 0.001) for kind in (Limit.SPEED_X, Limit.ACCELERATION_X, Limit.JERK_X, Limit.SPEED_Z)]
    free = plan_motion(build_program([move]), VORON)
    assert (free.cruise_m_s[0], free.acceleration_m_s2[0]) == (pytest.approx(0.3), pytest.approx(3.0))
    assert plan_motion(build_program([*ignored, move]), VORON).total_s == free.total_s
    both = [limit(Limit.PRINT_ACCELERATION, 1.0), limit(Limit.TRAVEL_ACCELERATION, 2.0)]
    assert plan_motion(build_program([*both, move]), VORON).acceleration_m_s2[2] == 1.0
    alone = plan_motion(build_program([both[0], line(x=0.01), both[1], line(x=0.1)]), VORON)
    assert alone.acceleration_m_s2[[1, 3]] == pytest.approx([3.0, 3.0])  # P, or T, without the other


def test_klipper_takes_a_right_angle_at_the_square_corner_velocity_and_halves_none_of_the_ramp():
    still = VORON.model_copy(update={"kinematics": VORON.kinematics.model_copy(update={"minimum_cruise_ratio": 0.0})})
    plan = plan_motion(build_program([line(x=0.1, feed=0.1), line(x=0.1, y=0.1, feed=0.1)]), still)
    assert plan.exit_m_s[0] == plan.entry_m_s[1] == pytest.approx(0.005)
    assert plan.entry_m_s[0] == plan.exit_m_s[1] == 0.0
    short = build_program([line(x=0.01, feed=0.3)])
    assert plan_motion(short, still).cruise_m_s[0] == pytest.approx(math.sqrt(3.0 * 0.01))
    assert plan_motion(short, VORON).cruise_m_s[0] == pytest.approx(math.sqrt(1.5 * 0.01))  # half of it must cruise


def test_marlin_sees_fourteen_blocks_beyond_the_one_it_carries_out():
    plan = plan_motion(build_program([line(x=1e-3 * k, feed=0.2) for k in range(1, 200)]), PRINTER)
    assert plan.cruise_m_s.max() == pytest.approx(math.sqrt(2 * 1.0 * 14e-3), rel=0.05)


def test_an_arc_of_a_turn_too_small_for_a_segment_is_dropped_and_endless_arcs_are_refused(monkeypatch):
    tiny = line(op=Op.ARC_FEED, center_1_m=1e-5, turns=1)
    assert plan_motion(build_program([tiny]), VORON).total_s == 0.0
    monkeypatch.setattr(motion, "MAX_ARC_SEGMENTS", 1000)
    coil = [line(z=0.1 * k, op=Op.ARC_FEED, center_1_m=0.01, turns=100, line=k) for k in (1, 2, 3)]
    with pytest.raises(CoreError, match=r"line 1.*more than 1000") as caught:
        plan_motion(build_program(coil), PRINTER)
    assert caught.value.code == ErrorCode.CANNOT_PREDICT


def test_klipper_obeys_its_own_limits_and_not_marlins():
    from industriverse_core.program import Limit

    klipper = load_machine("voron_24")

    def time_with(limit, value):
        rows = [{"op": Op.SET_LIMIT, "target": limit, "value": value}]
        for x, y in ((0.2, 0.0), (0.2, 0.2), (0.0, 0.2), (0.0, 0.0)):
            rows.append({"op": Op.STRAIGHT_FEED, "x_m": x, "y_m": y, "feed_m_s": 0.2})
        return plan_motion(build_program(rows), klipper).total_s

    usual = time_with(Limit.RETRACT_ACCELERATION, 1.0)
    assert time_with(Limit.TOOLHEAD_SPEED, 0.05) > 1.5 * usual
    assert time_with(Limit.SQUARE_CORNER_VELOCITY, 0.0) > usual
    assert time_with(Limit.MINIMUM_CRUISE_RATIO, 0.95) > usual
    for ignored in (Limit.SPEED_X, Limit.JERK_X, Limit.ACCELERATION_X):
        assert time_with(ignored, 0.001) == usual
