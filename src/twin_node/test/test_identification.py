"""Identification on runs of a machine that this file makes: fine Euler steps, noise, a meter, reports once a second."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from industriverse_core.program import build_program
from twin_node.identification import power_fit, thermal_fit
from twin_node.identification.identify import identify
from twin_node.identification.plan import step_test
from twin_node.identification.recording import (
    HeaterSeries,
    Recording,
    interval_means,
    program_states,
    report_period_s,
    reports,
)

MK3S = load_machine("prusa_mk3s")
STEP_S, ROOM_C = 0.05, 21.5
# what is drawn, and by which of the schedule's columns; the heaters' nodes
WATTS = {"electronics": 6.9, "motors": 11.3, "friction": 36.0, "fan": 1.7, "hotend_fan": 1.4}
HOTEND = {"power": 43.0, "heat_capacity": 14.6, "loss": 0.058, "fan_loss": 0.041, "lag": 1.1}
BED = {"power": 190.0, "heat_capacity": 710.0, "loss": 1.31, "fan_loss": 0.0, "lag": 2.6}
# seconds, motors, speed [m/s], fan, bed's and hot end's target
SCHEDULE = (
    (60, 0, 0.0, 0, 0, 0), (45, 1, 0.0, 0, 0, 0), (60, 1, 0.05, 0, 0, 0), (430, 1, 0.0, 0, 70, 0),
    (20, 1, 0.0, 0, 0, 0), (220, 1, 0.0, 0, 0, 180), (120, 1, 0.0, 1, 0, 180), (45, 1, 0.0, 1, 0, 0),
    (180, 1, 0.0, 0, 0, 0),
)  # fmt: skip


class Node:
    """A block with a sensor, under a proportional controller with the right steady duty."""

    def __init__(self, truth):
        self.truth, self.block, self.shown, self.duty = truth, ROOM_C, ROOM_C, 0.0

    def step(self, target, fan):
        watts, loss = self.duty * self.truth["power"], self.truth["loss"] + self.truth["fan_loss"] * fan
        self.block += STEP_S * (watts - loss * (self.block - ROOM_C)) / self.truth["heat_capacity"]
        self.shown += STEP_S * (self.block - self.shown) / self.truth["lag"]
        hold = loss * (target - ROOM_C) / self.truth["power"]
        self.duty = float(np.clip(hold + 0.15 * (target - self.shown), 0.0, 1.0)) if target else 0.0
        return watts


@cache
def run(seed=0, schedule=SCHEDULE, noise=1.0):
    random = np.random.default_rng(seed)
    hotend, bed = Node(HOTEND), Node(BED)
    rows, meter, energy, place, heat = [], [], 0.0, 0.0, None
    tick = 0
    for seconds, motors, speed, fan, bed_c, hot_c in schedule:
        for _ in range(round(seconds / STEP_S)):
            tick += 1
            t = tick * STEP_S
            watts = hotend.step(hot_c, fan) + bed.step(bed_c, 0.0) + WATTS["electronics"] + motors * WATTS["motors"]
            watts += speed * WATTS["friction"] + fan * WATTS["fan"] + (hotend.block > 50.0) * WATTS["hotend_fan"]
            energy += watts * STEP_S
            place += speed * STEP_S
            if tick % 2 == 0:
                meter.append((t, energy / (2 * STEP_S) + noise * random.normal(0.0, 0.15), np.nan))
                energy = 0.0
            if tick % 20 == 1:
                jitter = noise * random.normal(0.0, (0.06, 0.03))
                shown = np.round([hotend.shown, bed.shown] + jitter, 2)  # noqa: RUF005 - arrays add up
                heat = (shown[0], hot_c, round(127 * hotend.duty) / 127, shown[1], bed_c, round(127 * bed.duty) / 127)
            if tick % 2 == 0:
                rows.append((t, fan, place, motors, *heat))
    rows, (time_s, power_w, counter) = np.array(rows), np.array(meter).T
    still = np.zeros(len(rows))
    heaters = HeaterSeries(*rows[:, 4:7].T), HeaterSeries(*rows[:, 7:10].T)
    place_m = np.column_stack([rows[:, 2], still, still])
    return Recording(
        MK3S.id, rows[:, 0], *heaters, rows[:, 1], place_m, rows[:, 3] > 0, still > 0,
        *interval_means(time_s, power_w, counter),
    )  # fmt: skip


TRUTH = {
    **{f"hotend.{name}": value for name, value in HOTEND.items()},
    **{f"bed.{name}": value for name, value in BED.items() if name != "fan_loss"},
    "hotend.ambient": ROOM_C, "bed.ambient": ROOM_C, "power.electronics": WATTS["electronics"],
    "power.motors_enabled": WATTS["motors"], "power.motion_per_speed": WATTS["friction"], "power.fan": WATTS["fan"],
    "power.hotend_fan": WATTS["hotend_fan"],
}  # fmt: skip


@pytest.mark.parametrize("seed", [101, 102, 103])
def test_every_parameter_is_found_far_from_the_profile(seed):
    found = identify(run(seed), MK3S, meter_accuracy=0.0)
    assert {each.name for each in found.estimates} == set(TRUTH)
    for each in found.estimates:
        assert each.identified, (each.name, each.reason)
        assert each.low < each.value < each.high
        # reports lie a tick behind what they show, and repeat it for up to two ticks
        margin = 0.15 if each.name.endswith(".lag") else 0.02 * TRUTH[each.name]
        assert each.value == pytest.approx(TRUTH[each.name], abs=margin), each.name
    assert found.power_sigma_w == pytest.approx(0.15, rel=0.2)
    assert found.hotend_sigma_k == pytest.approx(0.06, rel=0.3)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Without the meter's own accuracy, 12 parameters of 12 runs: 90 % is 130 of 144.

    The seeds are none of those at which MODEL_SHARE was found to be missing.
    """
    names = [name for name in TRUTH if not name.endswith((".lag", ".ambient"))]
    inside = [
        each.low <= TRUTH[each.name] <= each.high
        for seed in range(4001, 4013)
        for each in identify(run(seed), MK3S, meter_accuracy=0.0).estimates
        if each.name in names
    ]
    assert len(inside) == 12 * len(names)
    assert 0.8 <= np.mean(inside) <= 0.99


