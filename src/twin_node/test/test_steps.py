"""Merged steps: what they are made of, against a plain reading of the program, and against one step an instruction."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.artefacts import Subsystem
from industriverse_core.gcode import load_program
from industriverse_core.machine import Enclosure, load_machine
from industriverse_core.material import load_material
from industriverse_core.motion import plan_motion
from industriverse_core.program import COLUMNS, Heater, Op, Program, build_program, normalise
from twin_node.oracle import predict
from twin_node.steps import STEP_S, WAIT_BED, WAIT_HOTEND, _most_steps, merge_steps
from twin_node.timeline import build_timeline

PRINTER, MILL = load_machine("prusa_mk3s"), load_machine("grbl_mill")
ENCLOSED = PRINTER.model_copy(update={"enclosure": Enclosure(heat_capacity="2 kJ/K", loss="3 W/K")})
PLA, ALUMINIUM = load_material("PLA"), load_material("Al6061")

heats = st.builds(
    lambda op, target, value, cools: {"op": op, "target": target, "value": value, "turns": int(cools and value > 0.0)},
    st.sampled_from([Op.SET_HEATER, Op.WAIT_HEATER]), st.sampled_from([Heater.HOTEND, Heater.BED]),
    st.sampled_from([0.0, 40.0, 60.0, 110.0]), st.booleans(),
)  # fmt: skip
moves = st.builds(
    lambda op, x, volume, feed: {"op": op, "x_m": x, "extrude_m3": volume, "feed_m_s": feed},
    st.sampled_from([Op.STRAIGHT_FEED, Op.STRAIGHT_TRAVERSE]), st.sampled_from([0.0, 0.001, 0.01, 0.1]),
    st.sampled_from([0.0, 0.0, 1e-10, 1e-9, -1e-9]), st.sampled_from([0.01, 0.05, 0.2]),
)  # fmt: skip
others = st.one_of(
    st.builds(lambda value: {"op": Op.SET_FAN, "value": value}, st.sampled_from([0.0, 0.5, 1.0])),
    st.builds(lambda value: {"op": Op.DWELL, "value": value}, st.sampled_from([0.0, 0.1, 0.3, 5.0])),
    st.sampled_from([Op.HOME, Op.LEVEL_BED, Op.MOTORS_OFF, Op.PROGRAM_END, Op.NOP]).map(lambda op: {"op": op}),
)
cutting = st.one_of(
    st.builds(
        lambda op, value: {"op": op, "value": value},
        st.sampled_from([Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE]), st.sampled_from([0.0, 500.0]),
    ),
    st.sampled_from([Op.STOP_SPINDLE_TURNING, Op.FLOOD_ON, Op.MIST_ON, Op.COOLANT_OFF]).map(lambda op: {"op": op}),
)  # fmt: skip
printed = st.lists(st.one_of(moves, moves, moves, heats, others), min_size=1, max_size=60)
dry = moves.map(lambda row: {**row, "extrude_m3": 0.0})
milled = st.lists(st.one_of(dry, dry, others, cutting), min_size=1, max_size=60)


def in_force(program, profile):
    """What is switched on during each instruction, read one by one."""
    now = dict.fromkeys(("hotend_target_c", "bed_target_c", "fan", "motors", "spindle", "coolant"), 0.0)
    for row in range(len(program)):
        op, target, value = (program.columns[name][row] for name in ("op", "target", "value"))
        if op in (Op.SET_HEATER, Op.WAIT_HEATER):
            now["hotend_target_c" if target == Heater.HOTEND else "bed_target_c"] = value
        elif op == Op.SET_FAN:
            now["fan"] = value
        elif op in (Op.STRAIGHT_FEED, Op.STRAIGHT_TRAVERSE, Op.HOME, Op.LEVEL_BED, Op.MOTORS_OFF):
            now["motors"] = op != Op.MOTORS_OFF
        elif op in (Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE):
            now["spindle"] = value / profile.spindle.max_speed
        elif op in (Op.FLOOD_ON, Op.MIST_ON):
            now["coolant"] = 1.0
        if op in (Op.STOP_SPINDLE_TURNING, Op.PROGRAM_END):
            now["spindle"] = 0.0
        if op in (Op.COOLANT_OFF, Op.PROGRAM_END):
            now["coolant"] = 0.0
        yield dict(now)


def check_merging(rows, profile, material):
    program = build_program(rows)
    timeline = build_timeline(program, profile, material)
    merged, steps, course = timeline.merged, timeline.steps, timeline.course
    for row, expected in enumerate(in_force(program, profile)):
        for name, value in expected.items():
            assert getattr(steps, name)[row] == value, (row, name)
        waits = program.op[row] == Op.WAIT_HEATER
        kind = (WAIT_HOTEND if program.target[row] == Heater.HOTEND else WAIT_BED) if waits else 0
        assert (steps.wait[row], steps.cools[row]) == (kind, waits and program.turns[row] > 0)
    ends = np.append(merged.first[1:], len(program))
    for name in ("motion_s", "homing_s", "dwell_s", "path_m", "melted_kg", "removed_m3"):
        own, summed = getattr(steps, name), getattr(course.steps, name)
        for first, end, value in zip(merged.first, ends, summed, strict=True):
            assert value == pytest.approx(math.fsum(own[first:end]), rel=1e-9, abs=1e-18), name
    for first, end, highest in zip(merged.first, ends, course.steps.speed_m_s, strict=True):
        assert highest == steps.speed_m_s[first:end].max()
        lasts = timeline.duration_s[first:end]
        assert math.fsum(lasts) <= STEP_S * (1.0 + 1e-9) or np.count_nonzero(lasts) == 1
    assert len(merged.first) <= _most_steps(program, timeline.plan, profile, STEP_S)
    return timeline


@settings(max_examples=150, deadline=None)
@given(printed)
def test_steps_of_a_print_are_its_instructions_put_together(rows):
    check_merging(rows, PRINTER, PLA)


@settings(max_examples=100, deadline=None)
@given(milled)
def test_steps_of_a_mill_are_its_instructions_put_together(rows):
    check_merging(rows, MILL, ALUMINIUM)


def test_a_step_ends_at_every_switch_and_at_every_wait(program):
    merged = build_timeline(program, PRINTER, PLA).merged
    switches = [Op.SET_HEATER, Op.WAIT_HEATER, Op.SET_FAN, Op.MOTORS_OFF]
    assert set(np.flatnonzero(np.isin(program.op, switches))) <= set(merged.first.tolist())
    after = np.flatnonzero(program.op == Op.WAIT_HEATER) + 1
    assert set(after) <= set(merged.first.tolist())


def check_shares(timeline):
    """Columns over the instructions add up to each step's, and no joule is negative."""
    merged, course = timeline.merged, timeline.course
    pairs = [(timeline.energy_j[part], course.energy_j[part]) for part in course.energy_j]
    pairs += [
        (getattr(timeline, name), getattr(course, name)) for name in ("lost_j", "work_j", "part_lost_j", "duration_s")
    ]
    for own, of_steps in pairs:
        assert merged.sums(own) == pytest.approx(of_steps, rel=1e-9, abs=1e-9)
    assert all((column >= -1e-9).all() for column in timeline.energy_j.values())
    last = np.append(merged.first[1:], merged.count) - 1
    for name in ("hotend_c", "bed_c", "air_c", "part_c"):
        assert np.array_equal(getattr(timeline, name)[last], getattr(course, name)), name


