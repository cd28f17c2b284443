"""Thermal Footprint and Score: layers, monotony, scrap, units, splitting."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import CoreError
from industriverse_core.machine import load_machine, machine_names
from industriverse_core.material import load_material
from twin_node.exergy import MaterialFlow, exergy_ledger, melt_of
from twin_node.footprint import combined, load_reference, reference_for, score_of, thermal_footprint

ENERGY = st.floats(3e5, 1e8)  # at least what melting takes
MASS = st.floats(1e-3, 0.2)
SHARE = st.floats(0.0, 0.9)
GRID = 1.9


def footprint(electric_j, fed_kg, failures=0.0, scrap=0.0, waste_kg=0.0, name="PLA"):
    material = load_material(name)
    flow = MaterialFlow(fed_kg + waste_kg, fed_kg)
    ledger = exergy_ledger(electric_j, flow, material, melt_of(material), 25.0)
    return thermal_footprint(ledger, flow, material, GRID, load_reference("desktop_printer"), failures, scrap)


def test_the_layers_of_a_print():
    pla, made = load_material("PLA"), footprint(1.58e6, 0.06)
    assert made.destroyed_j + made.lost_j == pytest.approx(1.58e6)  # in the end nothing of the electricity is left
    assert made.material_j == pytest.approx(0.06 * 40e6)
    assert made.electricity_j == pytest.approx(1.58e6 * 0.9)
    assert made.failures_j == 0.0
    assert made.total_j == pytest.approx(1.58e6 * GRID + 2.4e6)
    melt = melt_of(pla).exergy_j_per_kg + 5e6 / pla.density
    assert made.minimum_j == pytest.approx(0.06 * (40e6 + melt * GRID))


def test_chips_that_are_sold_are_credited():
    aluminium = load_material("Al6061")
    flows = [MaterialFlow(0.5, 0.2, recovered) for recovered in (0.0, 0.27)]
    made = [
        thermal_footprint(
            exergy_ledger(1e6, flow, aluminium, melt_of(aluminium), 25.0), flow, aluminium, GRID,
            reference_for("mill"),
        )
        for flow in flows
    ]  # fmt: skip
    assert made[0].total_j - made[1].total_j == pytest.approx(0.27 * 29.3e6)
    assert made[0].minimum_j == pytest.approx(0.2 * 184e6 + 0.7e9 * 0.3 / 2700 * GRID)


def test_the_reversible_machine_scores_100_and_the_worst_of_the_class_0():
    made = footprint(1e6, 0.02)
    assert score_of(made.minimum_j, made.minimum_j, made.reference_ratio) == 100.0
    assert score_of(made.minimum_j * made.reference_ratio, made.minimum_j, made.reference_ratio) == pytest.approx(0.0)
    assert score_of(1e30, made.minimum_j, made.reference_ratio) == 0.0
    assert score_of(2.0, 1.0, 4.0) == pytest.approx(50.0)
    assert dataclasses.replace(made, minimum_j=0.0).score is None
    for wrong in ((0.0, 1.0, 2.0), (1.0, 0.0, 2.0), (1.0, 1.0, 1.0), (float("nan"), 1.0, 2.0)):
        with pytest.raises(ValueError):
            score_of(*wrong)


@given(electric_j=ENERGY, more_j=ENERGY, fed_kg=MASS, waste_kg=MASS)
def test_monotone(electric_j, more_j, fed_kg, waste_kg):
    base = footprint(electric_j, fed_kg)
    for worse in (footprint(electric_j + more_j, fed_kg), footprint(electric_j, fed_kg, waste_kg=waste_kg)):
        assert worse.total_j > base.total_j
        assert worse.score <= base.score + 1e-9
    assert base.total_j >= base.minimum_j


@given(electric_j=ENERGY, fed_kg=MASS, low=SHARE, high=SHARE)
def test_scrap_and_failures_raise_it(electric_j, fed_kg, low, high):
    low, high = sorted((low, high))
    for name in ("scrap", "failures"):
        better, worse = (footprint(electric_j, fed_kg, **{name: share}) for share in (low, high))
        assert better.total_j <= worse.total_j * (1 + 1e-12)
        assert worse.score <= better.score + 1e-9
    assert footprint(electric_j, fed_kg, scrap=0.5).total_j == pytest.approx(2 * footprint(electric_j, fed_kg).total_j)


@given(electric_j=ENERGY, fed_kg=MASS, unit=st.sampled_from([1e-6, 1e-3, 1.0 / 3.6e6, 1e3]))
def test_the_score_knows_no_unit(electric_j, fed_kg, unit):
    made = footprint(electric_j, fed_kg)
    layers = ("destroyed_j", "lost_j", "material_j", "electricity_j", "failures_j", "minimum_j")
    converted = dataclasses.replace(made, **{name: getattr(made, name) * unit for name in layers})
    assert converted.score == pytest.approx(made.score, abs=1e-6)


@given(
    electric_j=ENERGY, fed_kg=st.floats(2e-3, 0.2), share=st.floats(0.05, 0.95),
    again_j=st.floats(0.0, 1e6), scrap=SHARE,
)  # fmt: skip
def test_splitting_a_job_cannot_raise_the_score(electric_j, fed_kg, share, again_j, scrap):
    """Two jobs heat up twice: together they take at least the energy of the one."""
    whole = footprint(electric_j, fed_kg, scrap=scrap)
    parts = [
        footprint(electric_j * portion + again_j, fed_kg * portion, scrap=scrap) for portion in (share, 1.0 - share)
    ]
    assert combined(*parts).total_j >= whole.total_j * (1 - 1e-12)
    assert combined(*parts).score <= whole.score + 1e-9
    assert min(part.score for part in parts) <= whole.score + 1e-9


def test_two_classes_do_not_add_up():
    printed = footprint(1e6, 0.02)
    with pytest.raises(ValueError, match="not one part's"):
        combined(printed, dataclasses.replace(printed, reference="desktop_mill"))


@pytest.mark.parametrize("probability", [-0.1, 1.0, float("nan")])
def test_probabilities_are_probabilities(probability):
    for name in ("scrap", "failures"):
        with pytest.raises(CoreError, match="probability"):
            footprint(1e6, 0.02, **{name: probability})


def test_every_machine_has_a_class_and_every_class_says_how_it_was_made():
    for name in machine_names():
        profile = load_machine(name)
        reference = reference_for(profile.kind)
        assert reference.machine_kind == profile.kind
        assert {"ratios", "assumptions"} <= set(reference.sources)
    with pytest.raises(CoreError, match="unknown reference class"):
        load_reference("industrial_lathe")