def test_a_fan_that_turns_later_than_it_is_said_to_spoils_nothing():
    """Its command is known when it is sent, not when it is carried out."""
    early = run(105)
    fan = np.append(early.fan[12:], np.zeros(12))  # 1.2 s
    found = identify(replace(early, fan=fan), MK3S, meter_accuracy=0.0)
    assert found.estimate("hotend.fan_loss").value == pytest.approx(HOTEND["fan_loss"], rel=0.01)
    power = power_fit.fit_power(early)
    fit = thermal_fit.fit_heater(replace(early, fan=fan), "hotend", MK3S.hotend, power)
    assert fit.value[thermal_fit.FAN_DELAY] == pytest.approx(1.2, abs=0.3)  # a report comes each second


def test_the_meters_accuracy_widens_what_is_measured_in_watts_and_nothing_else():
    exact, coarse = (identify(run(101), MK3S, meter_accuracy=share) for share in (0.0, 0.05))
    for a, b in zip(exact.estimates, coarse.estimates, strict=True):
        wider = (b.high - b.low) / (a.high - a.low)
        if a.unit in ("degC", "s"):
            assert wider == pytest.approx(1.0)
        else:
            assert 0.5 * (b.high - b.low) / b.value > 1.64 * 0.05 / np.sqrt(3.0)
            assert b.value == pytest.approx(a.value)


# --- what a recording does not tell ---


def test_consumers_that_were_never_switched_apart_are_named_together():
    always_on = tuple((seconds, 1, *rest) for seconds, _, *rest in SCHEDULE)
    found = identify(run(1, always_on), MK3S)
    for name, other in (("electronics", "motors_enabled"), ("motors_enabled", "electronics")):
        each = found.estimate(f"power.{name}")
        assert not each.identified
        assert each.reason == f"always switched together with power.{other}"
        assert np.isnan([each.value, each.low, each.high]).all()
    assert found.estimate("hotend.loss").value == pytest.approx(HOTEND["loss"], rel=0.02)
    fit = power_fit.fit_power(run(1, always_on))
    assert fit.value[:2].sum() == pytest.approx(WATTS["electronics"] + WATTS["motors"], rel=0.01)