@settings(max_examples=100, deadline=None)
@given(printed, st.booleans())
def test_shares_of_the_instructions_add_up_to_the_step(rows, enclosed):
    check_shares(build_timeline(build_program(rows), ENCLOSED if enclosed else PRINTER, PLA))


@settings(max_examples=100, deadline=None)
@given(printed, st.booleans())
def test_any_print_takes_what_one_step_an_instruction_takes(rows, enclosed):
    """Joules to 0.1 % even where a heater falls behind a flow that comes in bursts."""
    program = build_program(rows)
    profile = ENCLOSED if enclosed else PRINTER
    merged, fine = (build_timeline(program, profile, PLA, longest_s=each) for each in (STEP_S, 0.0))
    assert merged.total_s == pytest.approx(fine.total_s, rel=1e-3, abs=1e-9)
    assert merged.electric_j == pytest.approx(fine.electric_j, rel=1e-3, abs=1e-6)
    assert merged.heat_j == pytest.approx(fine.heat_j, rel=1e-3, abs=1e-3 * fine.electric_j)


@pytest.mark.parametrize("name", ["cube20_mk3s_pla_020", "cube20_ender3_pla_020", "vase_mk3s_pla_020_spiral"])
@pytest.mark.parametrize("enclosed", [False, True])
def test_a_sliced_file_takes_what_one_step_an_instruction_takes(reference_data, name, enclosed):
    """Joules to 0.001 %, those of the single instructions to 0.01 %, blocks to 0.1 K."""
    program = load_program(reference_data / "gcode" / "fdm" / f"{name}.gcode")
    profile = load_machine("ender3" if "ender3" in name else "prusa_mk3s")
    if enclosed:
        profile = profile.model_copy(update={"enclosure": ENCLOSED.enclosure})
    merged, fine = (build_timeline(program, profile, PLA, longest_s=each) for each in (STEP_S, 0.0))
    assert len(merged.merged.first) < 0.7 * len(fine.merged.first)
    assert merged.electric_j == pytest.approx(fine.electric_j, rel=1e-5)
    assert merged.total_s == pytest.approx(fine.total_s, rel=1e-9)
    assert merged.peak_power_w == pytest.approx(fine.peak_power_w, rel=1e-3)
    for part, energy in fine.energy_j.items():
        assert np.abs(merged.energy_j[part] - energy).sum() <= 1e-4 * energy.sum(), part
    for column in ("hotend_c", "bed_c", "air_c"):
        assert np.abs(getattr(merged, column) - getattr(fine, column)).max() < 0.1, column
    check_shares(merged)


