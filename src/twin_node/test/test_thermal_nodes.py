"""Enclosure, part and waits for cooling: balances, closed forms, and Euler steps of the same equations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.artefacts import Subsystem
from industriverse_core.errors import CoreError
from industriverse_core.machine import Enclosure, load_machine
from industriverse_core.material import load_material
from industriverse_core.program import Heater, Op, build_program
from twin_node import thermal_kernels as kernels
from twin_node.oracle import predict
from twin_node.timeline import build_timeline, heater_vector, machine_vector

BOX = Enclosure(heat_capacity="2 kJ/K", loss="3 W/K")
PRINTER = load_machine("prusa_mk3s")
ENCLOSED = PRINTER.model_copy(update={"enclosure": BOX})
PLA = load_material("PLA")


def balance(timeline):
    explained = timeline.heat_j + timeline.stored_j + float(timeline.work_j.sum())
    return timeline.electric_j - explained


def test_the_books_close_in_an_enclosure(program):
    timeline = build_timeline(program, ENCLOSED, PLA)
    assert abs(balance(timeline)) < 1e-9 * timeline.electric_j
    assert timeline.air_c.max() > ENCLOSED.ambient + 3.0
    assert np.all(build_timeline(program, PRINTER, PLA).air_c == PRINTER.ambient)


def test_warm_air_saves_the_heaters_energy(program):
    open_, closed = (build_timeline(program, machine, PLA) for machine in (PRINTER, ENCLOSED))
    for subsystem in (Subsystem.BED, Subsystem.HOTEND):
        assert closed.energy_j[subsystem].sum() < open_.energy_j[subsystem].sum()
    assert closed.total_s < open_.total_s  # and heats up sooner


def test_an_enclosure_settles_where_its_loss_is_what_it_takes_up():
    rows = [
        {"op": Op.WAIT_HEATER, "target": Heater.BED, "value": 100.0},
        {"op": Op.DWELL, "value": 40_000.0},
        {"op": Op.DWELL, "value": 1.0},
    ]
    timeline = build_timeline(build_program(rows), ENCLOSED, PLA)
    air = timeline.air_c[-1]
    assert BOX.loss * (air - ENCLOSED.ambient) == pytest.approx(ENCLOSED.bed.loss * (100.0 - air), rel=1e-3)


def test_an_enclosure_is_what_fine_euler_steps_make_of_it():
    """Bed at full power, air and room: two coupled nodes."""
    rows = [{"op": Op.SET_HEATER, "target": Heater.BED, "value": 119.0}, {"op": Op.DWELL, "value": 300.0}]
    timeline = build_timeline(build_program(rows), ENCLOSED, PLA)
    bed, air, dt, heater = 25.0, 25.0, 0.01, ENCLOSED.bed
    for _ in range(30_000):
        lost = heater.loss * (bed - air)
        power = heater.power if bed < 119.0 else lost
        bed += (power - lost) * dt / heater.heat_capacity
        air += (lost - BOX.loss * (air - 25.0)) * dt / BOX.heat_capacity
    assert timeline.bed_c[-1] == pytest.approx(bed, abs=0.3)
    assert timeline.air_c[-1] == pytest.approx(air, abs=0.3)


def test_a_prediction_in_an_enclosure_holds_its_mean(program):
    prediction = predict(program, ENCLOSED, PLA)
    assert prediction.energy_j.low < prediction.energy_j.mean < prediction.energy_j.high


def test_the_part_keeps_or_gives_away_what_the_melt_brought(program):
    timeline = build_timeline(program, PRINTER, PLA)
    kept = float(timeline.work_j.sum() - timeline.part_lost_j.sum())
    mass = float(timeline.steps.melted_kg.sum())
    assert kept == pytest.approx(mass * PLA.print_enthalpy_j_per_kg(timeline.part_c[-1], PRINTER.ambient), rel=1e-6)
    assert PRINTER.ambient < timeline.part_c[-1] < 200.0


def test_a_finished_part_takes_a_temperature_between_bed_and_air(program):
    timeline = build_timeline(program, PRINTER, PLA)
    machine = machine_vector(PRINTER, PLA)
    state = np.zeros(kernels.STATE_SIZE)
    state[:] = (200.0, 60.0, 25.0, timeline.part_c[-1], 5e-3)
    kernels._part(machine, state, 0.0, 0.0, 0.0, 1e5)
    to_air, to_bed = kernels.AIR_W_M2K * kernels.PART_AREA, kernels.BED_W_M2K * kernels.PART_BASE
    assert state[kernels.PART] == pytest.approx((to_air * 25.0 + to_bed * 60.0) / (to_air + to_bed))


@pytest.mark.parametrize("temperature_c", [-10.0, 25.0, 59.0, 60.0, 61.0, 215.0])
def test_temperature_and_enthalpy_are_each_others_inverse(temperature_c):
    machine = machine_vector(PRINTER, PLA)
    enthalpy = kernels._signed_enthalpy(machine, temperature_c)
    assert kernels.temperature_of(machine, enthalpy) == pytest.approx(temperature_c)


def test_cooling_to_the_window_is_the_closed_form():
    vector = heater_vector(PRINTER.hotend)
    seconds = kernels.time_to_cool(vector, 25.0, 200.0, 150.0, 0.5, 0.0)
    end, electric, _, _ = kernels.advance(vector, 25.0, 200.0, 150.0, 0.5, 0.0, seconds)
    assert end == pytest.approx(150.0 + PRINTER.hotend.window)
    assert electric == 0.0
    assert kernels.time_to_cool(vector, 25.0, 200.0, 20.0, 0.0, 0.0) == math.inf
    assert kernels.time_to_cool(vector, 25.0, 100.0, 150.0, 0.0, 0.0) == 0.0


def test_a_wait_for_cooling_takes_its_time_and_one_for_heating_alone_does_not():
    """Down from 200 to 150 degC: the loss's time constant, then the settling."""
    hot = {"op": Op.WAIT_HEATER, "target": Heater.HOTEND, "value": 200.0}
    down = {"op": Op.WAIT_HEATER, "target": Heater.HOTEND, "value": 150.0}
    heating, cooling = (build_timeline(build_program([hot, {**down, "turns": n}]), PRINTER, PLA) for n in (0, 1))
    heater = PRINTER.hotend
    tau = heater.heat_capacity / heater.loss
    expected = tau * math.log((200.0 - 25.0) / (150.0 + heater.window - 25.0)) + heater.settle_time
    assert heating.duration_s[1] == 0.0
    assert cooling.duration_s[1] == pytest.approx(expected)
    assert 150.0 <= cooling.hotend_c[1] < 150.0 + heater.window
    assert abs(balance(cooling)) < 1e-9 * cooling.electric_j


