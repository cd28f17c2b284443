"""The bodies of the virtual machines obey their physics: spindle, blank, accelerometer."""

import random

import numpy as np
import pytest
from virtual_rigs import PROFILES, homed_mill

from machine_node.virtual.accelerometer import RATE_HZ, SAMPLES, Accelerometer
from machine_node.virtual.axes import Axes, AxisLimits, Phase
from machine_node.virtual.mill_plant import MillPlant
from machine_node.virtual.plant import Plant
from machine_node.virtual.stock_field import StockField


@pytest.fixture
def mill():
    return homed_mill()


# --- mill ---


def test_cutting_takes_power_slows_the_spindle_and_removes_what_the_tool_sweeps(mill):
    mill.send("M3 S12000", "G0 X-5 Y20 Z1", "G1 Z-1 F600")
    mill.wait(25.0)
    idle_w, idle_rpm = mill.plant.power_w(0.0), mill.plant.spindle.rpm
    removed = mill.plant.removed_m3
    mill.send("G1 X95 F1200")
    mill.wait(3.0)
    assert mill.plant.spindle.load_w > 20.0
    assert mill.plant.power_w(0.0) > idle_w + 20.0
    assert mill.plant.spindle.rpm < 0.999 * idle_rpm
    mill.wait(10.0)
    # a slot of 1 mm depth from the stock's edge to x = 95 and half a tool, round at its end
    width = mill.plant.tool_m
    expected = (95e-3 * width + np.pi * width**2 / 8) * 1e-3
    assert mill.plant.removed_m3 - removed == pytest.approx(expected, rel=0.05)
    assert mill.plant.spindle.load_w == 0.0


def test_too_deep_a_cut_stalls_the_spindle_and_breaks_the_tool(mill):
    mill.send("M3 S3000", "G0 X-5 Y20 Z1", "G1 Z-8 F900")
    mill.wait(30.0)
    mill.send("G1 X60 F1900")
    mill.wait(8.0)
    spindle = mill.plant.spindle
    assert spindle.stalled
    assert spindle.tool_broken
    assert spindle.power_w() > 300.0
    mill.send("M5")
    mill.wait(1.0)
    assert not spindle.stalled
    assert spindle.tool_broken


def test_a_jammed_spindle_breaks_the_tool_and_a_new_one_cuts_again(mill):
    mill.send("M3 S12000", "G0 X-5 Y20 Z1", "G1 Z-1 F600")
    mill.wait(25.0)
    mill.fault("spindle_stall", for_s=4.0)
    mill.send("G1 X60 F1200")
    mill.wait(5.0)
    removed = mill.plant.removed_m3
    assert mill.plant.spindle.tool_broken
    mill.wait(1.0)
    assert mill.plant.removed_m3 == removed
    mill.fault("tool_break", on=False)  # not on: nobody broke it by request
    mill.fault("tool_break")
    mill.fault("tool_break", on=False)
    mill.send("G1 X95 F600")
    mill.wait(6.0)
    assert mill.plant.removed_m3 > removed


def test_a_field_gives_what_was_cut_once_only():
    field = StockField((0.0, 0.0, -0.01), (0.05, 0.05, 0.0))
    first = field.cut((0.01, 0.02, -0.002), (0.04, 0.02, -0.002), 0.003)
    area = 0.03 * 0.006 + np.pi * 0.003**2
    assert first == pytest.approx(area * 0.002, rel=0.02)
    assert field.cut((0.04, 0.02, -0.002), (0.01, 0.02, -0.002), 0.003) == 0.0
    assert field.cut((0.0, 0.0, 0.001), (0.05, 0.05, 0.001), 0.003) == 0.0
    assert field.surface_m(0.025, 0.02) == -0.002
    assert field.surface_m(0.025, 0.04) == 0.0
    assert field.surface_m(0.06, 0.04) == -0.01
    assert field.cut((0.025, 0.02, 0.0), (0.025, 0.02, -0.05), 0.003) > 0.0
    assert field.surface_m(0.025, 0.02) == -0.01  # the table is not milled


# --- belts ---


