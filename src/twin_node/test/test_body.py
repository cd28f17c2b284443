"""The body follows the plan, feels what mechanics says, finds what the tool drives into, and repeats itself exactly."""

import math
import subprocess
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Box, load_machine
from industriverse_core.motion import plan_motion, position_at
from industriverse_core.program import Op, Plane, build_program
from twin_node.body.body import STEP_S, Body
from twin_node.body.mechanics import mechanics

FEED = Op.STRAIGHT_FEED


def moves(*places, feed_m_s=0.05, first=1):
    """A program of straight feeds through places [m], a source line each."""
    rows = [
        {"op": FEED, "line": first + number, "x_m": x, "y_m": y, "z_m": z, "feed_m_s": feed_m_s}
        for number, (x, y, z) in enumerate(places)
    ]
    return build_program(rows)


def bare(profile, **fields):
    """The profile without friction, and with other fields of every axis."""
    axes = {letter: getattr(profile.kinematics, letter) for letter in "xyz"}
    changed = {letter: axis.model_copy(update={"friction": 0.0, **fields}) for letter, axis in axes.items()}
    return profile.model_copy(update={"kinematics": profile.kinematics.model_copy(update=changed)})


def following(profile, program, **options):
    body = Body(profile, **options)
    body.follow(program, plan_motion(program, profile))
    return body


def to_the_end(body):
    return body.advance(body.steps_to(body.plan.total_s))


SQUARE = moves((0.05, 0.05, 0.01), (0.1, 0.05, 0.01), (0.1, 0.1, 0.01), (0.05, 0.1, 0.02), (0.05, 0.05, 0.01))


def curved():
    """Arcs in all three planes, a whole circle with a rise, a dwell, a retraction and homing in between."""
    return build_program([
        {"op": FEED, "x_m": 0.05, "y_m": 0.05, "z_m": 0.02, "feed_m_s": 0.05},
        {"op": Op.ARC_FEED, "x_m": 0.07, "feed_m_s": 0.03, "center_1_m": 0.06, "center_2_m": 0.05, "turns": 1},
        {"op": Op.ARC_FEED, "z_m": 0.03, "feed_m_s": 0.03, "center_1_m": 0.06, "center_2_m": 0.05, "turns": -2},
        {"op": Op.DWELL, "value": 0.1},
        {"op": FEED, "extrude_m3": -2e-9, "feed_m_s": 0.03},
        {"op": Op.ARC_FEED, "x_m": 0.08, "z_m": 0.04, "feed_m_s": 0.02, "center_1_m": 0.04, "center_2_m": 0.07,
         "turns": 1, "target": Plane.ZX},
        {"op": Op.ARC_FEED, "y_m": 0.06, "z_m": 0.05, "feed_m_s": 0.02, "center_1_m": 0.05, "center_2_m": 0.05,
         "turns": -1, "target": Plane.YZ},
        {"op": Op.HOME, "target": 3, "x_m": 0.0, "y_m": 0.0},
        {"op": FEED, "x_m": 0.05, "y_m": 0.01, "feed_m_s": 0.05},
    ])  # fmt: skip


# --- the path ---


@pytest.mark.parametrize("program", [SQUARE, curved()], ids=["square", "curved"])
def test_the_sampled_path_is_the_planned_one(program, printer):
    body = following(printer, program)
    plan = body.plan
    count = int(plan.total_s / STEP_S) + 20
    position, velocity, instruction = body._sample(count)
    for row in range(count):
        state = position_at(plan, program, row * STEP_S)
        assert tuple(position[row]) == pytest.approx(state.position_m, abs=1e-12)
        assert instruction[row] == state.instruction
        moves_tool = plan.length_m[state.instruction] > 0.0 and program.columns["extrude_m3"][state.instruction] == 0.0
        if state.fraction < 1.0:
            assert math.hypot(*velocity[row]) == pytest.approx(state.speed_m_s if moves_tool else 0.0, rel=1e-9)
    assert tuple(velocity[-1]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["prusa_mk3s", "ender3", "voron_24", "grbl_mill"])
def test_the_tool_stays_near_the_plan(name):
    profile = load_machine(name)
    body = following(profile, SQUARE)
    stretch = to_the_end(body)
    plan = body.plan
    assert stretch.worst_error_m < 2e-4
    assert math.dist(stretch.position_m, position_at(plan, SQUARE, body.clock_s).position_m) < 1e-4
    assert (stretch.instruction, stretch.collisions, stretch.restarts) == (4, (), 0)


