"""Tariffs over time, quarter-hour peaks, losses and tool wear."""

import math
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import Tool, load_machine
from industriverse_core.program import Op, build_program
from twin_node.risk import LossEvent, cvar, risk_of
from twin_node.run_series import Batch, RunSeries
from twin_node.tariff import WEEK_S, Tariff, carbon_table, load_tariff, price_table, start_of, week_second
from twin_node.tool_wear import ToolUse, tool_uses, wear_cost

HOUR = 3600.0
FLAT = {
    "id": "test", "currency": "EUR", "energy_per_kwh": 0.2, "grid_carbon_g_per_kwh": 400, "carbon_per_tonne": 50,
    "sources": {},
}  # fmt: skip
NIGHT = {"name": "night", "from_hour": 22, "to_hour": 6, "energy_per_kwh": 0.1}
SUNDAY = {"name": "sunday", "days": ["sun"], "from_hour": 6, "to_hour": 22, "energy_per_kwh": 0.15}


@pytest.fixture(scope="module")
def tariff():
    return Tariff(**FLAT, bands=[NIGHT, SUNDAY])


def series(*steps):
    """Steps of (duration, power)."""
    duration, power = np.array(steps, dtype=float).T
    return RunSeries.from_columns(duration, duration * power, np.zeros(len(steps)))


def test_the_week_is_covered_once(tariff):
    table = price_table(tariff)
    assert (table.edges_s[0], table.edges_s[-1]) == (0.0, WEEK_S)
    assert (np.diff(table.edges_s) > 0).all()
    assert dict(zip(table.names, table.share_of_week() * 168, strict=True)) == pytest.approx(
        {"night": 56.0, "sunday": 16.0, "other hours": 96.0}
    )
    assert price_table(tariff).mean == pytest.approx((56 * 0.1 + 16 * 0.15 + 96 * 0.2) / 168)
    assert len(price_table(Tariff(**FLAT)).values) == 1


def test_energy_falls_into_the_hours_in_which_it_is_used(tariff):
    # Sunday 21:00: one hour of 100 W on Sunday, then two of 50 W at night
    batch = Batch(series((HOUR, 100.0), (2 * HOUR, 50.0)))
    start = week_second(datetime(2026, 3, 8, 21))
    assert price_table(tariff).energy_j(batch, start) == pytest.approx([2 * HOUR * 50, HOUR * 100, 0.0])
    # from Sunday 23:30 over the week's end into Monday 06:00 and an hour on
    long = Batch(series((7.5 * HOUR, 10.0)))
    assert price_table(tariff).energy_j(long, start + 2.5 * HOUR) == pytest.approx([6.5 * HOUR * 10, 0.0, 10 * HOUR])


def test_carbon_by_the_hour():
    by_hour = Tariff(**FLAT, grid_carbon_by_hour=[100.0] * 12 + [500.0] * 12)
    batch = Batch(series((2 * HOUR, 100.0)))
    table = carbon_table(by_hour)
    assert table.energy_j(batch, 11 * HOUR) @ table.values == pytest.approx(HOUR * 100 * 600)
    assert table.mean == pytest.approx(300.0)
    assert carbon_table(Tariff(**FLAT)).mean == pytest.approx(400.0)


STEPS = st.lists(st.tuples(st.floats(0.01, 5e4), st.floats(0.0, 2e3)), min_size=1, max_size=8)


@given(steps=STEPS, count=st.integers(1, 40), pause_s=st.floats(0.0, 1e4), start_s=st.none() | st.floats(0.0, WEEK_S))
def test_no_joule_is_lost_or_priced_twice(tariff, steps, count, pause_s, start_s):
    batch = Batch(series(*steps), count, pause_s)
    total = count * batch.run.total_j
    assert price_table(tariff).energy_j(batch, start_s).sum() == pytest.approx(total)
    assert batch.run.total_j == pytest.approx(sum(duration * power for duration, power in steps))
    assert price_table(tariff).energy_j(batch, start_s).min() >= -1e-6


@given(steps=STEPS, count=st.integers(1, 5), pause_s=st.floats(0.0, 1e3), start_s=st.floats(0.0, WEEK_S))
def test_no_quarter_hour_is_above_the_worst(steps, count, pause_s, start_s):
    batch = Batch(series(*steps), count, pause_s)
    worst = batch.highest_quarter_w(None)
    assert batch.highest_quarter_w(start_s) <= worst * (1 + 1e-9) + 1e-9
    assert worst <= max(power for _, power in steps) * (1 + 1e-9)
    quarters = max(1, math.ceil(batch.total_s / 900.0))  # so many cover it all
    assert worst >= batch.count * batch.run.total_j / (900.0 * quarters) * (1 - 1e-6) - 1e-9


