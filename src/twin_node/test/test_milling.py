"""Milling: idle power, cutting energy of what is removed, coolant, and the spindle's limit."""

import math
from dataclasses import replace

import numpy as np
import pytest

from industriverse_core.artefacts import Subsystem
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import Box, Tool, load_machine
from industriverse_core.material import load_material
from industriverse_core.motion import position_at
from industriverse_core.program import Op, build_program
from industriverse_core.telemetry import MachineState, TelemetrySample, Trace
from twin_node.account import Account
from twin_node.journal import ResidualJournal
from twin_node.milling import mean_power_w
from twin_node.oracle import predict
from twin_node.shadow import Shadow
from twin_node.tariff import load_tariff
from twin_node.timeline import build_timeline

BLANK = Box.model_validate({
    "name": "blank", "x_minimum": "0 mm", "x_maximum": "100 mm", "y_minimum": "0 mm", "y_maximum": "60 mm",
    "z_minimum": "-10 mm", "z_maximum": "0 mm",
})  # fmt: skip
TOOL = Tool(number=1, diameter="6 mm", cutting_length="20 mm", max_depth="3 mm", max_plunge="2 mm/s")
BASE = load_machine("grbl_mill")
SPINDLE = BASE.spindle.model_copy(update={"max_power": 300.0})
POWER = BASE.power.model_copy(update={"coolant": 40.0})
MILL = BASE.model_copy(update={"tools": (TOOL,), "stock": BLANK, "spindle": SPINDLE, "power": POWER})
ALUMINIUM = load_material("Al6061")


def slot(depth_m=2e-3, feed_m_s=5e-3):
    """A slot along the whole blank at half of the spindle's speed, flood on while it cuts."""
    return build_program([
        {"op": Op.START_SPINDLE_CLOCKWISE, "value": SPINDLE.max_speed / 2},
        {"op": Op.STRAIGHT_TRAVERSE, "x_m": -0.01, "y_m": 0.03, "z_m": 0.005, "feed_m_s": np.nan},
        {"op": Op.FLOOD_ON},
        {"op": Op.STRAIGHT_FEED, "z_m": -depth_m, "feed_m_s": feed_m_s, "line": 4},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.11, "feed_m_s": feed_m_s, "line": 5},
        {"op": Op.COOLANT_OFF},
        {"op": Op.STRAIGHT_TRAVERSE, "z_m": 0.005, "feed_m_s": np.nan},
        {"op": Op.PROGRAM_END},
    ])  # fmt: skip


def test_cutting_energy_is_k_times_the_volume_above_the_idle_spindle():
    timeline = build_timeline(slot(), MILL, ALUMINIUM)
    volume = 6e-3 * 2e-3 * 0.1
    idle = 0.5 * SPINDLE.idle_power * timeline.total_s
    cutting = ALUMINIUM.cutting_energy * volume
    assert timeline.energy_j[Subsystem.SPINDLE].sum() == pytest.approx(idle + cutting, rel=0.01)
    assert cutting > 100.0
    assert timeline.heat_j == pytest.approx(timeline.electric_j)  # chips and tool give it all to the room


def test_the_peak_is_that_of_the_cut():
    timeline = build_timeline(slot(), MILL, ALUMINIUM)
    rate = 6e-3 * 2e-3 * 5e-3  # m^3/s
    base = POWER.electronics + POWER.motors_enabled + 0.5 * SPINDLE.idle_power + 40.0 + POWER.motion_per_speed * 5e-3
    assert timeline.peak_power_w == pytest.approx(base + ALUMINIUM.cutting_energy * rate, rel=0.05)


def test_coolant_runs_while_it_is_on():
    timeline = build_timeline(slot(), MILL, ALUMINIUM)
    on = float(timeline.duration_s[2:5].sum())
    assert timeline.energy_j[Subsystem.COOLANT].sum() == pytest.approx(40.0 * on)


def test_without_stock_or_cutting_energy_only_the_idle_spindle_counts():
    idle = build_timeline(slot(), MILL.model_copy(update={"stock": None}), ALUMINIUM)
    assert idle.energy_j[Subsystem.SPINDLE].sum() == pytest.approx(0.5 * SPINDLE.idle_power * idle.total_s)
    unknown = build_timeline(slot(), MILL, load_material("PLA"))
    assert unknown.electric_j == pytest.approx(idle.electric_j)