def test_homing_sets_the_body_down_where_the_machine_comes_out(printer):
    body = following(printer, curved())
    stretch = to_the_end(body)
    assert stretch.restarts == 1
    assert stretch.worst_error_m < 3e-4


def test_steps_end_at_the_clock(printer):
    body = following(printer, SQUARE)
    assert body.steps_to(0.1) == 100
    body.advance(100)
    assert body.clock_s == pytest.approx(0.1)
    assert body.steps_to(0.1) == 0
    assert body.steps_to(0.05) < 0
    still = body.advance(0)
    assert still.steps == 0
    assert math.isnan(still.effort_n[0])
    assert still.position_m == body.advance(-3).position_m


# --- what it feels ---


def test_the_effort_is_mass_times_acceleration_and_friction_and_weight(printer):
    """A long move in x: while it speeds up, at speed, and at rest; the other axes hold still."""
    program = moves((0.24, 0.0, 0.05), feed_m_s=0.2)
    profile = printer.model_copy(
        update={"kinematics": printer.kinematics.model_copy(update={"planner": "square_corner"})}
    )
    plan = plan_motion(program, profile)
    body = Body(profile)
    x = mechanics(profile).axis("x")
    body.follow(program, plan)
    at_speed = 0.5 * plan.total_s
    body.advance(body.steps_to(at_speed))
    cruising = [body.advance(1).effort_n for _ in range(100)]
    assert np.mean(cruising, axis=0)[0] == pytest.approx(x.friction_n, rel=0.02)
    stretch = body.advance(body.steps_to(plan.total_s))
    # a step in acceleration swings once as far as its steady value
    assert x.moving_mass_kg * plan.acceleration_m_s2[0] - x.friction_n < stretch.peak_effort_n[0] <= x.max_force_n


def test_a_pull_is_the_mass_times_its_acceleration(printer):
    profile = bare(printer)
    program = moves((0.2, 0.0, 0.05), (0.2, 0.2, 0.05), feed_m_s=0.2)
    body = following(profile, program)
    plan, x = body.plan, mechanics(profile).axis("x")
    ramp_s = (plan.cruise_m_s[0] - plan.entry_m_s[0]) / plan.acceleration_m_s2[0]
    forces = np.array([body.advance(1).effort_n for _ in range(body.steps_to(ramp_s))])
    share = 0.2 / math.hypot(0.2, 0.05)
    impulse = forces[:, 0].sum() * STEP_S
    gained = body._data.joint("prusa_mk3s_x").qvel[0] - plan.entry_m_s[0] * share
    assert impulse == pytest.approx(x.moving_mass_kg * gained, rel=1e-6)
    assert gained == pytest.approx((plan.cruise_m_s[0] - plan.entry_m_s[0]) * share, rel=0.1)


def test_a_weak_motor_does_not_follow(printer):
    weak = bare(printer, max_force=0.01)
    stretch = following(weak, SQUARE).advance(300)
    assert stretch.worst_error_m > 1e-3
    assert max(stretch.peak_effort_n) == pytest.approx(0.01)


def test_what_moves_faster_shakes_more(printer):
    slow, fast = (to_the_end(following(printer, moves(*[(x, 0.05, 0.01) for x in (0.0, 0.05, 0.0)], feed_m_s=v)))
                  for v in (0.01, 0.1))  # fmt: skip
    assert 0.0 < slow.vibration_m_s2[0] < fast.vibration_m_s2[0]


# --- what it touches ---


def clamped(profile, low_mm, high_mm, name="clamp"):
    bounds = {f"{axis}_{end}": f"{value} mm" for end, corner in (("minimum", low_mm), ("maximum", high_mm))
              for axis, value in zip("xyz", corner, strict=True)}  # fmt: skip
    return profile.model_copy(update={"keep_out": (Box.model_validate({"name": name, **bounds}),)})


def test_a_drive_through_a_clamp_names_its_line(printer):
    profile = clamped(printer, (70, 40, 0), (80, 60, 15))
    over = moves((0.05, 0.05, 0.02), (0.1, 0.05, 0.02), (0.1, 0.05, 0.01), (0.05, 0.05, 0.01), first=11)
    stretch = to_the_end(following(profile, over))
    (hit,) = stretch.collisions
    assert (hit.obstacle, hit.instruction, hit.line) == ("clamp", 3, 14)
    assert hit.position_m == pytest.approx((0.0805, 0.05, 0.01), abs=3e-4)
    assert stretch.worst_error_m < 2e-4, "the tool goes on through what it hits"