def test_quarter_hours_of_the_clock():
    batch = Batch(series((900.0, 100.0)))
    assert batch.highest_quarter_w(0.0) == pytest.approx(100.0)
    assert batch.highest_quarter_w(450.0) == pytest.approx(50.0)  # half of it in each of two quarters
    assert batch.highest_quarter_w(None) == pytest.approx(100.0)
    short = series((90.0, 1000.0))
    assert Batch(short).highest_quarter_w(None) == pytest.approx(100.0)
    assert Batch(short, 3, 10.0).highest_quarter_w(None) == pytest.approx(300.0)


def test_short_instructions_are_merged_without_loss():
    duration = np.full(10_000, 0.01)
    energy = np.linspace(0.0, 1.0, 10_000)
    merged = RunSeries.from_columns(duration, energy, energy * 1e-3)
    assert len(merged.time_s) < 110
    assert (merged.total_s, merged.total_j) == pytest.approx((100.0, energy.sum()))
    assert merged.material_kg[-1] == pytest.approx(energy.sum() * 1e-3)
    again = merged.scaled(50.0, 7.0, 0.0)
    assert (again.total_s, again.total_j, again.material_kg[-1]) == pytest.approx((50.0, 7.0, 0.0))


def test_a_run_of_nothing():
    empty = RunSeries.from_columns(np.zeros(0), np.zeros(0), np.zeros(0))
    assert (empty.total_s, empty.total_j, Batch(empty, 100).highest_quarter_w(None)) == (0.0, 0.0, 0.0)
    assert empty.scaled(10.0, 5.0, 1.0).total_j == 5.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bands": [NIGHT, {**NIGHT, "name": "late", "from_hour": 5, "to_hour": 7}]}, "both price mon 05:00"),
        ({"bands": [NIGHT, {**NIGHT, "from_hour": 7, "to_hour": 8}]}, "name of its own"),
        ({"bands": [{**NIGHT, "name": "other hours"}]}, "name of its own"),
        ({"bands": [{**NIGHT, "days": ["monday"]}]}, "'mon'"),
        ({"grid_carbon_by_hour": [1.0, 2.0]}, "24 numbers"),
        ({"grid_carbon_by_hour": [1.0] * 23 + [-1.0]}, "greater than or equal to 0"),
        ({"energy_per_kwh": math.nan}, "finite"),
        ({"energy_per_kwh": 1e308}, "less than or equal"),
        ({"currency": "euro"}, "pattern"),
    ],
)
def test_wrong_tariffs(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        Tariff(**{**FLAT, **change})


def test_wrong_tariff_files_are_named(tmp_path):
    with pytest.raises(CoreError, match="Did you mean 'default'"):
        load_tariff("defalt")
    path = tmp_path / "tariff.yaml"
    path.write_text("id: x\ncurrency: euro\n")
    with pytest.raises(CoreError, match=r"tariff\.yaml"):
        load_tariff(str(path))


def test_starts_are_local_times():
    assert start_of("2026-03-02T06:00") == datetime(2026, 3, 2, 6)
    assert week_second(datetime(2026, 3, 2, 6)) == 6 * HOUR
    assert start_of("") is None
    for wrong in ("monday", "2026-13-01", "2026-03-02T06:00Z", "2026-03-02T06:00+01:00", "NaN", "9" * 99):
        with pytest.raises(CoreError, match="is not a local date and time") as caught:
            start_of(wrong)
        assert caught.value.code == ErrorCode.BAD_PARAMETER


def test_a_batch_of_more_than_ten_years_is_refused():
    with pytest.raises(CoreError, match="ten years"):
        Batch(series((1e5, 1.0)), 10_000)


# --- losses ---


def test_losses_of_runs_that_break_off():
    """Uniform moment: half of the run's cost is lost; one finished run comes with q / (1 - q) broken ones."""
    risk = risk_of([LossEvent("a", 0.1, 1.0), LossEvent("b", 0.1, 3.0)], lambda share: 10.0 * share, 0.0)
    assert risk.by_event == pytest.approx({"a": 0.1 / 0.8 * 6.0, "b": 0.1 / 0.8 * 8.0})
    assert risk.expected == pytest.approx(0.2 * 7.0 / 0.8)
    assert risk.premium == 0.0


@pytest.mark.parametrize("probability", [0.02, 0.05, 0.2])
def test_cvar_against_its_closed_form(probability):
    """L = 0, or uniform on 0..V with probability q: CVaR95 = V (1 - a / 2q) for a = 5 % <= q, else q V / 2a."""
    risk = risk_of([LossEvent("a", probability, 0.0)], lambda share: 10.0 * share, 1.0)
    tail = 0.05
    exact = 10.0 * (1 - tail / (2 * probability)) if probability >= tail else probability * 5.0 / tail
    assert risk.cvar95 == pytest.approx(exact, rel=1e-5)
    assert risk.premium == pytest.approx((exact - probability * 5.0) / (1 - probability), rel=1e-5)


def test_nothing_breaks_off():
    risk = risk_of([], lambda share: share, 1.0)
    assert (risk.expected, risk.cvar95, risk.premium) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError):
        risk_of([LossEvent("a", 0.6, 1.0), LossEvent("b", 0.4, 1.0)], lambda share: share, 0.0)


