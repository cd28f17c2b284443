"""Price and exergy: sums, monotony, sourced values, refusals."""

import dataclasses
import math

import pytest

from industriverse_core.artefacts import Estimate
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.material import load_material
from twin_node.oracle import predict
from twin_node.price import costs_of, load_tariff, melt_exergy_j_per_kg, quote


@pytest.fixture(scope="module")
def prediction(program, printer, pla):
    return predict(program, printer, pla)


@pytest.fixture
def tariff():
    return load_tariff("default")


def test_the_parts_add_up_to_the_total(prediction, printer, pla, tariff):
    result = quote(prediction, printer, pla, tariff)
    parts = result.material + result.energy + result.machine_time + result.labour + result.carbon + result.risk
    assert result.total.mean == pytest.approx(parts)
    assert result.total.low < result.total.mean < result.total.high
    assert result.energy == pytest.approx(prediction.energy_j.mean / 3.6e6 * 0.1902)
    assert result.machine_time == pytest.approx(prediction.time_s.mean / 3600 * 0.6)
    assert result.risk == pytest.approx((parts - result.risk) * 0.03 / 0.97)


def test_scrap_raises_the_price(prediction, printer, pla, tariff):
    worse = printer.model_copy(update={"costs": printer.costs.model_copy(update={"scrap_probability": 0.5})})
    assert quote(prediction, worse, pla, tariff).total.mean == pytest.approx(
        2
        * costs_of(
            prediction.time_s.mean, prediction.energy_j.mean, prediction.material_kg.mean, printer, pla, tariff
        ).run
    )


def test_entropy_costs_nothing_unless_it_is_priced(prediction, printer, pla, tariff):
    plain = quote(prediction, printer, pla, tariff)
    priced = quote(prediction, printer, pla, tariff.model_copy(update={"entropy_per_mj": 1.0}))
    assert tariff.entropy_per_mj == 0.0
    assert priced.total.mean - plain.total.mean == pytest.approx(plain.exergy_destroyed_j * 1e-6 / 0.97)


def test_melt_exergy_is_the_published_order():
    """84, 98 and 114 kJ/kg at 210, 240 and 245 degC for PLA, PETG and ABS, from the same constants."""
    values = [melt_exergy_j_per_kg(load_material(name)) for name in ("PLA", "PETG", "ABS")]
    assert values == pytest.approx([84e3, 98e3, 114e3], rel=0.15)
    assert melt_exergy_j_per_kg(load_material("Al6061")) == 0.0


def test_exergy_balance(prediction, printer, pla, tariff):
    result = quote(prediction, printer, pla, tariff)
    assert 0.0 < result.exergy_destroyed_j < result.exergy_in_j
    kept = prediction.material_kg.mean * (pla.chemical_exergy + melt_exergy_j_per_kg(pla))
    assert result.exergy_in_j == pytest.approx(result.exergy_destroyed_j + kept)  # the room is at the dead state
    assert 0.0 < result.task_efficiency < 0.05


def test_a_warm_room_takes_exergy_away(prediction, printer, pla, tariff):
    warm = printer.model_copy(update={"ambient": 35.0})
    less = quote(prediction, warm, pla, tariff).exergy_destroyed_j
    assert quote(prediction, printer, pla, tariff).exergy_destroyed_j - less == pytest.approx(
        prediction.heat_j.mean * (1 - 298.15 / 308.15)
    )


def test_a_prediction_of_something_else_is_not_priced(prediction, printer, pla, tariff):
    for wrong in (
        dataclasses.replace(prediction, machine_id="other"),
        dataclasses.replace(prediction, material="ABS"),
        dataclasses.replace(prediction, energy_j=Estimate(-1.0, -1.0, -1.0)),
        dataclasses.replace(prediction, time_s=Estimate(1.0, 1.0, math.inf), material_kg=Estimate(-1.0, -1.0, -1.0)),
    ):
        with pytest.raises(CoreError) as caught:
            quote(wrong, printer, pla, tariff)
        assert caught.value.code == ErrorCode.CANNOT_PRICE


def test_wrong_tariffs_are_named(tmp_path):
    with pytest.raises(CoreError, match="Did you mean 'default'"):
        load_tariff("defalt")
    path = tmp_path / "tariff.yaml"
    path.write_text("id: x\ncurrency: euro\n")
    with pytest.raises(CoreError, match=r"tariff\.yaml"):
        load_tariff(str(path))