def test_a_job_may_name_another_blank():
    half = BLANK.model_copy(update={"x_maximum": 0.05})
    whole, less = (predict(slot(), MILL, ALUMINIUM, stock) for stock in (None, half))
    saved = whole.energy_j.mean - less.energy_j.mean
    assert saved == pytest.approx(ALUMINIUM.cutting_energy * 6e-3 * 2e-3 * 0.05, rel=0.02)


def test_a_cut_beyond_the_spindles_power_is_refused_with_its_line():
    with pytest.raises(CoreError, match=r"line 5: the cut needs \d+ W .* 300 W") as caught:
        build_timeline(slot(depth_m=9e-3, feed_m_s=20e-3), MILL, ALUMINIUM)
    assert caught.value.code == ErrorCode.CANNOT_PREDICT


def test_the_uncertainty_of_the_cutting_energy_widens_the_spindles_interval():
    vague = MILL.model_copy(update={"spindle": SPINDLE.model_copy(update={"uncertainty": 0.5})})
    exact = MILL.model_copy(update={"spindle": SPINDLE.model_copy(update={"uncertainty": 0.0})})
    wide, narrow = (
        predict(slot(), machine, ALUMINIUM).energy_by_subsystem_j[Subsystem.SPINDLE] for machine in (vague, exact)
    )
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)
    assert wide.mean == narrow.mean


def test_the_mean_power_over_a_window():
    energy, duration = np.array([0.0, 10.0, 10.0, 0.0]), np.array([5.0, 1.0, 0.1, 5.0])
    assert mean_power_w(energy, duration, 1.0) == pytest.approx([0.0, 10.0, 19.0, 0.0])


def samples(timeline, period_s=0.5):
    """Telemetry of a mill that does what its timeline says."""
    total = sum(timeline.energy_j.values())
    used, end = np.concatenate([[0.0], np.cumsum(total)]), np.concatenate([[0.0], timeline.end_s])
    for clock in np.append(np.arange(0.0, timeline.total_s, period_s), timeline.total_s):
        index = min(int(np.searchsorted(timeline.end_s, clock, side="right")), len(timeline.steps) - 1)
        duration = timeline.duration_s[index]
        yield TelemetrySample(
            stamp_s=float(clock), machine_id=MILL.id, incarnation=1, challenge=1, state=MachineState.EXECUTING,
            job_id="J1", program_digest=timeline.program.digest, instruction=index,
            progress=float(clock) / timeline.total_s, energy_j=float(np.interp(clock, end, used)),
            power_w=float(total[index] / duration) if duration > 0.0 else 0.0,
        )  # fmt: skip


def test_the_books_of_a_mill_close_with_cut_and_coolant():
    timeline = build_timeline(slot(), MILL, ALUMINIUM)
    account = Account("J1", timeline.program.digest, MILL, timeline, ALUMINIUM)
    for sample in samples(timeline, 0.1):
        account.observe(sample)
    account.executed = len(timeline.steps)
    entry = account.close(load_tariff("default"))
    assert abs(entry.residual_fraction) < 0.01
    for subsystem in (Subsystem.SPINDLE, Subsystem.COOLANT):
        expected = float(timeline.energy_j[subsystem].sum())
        assert entry.energy_by_subsystem_j[subsystem] == pytest.approx(expected, rel=0.03)


def test_the_shadow_expects_the_power_of_the_cut():
    timeline = build_timeline(slot(), MILL, ALUMINIUM)
    shadow = Shadow(MILL)
    shadow.begin(timeline, ALUMINIUM)
    scores = [shadow.observe(sample)[3].z_score for sample in samples(timeline, 0.1)]
    assert max(abs(score) for score in scores if math.isfinite(score)) < 3.0


SET_UP_S = 20.0


def after_set_up(timeline):
    """The same mill, which first homes: its motors are on, and it stands elsewhere."""
    watts = POWER.electronics + POWER.motors_enabled
    first = replace(next(samples(timeline)), instruction=0)
    for clock in np.arange(0.0, SET_UP_S, 0.1):
        yield replace(
            first, stamp_s=float(clock), progress=0.0, power_w=watts, energy_j=float(watts * clock),
            position_m=(0.3, 0.18, 0.04),
        )  # fmt: skip
    for sample in samples(timeline, 0.1):
        yield replace(sample, stamp_s=sample.stamp_s + SET_UP_S, energy_j=sample.energy_j + watts * SET_UP_S)


