"""The threat identifier: quiet beside a sound machine, right names for broken ones, never a traceback."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import InputError
from industriverse_core.machine import load_machine
from industriverse_core.program import Heater
from industriverse_core.telemetry import (
    HeaterReading,
    MachineState,
    PowerSample,
    Quantity,
    ResidualChannel,
    ResidualSample,
    TelemetrySample,
    VibrationAxis,
    VibrationSample,
)
from industriverse_core.threats import Cause, Evidence
from shield_node.threats.fusion import CAUSES, REFERENCE, read_model, shipped_model
from shield_node.threats.identifier import ThreatIdentifier
from shield_node.threats.scores import KINDS, LARGEST, Score

PROFILE = load_machine("prusa_mk3s")
NAN = math.nan


def sample(stamp_s, hotend_c=25.0, target_c=0.0, duty=0.0, power_w=8.0, **changes):
    values = {
        "stamp_s": stamp_s, "machine_id": PROFILE.id, "incarnation": 1, "challenge": 1, "state": MachineState.IDLE,
        "position_m": (0.0, 0.0, 0.0), "reported_position_m": (0.0, 0.0, 0.0), "power_w": power_w,
        "heaters": (HeaterReading(Heater.HOTEND, hotend_c, target_c, duty), HeaterReading(Heater.BED, 25.0, 0.0, 0.0)),
    }  # fmt: skip
    return TelemetrySample(**{**values, **changes})


def cold(identifier, until_s, begin_s=0.0):
    for at in np.arange(begin_s, until_s, 0.5):
        identifier.observe_telemetry(sample(float(at)), float(at))
    return identifier.estimate(until_s - 0.45)


def burst(stamp_s, level, axis=VibrationAxis.X):
    return VibrationSample(stamp_s, PROFILE.id, stamp_s, axis, 256, 1600.0, level, 3.0, 100.0, (level**2 / 8,) * 8)


@pytest.fixture
def identifier():
    return ThreatIdentifier(PROFILE)


def test_there_is_one_kind_a_score_and_every_weight_has_its_place():
    assert len(KINDS) == len(Score)
    model = shipped_model()
    assert model.weights.shape == (len(CAUSES), len(KINDS))
    assert read_model(model.to_json()).to_json() == model.to_json()
    assert model.provenance


def test_nothing_heard_is_no_threat(identifier):
    estimate = identifier.estimate(0.0)
    assert estimate.cause is Cause.NONE
    assert estimate.message == ""
    assert math.fsum(estimate.probabilities) == pytest.approx(1.0)


def test_a_cold_machine_is_sound(identifier):
    estimate = cold(identifier, 60.0)
    assert estimate.cause is Cause.NONE
    assert estimate.probability > 0.9
    assert estimate.stamp_s == 59.5


def test_heat_without_duty_is_a_runaway_before_any_limit(identifier):
    cold(identifier, 60.0)
    power_w = PROFILE.hotend.power
    for second in range(60, 90):
        reading_c = 25.0 + (second - 60) * power_w / PROFILE.hotend.heat_capacity
        identifier.observe_telemetry(sample(float(second), reading_c, power_w=8.0 + power_w), float(second))
        estimate = identifier.estimate(float(second))
        if estimate.cause is not Cause.NONE:
            break
    assert estimate.cause is Cause.THERMAL_RUNAWAY
    assert reading_c < 80.0
    assert "heats without being told to" in estimate.message
    assert estimate.severity == 1.0


def test_duty_without_heat_is_a_heater_fault(identifier):
    cold(identifier, 60.0)
    for second in range(60, 75):
        identifier.observe_telemetry(sample(float(second), 25.0, 215.0, 1.0), float(second))
    assert identifier.estimate(74.1).cause is Cause.HEATER_FAULT


@pytest.mark.parametrize("reading_c", [NAN, -40.0, 500.0])
def test_an_impossible_temperature_is_a_sensor_fault(identifier, reading_c):
    cold(identifier, 60.0)
    identifier.observe_telemetry(sample(60.0, reading_c), 60.0)
    estimate = identifier.estimate(60.0)
    assert estimate.cause is Cause.SENSOR_FAULT
    assert "hotend_temperature" in [each.channel for each in estimate.evidence]
    assert "hot end" in estimate.message


def test_a_sagging_supply_has_its_name(identifier):
    cold(identifier, 10.5)
    for step in range(100):
        volts = 24.0 if step < 60 else 17.0
        identifier.observe_power(PowerSample(step * 0.1, PROFILE.id, step * 0.1, voltage_v=volts), 10.0)
    assert identifier.estimate(10.0).cause is Cause.POWER_ANOMALY


def test_a_counter_that_disagrees_with_the_watts_is_a_sensor_fault(identifier):
    for step in range(600):
        at = step * 0.1
        reading = PowerSample(at, PROFILE.id, at, power_w=50.0, energy_j=20.0 * at)
        identifier.observe_power(reading, at)
    cold(identifier, 1.0)
    assert identifier.estimate(1.0).cause is Cause.SENSOR_FAULT


def test_a_louder_machine_vibrates_and_its_own_level_is_learnt(identifier):
    cold(identifier, 10.5)
    levels = np.random.default_rng(1).uniform(0.09, 0.11, 60)
    for step, level in enumerate(levels):
        identifier.observe_vibration(burst(float(step), float(level)), 10.0)
    assert identifier.estimate(10.0).cause is Cause.NONE
    identifier.observe_vibration(burst(60.0, 1.0), 10.0)
    assert identifier.estimate(10.0).cause is Cause.NONE  # a knock is no vibration
    for second in range(61, 70):
        identifier.observe_vibration(burst(float(second), 1.0), 10.0)
    assert identifier.estimate(10.0).cause is Cause.VIBRATION


def test_one_loud_axis_of_three_is_motion(identifier):
    cold(identifier, 10.5)
    for second in range(100):
        loud = 1.0 if second > 60 else 0.1
        for axis, level in zip(VibrationAxis, (loud, 0.1, 0.1), strict=True):
            identifier.observe_vibration(burst(float(second), level, axis), 10.0)
    assert identifier.estimate(10.0).cause is Cause.NONE
    for second in range(100, 120):
        for axis in VibrationAxis:
            identifier.observe_vibration(burst(float(second), 1.0, axis), 10.0)
    assert identifier.estimate(10.0).cause is Cause.VIBRATION
    identifier.reset()
    identifier.observe_vibration(burst(120.0, 0.1), 10.0)
    assert cold(identifier, 11.0).cause is Cause.NONE


def test_a_temperature_that_is_not_reported_any_more_is_a_sensor_fault_while_a_job_runs(identifier):
    cold(identifier, 10.0)
    silent = sample(10.0, heaters=(), state=MachineState.IDLE)
    identifier.observe_telemetry(silent, 10.0)
    assert identifier.estimate(10.0).cause is Cause.NONE
    identifier.observe_telemetry(dataclasses.replace(silent, stamp_s=10.5, state=MachineState.EXECUTING), 10.5)
    estimate = identifier.estimate(10.5)
    assert estimate.cause is Cause.SENSOR_FAULT
    assert "not reported any more" in estimate.message


def test_a_controller_that_says_why_it_has_halted_is_believed(identifier):
    cold(identifier, 10.0)
    halted = {"heaters": (), "state": MachineState.FAULT}
    said = "the controller reports: Heating failed, system stopped! Heater_ID: bed."
    identifier.observe_telemetry(sample(10.0, error_msg=said, **halted), 10.0)
    assert identifier.estimate(10.0).cause is Cause.HEATER_FAULT
    said = "the controller reports: MAXTEMP triggered, system stopped! Heater_ID: E0."
    identifier.observe_telemetry(sample(10.5, error_msg=said, **halted), 10.5)
    assert identifier.estimate(10.5).cause is Cause.SENSOR_FAULT


def test_a_clock_that_starts_again_with_the_machine_is_in_order(identifier):
    cold(identifier, 10.0, begin_s=5.0)
    for step in range(4):
        identifier.observe_telemetry(sample(1.0 + step, incarnation=1), 10.0)
    assert identifier.estimate(10.0).cause is Cause.NETWORK_FAULT
    for step in range(4):
        identifier.observe_telemetry(sample(1.0 + step, incarnation=2), 10.0)
    estimate = identifier.estimate(10.0)
    assert estimate.cause is Cause.NONE
    for step in range(20):
        identifier.observe_telemetry(sample(6.0 + step, 25.0, 215.0, 1.0, incarnation=2), 10.0)
    assert identifier.estimate(10.0).cause is Cause.HEATER_FAULT


def test_a_mill_has_no_heaters_and_its_cutting_is_no_alarm():
    mill = load_machine("grbl_mill")
    identifier = ThreatIdentifier(mill)
    for second in range(60):
        place = (0.01 * (second % 2), 0.0, 0.0)
        cutting = sample(float(second), power_w=300.0 if second > 30 else 30.0, heaters=(), machine_id=mill.id,
                         position_m=place, state=MachineState.EXECUTING)  # fmt: skip
        identifier.observe_telemetry(cutting, float(second))
        identifier.observe_vibration(burst(float(second), 2.0 if second > 45 else 0.1), float(second))
    assert identifier.estimate(59.0).cause is Cause.NONE


def test_late_telemetry_is_a_network_fault_by_the_receivers_clock(identifier):
    cold(identifier, 10.5)
    assert identifier.estimate(10.0).cause is Cause.NONE
    assert identifier.estimate(10.8).cause is Cause.NETWORK_FAULT


def test_an_incident_counts_for_a_while(identifier):
    cold(identifier, 10.0)
    forged = Evidence("permit_guard", "permit", 1.0, 0.0, 14.0)
    identifier.observe_incident(Cause.PROGRAM_TAMPERING, forged, 9.5)
    estimate = identifier.estimate(9.6)
    assert estimate.cause is Cause.PROGRAM_TAMPERING
    assert estimate.evidence[0] == forged
    assert cold(identifier, 13.0, 10.0).cause is Cause.NONE


def test_a_clearing_operator_ends_old_evidence(identifier):
    cold(identifier, 10.0)
    for second in range(10, 40):
        identifier.observe_telemetry(sample(float(second), 25.0, 215.0, 1.0), float(second))
    assert identifier.estimate(39.0).cause is not Cause.NONE
    identifier.reset()
    assert cold(identifier, 41.0, 40.0).cause is Cause.NONE


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.0, LARGEST), min_size=len(KINDS), max_size=len(KINDS)), st.sampled_from(Score))
def test_more_evidence_never_makes_nothing_likelier(scores, which):
    model, before = shipped_model(), np.array(scores)
    after = before.copy()
    after[which] = LARGEST
    none_before, none_after = (model.probabilities(each)[REFERENCE] for each in (before, after))
    assert none_after <= none_before + 1e-12


FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=32)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS, FLOATS), min_size=1, max_size=8))
def test_broken_numbers_never_raise(rows):
    identifier = ThreatIdentifier(PROFILE)
    for a, b, c, d in rows:
        broken = sample(a, b, c, d, fan=d, power_w=c, position_m=(a, b, c), reported_position_m=(d, c, b), heaters=(
            HeaterReading(Heater.HOTEND, b, c, d), HeaterReading(Heater.BED, d, b, a)))  # fmt: skip
        identifier.observe_telemetry(broken, a)
        identifier.observe_power(PowerSample(a, PROFILE.id, b, voltage_v=c, power_w=d, energy_j=b), a)
        identifier.observe_vibration(dataclasses.replace(burst(a, 0.1), band_energy=(b, c, d, a, b, c, d, a)), b)
        channels = tuple(ResidualChannel(quantity, a, b, c) for quantity in Quantity)
        identifier.observe_residual(ResidualSample(d, PROFILE.id, 1, "", bytes(32), 0, channels, c), b)
        identifier.observe_incident(Cause.UNKNOWN, Evidence("x", "y", a, b, c), d)
        estimate = identifier.estimate(d)
        assert math.fsum(estimate.probabilities) == pytest.approx(1.0)
        assert all(0.0 <= each <= 1.0 for each in estimate.probabilities)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"causes": {"CLOG": {}}}', '{"causes": {"X": {"bias": 1}}}',
    '{"provenance": {}, "causes": {"CLOG": {"bias": 0, "weights": {"VOLTAGE": -1}}}}',
    '{"provenance": {}, "causes": {"NONE": {"bias": 1, "weights": {}}}}'])  # fmt: skip
def test_a_file_that_holds_no_weights_is_refused(text):
    with pytest.raises(InputError):
        read_model(text)