def test_each_entry_is_one_collision(printer):
    profile = clamped(printer, (70, 40, 0), (80, 60, 15))
    program = moves((0.05, 0.05, 0.01), (0.1, 0.05, 0.01), (0.05, 0.05, 0.01))
    body = following(profile, program)
    found = []
    while body.steps_to(body.plan.total_s) > 0:
        found += body.advance(min(37, body.steps_to(body.plan.total_s))).collisions
    assert [hit.instruction for hit in found] == [1, 2]
    assert to_the_end(following(profile, program)).collisions == tuple(found)


def test_to_touch_the_bed_is_none_and_to_drive_into_it_is_one(printer):
    assert to_the_end(following(printer, moves((0.05, 0.05, 0.0), (0.1, 0.05, 0.0)))).collisions == ()
    (hit,) = to_the_end(following(printer, moves((0.05, 0.05, 0.01), (0.05, 0.05, -0.001)))).collisions
    assert (hit.obstacle, hit.instruction) == ("the bed", 1)


def test_a_thick_tool_hits_what_a_thin_one_passes():
    profile = clamped(load_machine("grbl_mill"), (0, 50, -10), (100, 60, 5))

    def passing(tool):
        return build_program([
            {"op": FEED, "x_m": 0.02, "y_m": 0.02, "z_m": 0.01, "feed_m_s": 0.03},
            {"op": Op.CHANGE_TOOL, "target": tool},
            {"op": FEED, "y_m": 0.048, "z_m": -0.005, "feed_m_s": 0.03},
            {"op": FEED, "x_m": 0.05, "feed_m_s": 0.03},
        ])  # fmt: skip

    thin, thick, unknown = (to_the_end(following(profile, passing(tool))).collisions for tool in (2, 3, 99))
    assert thin == ()
    assert [hit.instruction for hit in thick] == [2]
    assert unknown == thick


# --- state ---


def after(body, steps):
    body.advance(steps)
    return body.save()


@settings(max_examples=25, deadline=None)
@given(before=st.integers(1, 2500), more=st.integers(1, 400), split=st.integers(0, 400))
def test_save_and_restore_repeat_every_bit(before, more, split):
    profile = clamped(load_machine("prusa_mk3s"), (70, 40, 0), (80, 60, 15))
    body = following(profile, SQUARE)
    body.advance(before)
    saved = body.save()
    first = after(body, more)
    body.restore(saved)
    assert body.save() == saved
    body.advance(min(split, more))
    assert after(body, more - min(split, more)) == first


ELSEWHERE = """
import sys
from industriverse_core.machine import load_machine
from industriverse_core.motion import plan_motion
from industriverse_core.program import Op, build_program
from twin_node.body.body import Body, BodyState

profile = load_machine("voron_24")
places = ((0.05, 0.05, 0.01), (0.1, 0.05, 0.01), (0.1, 0.1, 0.01), (0.05, 0.1, 0.02), (0.05, 0.05, 0.01))
program = build_program([
    {"op": Op.STRAIGHT_FEED, "line": 1 + n, "x_m": x, "y_m": y, "z_m": z, "feed_m_s": 0.05}
    for n, (x, y, z) in enumerate(places)
])
body = Body(profile)
body.follow(program, plan_motion(program, profile))
body.restore(BodyState(bytes.fromhex(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), frozenset()))
body.advance(500)
print(body.save().physics.hex())
"""


def test_another_process_goes_on_to_the_same_bits():
    body = following(load_machine("voron_24"), SQUARE)
    saved = after(body, 700)
    words = [saved.physics.hex(), repr(saved.origin_s), str(saved.steps)]
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, *words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == after(body, 500).physics.hex()


def test_states_of_other_models_and_times_that_are_none_are_refused(printer):
    body = following(printer, SQUARE)
    saved = body.save()
    with pytest.raises(ValueError):
        body.restore(types.SimpleNamespace(**{**{n: getattr(saved, n) for n in saved.__slots__}, "physics": b"\0" * 8}))
    with pytest.raises(ValueError):
        body.place(math.nan)
    with pytest.raises(ValueError):
        body.follow(build_program([]), plan_motion(build_program([]), printer))


def test_without_mujoco_there_is_no_body(printer, monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(PredictionError, match="MuJoCo") as refused:
        Body(printer)
    assert refused.value.code is ErrorCode.NO_BODY
