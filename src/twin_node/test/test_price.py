"""The price: its parts, what raises it, tariffs over time, refusals."""

import dataclasses
import math
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.artefacts import Estimate, Prediction, Subsystem
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import Box, Costs, Failure, Tool, load_machine
from industriverse_core.material import load_material
from twin_node.oracle import prediction_of
from twin_node.price import expected_price, price_of_run, price_part, quote
from twin_node.price_parts import Order
from twin_node.run_details import RunDetails, details_of
from twin_node.run_series import RunSeries
from twin_node.tariff import Demand, load_tariff, price_table
from twin_node.timeline import build_timeline
from twin_node.tool_wear import ToolUse

QUOTED = ("material", "energy", "machine_time", "labour", "carbon", "risk")


@pytest.fixture(scope="module")
def timeline(program, printer, pla):
    return build_timeline(program, printer, pla)


@pytest.fixture(scope="module")
def prediction(timeline, printer, pla):
    return prediction_of(timeline, printer, pla)


@pytest.fixture(scope="module")
def details(timeline, printer, pla):
    return details_of(timeline, printer, pla)


@pytest.fixture(scope="module")
def tariff():
    return load_tariff("default")


def costs(printer, **changes):
    """The printer with other costs, validated anew."""
    known = printer.costs.model_dump()
    known["labour_time"] = f"{known['labour_time']} s"
    return printer.model_copy(update={"costs": Costs(**{**known, **changes})})


def test_the_parts_add_up_to_the_total(prediction, printer, pla, tariff, details):
    breakdown = price_part(prediction, printer, pla, tariff, details)
    offer = breakdown.quote()
    assert breakdown.parts.total == pytest.approx(breakdown.total.mean, rel=1e-12)
    assert math.fsum(getattr(offer, name) for name in QUOTED) == pytest.approx(offer.total.mean, rel=1e-12)
    assert offer.total.low < offer.total.mean < offer.total.high
    assert breakdown.parts.energy == pytest.approx(prediction.energy_j.mean / 3.6e6 * 0.1902)
    assert breakdown.parts.machine_time == pytest.approx(prediction.time_s.mean / 3600 * 0.6)
    assert breakdown.parts.material == pytest.approx(prediction.material_kg.mean * 25)
    grams = prediction.energy_j.mean / 3.6e6 * 381 + prediction.material_kg.mean * 650
    assert breakdown.carbon_kg == pytest.approx(grams * 1e-3)
    assert breakdown.parts.carbon == pytest.approx(grams * 1e-6 * 70)


def test_an_expected_price_is_the_mean_of_the_quote(prediction, printer, pla, tariff):
    offer = quote(prediction, printer, pla, tariff)
    assert expected_price(prediction, printer, pla, tariff) == (offer.total.mean, offer.carbon_kg)
    with pytest.raises(CoreError, match="not for ender3"):
        expected_price(prediction, load_machine("ender3"), pla, tariff)


def test_what_is_certain_does_not_widen_the_price(prediction, printer, pla, tariff):
    estimates = ("time_s", "energy_j", "material_kg")
    exact = dataclasses.replace(
        prediction, **{name: Estimate.exact(getattr(prediction, name).mean) for name in estimates}
    )
    sure = tariff.model_copy(update={"energy_price_uncertainty": 0.0, "scrap_uncertainty": 0.0})
    assert quote(exact, printer, pla, sure).total == Estimate.exact(quote(prediction, printer, pla, tariff).total.mean)


def test_a_price_without_the_runs_course_differs_only_by_its_risk(prediction, printer, pla, tariff, details):
    blind, seeing = quote(prediction, printer, pla, tariff), price_part(prediction, printer, pla, tariff, details)
    for name in QUOTED[:-1]:
        assert getattr(blind, name) == pytest.approx(getattr(seeing.quote(), name), rel=1e-9)
    # plastic costs more than electricity here, and most of it is fed after heating: less is lost than at constant feed
    assert seeing.quote().risk < blind.risk


def test_scrap_divides_the_price(prediction, printer, pla, tariff):
    perfect = price_part(prediction, costs(printer, scrap_probability=0.0), pla, tariff)
    worse = price_part(prediction, costs(printer, scrap_probability=0.5), pla, tariff)
    assert perfect.parts.yield_loss == 0.0
    assert worse.total.mean == pytest.approx(2 * perfect.total.mean)


def test_labour_counts_as_money_and_as_machine_time(prediction, printer, pla, tariff):
    changed = costs(printer, labour_time="600 s", labour_per_hour=30.0)
    plain, waiting = (price_part(prediction, profile, pla, tariff).parts for profile in (printer, changed))
    assert waiting.labour - plain.labour == pytest.approx(5.0)
    assert waiting.machine_time - plain.machine_time == pytest.approx(600 / 3600 * 0.6)


