"""health: a table for people, JSON for programs, one line for what is not there or broken."""

import json

from shield_node.health import Health, JobHealth, MachineHealth, save


def worn(path):
    history = MachineHealth()
    for job in range(80):
        wiggle = 0.004 * ((job * 7) % 5 - 2)
        values = {Health.POWER_RATIO: 1.0 + 0.002 * job + wiggle, Health.IDLE_POWER_W: 12.0 + wiggle}
        history.add(JobHealth(f"J{job}", float(job), values))
    save(path, history)


def test_what_wears_is_said_with_the_jobs_that_are_left(run, tmp_path):
    worn(tmp_path / "health.json")
    status, out, _ = run("health", str(tmp_path))
    assert status == 0
    assert "power_ratio drifts" in out
    assert "idle_power_w drifts" not in out
    facts = {entry["number"]: entry for entry in json.loads(run("health", str(tmp_path), "--json")[1])["numbers"]}
    assert facts["power_ratio"]["drifting"]
    assert 30 < facts["power_ratio"]["jobs_left"] < 70
    assert facts["idle_power_w"]["jobs_left"] is None


def test_a_cell_without_jobs_and_a_broken_file_are_one_line(run, tmp_path):
    status, _, error = run("health", str(tmp_path / "health.json"))
    assert status == 2
    assert "no job of this cell" in error
    (tmp_path / "health.json").write_text("{}")
    status, _, error = run("health", str(tmp_path / "health.json"))
    assert status == 2
    assert "not a history" in error
