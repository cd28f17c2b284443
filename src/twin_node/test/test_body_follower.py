"""The body beside a machine's telemetry: at the machine's motion clock, within bounds; and whole programs on it."""

import dataclasses
import math
from itertools import islice

import numpy as np
import pytest

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Box, load_machine
from industriverse_core.motion import position_at
from industriverse_core.program import Op, build_program
from industriverse_core.telemetry import MachineState
from twin_node.body.body import STEP_S
from twin_node.body.follower import AHEAD_STEPS, MOST_STEPS, RUN_IN_STEPS, Follower
from twin_node.body.rehearsal import rehearse
from twin_node.shadow import Shadow
from twin_node.timeline import build_timeline


@pytest.fixture(scope="module")
def timeline(printer, program, pla):
    return build_timeline(program, printer, pla)


def first_move_s(timeline):
    return float(timeline.plan.end_s[np.argmax(timeline.plan.length_m > 0.0)])


@pytest.mark.parametrize("period_s", [0.05, 0.6])
def test_the_body_goes_with_the_machine(printer, pla, machine, timeline, period_s):
    shadow, follower = Shadow(printer), Follower(printer)
    shadow.begin(timeline, pla)
    compared = 0
    executing = (sample for sample in machine.run(period_s) if sample.job_id and sample.instruction >= 6)
    for sample in islice(executing, 800):  # after homing and levelling
        shadow.observe(sample)
        motion = shadow.motion(sample)
        stretch = follower.observe(motion)
        assert (stretch is None) == (motion is None)
        if stretch is None:
            continue
        compared += 1
        planned = position_at(timeline.plan, timeline.program, motion[1])
        assert motion[1] - STEP_S - 1e-6 <= stretch.clock_s <= motion[1] + AHEAD_STEPS * STEP_S
        if motion[1] - stretch.clock_s > -1e-6:
            assert math.dist(stretch.position_m, planned.position_m) < 2e-4 + STEP_S * planned.speed_m_s
        assert stretch.steps <= MOST_STEPS
        assert stretch.collisions == ()
    assert compared > 100
    assert follower.restarts == 0


def test_nothing_is_expected_while_the_machine_homes_or_has_no_known_program(printer, pla, machine, timeline):
    shadow, follower = Shadow(printer), Follower(printer)
    sample = next(machine.run())
    assert shadow.motion(sample) is None
    shadow.begin(timeline, pla)
    homing = int(np.flatnonzero(timeline.program.columns["op"] == Op.HOME)[0])
    shadow.observe(dataclasses.replace(sample, instruction=homing))
    assert shadow.motion(dataclasses.replace(sample, instruction=homing)) is None
    assert shadow.motion(dataclasses.replace(sample, instruction=homing + 3)) is not None
    assert follower.observe(None) is None


def test_the_body_waits_while_the_clock_stands_still(printer, timeline):
    follower, clock_s = Follower(printer), 3.0
    moving = follower.observe((timeline, clock_s))
    held = follower.observe((timeline, clock_s))
    assert (moving.steps, held.steps) == (RUN_IN_STEPS, 0)
    assert held.position_m == moving.position_m
    assert math.isnan(held.effort_n[0])
    assert follower.observe((timeline, clock_s + 0.05)).steps == 50


def test_a_body_left_behind_or_ahead_is_set_down_near_the_present(printer, timeline):
    follower = Follower(printer)
    begin_s = first_move_s(timeline) + 1.0
    follower.observe((timeline, begin_s))
    for clock_s in (begin_s + 20.0, begin_s + 2.0):
        stretch = follower.observe((timeline, clock_s))
        planned = position_at(timeline.plan, timeline.program, clock_s)
        assert stretch.steps == RUN_IN_STEPS
        assert stretch.clock_s == pytest.approx(clock_s, abs=STEP_S)
        assert math.dist(stretch.position_m, planned.position_m) < 2e-4 + STEP_S * planned.speed_m_s
    assert follower.restarts == 2
    assert follower.observe((timeline, begin_s + 1.9)).steps == 0, "a little ahead: it waits"
    assert follower.restarts == 2