def test_a_belt_stretches_under_acceleration_and_friction_leaves_the_tool_behind():
    axes = axes_with(Phase(0.0, 1.0, (1.0, 0.0, 0.0), 0.0, 0.1))
    moving = [Phase(1.0, 2.0, (1.0, 0.0, 0.0), 0.1, 2.0)]
    stiffness = (2 * np.pi * axes.resonance_hz[0]) ** 2
    rest = axes.tool_of((0.0, 0.0, 0.0), [])[0]
    assert rest < 0.0
    assert rest - axes.tool_of((0.0, 0.0, 0.0), moving)[0] == pytest.approx(2.0 / stiffness, rel=1e-9)
    assert axes.tool_of((0.0, 0.0, 0.0), moving)[1] == 0.0


# --- accelerometer ---


class Still:
    def shake_m_s2(self):
        return 0.0

    def tones(self):
        return []


def axes_with(*phases):
    axes = Axes((AxisLimits(0.2, 1.0),) * 3, random.Random(1))
    for phase in phases:
        axes.observe(phase)
    return axes


def test_a_resting_sensor_feels_gravity():
    mean = Accelerometer(axes_with(), Still(), 1).samples_m_s2(5.0, []).mean(axis=0)
    assert mean == pytest.approx([0.0, 0.0, 9.80665], abs=0.1)


def test_a_steady_acceleration_is_felt_along_its_direction():
    axes = axes_with(Phase(4.5, 5.0, (0.0, 1.0, 0.0), 0.0, 0.5))
    samples = Accelerometer(axes, Still(), 1).samples_m_s2(5.0, [])
    assert samples[64:].mean(axis=0) == pytest.approx([0.0, 0.5, 9.80665], abs=0.1)


def test_a_jolt_rings_at_the_axis_own_frequency():
    axes = axes_with(Phase(4.88, 5.0, (1.0, 0.0, 0.0), 0.05, 0.0))  # from rest to 50 mm/s at once
    samples = Accelerometer(axes, Still(), 1).samples_m_s2(5.0, [])
    spectrum = np.abs(np.fft.rfft(samples[70:, 0] - samples[70:, 0].mean(), 4096))
    frequency = np.argmax(spectrum) * RATE_HZ / 4096
    assert frequency == pytest.approx(axes.resonance_hz[0], rel=0.15)


def test_a_cutting_spindle_sounds_at_its_teeth(mill):
    mill.send("M3 S12000", "G0 X-5 Y20 Z1", "G1 Z-1 F600")
    mill.wait(25.0)
    mill.send("G1 X95 F1200")
    mill.wait(3.0)
    sensor = Accelerometer(mill.plant.axes, mill.plant, 1)
    samples = sensor.samples_m_s2(mill.now, mill.firmware.moving_phases(mill.now))
    spectrum = np.abs(np.fft.rfft(samples[:, 1] - samples[:, 1].mean(), 8192))
    tooth_hz = mill.plant.flutes * mill.plant.spindle.rpm / 60
    at = round(tooth_hz * 8192 / RATE_HZ)
    assert spectrum[at - 20 : at + 20].max() > 5 * np.median(spectrum)


def test_a_burst_is_one_line_with_its_checksum():
    sensor = Accelerometer(axes_with(), Still(), 1)
    assert sensor.read(10.0, []) == b""
    assert sensor.read(10.9, []) == b""
    line = sensor.read(11.0, [])
    body, _, checksum = line.rstrip(b"\n").rpartition(b"*")
    assert int(checksum, 16) == int(np.bitwise_xor.reduce(np.frombuffer(body, np.uint8)))
    first_ms, rate, count, *values = (int(field) for field in body.split(b","))
    assert (first_ms, rate, count, len(values)) == (840, RATE_HZ, SAMPLES, 3 * SAMPLES)


# --- seeds ---


@pytest.mark.parametrize(("plant", "kind"), [(Plant, "printer"), (MillPlant, "mill")])
def test_the_seed_draws_the_body(plant, kind):
    drawn = {tuple(plant(PROFILES[kind], seed).axes.resonance_hz) for seed in (1, 1, 2, 3)}
    assert len(drawn) == 3