def test_what_never_ran_is_not_identified():
    without_fan = tuple((s, motors, 0.0, 0, bed, hot) for s, motors, _, _, bed, hot in SCHEDULE)
    found = identify(run(2, without_fan), MK3S)
    assert found.estimate("hotend.fan_loss").reason == "the fan never ran while it was hot"
    assert "never seen on" in found.estimate("power.fan").reason
    assert "never seen on" in found.estimate("power.motion_per_speed").reason
    assert found.estimate("hotend.heat_capacity").value == pytest.approx(HOTEND["heat_capacity"], rel=0.02)


def test_what_the_noise_leaves_open_is_said_with_its_interval():
    loud = run(3)
    random = np.random.default_rng(4)
    found = identify(replace(loud, power_w=loud.power_w + random.normal(0.0, 8.0, len(loud.power_w))), MK3S)
    each = found.estimate("power.hotend_fan")
    assert not each.identified
    assert each.reason.startswith("the recording leaves it open: ")
    assert found.estimate("bed.power").identified


def test_losses_into_an_enclosure_are_not_claimed():
    enclosed = load_machine("voron_24").enclosure
    found = identify(run(101), MK3S.model_copy(update={"enclosure": enclosed}))
    for name in ("hotend.loss", "hotend.heat_capacity", "bed.loss", "bed.ambient"):
        assert found.estimate(name).reason == "the enclosure's air is not measured"
    assert found.estimate("bed.power").identified


# --- refusals ---


def spoiled(**changes):
    return replace(run(101), **changes)


def cut(recording, samples):
    def first(heater):
        return HeaterSeries(heater.temperature_c[:samples], heater.target_c[:samples], heater.duty[:samples])

    heaters = {"hotend": first(recording.hotend), "bed": first(recording.bed)}
    rows = {name: getattr(recording, name)[:samples] for name in ("time_s", "fan", "position_m", "motors_on", "homing")}
    inside = recording.power_time_s <= rows["time_s"][-1]
    return replace(
        recording, **rows, **heaters, power_time_s=recording.power_time_s[inside], power_w=recording.power_w[inside]
    )


def with_hole(recording):
    kept = (recording.power_time_s < 300.0) | (recording.power_time_s > 330.0)
    return replace(recording, power_time_s=recording.power_time_s[kept], power_w=recording.power_w[kept])


def with_bed(**changes):
    return lambda r: replace(r, bed=replace(r.bed, **{name: change(r) for name, change in changes.items()}))


BAD = {
    "the recording is too short: 150 of at least 200 samples": lambda r: cut(r, 150),
    "the recording spans 60 s": lambda r: cut(r, 601),
    "the hot end was never heated: its temperature moved by": lambda r: cut(r, 5000),
    "for 30.2 s there is no reading of the power meter, 300 s after": with_hole,
    "has no electric power": lambda r: replace(r, power_time_s=r.power_time_s[:0], power_w=r.power_w[:0]),
    "the electric power is constant (12.0 W)": lambda r: replace(r, power_w=np.full(len(r.power_w), 12.0)),
    "the recorded electric power has values that are no numbers": lambda r: replace(
        r, power_w=np.where(r.power_time_s < 300.0, r.power_w, np.nan)
    ),
    "temperatures or targets of the bed are no numbers": with_bed(temperature_c=lambda r: r.time_s * np.nan),
    "the bed's temperature never changes (25.00 degC)": with_bed(temperature_c=lambda r: r.time_s * 0.0 + 25.0),
    "the bed was never heated: its temperature moved by": with_bed(
        temperature_c=lambda r: 25.0 + 0.01 * (np.arange(len(r.time_s)) % 3), target_c=lambda r: r.time_s * 0.0
    ),
    "the times of the samples are no numbers or do not grow": lambda r: replace(r, time_s=r.time_s[::-1]),
    "the speed of the part-cooling fan is not a number": lambda r: replace(r, fan=r.fan * np.nan),
    "the recording has no temperature of the bed": lambda r: replace(r, bed=None),
    "the recording has no temperature of the hot end": lambda r: replace(r, hotend=None),
    "the recording is of 'ender3', the profile of 'prusa_mk3s'": lambda r: replace(r, machine_id="ender3"),
    "were taken while nothing changed": lambda r: replace(
        r, position_m=np.random.default_rng(1).uniform(0.0, 0.1, r.position_m.shape)
    ),
}


