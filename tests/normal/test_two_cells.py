"""Two cells on one machine do not hear each other."""

import json
import os
import signal
import subprocess
import sys
import time

from ..conftest import EXAMPLES


def _start(home):
    environment = dict(os.environ, INDUSTRIVERSE_HOME=str(home))
    environment.pop("ROS_DOMAIN_ID", None)
    command = [sys.executable, "-m", "industriverse_bringup.up", "--no-job"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def _industriverse(home, *arguments):
    environment = dict(os.environ, INDUSTRIVERSE_HOME=str(home))
    environment.pop("ROS_DOMAIN_ID", None)
    command = [sys.executable, "-m", "industriverse_cli.main", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_a_job_of_one_cell_is_unknown_to_the_other(tmp_path):
    homes = [tmp_path / "one", tmp_path / "two"]
    started = [_start(home) for home in homes]
    try:
        deadline = time.monotonic() + 150
        while not all((home / "demo" / "cell.json").exists() for home in homes):
            assert time.monotonic() < deadline, "the cells did not start"
            time.sleep(0.2)
        domains = {json.loads((home / "demo" / "cell.json").read_text())["domain_id"] for home in homes}
        assert len(domains) == 2
        status, submitted = _industriverse(homes[0], "submit", str(EXAMPLES / "motion_square.gcode"))
        assert status == 0, submitted
        status, first = _industriverse(homes[0], "jobs")
        assert status == 0
        assert [job["job_id"] for job in first["jobs"]] == [submitted["job_id"]]
        status, second = _industriverse(homes[1], "jobs")
        assert status == 0
        assert second["jobs"] == []
        journal = homes[1] / "demo" / "run" / "machine.jsonl"
        assert '"line": "G1' not in journal.read_text()
    finally:
        for process in started:
            process.send_signal(signal.SIGINT)
        said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [130, 130], said
