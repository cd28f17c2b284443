"""The exergy ledger: it closes, it reproduces worked examples, and it refuses what cannot be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.material import load_material
from twin_node.exergy import (
    HeatStream,
    MaterialFlow,
    Melt,
    StoredHeat,
    exergy_ledger,
    melt_of,
    physical_exergy_j_per_kg,
)
from twin_node.oracle import prediction_of
from twin_node.price import price_part
from twin_node.run_details import details_of
from twin_node.tariff import load_tariff
from twin_node.timeline import build_timeline

NOTHING = MaterialFlow(0.0, 0.0)
COLD = Melt(0.0, 0.0)


@pytest.mark.parametrize(
    ("temperature_c", "factor"), [(35, 0.032), (60, 0.105), (100, 0.201), (210, 0.383), (240, 0.419)]
)
def test_heat_is_worth_its_carnot_factor(temperature_c, factor):
    assert HeatStream.at("", 1.0, temperature_c).exergy_j == pytest.approx(factor, abs=5e-4)
    assert HeatStream.at("", 1.0, 20.0).exergy_j == 0.0


@pytest.mark.parametrize(("name", "nozzle_c", "exergy", "enthalpy"), [
    ("PLA", 210, 84e3, 353e3), ("PETG", 240, 98e3, 369e3), ("ABS", 245, 114e3, 420e3),
])  # fmt: skip
def test_melting_takes_what_is_published(name, nozzle_c, exergy, enthalpy):
    """Enthalpy and exergy to print, computed from the same constants and rounded to 1 kJ/kg."""
    melt = melt_of(load_material(name), nozzle_c)
    assert melt.exergy_j_per_kg == pytest.approx(exergy, abs=1e3)
    assert melt.enthalpy_j_per_kg == pytest.approx(enthalpy, abs=1e3)


def test_what_is_not_printed_is_not_melted():
    assert melt_of(load_material("Al6061"), 600.0) == COLD
    assert melt_of(None) == COLD
    assert melt_of(load_material("PLA"), 20.0) == COLD


def test_the_chemical_exergy_of_the_alloy_follows_from_its_composition():
    """Sum of w b / M with standard chemical exergies in kJ/mol: Al by Szargut 2007, Mg and Si as generally known."""
    alloy = {"Al": (0.979, 795.7, 26.982), "Mg": (0.010, 626.9, 24.305), "Si": (0.006, 855.0, 28.086)}
    metal = sum(share * exergy / mass for share, exergy, mass in alloy.values())
    assert load_material("Al6061").chemical_exergy == pytest.approx(metal * 1e6, rel=2e-3)


def test_worked_example_of_a_print():
    """60 g of PLA in 4 h: Hopkins 2021 gives 1.58 MJ; 7.3 kWh/kg; task efficiency 0.33 %."""
    electric_j = (-0.056 + 7e-6 * 210 * 240 + 89e-6 * 60 * 240) * 1e6
    assert electric_j == pytest.approx(1.58e6, abs=5e3)
    pla, flow = load_material("PLA"), MaterialFlow(0.06, 0.06)
    ledger = exergy_ledger(electric_j, flow, pla, melt_of(pla, 210.0), 25.0)
    assert electric_j / 3.6e6 / 0.06 == pytest.approx(7.3, abs=0.05)
    assert ledger.task_efficiency == pytest.approx(0.33e-2, abs=0.005e-2)
    assert ledger.degree_of_perfection == pytest.approx(0.06 * 19.5e6 / (0.06 * 19.5e6 + electric_j))


def test_worked_example_of_milling():
    """6061 from 0.5 to 0.2 kg, P0 = 1.5 kW: 9.5 kJ/cm3, 7.4 %.

    The example's 1.05 MJ are P0 for ten minutes, of which it cuts 222 s at 0.5 cm3/s, and k = 1.4 kJ/cm3.
    """
    aluminium, flow = load_material("Al6061"), MaterialFlow(0.5, 0.2, 0.27)
    removed_cm3 = 0.3 / aluminium.density * 1e6
    electric_j = 1500.0 * 600.0 + 1400.0 * removed_cm3
    ledger = exergy_ledger(electric_j, flow, aluminium, melt_of(aluminium), 25.0)
    assert electric_j == pytest.approx(1.05e6, rel=0.01)
    assert electric_j / removed_cm3 == pytest.approx(9.5e3, rel=0.001)
    assert ledger.task_efficiency == pytest.approx(7.4e-2, abs=0.05e-2)
    assert ledger.destroyed_j == pytest.approx(electric_j)  # all of it ends as heat of the room
    assert ledger.rest_j == pytest.approx(0.3 * aluminium.chemical_exergy)


HOT = st.floats(26.0, 400.0)
JOULES = st.floats(0.0, 1e7)


@given(
    extra_j=JOULES, heats=st.lists(st.tuples(JOULES, HOT), max_size=4), fed_kg=st.floats(0.0, 2.0), nozzle_c=HOT,
    ambient_c=st.floats(0.0, 45.0), bodies=st.lists(st.tuples(st.floats(1.0, 1e3), HOT, HOT), max_size=2),
)  # fmt: skip
def test_the_balance_closes(extra_j, heats, fed_kg, nozzle_c, ambient_c, bodies):
    pla = load_material("PLA")
    melt, flow = melt_of(pla, nozzle_c, ambient_c), MaterialFlow(fed_kg, fed_kg)
    streams = [HeatStream.at(str(number), *each) for number, each in enumerate(heats)]
    stored = [StoredHeat(*each) for each in bodies]
    needed_j = fed_kg * melt.enthalpy_j_per_kg + sum(each.heat_j for each in [*streams, *stored])
    ledger = exergy_ledger(max(needed_j, 0.0) + extra_j, flow, pla, melt, ambient_c, streams, stored)
    # the same sum once more, from first principles instead of the ledger's properties
    out_j = sum(heat * (1 - 298.15 / (273.15 + hot)) for heat, hot in heats)
    out_j += sum(physical_exergy_j_per_kg(each.capacity_j_per_k, each.start_c, each.end_c) for each in stored)
    out_j += fed_kg * (pla.chemical_exergy + melt.exergy_j_per_kg)
    out_j += ledger.heat[-1].exergy_j
    assert abs(ledger.in_j - out_j - ledger.destroyed_j) <= 1e-9 * max(ledger.in_j, 1.0)
    assert abs(ledger.imbalance) <= 1e-9


def test_a_job_on_the_printer(program, printer, pla):
    timeline = build_timeline(program, printer, pla)
    prediction = prediction_of(timeline, printer, pla)
    details = details_of(timeline, printer, pla)
    ledger = price_part(prediction, printer, pla, load_tariff("default"), details).exergy
    hotend, bed, rest = ledger.heat
    assert hotend.heat_j + bed.heat_j == pytest.approx(float(timeline.lost_j.sum()), rel=1e-6)
    assert 298.15 < bed.heat_j / bed.entropy_j_per_k < 323.15 + 1.0  # between the room and 50 degC
    assert 400.0 < hotend.heat_j / hotend.entropy_j_per_k < 474.0
    assert sum(body.heat_j for body in details.stored) == pytest.approx(timeline.stored_j, rel=1e-9)
    assert abs(ledger.imbalance) < 1e-9
    assert 0.0 < ledger.destroyed_j < ledger.destroyed_with_room_j < ledger.electric_j
    assert 0.0 < ledger.task_efficiency < 0.05
    assert rest.exergy_j == pytest.approx(0.0, abs=1e-6)  # the room is at the dead state
    # known by its totals alone, all heat leaves at the room's temperature: the same is destroyed in the end
    blind = price_part(prediction, printer, pla, load_tariff("default")).exergy
    assert blind.destroyed_with_room_j == pytest.approx(ledger.destroyed_with_room_j, rel=1e-3)


def test_a_warm_room_keeps_some_exergy():
    pla = load_material("PLA")
    cold, warm = (exergy_ledger(1e6, NOTHING, pla, COLD, ambient) for ambient in (25.0, 35.0))
    assert cold.destroyed_with_room_j == pytest.approx(1e6)
    assert warm.destroyed_with_room_j == pytest.approx(1e6 * 298.15 / 308.15)


def test_entropy_follows_a_temperature_that_changes():
    heat_j, temperature_c = np.array([1e3, 3e3]), np.array([100.0, 20.0])
    stream = HeatStream.over("", heat_j, temperature_c)
    assert stream.entropy_j_per_k == pytest.approx(1e3 / 373.15 + 3e3 / 298.15)
    assert stream.exergy_j == pytest.approx(1e3 * (1 - 298.15 / 373.15))


def test_what_cannot_be_is_refused():
    pla = load_material("PLA")
    with pytest.raises(CoreError, match="less than") as caught:
        exergy_ledger(1e3, MaterialFlow(0.1, 0.1), pla, melt_of(pla), 25.0)
    assert caught.value.code == ErrorCode.CANNOT_PRICE
    with pytest.raises(CoreError, match="does not close"):
        exergy_ledger(math.nan, NOTHING, pla, COLD, 25.0)
    for masses in ((1.0, 0.8, 0.3), (-1.0, -1.0), (math.nan, 0.0), (1.0, math.inf)):
        with pytest.raises(CoreError):
            MaterialFlow(*masses)
