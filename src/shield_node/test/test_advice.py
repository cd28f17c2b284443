"""Advice: what is worn and what is new is said once, kept, and stops nothing."""

import json
import random

import pytest

from industriverse_core.errors import InputError
from industriverse_core.machine import load_machine
from industriverse_core.program import Heater
from industriverse_core.telemetry import HeaterReading, MachineState, TelemetrySample
from shield_node.advice import Advice

PROFILE = load_machine("prusa_mk3s")


def sample(stamp_s, job_id="", state=MachineState.IDLE, progress=0.0, power_w=12.0):
    heaters = (HeaterReading(Heater.HOTEND, 25.0, 0.0),)
    return TelemetrySample(
        stamp_s=stamp_s, machine_id=PROFILE.id, incarnation=1, challenge=1, state=state, job_id=job_id,
        progress=progress, heaters=heaters, power_w=power_w,
    )  # fmt: skip


def run_job(advice, begin_s, number, idle_w):
    """Half a minute of pause, ten moves; what was said at its end."""
    for second in range(30):
        advice.observe_telemetry(sample(begin_s + second, power_w=idle_w))
    for step in range(11):
        running = sample(begin_s + 30.0 + step, f"J{number}", MachineState.EXECUTING, step / 10)
        assert advice.observe_telemetry(running) == ()
    return advice.observe_telemetry(sample(begin_s + 45.0))


def test_a_machine_that_wears_is_said_and_kept(tmp_path):
    advice, source = Advice(PROFILE, tmp_path / "health.json"), random.Random(2)
    said = [run_job(advice, 100.0 * job, job, 12.0 + 0.05 * job + source.gauss(0.0, 0.05)) for job in range(80)]
    assert said[5] == ()
    assert "idle_power_w drifts" in said[-1][0]
    again = Advice(PROFILE, tmp_path / "health.json")
    assert "idle_power_w drifts" in again.sentence


def test_a_broken_history_is_said_and_left_as_it_is(tmp_path):
    file = tmp_path / "health.json"
    file.write_text("{}")
    advice = Advice(PROFILE, file)
    assert "not a history" in advice.sentence
    run_job(advice, 0.0, 1, 12.0)
    assert file.read_text() == "{}"


def test_a_history_that_cannot_be_written_is_said(tmp_path):
    advice = Advice(PROFILE, tmp_path / "file" / "health.json")
    (tmp_path / "file").write_text("in the way")
    assert any("was not kept" in sentence for sentence in run_job(advice, 0.0, 1, 12.0))


def test_a_map_that_is_none_is_refused(tmp_path):
    (tmp_path / "map.npz").write_bytes(json.dumps({}).encode())
    with pytest.raises(InputError):
        Advice(PROFILE, tmp_path / "health.json", tmp_path / "map.npz")