def test_entropy_costs_nothing_unless_it_is_priced(prediction, printer, pla, tariff):
    plain = quote(prediction, printer, pla, tariff)
    priced = quote(prediction, printer, pla, tariff.model_copy(update={"entropy_per_mj": 1.0}))
    assert tariff.entropy_per_mj == 0.0
    assert priced.total.mean - plain.total.mean == pytest.approx(plain.exergy_destroyed_j * 1e-6 / 0.99)
    assert math.fsum(getattr(priced, name) for name in QUOTED) == pytest.approx(priced.total.mean)


def test_a_measured_run_is_priced_like_a_predicted_one(prediction, printer, pla):
    totals = (prediction.time_s.mean, prediction.energy_j.mean, prediction.material_kg.mean)
    for tariff in (load_tariff("default"), load_tariff("time_of_use")):
        measured = price_of_run(*totals, printer, pla, tariff)
        assert measured == pytest.approx(quote(prediction, printer, pla, tariff).total.mean, rel=1e-9)
    for wrong in (math.nan, -1.0, math.inf, 1e308):
        with pytest.raises(CoreError, match="to price is"):
            price_of_run(wrong, 1.0, 1.0, printer, pla, tariff)


def test_the_hour_of_the_start_decides_what_electricity_costs(prediction, printer, pla, details):
    tariff = load_tariff("time_of_use")
    starts = {hour: Order(start=datetime(2026, 3, 2, hour)) for hour in (3, 12, 18)}
    found = {
        hour: price_part(prediction, printer, pla, tariff, details, order).parts.energy
        for hour, order in starts.items()
    }
    kwh = prediction.energy_j.mean / 3.6e6
    assert found == pytest.approx({3: kwh * 0.15, 12: kwh * 0.19, 18: kwh * 0.29})
    any_hour = price_part(prediction, printer, pla, tariff, details)
    assert any_hour.parts.energy == pytest.approx(kwh * price_table(tariff).mean)
    assert any_hour.total.high - any_hour.total.mean > kwh * (0.29 - price_table(tariff).mean) * 0.9
    assert any("No start" in note for note in any_hour.notes)


def test_a_new_peak_is_paid_once_for_all_parts(prediction, printer, pla, tariff, details):
    demand = Demand(per_kw=100.0, site_peak="10 kW", site_load="9.99 kW")
    charged = tariff.model_copy(update={"demand": demand})
    one = price_part(prediction, printer, pla, charged, details)
    assert one.peak_w > 10.0
    assert one.parts.demand == pytest.approx((one.peak_w - 10.0) * 1e-3 * 100.0)
    ten = price_part(prediction, printer, pla, charged, details, Order(10))
    assert ten.peak_w >= one.peak_w  # two runs can share a quarter of an hour
    assert ten.parts.demand == pytest.approx((ten.peak_w - 10.0) * 1e-3 * 100.0 / 10)
    below = tariff.model_copy(update={"demand": demand.model_copy(update={"site_load": 0.0})})
    assert price_part(prediction, printer, pla, below, details).parts.demand == 0.0


def test_a_milled_part_pays_its_blank_and_its_tools():
    mill, aluminium = load_machine("grbl_mill"), load_material("Al6061")
    bound = {f"{axis}_{end}": value for axis in "xyz" for end, value in (("minimum", "0 mm"), ("maximum", "100 mm"))}
    mill = mill.model_copy(update={"stock": Box(name="blank", **bound)})
    whole_kg = 1e-3 * aluminium.density
    base = Estimate.exact
    prediction = Prediction(
        bytes(32), mill.id, aluminium.id, base(600.0), base(600.0), base(1e6), {Subsystem.SPINDLE: base(1e6)},
        base(2e3), base(1e6), base(0.0), base(0.0),
    )  # fmt: skip
    tariff = load_tariff("default")
    breakdown = price_part(prediction, mill, aluminium, tariff, RunDetails(removed_kg=0.3))
    assert breakdown.parts.material == pytest.approx(whole_kg * 6.0)
    assert breakdown.parts.recovered == pytest.approx(-0.27 * 1.0)
    assert breakdown.flow.part_kg == pytest.approx(whole_kg - 0.3)
    assert any("tool wear is not in the price" in note for note in breakdown.notes)
    assert breakdown.footprint.score is not None
    blind = price_part(prediction, mill, aluminium, tariff)
    assert blind.footprint.score is None
    assert any("volume removed is not known" in note for note in blind.notes)
    cutter = Tool(number=1, diameter="6 mm", cutting_length="9 mm", max_depth="6 mm", max_plunge="5 mm/s", price=24.0)
    use = ToolUse(1, cutter, 60.0, 5.0)  # 10 m/s at one minute, n = 0.25: sixteen minutes
    worn = price_part(prediction, mill, aluminium, tariff, RunDetails(removed_kg=0.3, tools=(use,)))
    assert worn.parts.tool_wear == pytest.approx(24.0 / 16.0)
    assert not any("tool wear" in note for note in worn.notes)
    with pytest.raises(CoreError) as caught:
        price_part(prediction, mill, aluminium, tariff, RunDetails(removed_kg=3.0))
    assert caught.value.code == ErrorCode.CANNOT_PRICE