def test_homing_is_in_the_books_and_teaches_the_next_prediction_nothing(tmp_path):
    timeline = build_timeline(slot(), MILL, ALUMINIUM)
    account = Account("J1", timeline.program.digest, MILL, timeline, ALUMINIUM)
    for sample in after_set_up(timeline):
        account.observe(sample)
    account.executed = len(timeline.steps)
    entry = account.close(load_tariff("default"))
    assert abs(entry.residual_fraction) < 0.01
    assert entry.time_s == pytest.approx(SET_UP_S + timeline.total_s)
    assert account.set_up_s == pytest.approx(SET_UP_S, abs=0.2)
    assert account.set_up_j == pytest.approx(30.0 * SET_UP_S, rel=0.02)
    journal = ResidualJournal(tmp_path / "residuals.sqlite")
    assert journal.add(account, 1.0)
    learnt = journal.residuals(MILL.id)
    assert (learnt.time[0], learnt.energy[0]) == (pytest.approx(1.0, abs=0.02), pytest.approx(1.0, abs=0.02))


def test_a_trace_says_that_a_long_first_move_has_begun():
    account = Account("J1", slot().digest, MILL, build_timeline(slot(), MILL, ALUMINIUM), ALUMINIUM)
    first = replace(next(samples(account.timeline)), instruction=0)
    account.observe(first)
    account.observe(replace(first, stamp_s=1.0))
    account.observe_trace(Trace(1.0, MILL.id, "J1", slot().digest, 1, 0, 0, 8))
    account.observe(replace(first, stamp_s=2.0))
    assert account.set_up_s == 1.0


def test_while_a_mill_homes_no_place_is_expected_and_its_spindle_stands():
    timeline = build_timeline(slot(), MILL, ALUMINIUM)
    shadow = Shadow(MILL)
    shadow.begin(timeline, ALUMINIUM)
    seen = [(sample, shadow.observe(sample)) for sample in after_set_up(timeline)]
    homing = [channels for sample, channels in seen if sample.stamp_s < SET_UP_S]
    assert all(math.isnan(channels[2].measured) for channels in homing)
    powers = [channels[3].z_score for channels in homing if math.isfinite(channels[3].z_score)]
    assert len(powers) > 100
    assert max(map(abs, powers)) < 0.5
    assert max(abs(c[3].z_score) for _, c in seen if math.isfinite(c[3].z_score)) < 3.0


def test_a_tool_that_is_elsewhere_after_the_first_move_shows():
    timeline = build_timeline(slot(), MILL, ALUMINIUM)
    shadow = Shadow(MILL)
    shadow.begin(timeline, ALUMINIUM)
    elsewhere = [replace(sample, position_m=(0.3, 0.18, 0.04)) for sample in samples(timeline, 0.1)]
    assert max(shadow.observe(sample)[2].z_score for sample in elsewhere[-20:]) > 5.0


def test_a_stamp_that_repeats_is_no_other_place():
    """Where /clock is late, two samples have one stamp; the second one is already in the next move."""
    timeline = build_timeline(slot(), MILL, ALUMINIUM)
    shadow = Shadow(MILL)
    shadow.begin(timeline, ALUMINIUM)
    cut = 4
    stamp_s = float(timeline.end_s[cut - 1]) - 0.1
    for sample in samples(timeline, 0.1):
        if sample.stamp_s < stamp_s:
            shadow.observe(
                replace(sample, position_m=position_at(timeline.plan, timeline.program, sample.stamp_s).position_m)
            )
    place_m = position_at(timeline.plan, timeline.program, float(timeline.end_s[cut - 1]) + 0.2).position_m
    progress = (float(timeline.end_s[cut - 1]) + 0.2) / timeline.total_s
    last = replace(sample, stamp_s=stamp_s, instruction=cut - 1, progress=stamp_s / timeline.total_s)
    shadow.observe(replace(last, position_m=position_at(timeline.plan, timeline.program, stamp_s).position_m))
    channels = shadow.observe(replace(last, instruction=cut, progress=progress, position_m=place_m))
    assert channels[2].measured == pytest.approx(0.0, abs=1e-5)  # the estimated delay is some microseconds