def test_another_program_begins_anew(printer, pla, timeline):
    follower = Follower(printer)
    follower.observe((timeline, 3.0))
    rows = [{"op": Op.STRAIGHT_FEED, "x_m": x, "y_m": 0.1, "z_m": 0.02, "feed_m_s": 0.05} for x in (0.1, 0.2)]
    other = build_timeline(build_program(rows), printer, pla)
    follower.observe(None)
    stretch = follower.observe((other, 0.05))
    assert stretch.steps == 50
    assert stretch.clock_s == pytest.approx(0.05)


def test_a_hold_stops_the_clock_that_the_body_follows(printer, pla, machine, timeline):
    shadow = Shadow(printer)
    shadow.begin(timeline, pla)
    samples = [sample for sample in machine.run(0.05) if sample.job_id and sample.instruction > 10]
    for sample in samples[:40]:
        shadow.observe(sample)
    before = shadow.motion(samples[39])[1]
    later = dataclasses.replace(samples[39], stamp_s=samples[39].stamp_s + 1.0, state=MachineState.HOLDING)
    shadow.observe(later)
    assert shadow.motion(later)[1] == pytest.approx(before, abs=0.05)


# --- whole programs ---


def test_a_rehearsal_of_a_good_program_finds_nothing(printer, program, timeline):
    found = rehearse(program, printer)
    assert found.collisions == ()
    assert found.motion_s == timeline.plan.total_s
    assert found.simulated_s == pytest.approx(found.motion_s, abs=STEP_S)
    assert found.rms_error_m <= found.worst_error_m < 3e-4
    assert min(found.peak_effort_n) > 1.0
    assert max(found.vibration_m_s2) > 0.0


def test_a_rehearsal_names_the_line_that_drives_through_a_clamp(printer, program):
    clip = Box.model_validate({
        "name": "clip", "x_minimum": "85 mm", "x_maximum": "95 mm", "y_minimum": "60 mm", "y_maximum": "70 mm",
        "z_maximum": "10 mm",
    })  # fmt: skip
    found = rehearse(program, printer.model_copy(update={"keep_out": (clip,)}))
    assert len(found.collisions) == 40
    first = found.collisions[0]
    assert (first.obstacle, first.line) == ("clip", program.columns["line"][first.instruction])
    assert first.position_m == pytest.approx((0.09, 0.0595, 0.001), abs=5e-4)


def test_a_rehearsal_of_very_many_collisions_ends(printer, monkeypatch):
    monkeypatch.setattr("twin_node.body.rehearsal.MOST_COLLISIONS", 3)
    rows = [{"op": Op.STRAIGHT_FEED, "z_m": 1e-3 * (-1) ** n, "feed_m_s": 0.01} for n in range(40)]
    found = rehearse(build_program(rows), printer)
    assert len(found.collisions) == 3
    assert found.simulated_s < found.motion_s


def test_a_mill_begins_where_its_first_move_ends():
    """From the origin that move would lead through the clamp; the machine comes from above."""
    clamp = Box.model_validate({"name": "clamp", "x_minimum": "20 mm", "x_maximum": "30 mm", "z_maximum": "5 mm"})
    mill = load_machine("grbl_mill").model_copy(update={"keep_out": (clamp,)})
    rows = [
        {"op": Op.STRAIGHT_FEED, "x_m": 0.05, "y_m": 0.02, "z_m": 0.001, "feed_m_s": 0.03},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.06, "feed_m_s": 0.02},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "feed_m_s": 0.02},
    ]
    assert [hit.instruction for hit in rehearse(build_program(rows), mill).collisions] == [2]


def test_an_empty_program_is_refused(printer):
    with pytest.raises(PredictionError) as refused:
        rehearse(build_program([]), printer)
    assert refused.value.code is ErrorCode.CANNOT_PREDICT


def test_a_program_without_moves_is_no_motion(printer):
    found = rehearse(build_program([{"op": Op.SET_FAN, "value": 1.0}]), printer)
    assert (found.motion_s, found.collisions) == (0.0, ())
    assert math.isnan(found.rms_error_m)
    assert math.isnan(found.peak_effort_n[0])
