"""The books: they close on a machine that obeys its profile, and say so when they cannot."""

import dataclasses
import math

import pytest

from industriverse_core.artefacts import Subsystem
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import Enclosure
from industriverse_core.telemetry import HeaterReading, Quantity, Trace
from twin_node.account import Account
from twin_node.oracle import prediction_of
from twin_node.tariff import load_tariff
from twin_node.timeline import build_timeline
from twin_node.twin import ACCOUNTS_KEPT, Expectation, Twin


@pytest.fixture
def expectation(program, printer, pla):
    timeline = build_timeline(program, printer, pla)
    return Expectation(timeline, pla, prediction_of(timeline, printer, pla))


def ledger(machine, expectation, change=lambda sample: sample, period_s=0.5):
    account = Account(
        "J1",
        machine.program.digest,
        machine.profile,
        expectation.timeline,
        expectation.material,
        expectation.prediction,
    )
    for sample in machine.run(period_s):
        if sample.job_id:
            account.observe(change(sample))
    account.observe_trace(Trace(0.0, machine.profile.id, "J1", machine.program.digest, 9, 9, len(machine.program), 9))
    return account.close(load_tariff("default"))


def test_the_books_close_on_a_machine_that_obeys_its_profile(machine, expectation):
    entry = ledger(machine, expectation)
    assert abs(entry.residual_fraction) < 0.01
    assert entry.material_kg == pytest.approx(expectation.prediction.material_kg.mean)
    assert entry.work_j == pytest.approx(expectation.timeline.work_j.sum(), rel=0.02)
    assert entry.electric_j == pytest.approx(expectation.prediction.energy_j.mean, rel=0.01)
    assert sum(entry.energy_by_subsystem_j.values()) == pytest.approx(entry.electric_j, rel=1e-9)
    assert entry.prediction is expectation.prediction
    assert entry.price > 0.0


def test_heaters_are_booked_by_their_duty(machine, expectation):
    entry = ledger(machine, expectation)
    assert entry.energy_by_subsystem_j[Subsystem.BED] == pytest.approx(machine.bed.energy_j, rel=0.02)
    assert entry.energy_by_subsystem_j[Subsystem.HOTEND] == pytest.approx(machine.hotend.energy_j, rel=0.02)


def test_without_duty_the_heaters_balance_speaks(machine, expectation):
    def silent(sample):
        return dataclasses.replace(
            sample, heaters=tuple(HeaterReading(r.heater, r.temperature_c, r.target_c) for r in sample.heaters)
        )

    entry = ledger(machine, expectation, silent)
    assert entry.energy_by_subsystem_j[Subsystem.BED] == pytest.approx(machine.bed.energy_j, rel=0.02)
    assert entry.energy_by_subsystem_j[Subsystem.HOTEND] == pytest.approx(machine.hotend.energy_j, rel=0.02)


def test_a_machine_that_loses_more_leaves_a_residual(printer, make_machine, expectation):
    leaky = make_machine(printer, bed={"loss": 2.0 * printer.bed.loss})
    entry = ledger(leaky, dataclasses.replace(expectation))
    honest = Account("J1", leaky.program.digest, printer, expectation.timeline, expectation.material)
    leaky = make_machine(printer, bed={"loss": 2.0 * printer.bed.loss})
    for sample in leaky.run(0.5):
        if sample.job_id:
            honest.observe(sample)
    assert honest.close(load_tariff("default")).residual_fraction > 0.05
    assert abs(entry.residual_fraction) < 0.01  # with the true loss in the profile it closes


def test_a_counter_that_was_reset_counts_on(machine, expectation):
    samples = [s for s in machine.run(0.5) if s.job_id]
    whole = samples[-1].energy_j - samples[0].energy_j
    account = Account("J1", machine.program.digest, machine.profile, expectation.timeline, expectation.material)
    for index, sample in enumerate(samples):
        reset = (
            dataclasses.replace(sample, energy_j=sample.energy_j - samples[200].energy_j) if index >= 200 else sample
        )
        account.observe(reset)
    assert account.electric_j == pytest.approx(whole, rel=0.01)


def test_old_samples_are_left_out(machine, expectation):
    samples = [s for s in machine.run(0.5) if s.job_id]
    account = Account("J1", machine.program.digest, machine.profile, expectation.timeline, expectation.material)
    for index, sample in enumerate(samples):
        account.observe(sample)
        account.observe(samples[max(0, index - 5)])
    assert account.time_s == pytest.approx(samples[-1].stamp_s - samples[0].stamp_s)


@pytest.mark.parametrize("missing", ["meter", "program", "samples"])
def test_no_ledger_without_its_sources(machine, expectation, missing):
    timeline = None if missing == "program" else expectation.timeline
    account = Account("J1", machine.program.digest, machine.profile, timeline, expectation.material)
    for index, sample in enumerate(machine.run(5.0)):
        if missing != "samples" or index == 0:
            account.observe(dataclasses.replace(sample, energy_j=math.nan) if missing == "meter" else sample)
    with pytest.raises(CoreError) as caught:
        account.close(load_tariff("default"))
    assert caught.value.code == ErrorCode.NO_LEDGER


def test_the_twin_asks_for_the_program_of_a_new_job_and_keeps_its_book(printer, machine, expectation):
    twin, asked = Twin(printer), []
    for sample in machine.run(0.5):
        channels, begun = twin.observe(sample)
        assert len(channels) == len(Quantity)
        if begun is not None:
            asked.append(begun)
            twin.expect(sample.job_id, expectation)
    assert asked == [machine.program.digest]
    assert twin.job_id == ""
    assert twin.account("J1").close(load_tariff("default")).residual_fraction == pytest.approx(0.0, abs=0.02)
    with pytest.raises(CoreError, match="'J2' was not seen"):
        twin.account("J2")


def test_the_books_of_the_last_jobs_are_kept(printer, machine, program):
    twin = Twin(printer)
    sample = next(machine.run())
    for number in range(ACCOUNTS_KEPT + 3):
        twin.observe(dataclasses.replace(sample, stamp_s=float(number + 1), job_id=f"J{number}"))
    assert twin.account(f"J{ACCOUNTS_KEPT + 2}").samples == 1
    with pytest.raises(CoreError):
        twin.account("J2")


def test_a_sample_from_the_past_does_not_change_the_job(printer, machine):
    twin = Twin(printer)
    sample = dataclasses.replace(next(machine.run()), stamp_s=10.0)
    twin.observe(sample)
    assert twin.observe(dataclasses.replace(sample, stamp_s=9.0, job_id="J0"))[1] is None
    assert twin.job_id == "J1"


def test_the_books_close_in_an_enclosure(printer, make_machine, pla):
    """What warms the air is stored, not lost; with the air left out the books would be off by several per cent."""
    box = Enclosure(heat_capacity="2 kJ/K", loss="3 W/K")
    enclosed = printer.model_copy(update={"enclosure": box})
    machine = make_machine(enclosed)
    timeline = build_timeline(machine.program, enclosed, pla)
    entry = ledger(machine, Expectation(timeline, pla, prediction_of(timeline, enclosed, pla)))
    assert abs(entry.residual_fraction) < 0.01
    kept = box.heat_capacity * (machine.air_c - enclosed.ambient)
    assert kept > 0.1 * entry.electric_j
    stored = timeline.stored_j
    assert entry.stored_j == pytest.approx(stored, rel=0.05)
