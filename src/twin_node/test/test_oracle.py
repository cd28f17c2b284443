"""The oracle: heaters against closed forms and Euler steps, energy balances, intervals, refusals."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.artefacts import Estimate, Subsystem
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.program import Heater, Op, build_program
from twin_node import thermal_kernels as kernels
from twin_node.oracle import mill_homing_s, predict
from twin_node.steps import aggregate, melted_m3
from twin_node.timeline import build_timeline, heater_vector


def test_heating_is_the_closed_form_of_a_lumped_node(printer):
    heater = printer.bed
    end, electric, lost, peak = kernels.advance(heater_vector(heater), 25.0, 25.0, 300.0, 0.0, 0.0, 60.0)
    tau = heater.heat_capacity / heater.loss
    assert end == pytest.approx(25.0 + heater.power / heater.loss * (1 - math.exp(-60.0 / tau)))
    assert electric == pytest.approx(heater.power * 60.0)
    assert electric - lost == pytest.approx(heater.heat_capacity * (end - 25.0))
    assert peak == heater.power


def test_at_the_target_what_is_lost_is_fed(printer):
    heater = printer.hotend
    end, electric, lost, peak = kernels.advance(heater_vector(heater), 25.0, 200.0, 200.0, 1.0, 3.0, 10.0)
    hold = (heater.loss + heater.fan_loss) * 175.0 + 3.0
    assert (end, electric, peak) == (200.0, pytest.approx(hold * 10.0), pytest.approx(hold))
    assert lost == pytest.approx((hold - 3.0) * 10.0)


def test_a_heater_that_is_off_cools_to_the_room(printer):
    end, electric, lost, _ = kernels.advance(heater_vector(printer.hotend), 25.0, 200.0, 0.0, 0.0, 0.0, 1e5)
    assert (end, electric) == (pytest.approx(25.0), 0.0)
    assert lost == pytest.approx(printer.hotend.heat_capacity * 175.0)


@settings(max_examples=200, deadline=None)
@given(
    start=st.floats(10, 290), target=st.floats(0, 300), fan=st.floats(0, 1), flow=st.floats(0, 30),
    dt=st.floats(1e-3, 2e3), name=st.sampled_from(["hotend", "bed"]),
)  # fmt: skip
def test_a_heater_conserves_energy(start, target, fan, flow, dt, name):
    heater = getattr(load_machine("prusa_mk3s"), name)
    end, electric, lost, peak = kernels.advance(heater_vector(heater), 25.0, start, target, fan, flow, dt)
    balance = electric - lost - flow * dt - heater.heat_capacity * (end - start)
    assert abs(balance) <= 1e-6 * max(1.0, electric, abs(lost))
    assert 0.0 <= electric <= heater.power * dt * (1 + 1e-12)
    assert peak <= heater.power


@settings(max_examples=100, deadline=None)
@given(start=st.floats(20, 250), target=st.floats(0, 250), dt=st.floats(1, 300), parts=st.integers(2, 9))
def test_many_short_steps_are_one_long_step(start, target, dt, parts):
    vector = heater_vector(load_machine("prusa_mk3s").hotend)
    once = kernels.advance(vector, 25.0, start, target, 0.5, 2.0, dt)
    here, electric = start, 0.0
    for _ in range(parts):
        here, joules, _, _ = kernels.advance(vector, 25.0, here, target, 0.5, 2.0, dt / parts)
        electric += joules
    assert here == pytest.approx(once[0], abs=1e-6)
    assert electric == pytest.approx(once[1], rel=1e-6, abs=1e-6)


def test_all_electricity_is_heat_work_or_stored(program, printer, pla):
    timeline = build_timeline(program, printer, pla)
    explained = timeline.heat_j + timeline.stored_j + float(timeline.work_j.sum())
    assert timeline.electric_j == pytest.approx(explained, rel=1e-6)
    assert timeline.stored_j > 0.0
    assert timeline.work_j.sum() > 0.0


def test_a_prediction_adds_up(program, printer, pla):
    prediction = predict(program, printer, pla)
    assert sum(item.mean for item in prediction.energy_by_subsystem_j.values()) == pytest.approx(
        prediction.energy_j.mean, rel=1e-9
    )
    assert prediction.motion_time_s.mean < prediction.time_s.mean
    assert prediction.filament_m.mean == pytest.approx(800e-9 / (math.pi / 4 * 1.75e-3**2), rel=1e-6)
    assert prediction.material_kg.mean == pytest.approx(800e-9 * pla.density, rel=1e-6)
    assert set(prediction.energy_by_subsystem_j) == {
        Subsystem.ELECTRONICS, Subsystem.MOTION, Subsystem.HOTEND, Subsystem.BED, Subsystem.FAN,
    }  # fmt: skip


def test_time_is_heating_homing_levelling_and_motion(program, printer, pla, machine):
    """The fake machine runs the same job with Euler steps and another controller."""
    samples = list(machine.run(5.0))
    measured_s = samples[-2].stamp_s - 100.0
    prediction = predict(program, printer, pla)
    assert prediction.time_s.mean == pytest.approx(measured_s, rel=0.01)
    assert prediction.energy_j.mean == pytest.approx(samples[-2].energy_j - 5e3, rel=0.01)


def test_the_interval_holds_the_mean_and_means_what_it_says(program, printer, pla):
    prediction = predict(program, printer, pla)
    for name in ("time_s", "energy_j", "peak_power_w", "heat_j", "material_kg"):
        estimate = getattr(prediction, name)
        assert estimate.low < estimate.mean < estimate.high, name
    certain = printer.model_copy(
        update={
            "bed": printer.bed.model_copy(update={"uncertainty": 0.0}),
            "hotend": printer.hotend.model_copy(update={"uncertainty": 0.0}),
            "power": printer.power.model_copy(update={"uncertainty": 0.0}),
        }
    )
    narrow = predict(program, certain, pla)
    assert narrow.energy_j.mean == prediction.energy_j.mean
    assert narrow.energy_j.high - narrow.energy_j.low < 0.5 * (prediction.energy_j.high - prediction.energy_j.low)


def test_true_machines_fall_into_the_interval(program, printer, pla):
    """Machines drawn with another generator from the stated uncertainties: nine of ten lie inside."""
    prediction, inside, count = predict(program, printer, pla), 0, 60
    random = np.random.default_rng(7)
    for _ in range(count):
        vary = lambda heater: heater.model_copy(  # noqa: E731
            update={
                name: getattr(heater, name) * (1 + heater.uncertainty * random.standard_normal())
                for name in ("power", "heat_capacity", "loss")
            }
        )
        true = printer.model_copy(update={"hotend": vary(printer.hotend), "bed": vary(printer.bed)})
        energy = build_timeline(program, true, pla).electric_j
        inside += prediction.energy_j.low <= energy <= prediction.energy_j.high
    assert inside >= 0.8 * count


def test_the_same_program_gives_the_same_prediction(program, printer, pla):
    assert predict(program, printer, pla).digest == predict(program, printer, pla).digest


def test_heaters_heat_in_parallel(printer, pla):
    def job(*heaters):
        rows = [{"op": Op.SET_HEATER, "target": heater, "value": value} for heater, value in heaters]
        rows += [{"op": Op.WAIT_HEATER, "target": heater, "value": value} for heater, value in heaters]
        return predict(build_program(rows), printer, pla).time_s.mean

    hotend, bed = (Heater.HOTEND, 200.0), (Heater.BED, 50.0)
    assert job(hotend, bed) == pytest.approx(max(job(hotend), job(bed)), abs=printer.hotend.settle_time)


def test_a_wait_does_not_wait_for_cooling(printer, pla):
    rows = [{"op": Op.WAIT_HEATER, "target": Heater.HOTEND, "value": value} for value in (200.0, 150.0)]
    timeline = build_timeline(build_program(rows), printer, pla)
    assert timeline.duration_s[1] == 0.0


def test_a_warm_machine_needs_less(program, printer, pla):
    assert (
        build_timeline(program, printer, pla, (150.0, 45.0)).electric_j
        < build_timeline(program, printer, pla).electric_j
    )


def test_filament_drawn_back_counts_once():
    rows = [{"op": Op.STRAIGHT_FEED, "extrude_m3": volume} for volume in (5e-9, -2e-9, 2e-9, 3e-9, -1e-9)]
    assert melted_m3(build_program(rows)) == pytest.approx([5e-9, 0.0, 0.0, 3e-9, 0.0])


def test_aggregation_keeps_the_sums(program, printer, pla):
    steps = build_timeline(program, printer, pla).steps
    fewer = aggregate(steps, 10.0)
    assert len(fewer) < len(steps) / 3
    for name in ("motion_s", "homing_s", "dwell_s", "path_m", "melted_kg"):
        assert getattr(fewer, name).sum() == pytest.approx(getattr(steps, name).sum()), name
    assert list(fewer.wait[fewer.wait > 0]) == list(steps.wait[steps.wait > 0])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"op": Op.SET_HEATER, "target": Heater.CHAMBER, "value": 50.0}, "chamber"),
        ({"op": Op.SET_HEATER, "target": 9, "value": 50.0}, "heater 9"),
        ({"op": Op.SET_HEATER, "target": Heater.BED, "value": math.nan}, "bed to nan"),
        ({"op": Op.WAIT_HEATER, "target": Heater.BED, "value": 290.0}, "does not reach"),
        ({"op": Op.STRAIGHT_FEED, "x_m": math.nan, "feed_m_s": 0.1}, "not a finite number"),
    ],
)
def test_what_cannot_be_predicted_is_refused_with_its_line(printer, pla, row, words):
    with pytest.raises(CoreError, match=f"(?s)line 3.*{words}") as caught:
        predict(build_program([{**row, "line": 3}]), printer, pla)
    assert caught.value.code == ErrorCode.CANNOT_PREDICT


def test_a_printer_needs_a_printing_material(program, printer):
    for material in (None, load_material("Al6061")):
        with pytest.raises(CoreError, match="not printed"):
            predict(program, printer, material)


def test_a_mill_has_a_spindle_and_no_filament():
    rows = [
        {"op": Op.START_SPINDLE_CLOCKWISE, "value": 1256.0},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.1, "feed_m_s": 0.01},
        {"op": Op.STOP_SPINDLE_TURNING},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.0, "feed_m_s": 0.01},
    ]
    mill = load_machine("grbl_mill")
    prediction = predict(build_program(rows), mill, None)
    assert prediction.energy_by_subsystem_j[Subsystem.SPINDLE].mean == pytest.approx(
        mill.spindle.idle_power * prediction.time_s.mean / 2, rel=0.01
    )
    assert prediction.material_kg.mean == prediction.filament_m.mean == 0.0


def test_a_mill_homes_before_the_predicted_time_and_a_printer_within_it(printer):
    mill = load_machine("grbl_mill")
    homing = mill_homing_s(mill)
    assert homing.mean == mill.kinematics.homing_time
    assert homing.low == pytest.approx(20.0 * (1.0 - 1.645 * 0.2), abs=0.01)
    assert homing.high == pytest.approx(20.0 * (1.0 + 1.645 * 0.2), abs=0.01)
    assert mill_homing_s(printer) == Estimate.exact(0.0)


def test_an_empty_program_takes_nothing(printer, pla):
    prediction = predict(build_program([]), printer, pla)
    assert (prediction.time_s.mean, prediction.energy_j.mean, prediction.peak_power_w.mean) == (0.0, 0.0, 0.0)


def test_filament_against_the_slicer(reference_data, printer):
    from industriverse_core.gcode import load_program

    folder = reference_data / "gcode" / "fdm"
    program = load_program(folder / "vase_mk3s_pla_020_spiral.gcode")
    prediction = predict(program, printer, load_material("PLA"))
    assert prediction.filament_m.mean == pytest.approx(4.95749 * 0.95, rel=0.01)  # its M221 S95 feeds 95 %


def test_a_timeline_is_a_frozen_value(program, printer, pla):
    with pytest.raises(dataclasses.FrozenInstanceError):
        build_timeline(program, printer, pla).stored_j = 0.0
