"""Health numbers: gathered from a job's samples, kept on disk, and bet against."""

import math
import random
from dataclasses import replace

import pytest

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.program import Heater
from industriverse_core.telemetry import (
    HeaterReading,
    MachineState,
    Quantity,
    ResidualChannel,
    ResidualSample,
    TelemetrySample,
)
from shield_node.health import Health, HealthWatch, JobHealth, MachineHealth, load, save

IDLE_W, MOTION_S = 12.0, 100.0


def sample(stamp_s, job_id="", state=MachineState.IDLE, progress=0.0, target_c=0.0, power_w=IDLE_W):
    return TelemetrySample(
        stamp_s=stamp_s, machine_id="m", incarnation=1, challenge=1, state=state, job_id=job_id, progress=progress,
        heaters=(HeaterReading(Heater.HOTEND, 25.0, target_c),), power_w=power_w,
    )  # fmt: skip


def residual(stamp_s, job_id, hotend_c, lag_k, power_ratio):
    channels = (
        ResidualChannel(Quantity.HOTEND_TEMPERATURE, hotend_c, hotend_c + lag_k, 1.0),
        ResidualChannel(Quantity.BED_TEMPERATURE, math.nan, math.nan, math.nan),
        ResidualChannel(Quantity.POWER, 80.0, 80.0 * power_ratio, 5.0),
    )
    return ResidualSample(stamp_s, "m", 1, job_id, bytes(32), 0, channels, 0.0)


def run_job(watch, job_id, begin_s=0.0, slowness=1.0, lag_k=-3.0, power_ratio=1.1, until=1.0):
    """A pause, a ramp of 60 s, and the program's motion; what the watch says at its end."""
    stamp_s = begin_s
    for _ in range(30):
        stamp_s += 1.0
        assert watch.observe_telemetry(sample(stamp_s)) is None
    watch.expect(job_id, MOTION_S)
    for second in range(60):
        stamp_s += 1.0
        watch.observe_telemetry(sample(stamp_s, job_id, MachineState.EXECUTING, 0.0, 215.0, 250.0))
        watch.observe_residual(residual(stamp_s, job_id, 25.0 + 190.0 / 59.0 * second, lag_k, power_ratio))
    steps = 50
    for step in range(1, round(until * steps) + 1):
        stamp_s += MOTION_S * slowness / steps
        watch.observe_telemetry(sample(stamp_s, job_id, MachineState.EXECUTING, step / steps, 215.0, 80.0))
        watch.observe_residual(residual(stamp_s, job_id, 215.0, 0.5, power_ratio))
    return watch.observe_telemetry(sample(stamp_s + 1.0))


def test_each_number_is_what_the_samples_say():
    job = run_job(HealthWatch(), "J1", slowness=1.2)
    assert job.job_id == "J1"
    assert job.values[Health.HOTEND_RAMP_K] == pytest.approx(-3.0)  # only while it heats
    assert job.values[Health.POWER_RATIO] == pytest.approx(1.1)
    assert job.values[Health.IDLE_POWER_W] == pytest.approx(IDLE_W)
    assert job.values[Health.MOTION_TIME_RATIO] == pytest.approx(1.2)
    assert Health.BED_RAMP_K not in job.values  # nothing was measured


def test_a_job_that_was_stopped_early_says_nothing():
    assert run_job(HealthWatch(), "J1", until=0.7) is None


def test_a_job_without_a_prediction_says_nothing_of_its_moves():
    watch = HealthWatch()
    watch.expect = lambda *_: None
    assert Health.MOTION_TIME_RATIO not in run_job(watch, "J1").values


@pytest.mark.parametrize("motion_time_s", [0.0, -1.0, math.nan])
def test_a_prediction_that_is_none_ends_nothing(motion_time_s):
    watch = HealthWatch()
    expect = watch.expect
    watch.expect = lambda job_id, _: expect(job_id, motion_time_s)
    assert Health.MOTION_TIME_RATIO not in run_job(watch, "J1").values


def test_other_jobs_predictions_do_not_take_the_place_of_this_ones():
    watch = HealthWatch()
    expect = watch.expect
    watch.expect = lambda job_id, motion_s: (expect(job_id, motion_s), expect("J2", 5.0), expect(job_id, 0.0))
    assert run_job(watch, "J1").values[Health.MOTION_TIME_RATIO] == pytest.approx(1.0)


def test_a_twin_that_expects_no_power_ends_nothing(monkeypatch):
    watch = HealthWatch()
    observe = watch.observe_residual
    nothing = ResidualChannel(Quantity.POWER, 0.0, 80.0, 5.0)
    monkeypatch.setattr(watch, "observe_residual", lambda given: observe(replace(given, channels=(nothing,))))
    assert Health.POWER_RATIO not in run_job(watch, "J1").values


def test_samples_that_repeat_or_go_back_change_nothing():
    watch, other = HealthWatch(), HealthWatch()
    first = run_job(watch, "J1")
    plain = other.observe_telemetry

    def twice(given):
        answer = plain(given)
        assert plain(given) is None
        assert plain(sample(given.stamp_s - 10.0, given.job_id)) is None
        return answer

    other.observe_telemetry = twice
    assert run_job(other, "J1") == first


def history(drift_a_job, jobs=120, seed=3):
    source = random.Random(seed)
    made = MachineHealth()
    for job in range(jobs):
        value = source.gauss(1.0 + drift_a_job * job, 0.01)
        made.add(JobHealth(f"J{job}", float(job), {Health.POWER_RATIO: value}))
    return made


def test_a_machine_that_stays_as_it_is_gives_no_sentence():
    assert history(0.0).sentence == ""


def test_a_machine_that_wears_gives_a_number_of_jobs():
    report = history(0.001).reports[0]
    assert report.drift.drifting
    # 1.12 now, 0.001 a job, 1.25 allowed: about 130 jobs
    assert 90 <= report.forecast.jobs_left <= 180
    assert "power_ratio drifts" in report.sentence
    assert "jobs" in report.sentence


def test_the_history_survives_the_process(tmp_path):
    path = tmp_path / "health.json"
    assert load(path).jobs == []
    made = history(0.001)
    save(path, made)
    again = load(path)
    assert again.jobs == made.jobs
    assert again.reports == made.reports


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"format": 2, "jobs": []}', '{"format": 1, "jobs": [{}]}',
        '{"format": 1, "jobs": [{"job_id": "J", "finished_s": 1, "values": {"charm": 1}}]}',
        '{"format": 1, "jobs": [{"job_id": "J", "finished_s": 1, "values": {"power_ratio": NaN}}]}',
    ],
)  # fmt: skip
def test_a_broken_history_is_refused(tmp_path, text):
    path = tmp_path / "health.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load(path)
    assert caught.value.code in (ErrorCode.RECORD_BROKEN, ErrorCode.FILE_EMPTY)
