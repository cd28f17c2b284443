"""The look-ahead: the oracle's own prediction from the start, what is left from the middle, what-ifs and limits."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.gcode import load_program
from industriverse_core.machine import Box, Enclosure, load_machine
from industriverse_core.material import load_material, resolve_material
from industriverse_core.program import Metadata, Op, build_program
from twin_node.calibration import Residuals, calibrated_prediction
from twin_node.lookahead import WHAT_IFS, WhatIf, chosen, look_ahead
from twin_node.oracle import prediction_of
from twin_node.shadow import Present, Shadow
from twin_node.steps import steps_from
from twin_node.timeline import build_timeline, kernel_columns

SHARE = st.floats(0.0, 1.0)


@pytest.fixture(scope="session")
def timeline(printer, program, pla):
    return build_timeline(program, printer, pla)


def start(timeline):
    return Present(0, 0.0, 0.0, *(float(each) for each in timeline.start_c))


def at(timeline, elapsed_s):
    """The present of a machine that does exactly what is expected, and the joules that it has used."""
    index = min(int(np.searchsorted(timeline.end_s, elapsed_s, side="right")), len(timeline.program) - 1)
    begin_s = float(timeline.end_s[index] - timeline.duration_s[index])
    share = min(1.0, (elapsed_s - begin_s) / float(timeline.duration_s[index])) if timeline.duration_s[index] else 1.0
    clock_s = float(timeline.plan.end_s[index] - (1.0 - share) * timeline.plan.duration_s[index])

    def passing(column, start_c):
        before = float(column[index - 1]) if index else float(start_c)
        return before + share * (float(column[index]) - before)

    columns = (timeline.hotend_c, timeline.bed_c, timeline.air_c)
    nodes = [passing(column, start_c) for column, start_c in zip(columns, timeline.start_c, strict=True)]
    energy = sum(timeline.energy_j.values())
    used_j = float(energy[:index].sum() + share * energy[index])
    return Present(index, clock_s, elapsed_s - begin_s, *nodes, elapsed_s=elapsed_s, energy_j=used_j)


def as_is(timeline, present, **options):
    return look_ahead(timeline, present, chosen(["as_is"]), **options)[0]


def same(case, prediction):
    assert dataclasses.astuple(case.time_s) == pytest.approx(dataclasses.astuple(prediction.time_s), rel=1e-6)
    assert dataclasses.astuple(case.energy_j) == pytest.approx(dataclasses.astuple(prediction.energy_j), rel=1e-6)
    assert case.peak_power_w == pytest.approx(prediction.peak_power_w.mean, rel=1e-6)


def enclosed(printer):
    return printer.model_copy(update={"enclosure": Enclosure(heat_capacity="500 J/K", loss="2 W/K")})


def milled(mill):
    rows = [
        {"op": Op.START_SPINDLE_CLOCKWISE, "value": 1000.0},
        {"op": Op.DWELL, "value": 3.0},
        {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.0, "y_m": 0.02, "z_m": -0.001, "feed_m_s": math.nan},
        *({"op": Op.STRAIGHT_FEED, "x_m": 0.01 * n, "y_m": 0.02, "z_m": -0.001, "feed_m_s": 0.01} for n in range(1, 8)),
    ]
    program = build_program([{"line": n + 1, **row} for n, row in enumerate(rows)], Metadata(dialect="rs274"))
    blank = Box(name="b", x_minimum="0 mm", x_maximum="80 mm", y_minimum="0 mm", y_maximum="60 mm", z_minimum="-10 mm",
                z_maximum="0 mm")  # fmt: skip
    return build_timeline(program, mill, load_material("Al6061"), stock=blank)


# --- against the oracle ---


def test_from_the_start_it_is_the_oracles_prediction(timeline, printer, pla):
    same(as_is(timeline, start(timeline)), prediction_of(timeline, printer, pla))


def test_so_it_is_in_an_enclosure_and_on_a_mill(printer, program, pla):
    profile = enclosed(printer)
    warm = build_timeline(program, profile, pla)
    same(as_is(warm, start(warm)), prediction_of(warm, profile, pla))
    mill = load_machine("grbl_mill")
    cut = milled(mill)
    assert cut.removed_m3.sum() > 0.0
    same(as_is(cut, start(cut)), prediction_of(cut, mill, cut.material))


@pytest.mark.parametrize("name", ["benchy_mk3s_pla_020.gcode", "vase_mk3s_pla_020_spiral.gcode"])
def test_so_it_is_of_sliced_files(reference_data, printer, name):
    program = load_program(reference_data / "gcode/fdm" / name)
    material = resolve_material(program.metadata.material, "printer")
    sliced = build_timeline(program, printer, material)
    same(as_is(sliced, start(sliced)), prediction_of(sliced, printer, material))
    for share in (0.25, 0.5, 0.75):
        now = at(sliced, share * sliced.total_s)
        rest = as_is(sliced, now)
        assert now.elapsed_s + rest.time_s.mean == pytest.approx(sliced.total_s, abs=0.1)
        assert now.energy_j + rest.energy_j.mean == pytest.approx(sliced.electric_j, rel=2e-3)


@given(SHARE)
def test_elapsed_and_left_are_the_whole(timeline, share):
    """Straight lines between the ends of a wait, where the heater goes by an exponential, cost up to 3 s of it."""
    now = at(timeline, share * timeline.total_s)
    rest = as_is(timeline, now)
    waits = timeline.steps.wait[now.instruction] > 0
    assert now.elapsed_s + rest.time_s.mean == pytest.approx(timeline.total_s, abs=3.0 if waits else 1e-3)
    assert now.energy_j + rest.energy_j.mean == pytest.approx(timeline.electric_j, rel=0.03 if waits else 2e-3)


@given(SHARE)
def test_it_is_so_with_a_part_that_warms_its_enclosure(printer, program, pla, share):
    warm = build_timeline(program, enclosed(printer), pla)
    now = at(warm, share * warm.total_s)
    if not warm.steps.wait[now.instruction]:
        rest = as_is(warm, now)
        assert now.elapsed_s + rest.time_s.mean == pytest.approx(warm.total_s, abs=1e-3)
        assert now.energy_j + rest.energy_j.mean == pytest.approx(warm.electric_j, rel=3e-3)


def test_elapsed_and_left_are_the_whole_on_a_mill():
    cut = milled(load_machine("grbl_mill"))
    for share in (0.1, 0.4, 0.7, 0.95):
        now = at(cut, share * cut.total_s)
        rest = as_is(cut, now)
        assert now.elapsed_s + rest.time_s.mean == pytest.approx(cut.total_s, abs=1e-6)
        assert now.energy_j + rest.energy_j.mean == pytest.approx(cut.electric_j, rel=1e-6)


def test_the_rest_has_the_kinds_of_columns_that_the_loops_are_compiled_for(timeline):
    """Another memory layout would be compiled while somebody waits for the forecast."""
    left = steps_from(50, timeline.merged, timeline.program, timeline.plan, timeline.profile, timeline.material)
    assert left.first[:2].tolist() == [50, 51]
    columns = (kernel_columns(steps, timeline.profile) for steps in (timeline.merged.steps, left.steps))
    for whole, rest in zip(*columns, strict=True):
        assert rest.dtype == whole.dtype
        assert rest.flags.c_contiguous
        assert whole.flags.c_contiguous


# --- properties ---


@given(SHARE, SHARE)
def test_later_is_never_longer(timeline, one, other):
    earlier, later = sorted((one, other))
    before, after = (as_is(timeline, at(timeline, share * timeline.total_s)).time_s for share in (earlier, later))
    assert after.mean <= before.mean + 1e-6


def test_the_interval_narrows_as_the_job_goes_on(timeline):
    points = [as_is(timeline, at(timeline, share * timeline.total_s)) for share in np.linspace(0.0, 1.0, 9)]
    for before, after in pairwise(points):
        assert after.energy_j.high - after.energy_j.low <= before.energy_j.high - before.energy_j.low + 1.0
    widths = [point.time_s.high - point.time_s.low for point in points]
    assert widths[-1] < 0.01 * widths[0]


@given(SHARE, st.floats(0.2, 1.0))
def test_slower_is_never_shorter_and_faster_never_longer(timeline, share, feed):
    now = at(timeline, share * timeline.total_s)
    cases = (WhatIf("slow", feed=feed), WhatIf("as_is"), WhatIf("fast", feed=2.0 - feed))
    slow, plain, fast = (case.time_s.mean for case in look_ahead(timeline, now, cases))
    assert slow >= plain - 1e-6
    assert fast <= plain + 1e-6


@given(SHARE)
def test_a_pause_takes_its_time_and_cooler_takes_no_more(timeline, share):
    now = at(timeline, share * timeline.total_s)
    found = {case.name: case for case in look_ahead(timeline, now)}
    assert tuple(found) == tuple(WHAT_IFS)
    plain = found["as_is"]
    waits = timeline.steps.wait[now.instruction] > 0  # what heats up meanwhile waits less behind the pause
    paused_s = found["pause_600"].time_s.mean - plain.time_s.mean
    assert paused_s <= 600.0 + 1e-6 if waits else paused_s == pytest.approx(600.0)
    assert found["pause_600"].energy_j.mean > plain.energy_j.mean
    assert found["bed_minus_5"].energy_j.mean <= plain.energy_j.mean + 1e-6
    assert found["hotend_minus_5"].energy_j.mean <= plain.energy_j.mean + 1e-6


def test_a_homing_in_hand_takes_what_is_left_of_it(timeline, printer):
    index = int(np.argmax(timeline.program.op == Op.HOME))
    now = dataclasses.replace(at(timeline, float(timeline.end_s[index - 1]) + 1.0), in_hand_s=1.0)
    assert now.instruction == index
    fresh, begun = (as_is(timeline, dataclasses.replace(now, in_hand_s=spent)).time_s.mean for spent in (0.0, 4.0))
    assert fresh - begun == pytest.approx(4.0)
    long_s = as_is(timeline, dataclasses.replace(now, in_hand_s=1e6)).time_s.mean
    assert fresh - long_s == pytest.approx(printer.kinematics.homing_time)


def test_a_measured_bed_that_is_colder_takes_longer_to_heat(timeline):
    now = at(timeline, 0.5 * float(timeline.end_s[2]))
    assert timeline.steps.wait[now.instruction] > 0
    colder = dataclasses.replace(now, bed_c=now.bed_c - 10.0)
    assert as_is(timeline, colder).time_s.mean > as_is(timeline, now).time_s.mean + 10.0


def test_after_the_last_instruction_nothing_is_left(timeline):
    done = as_is(timeline, at(timeline, timeline.total_s))
    assert done.time_s.high == pytest.approx(0.0, abs=1e-9)
    assert done.energy_j.high == pytest.approx(0.0, abs=1e-9)


def test_finished_jobs_calibrate_it_as_they_do_the_prediction(timeline, printer, pla):
    residuals = Residuals(time=(1.02, 1.03), energy=(1.1, 1.12, 1.08))
    case = as_is(timeline, start(timeline), residuals=residuals)
    same(case, calibrated_prediction(prediction_of(timeline, printer, pla), residuals))
    assert case.energy_j.mean > 1.02 * timeline.electric_j


def test_a_place_that_is_not_known_well_widens_the_interval(timeline):
    now = at(timeline, 0.95 * timeline.total_s)
    sure, unsure = (as_is(timeline, dataclasses.replace(now, place_sd_s=sd)) for sd in (0.0, 0.6))
    assert unsure.time_s.mean == sure.time_s.mean
    assert unsure.time_s.high == pytest.approx(unsure.time_s.mean + 0.99, rel=0.05)
    assert unsure.energy_j.high - unsure.energy_j.low > sure.energy_j.high - sure.energy_j.low
    last = as_is(timeline, dataclasses.replace(at(timeline, timeline.total_s), place_sd_s=0.6))
    assert last.time_s.low == 0.0


@pytest.mark.parametrize("here", [1e300, -274.0, math.nan])
def test_what_is_no_temperature_is_refused(timeline, here):
    with pytest.raises(PredictionError, match="the bed is said to be at") as refused:
        as_is(timeline, dataclasses.replace(start(timeline), bed_c=here))
    assert refused.value.code == ErrorCode.NO_FORECAST


def test_an_unknown_what_if_is_refused():
    with pytest.raises(PredictionError, match=r"'faster' is no what-if. There are: as_is") as refused:
        chosen(["as_is", "faster"])
    assert refused.value.code == ErrorCode.NO_FORECAST


# --- limits ---


def heat(name, printer, **changes):
    return printer.model_copy(update={name: getattr(printer, name).model_copy(update=changes)})


def test_a_good_job_violates_nothing(timeline):
    assert all(case.violations == () for case in look_ahead(timeline, start(timeline)))


def test_too_cold_for_its_material_is_said_with_the_line(timeline, pla):
    assert pla.nozzle_min == 180.0
    cold = look_ahead(timeline, start(timeline), [WhatIf("cold", hotend_c=-22.0)])[0].violations
    assert len(cold) == 1
    assert "line 11, for" in cold[0]  # the first move that feeds more than it had drawn back
    assert "hot end at 178 degC; PLA wants 180 to" in cold[0]
    colder = look_ahead(timeline, start(timeline), [WhatIf("colder", hotend_c=-60.0)])[0].violations
    assert "refuses to" in colder[0]


def test_a_bed_too_hot_for_its_material_is_said(timeline, pla):
    hot = look_ahead(timeline, start(timeline), [WhatIf("hot", bed_c=pla.bed_max - 45.0)])[0].violations
    assert any("the bed is at" in each and "PLA wants at most" in each for each in hot)


def test_a_heater_that_falls_behind_is_said(printer, program, pla):
    weak = heat("hotend", printer, power=14.0)
    timeline = build_timeline(program, weak, pla)
    found = as_is(timeline, start(timeline)).violations
    assert any("the hot end falls" in each and "14 W are not enough" in each for each in found)


def test_a_target_that_is_never_reached_has_no_end(printer, program, pla):
    timeline = build_timeline(program, printer, pla)
    case = look_ahead(timeline, start(timeline), [WhatIf("hell", bed_c=400.0)])[0]
    assert case.time_s.mean == math.inf
    assert case.violations[0] == "line 3: the bed never reaches 450 degC."


def test_more_than_the_supply_gives_is_said(printer, program, pla):
    limited = heat("power", printer, supply=240.0)
    timeline = build_timeline(program, limited, pla)
    found = as_is(timeline, start(timeline)).violations
    assert len(found) == 1
    assert "the supply gives 240 W" in found[0]


def test_more_than_the_hot_end_melts_is_said(printer, program, pla):
    narrow = heat("extruder", printer, max_flow=7.5e-9)
    timeline = build_timeline(program, narrow, pla)
    assert as_is(timeline, start(timeline)).violations == ()
    found = look_ahead(timeline, start(timeline), [WhatIf("fast", feed=1.3)])[0].violations
    assert "the hot end melts 7.5 mm^3/s" in found[0]


def test_a_cut_that_stalls_the_spindle_is_said():
    mill = load_machine("grbl_mill")
    plain = milled(mill)
    needed_w = as_is(plain, start(plain)).peak_power_w
    spindle = mill.spindle.model_copy(
        update={"max_power": needed_w - mill.power.electronics - mill.power.motors_enabled}
    )
    cut = milled(mill.model_copy(update={"spindle": spindle}))
    assert as_is(cut, start(cut)).violations == ()
    found = look_ahead(cut, start(cut), [WhatIf("fast", feed=2.0)])[0].violations
    assert "the spindle has" in found[0]


def test_a_job_that_leaves_its_prediction_is_said(timeline, printer, pla):
    predicted = prediction_of(timeline, printer, pla)
    now = at(timeline, 0.9 * timeline.total_s)
    assert as_is(timeline, now, predicted=predicted).violations == ()
    hungry = dataclasses.replace(now, energy_j=2.0 * predicted.energy_j.mean)
    found = as_is(timeline, hungry, predicted=predicted).violations
    assert len(found) == 1
    assert found[0].startswith("the whole job draws")


# --- from the shadow ---


def test_the_shadow_says_where_the_job_is(printer, program, pla, machine, timeline):
    shadow = Shadow(printer)
    assert shadow.present() is None
    shadow.begin(timeline, pla)
    assert shadow.present() is None
    samples = [sample for sample in machine.run(0.5) if sample.job_id][:-1]  # the last one repeats its stamp
    ends_s = samples[-1].stamp_s
    for sample in samples:
        shadow.observe(sample)
        present = shadow.present()
        assert present.instruction == sample.instruction
        if sample.instruction < 8:
            continue
        left = as_is(timeline, present).time_s.mean
        assert left == pytest.approx(ends_s - sample.stamp_s, abs=1.0)
    shadow.end()
    assert shadow.present() is None
