"""The rig is a machine: jobs run to their end, the same seed gives the same samples, faults are seen and named."""

import random

import numpy as np
import pytest

from industriverse_core.machine import DEFAULT_MACHINE, load_machine
from industriverse_core.telemetry import PowerSample, ResidualSample, TelemetrySample, VibrationSample
from industriverse_core.threats import Cause
from tests.campaign import faults, healthy
from tests.campaign.programs import small_job
from tests.campaign.rig import Rig

PROFILE = load_machine(DEFAULT_MACHINE)
SEED = 31


@pytest.fixture(scope="module")
def job():
    return small_job(PROFILE, random.Random(SEED))


def test_a_job_runs_to_its_end_as_long_as_expected(job):
    rig = Rig(PROFILE, SEED)
    begun_s = rig.now_s
    samples = list(rig.run_job(job))
    assert not rig.failed
    assert not rig.busy
    assert rig.now_s - begun_s == pytest.approx(job.timeline.total_s, rel=0.15)
    kinds = {kind: [each for each in samples if isinstance(each, kind)] for kind in
             (TelemetrySample, ResidualSample, PowerSample, VibrationSample)}  # fmt: skip
    assert all(len(each) > 30 for each in kinds.values())
    assert all(each.job_id == "J1" for each in kinds[TelemetrySample][:-1])
    scores = np.array([[channel.z_score for channel in each.channels] for each in kinds[ResidualSample]])
    assert np.nanquantile(np.abs(scores), 0.99) < 3.0


def test_the_same_seed_gives_the_same_samples(job):
    first, second = (list(Rig(PROFILE, SEED).run_job(job)) for _ in range(2))
    assert repr(first) == repr(second)


def test_a_sound_machine_gives_no_alarm():
    life = healthy.live(SEED, hours=0.2)
    assert life.jobs >= 1
    assert life.alarms == []


@pytest.mark.parametrize("fault", ["heater_stuck_on", "power_sag", "part_detached"])
def test_what_shows_is_seen_and_named(fault):
    kind = next(kind for kind in faults.KINDS if kind.fault == fault)
    run = faults.run_fault(kind, SEED)
    assert run.false_alarms == 0
    assert run.alarm_s < 60.0
    assert run.settled is kind.cause


def test_the_bound_of_no_alarms_is_three_over_the_hours():
    assert healthy.upper_bound(0, 100.0) == pytest.approx(0.03, rel=0.01)  # the rule of three
    assert healthy.upper_bound(5, 100.0) > 0.05


def test_a_summary_counts_what_was_seen():
    kind = faults.KINDS[0]
    seen = faults.Run(kind, 1, "bed", alarm_s=4.0, cause=kind.cause, settled=kind.cause, controller_s=50.0)
    missed = faults.Run(kind, 2, "bed")
    line = faults.summary(kind, [seen, missed])
    assert (line["runs"], line["detected"], line["right_cause"], line["seen_before_controller"]) == (2, 1, 1, 1)
    assert line["named"] == {Cause.THERMAL_RUNAWAY.name: 1}