@given(
    losses=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=30), tail=st.floats(0.01, 1.0),
)  # fmt: skip
def test_the_worst_runs_lose_more_than_the_mean_and_less_than_the_most(losses, tail):
    values = np.array(losses)
    even = np.full(len(values), 1.0 / len(values))
    found = cvar(values, even, tail)
    assert values.mean() - 1e-6 * values.max() <= found <= values.max() * (1 + 1e-9)


# --- tool wear ---

MILL = Tool(
    number=2, diameter="6 mm", cutting_length="20 mm", max_depth="6 mm", max_plunge="5 mm/s", taylor_n=0.25,
    taylor_c="300000 mm/min", price=24.0,
)  # fmt: skip


def test_taylor():
    use = ToolUse(2, MILL, 120.0, 2.5)
    assert use.life_s == pytest.approx(60.0 * (5.0 / 2.5) ** 4)  # V T^0.25 = 300 m/min
    assert use.cost == pytest.approx(120.0 / 960.0 * 24.0)
    assert ToolUse(2, MILL, 120.0, 5.0).cost == pytest.approx(16 * use.cost)
    assert (ToolUse(9, None, 120.0, 0.0).cost, ToolUse(2, MILL, 120.0, 0.0).cost) == (0.0, 0.0)
    with pytest.raises(CoreError, match="tool 2 cuts for 120 s"):
        _ = ToolUse(2, MILL, 120.0, 500.0).cost


def cut(*rows):
    return build_program([{"line": number + 1, **row} for number, row in enumerate(rows)])


def test_only_what_cuts_wears():
    mill = load_machine("grbl_mill").model_copy(update={"tools": (MILL, MILL.model_copy(update={"number": 3}))})
    program = cut(
        {"op": Op.START_SPINDLE_CLOCKWISE, "value": 800.0},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "z_m": 0.005, "feed_m_s": 0.01},  # above the stock
        {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "z_m": -0.002, "feed_m_s": 0.01},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.05, "z_m": -0.002, "feed_m_s": 0.01},
        {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.0, "z_m": -0.002},
        {"op": Op.CHANGE_TOOL, "target": 3},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.02, "z_m": -0.002, "feed_m_s": 0.01},
        {"op": Op.STOP_SPINDLE_TURNING},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.03, "z_m": -0.002, "feed_m_s": 0.01},
    )
    seconds = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 0.0, 16.0, 0.0, 32.0])
    uses = tool_uses(program, seconds, mill)
    assert [(use.number, use.cut_s, use.cutting_speed_m_s) for use in uses] == [
        (2, 6.0, pytest.approx(2.4)), (3, 16.0, pytest.approx(2.4)),
    ]  # fmt: skip
    removed = np.array([0.0, 0.0, 1e-9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert [(use.number, use.cut_s) for use in tool_uses(program, seconds, mill, removed)] == [(2, 2.0)]
    assert wear_cost(uses) == pytest.approx(22.0 / (60.0 * (5.0 / 2.4) ** 4) * 24.0)
    assert tool_uses(program, seconds, load_machine("prusa_mk3s")) == ()
