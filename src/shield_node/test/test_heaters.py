"""Heaters: sound ones give no alarm whatever the targets, each fault gives its own."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.machine import load_machine
from shield_node.detectors.heaters import HeaterFault, HeaterMonitor

PROFILE = load_machine("prusa_mk3s")
AMBIENT_C = PROFILE.ambient
PERIOD_S = 0.1


class Plant:
    """The profile's lumped node under a bang-bang controller, with sensor noise and faults."""

    def __init__(self, heater, seed=1):
        import random

        self.heater, self.temperature_c = heater, AMBIENT_C
        self.noise = random.Random(seed)
        self.duty_fixed = None

    def step(self, target_c):
        duty = float(self.temperature_c < target_c) if self.duty_fixed is None else self.duty_fixed
        flow_w = self.heater.power * duty - self.heater.loss * (self.temperature_c - AMBIENT_C)
        self.temperature_c += PERIOD_S * flow_w / self.heater.heat_capacity
        return self.temperature_c + self.noise.gauss(0.0, 0.3)


def run(heater, schedule, fault=None, at_s=math.inf):
    """(time, alarm) of the first alarm. `schedule`: (seconds, target) pairs; `fault` changes plant or reading."""
    plant, monitor = Plant(heater), HeaterMonitor("heater", heater, AMBIENT_C)
    now = 0.0
    for duration_s, target_c in schedule:
        for _ in range(round(duration_s / PERIOD_S)):
            now += PERIOD_S
            reading = plant.step(target_c)
            if now >= at_s:
                reading = fault(plant, reading, now - at_s)
            alarm = monitor.step(now, reading, target_c)
            if alarm is not None:
                return now, alarm
    return None


@pytest.mark.parametrize("heater", [PROFILE.hotend, PROFILE.bed], ids=["hotend", "bed"])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 300), st.floats(0, 1)), min_size=1, max_size=4))
def test_a_sound_heater_gives_no_alarm(heater, schedule):
    reach = min(heater.max_temperature - 20.0, AMBIENT_C + 0.8 * heater.power / heater.loss)
    targets = [(seconds, 0.0 if share < 0.2 else share * reach) for seconds, share in schedule]
    assert run(heater, targets) is None


def stuck(duty):
    def fault(plant, reading, _):
        plant.duty_fixed = duty
        return reading

    return fault


@pytest.mark.parametrize(
    ("fault", "schedule", "at_s", "expected", "within_s"),
    [
        (stuck(0.0), [(900, 215)], 300.0, HeaterFault.NOT_HEATING, 90.0),
        (stuck(0.0), [(900, 215)], 0.0, HeaterFault.NOT_HEATING, 60.0),
        (stuck(1.0), [(900, 215)], 300.0, HeaterFault.RUNAWAY, 60.0),
        (stuck(1.0), [(300, 215), (900, 0)], 300.0, HeaterFault.RUNAWAY, 60.0),
        (lambda plant, reading, s: -273.0, [(900, 215)], 300.0, HeaterFault.SENSOR, 0.2),
        (lambda plant, reading, s: 1000.0, [(900, 215)], 300.0, HeaterFault.SENSOR, 0.2),
        (lambda plant, reading, s: math.nan, [(900, 215)], 300.0, HeaterFault.SENSOR, 0.2),
        (lambda plant, reading, s: reading - 60.0, [(900, 215)], 300.0, HeaterFault.SENSOR, 0.2),
    ],
    ids=["off at target", "off from the start", "on at target", "on after the end", "open", "short", "nan", "jump"],
)
def test_each_fault_gives_its_alarm(fault, schedule, at_s, expected, within_s):
    found = run(PROFILE.hotend, schedule, fault, at_s)
    assert found is not None
    assert found[1].fault is expected
    assert found[0] - at_s <= within_s
    assert found[1].message.startswith("heater: ")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats(), st.floats()), max_size=30))
def test_any_numbers_are_taken(samples):
    monitor = HeaterMonitor("heater", PROFILE.hotend, AMBIENT_C)
    for now, temperature, target in samples:
        alarm = monitor.step(now, temperature, target)
        assert alarm is None or alarm.message


def test_old_samples_are_ignored():
    monitor = HeaterMonitor("heater", PROFILE.hotend, AMBIENT_C)
    assert monitor.step(10.0, 25.0, 0.0) is None
    assert monitor.step(10.0, 900.0, 0.0) is None
    assert monitor.step(9.0, 900.0, 0.0) is None
