"""A sample of the campaign against real processes. It fails for what is unsafe, never for a slow computer."""

import pytest

from . import processes

SAMPLE = ("permits_replayed_without_shield", "controller_reset", "machine_killed")


@pytest.fixture
def bench(ros, tmp_path, monkeypatch):
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    monkeypatch.setenv("INDUSTRIVERSE_ROOT", str(processes.ROOT))
    made = processes.Bench(tmp_path, 1)
    yield made
    made.close()


def test_a_sample_of_faults_leaves_the_machine_safe_and_the_cell_usable(bench):
    records = [processes.inject(bench, number, name) for number, name in enumerate(SAMPLE)]
    for record in records:
        print(record)
    assert {record.fault: record.violations for record in records if record.violations} == {}
    assert all(record.state == "LATCHED" for record in records if record.fault == "controller_reset")
    bench.start_job(bench.programs["cold"])
