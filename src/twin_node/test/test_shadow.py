"""The shadow beside a fake machine: agreement, faults that show, and samples that are late or broken."""

import dataclasses
import math

import pytest

from industriverse_core.machine import Enclosure
from industriverse_core.program import Heater
from industriverse_core.telemetry import HeaterReading, MachineState, Quantity, TelemetrySample
from twin_node.shadow import Shadow
from twin_node.timeline import build_timeline


def follow(profile, program, material, samples):
    shadow = Shadow(profile)
    shadow.begin(build_timeline(program, profile, material), material)
    return [(sample, shadow.observe(sample)) for sample in samples]


def scores(results, quantity):
    values = [channel.z_score for _, channels in results for channel in channels if channel.quantity is quantity]
    return [value for value in values if math.isfinite(value)]


@pytest.mark.parametrize("period_s", [0.05, 0.6])
def test_a_machine_as_in_its_profile_stays_within_its_sigmas(printer, program, pla, machine, period_s):
    results = follow(printer, program, pla, [s for s in machine.run(period_s) if s.job_id])
    assert len(results) > 300
    for quantity in Quantity:
        values = scores(results, quantity)
        assert len(values) > 0.5 * len(results), quantity
        assert max(map(abs, values)) < 3.5, quantity


def test_a_machine_in_its_enclosure_stays_within_its_sigmas(printer, program, pla, make_machine):
    enclosed = printer.model_copy(update={"enclosure": Enclosure(heat_capacity="500 J/K", loss="2 W/K")})
    machine = make_machine(enclosed)
    results = follow(enclosed, program, pla, [s for s in machine.run(0.5) if s.job_id])
    assert machine.air_c > enclosed.ambient + 5.0
    for quantity in Quantity:
        assert max(map(abs, scores(results, quantity))) < 3.5, quantity


def test_channels_come_in_order(printer, machine):
    channels = Shadow(printer).observe(next(machine.run()))
    assert [channel.quantity for channel in channels] == list(Quantity)


def test_a_heater_with_two_thirds_of_its_power_shows(printer, program, pla, make_machine):
    weak = make_machine(printer, bed={"power": printer.bed.power * 0.65})
    results = follow(printer, program, pla, [s for s in weak.run(0.5) if s.job_id])
    assert min(scores(results, Quantity.BED_TEMPERATURE)) < -3.0
    assert max(map(abs, scores(results, Quantity.HOTEND_TEMPERATURE))) < 3.5


def test_a_heater_that_dies_while_printing_shows(printer, program, pla, machine):
    def fail(sample):
        if sample.instruction == 100:
            machine.hotend.heater = machine.hotend.heater.model_copy(update={"power": 1e-3})
        return sample

    results = follow(printer, program, pla, [fail(s) for s in machine.run(0.5) if s.job_id])
    assert min(scores(results, Quantity.HOTEND_TEMPERATURE)) < -10.0


def test_a_tool_that_is_elsewhere_shows(printer, program, pla, machine):
    samples = [s for s in machine.run(0.05) if s.job_id]
    shifted = [dataclasses.replace(s, position_m=(s.position_m[0] + 0.05, *s.position_m[1:])) for s in samples]
    assert max(scores(follow(printer, program, pla, shifted), Quantity.POSITION)) > 5.0


def test_a_new_report_of_the_controller_counts_more_than_the_estimate(printer, program, pla, machine):
    samples = [s for s in machine.run(0.05) if s.job_id][-50:]
    lost = [dataclasses.replace(s, reported_position_m=(0.2, 0.2, i * 1e-6)) for i, s in enumerate(samples)]
    assert max(scores(follow(printer, program, pla, lost), Quantity.POSITION)) > 5.0


def test_without_a_job_the_heaters_cool_from_where_they_are(printer):
    shadow = Shadow(printer)
    sample = TelemetrySample(0.0, printer.id, 1, 1, MachineState.IDLE, heaters=(HeaterReading(Heater.BED, 60.0, 0.0),))
    first = shadow.observe(sample)
    assert first[1].expected == 60.0
    tau = printer.bed.heat_capacity / printer.bed.loss
    for second in range(1, 61):
        channels = shadow.observe(dataclasses.replace(sample, stamp_s=float(second)))
    assert channels[1].expected == pytest.approx(25.0 + 35.0 * math.exp(-60.0 / tau))
    assert channels[1].z_score > 3.0  # the report stays at 60: the sensor is stuck
    assert math.isnan(channels[0].expected)  # nothing was measured there