def test_a_wait_to_cool_below_the_room_is_refused():
    rows = [{"op": Op.WAIT_HEATER, "target": Heater.BED, "value": 10.0, "turns": 1, "line": 7}]
    with pytest.raises(CoreError, match="line 7: the bed waits for 10 degC, which it does not reach by cooling"):
        build_timeline(build_program(rows), PRINTER, PLA)


temperatures = st.sampled_from([0.0, 40.0, 60.0, 110.0])
instructions = st.one_of(
    st.builds(
        lambda op, target, value, turns: {"op": op, "target": target, "value": value, "turns": turns},
        st.sampled_from([Op.SET_HEATER, Op.WAIT_HEATER]), st.sampled_from([Heater.HOTEND, Heater.BED]), temperatures,
        st.just(0),
    ),
    st.builds(lambda value: {"op": Op.SET_FAN, "value": value}, st.floats(0.0, 1.0)),
    st.builds(lambda value: {"op": Op.DWELL, "value": value}, st.floats(0.0, 500.0)),
    st.builds(
        lambda x, volume: {"op": Op.STRAIGHT_FEED, "x_m": x, "extrude_m3": volume, "feed_m_s": 0.05},
        st.floats(0.0, 0.2), st.floats(-2e-9, 5e-8),
    ),
    st.sampled_from([{"op": Op.HOME, "target": 7, "x_m": 0.0}, {"op": Op.LEVEL_BED}, {"op": Op.MOTORS_OFF}]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(instructions, min_size=1, max_size=25), enclosed=st.booleans())
def test_the_books_of_any_program_close(rows, enclosed):
    timeline = build_timeline(build_program(rows), ENCLOSED if enclosed else PRINTER, PLA)
    assert abs(balance(timeline)) <= 1e-8 * max(1.0, timeline.electric_j)
    for name in ("hotend_c", "bed_c", "air_c", "part_c"):
        column = getattr(timeline, name)
        assert np.all((column >= PRINTER.ambient - 1e-6) & (column <= 130.0)), name
    course = timeline.course
    longer = course.duration_s > 0.0
    mean_w = sum(column[longer] for column in course.energy_j.values()) / course.duration_s[longer]
    assert np.all(course.peak_power_w[longer] >= mean_w * (1.0 - 1e-9))