def test_what_an_instruction_takes_is_by_its_kind():
    """Of two moves in one step, the one that extrudes takes the melt's heat, and each its own friction."""
    rows = [
        {"op": Op.WAIT_HEATER, "target": Heater.HOTEND, "value": 200.0},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "feed_m_s": 0.1, "extrude_m3": 1e-9},
        {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.0, "feed_m_s": 0.1},
    ]
    program = build_program(rows)
    timeline = build_timeline(program, PRINTER, PLA)
    assert list(timeline.merged.first) == [0, 1]
    extruding, travelling = timeline.energy_j[Subsystem.HOTEND][1:]
    hold_w = PRINTER.hotend.loss * (200.0 - PRINTER.hotend.window - PRINTER.ambient)
    assert travelling == pytest.approx(hold_w * timeline.duration_s[2], rel=0.2)
    melt_j = 1e-9 * PLA.density * PLA.print_enthalpy_j_per_kg(200.0, PRINTER.ambient)
    assert timeline.work_j[1] == pytest.approx(melt_j, rel=0.02)
    assert timeline.work_j[2] == 0.0
    assert extruding > travelling
    plan = plan_motion(program, PRINTER)
    friction = PRINTER.power.motion_per_speed * plan.length_m
    motors = PRINTER.power.motors_enabled * timeline.duration_s
    assert timeline.energy_j[Subsystem.MOTION][1:] == pytest.approx((friction + motors)[1:])


def test_columns_that_nobody_asks_for_are_not_made(program):
    timeline = build_timeline(program, PRINTER, PLA)
    made = set(vars(timeline))
    assert timeline.electric_j > 0.0
    assert timeline.peak_power_w > 0.0
    assert timeline.stored_j != 0.0
    assert set(vars(timeline)) == made
    timeline.prepare_to_follow()
    assert {"steps", "duration_s", "work_j"} <= set(vars(timeline))


def test_the_longest_step_bounds_their_number(program):
    plan = plan_motion(program, PRINTER)
    counts = [len(merge_steps(program, plan, PRINTER, PLA, longest_s=each).first) for each in (0.0, 0.1, 1.0, 10.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_a_prediction_takes_less_than_120_bytes_an_instruction():
    """27 MB of G-code are up to a million instructions; a column of numbers over them is 8 bytes of these."""
    count = 200_000
    columns = {name: np.zeros(count, dtype) for name, dtype in COLUMNS.items()}
    columns["op"][:] = Op.STRAIGHT_FEED
    columns["x_m"][1::2], columns["feed_m_s"][:], columns["extrude_m3"][:] = 1e-3, 0.05, 3e-11
    program = Program(normalise(columns))
    _ = program.digest
    predict(build_program([{"op": Op.STRAIGHT_FEED, "x_m": 0.01, "feed_m_s": 0.05}]), PRINTER, PLA)  # loads the loops
    tracemalloc.start()
    try:
        predict(program, PRINTER, PLA)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 120 * count