def test_what_is_not_priced(prediction, printer, pla, tariff):
    for wrong in (
        dataclasses.replace(prediction, machine_id="other"),
        dataclasses.replace(prediction, material="ABS"),
        dataclasses.replace(prediction, energy_j=Estimate(-1.0, -1.0, -1.0)),
        dataclasses.replace(prediction, time_s=Estimate(1.0, 1.0, math.inf), material_kg=Estimate(-1.0, -1.0, -1.0)),
        dataclasses.replace(prediction, time_s=Estimate(1.0, 1.0, math.inf)),
        dataclasses.replace(prediction, time_s=Estimate.exact(1e12)),
        dataclasses.replace(prediction, energy_j=Estimate.exact(0.0)),  # cannot have melted anything
    ):
        with pytest.raises(CoreError) as caught:
            quote(wrong, printer, pla, tariff)
        assert caught.value.code == ErrorCode.CANNOT_PRICE
    for quantity in (0, -1, 10_001):
        with pytest.raises(CoreError, match="out of range"):
            price_part(prediction, printer, pla, tariff, order=Order(quantity))
    broken = RunDetails(series=RunSeries.constant(1.0, 1.0, 0.0))
    assert price_part(prediction, printer, pla, tariff, broken).total.mean > 0.0
    with pytest.raises(CoreError, match="not finite"):
        RunSeries.from_columns(np.array([math.nan]), np.zeros(1), np.zeros(1))


SCALES = st.floats(1.0, 4.0)


@settings(max_examples=60)
@given(field=st.sampled_from(["time_s", "energy_j", "material_kg"]), scale=SCALES)
def test_more_of_anything_costs_more(prediction, printer, pla, details, field, scale):
    tariff = load_tariff("time_of_use")
    value = getattr(prediction, field)
    more = dataclasses.replace(prediction, **{field: Estimate(*(scale * each for each in dataclasses.astuple(value)))})
    if field == "material_kg":  # melting more takes more
        more = dataclasses.replace(more, energy_j=Estimate.exact(prediction.energy_j.mean * 4.0))
        prediction = dataclasses.replace(prediction, energy_j=more.energy_j)
    totals = [price_part(each, printer, pla, tariff, details).total.mean for each in (prediction, more)]
    assert totals[0] <= totals[1] * (1 + 1e-12)


@settings(max_examples=60)
@given(
    change=st.sampled_from(
        ["machine_per_hour", "labour_per_job", "labour_per_hour", "scrap_probability", "probability", "repair"]
    ),
    scale=SCALES,
)
def test_a_dearer_machine_costs_more(prediction, printer, pla, tariff, details, change, scale):
    base = costs(printer, labour_time="60 s", labour_per_hour=20.0)
    if change in ("probability", "repair"):
        failures = [
            Failure(**{**each.model_dump(), change: scale * getattr(each, change)}) for each in base.costs.failures
        ]
        worse = costs(base, failures=failures)
    else:
        worse = costs(base, **{change: scale * getattr(base.costs, change)})
    totals = [price_part(prediction, each, pla, tariff, details).total.mean for each in (base, worse)]
    assert totals[0] <= totals[1] * (1 + 1e-12)


@settings(max_examples=60)
@given(
    change=st.sampled_from(
        ["energy_per_kwh", "grid_carbon_g_per_kwh", "carbon_per_tonne", "risk_aversion", "entropy_per_mj"]
    ),
    scale=SCALES,
)
def test_a_dearer_tariff_costs_more(prediction, printer, pla, tariff, details, change, scale):
    base = tariff.model_copy(update={"entropy_per_mj": 0.1})
    dearer = base.model_copy(update={change: scale * getattr(base, change)})
    totals = [price_part(prediction, printer, pla, each, details).total.mean for each in (base, dearer)]
    assert totals[0] <= totals[1] * (1 + 1e-12)