@pytest.mark.parametrize("sentence", BAD)
def test_a_recording_that_tells_nothing_is_refused_by_what_is_missing(sentence):
    with pytest.raises(PredictionError) as refused:
        identify(BAD[sentence](run(101)), MK3S)
    assert refused.value.code is ErrorCode.CANNOT_CALIBRATE
    assert sentence in refused.value.message
    assert refused.value.remedy


def test_a_mill_has_no_step_tests():
    with pytest.raises(PredictionError, match="grbl_mill is a mill"):
        step_test(load_machine("grbl_mill"))


# --- the pieces ---


def test_states_of_a_program():
    program = read_gcode(b"M84\nG4 S1\nG28\nG1 X10 F600\nG4 S1\nM84\nG4 S1\n", "p")
    states = program_states(program)
    assert states.motors_on.tolist() == [False, False, True, True, True, False, False]
    assert states.homing.tolist() == [False, False, True, False, False, False, False]
    with pytest.raises(PredictionError, match="feeds filament"):
        program_states(read_gcode(b"G28\nM83\nM109 S200\nG1 X10 E1 F600\n", "p"))
    with pytest.raises(PredictionError, match="no instruction"):
        program_states(build_program([]))


def test_a_fine_counter_gives_the_mean_and_a_coarse_one_is_not_used():
    t, watts = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0]), np.array([10.0, 10.0, 10.0, 10.0, 10.0, 99.0, 10.0])
    at, mean = interval_means(t, watts, np.array([0.0, 10.0, 20.0, 30.0, 40.0, 80.0, 5.0]))  # set back at the end
    assert at.tolist() == [1.0, 2.0, 3.0, 4.0, 6.0, 7.0]
    assert mean.tolist() == [10.0, 10.0, 10.0, 10.0, 20.0, 10.0]
    _, mean = interval_means(t, watts, np.array([0.0, 0.0, 0.0, 0.0, 3600.0, 3600.0, 3600.0]))
    assert mean.tolist() == watts[1:].tolist()
    _, mean = interval_means(t, np.append(np.nan, watts[1:]), t * np.nan)
    assert mean.tolist() == watts[2:].tolist()


def test_equal_reports_are_reports():
    time_s = np.arange(0.0, 20.0, 0.1)
    values = np.where(time_s < 10.0, np.floor(time_s + 1e-9), 9.0)
    assert np.allclose(time_s[reports(time_s, values)], np.arange(20.0), atol=0.11)
    assert report_period_s(time_s, HeaterSeries(values, values, values)) == pytest.approx(1.0, abs=0.11)


def test_correlated_residuals_widen_the_interval():
    random = np.random.default_rng(5)
    white = random.standard_normal(4000)
    assert power_fit.inflation(white) < 1.3
    slow = np.convolve(white, np.ones(10), "valid")  # a mean of 10: ten times the variance of its mean
    assert 7.0 < power_fit.inflation(slow) < 14.0


def test_the_node_follows_its_closed_form():
    fit = thermal_fit.heater_input(run(101), "bed", power_fit.fit_power(run(101)))
    steps = len(fit.power_w)
    given = replace(fit, power_w=np.full(steps, 100.0), on=np.zeros(steps, bool), fan=np.zeros(steps))
    value = np.array([500.0, 1.25, 0.0, 20.0, 30.0, 0.02, 0.0, 0.0])
    shown = thermal_fit.sensor(given, value)
    t = given.report_at * thermal_fit.GRID_S
    expected = 100.0 + (30.0 - 100.0) * np.exp(-t * 1.25 / 500.0)
    assert np.abs(shown - expected).max() < 0.01