def test_a_preheated_machine_is_followed_with_the_controllers_target(printer):
    shadow = Shadow(printer)
    for second in range(300):
        reading = HeaterReading(Heater.BED, 25.0, 60.0)
        sample = TelemetrySample(float(second), printer.id, 1, 1, MachineState.IDLE, heaters=(reading,))
        channels = shadow.observe(sample)
    assert channels[1].expected == 60.0
    assert channels[1].z_score < -3.0


@pytest.mark.parametrize("room_k", [-6.0, 6.0])
def test_a_room_that_is_not_the_profiles_is_in_order(printer, room_k):
    shadow = Shadow(printer)
    tau = printer.bed.heat_capacity / printer.bed.loss
    for second in range(0, 3600, 2):
        bed_c = 25.0 + room_k + (35.0 - room_k) * math.exp(-second / tau)
        reading = HeaterReading(Heater.BED, bed_c, 0.0)
        sample = TelemetrySample(float(second), printer.id, 1, 1, MachineState.IDLE, heaters=(reading,))
        assert abs(shadow.observe(sample)[1].z_score) < 3.0


def test_motors_that_a_job_has_left_on_are_in_order(printer):
    shadow = Shadow(printer)
    watts = printer.power.electronics + printer.power.motors_enabled
    for second in range(100):
        sample = TelemetrySample(float(second), printer.id, 1, 1, MachineState.IDLE, power_w=watts)
        channels = shadow.observe(sample)
    assert abs(channels[3].z_score) < 2.0


def test_a_job_that_begins_between_two_samples_does_not_show_in_the_watts(printer, program, pla):
    shadow = Shadow(printer)
    timeline = build_timeline(program, printer, pla)
    waiting = int(timeline.steps.bed_target_c.argmax())
    idle_w, full_w = printer.power.electronics, printer.power.electronics + printer.bed.power + printer.hotend.power
    cold = (HeaterReading(Heater.HOTEND, 25.0, 0.0), HeaterReading(Heater.BED, 25.0, 0.0))
    sample = TelemetrySample(0.0, printer.id, 1, 1, MachineState.IDLE, heaters=cold, power_w=idle_w)
    for second in range(30):
        shadow.observe(dataclasses.replace(sample, stamp_s=float(second)))
    shadow.begin(timeline, pla)
    running = dataclasses.replace(sample, state=MachineState.EXECUTING, job_id="J1", instruction=waiting)
    scores_of_power = []
    for step in range(20):  # the meter tells of the heaters one sample late
        power_w = idle_w if step == 0 else full_w
        channels = shadow.observe(dataclasses.replace(running, stamp_s=30.0 + 0.6 * step, power_w=power_w))
        scores_of_power.append(channels[3].z_score)
    assert max(map(abs, scores_of_power)) < 2.0


def test_repeated_and_late_samples_do_not_move_the_twin(printer, program, pla, machine):
    samples = [s for s in machine.run(0.5) if s.job_id][:201]
    disturbed = []
    for index, sample in enumerate(samples):
        disturbed.append(sample)
        if index % 7 == 3:
            disturbed += [sample, samples[index - 3]]
    plain = follow(printer, program, pla, samples)[-1][1]
    assert follow(printer, program, pla, disturbed)[-1][1][:2] == plain[:2]


def test_missing_samples_cost_no_accuracy(printer, program, pla, machine):
    samples = [s for s in machine.run(0.5) if s.job_id]
    sparse = [s for index, s in enumerate(samples) if index % 10 == 0]
    assert max(map(abs, scores(follow(printer, program, pla, sparse), Quantity.HOTEND_TEMPERATURE))) < 3.5


def test_after_a_long_silence_the_twin_starts_from_what_is_measured(printer):
    shadow = Shadow(printer)
    reading = HeaterReading(Heater.HOTEND, 200.0, 0.0)
    sample = TelemetrySample(0.0, printer.id, 1, 1, MachineState.IDLE, heaters=(reading,))
    shadow.observe(sample)
    later = dataclasses.replace(sample, stamp_s=1000.0, heaters=(HeaterReading(Heater.HOTEND, 30.0, 0.0),))
    assert shadow.observe(later)[0].expected == 30.0


def test_broken_values_never_raise(printer, program, pla, machine):
    nan = math.nan
    bad = {
        "position_m": (nan, 0.0, 0.0), "heaters": (HeaterReading(Heater.HOTEND, nan, nan, nan),), "fan": nan,
        "power_w": nan, "energy_j": nan, "progress": nan, "instruction": 2**31,
    }  # fmt: skip
    samples = [dataclasses.replace(s, **bad) for s in machine.run(5.0)]
    for _, channels in follow(printer, program, pla, samples):
        assert all(math.isnan(channel.z_score) for channel in channels)
