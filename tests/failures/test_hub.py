"""kill -9 of the telemetry hub in mid-job: the job does not notice, and the record goes on."""

import numpy as np

import industriverse_msgs.msg as im
from machine_node.hub.reading import RecordSet

from ..conftest import EXAMPLES, MACHINE


def test_the_hubs_death_does_not_stop_a_job(cells):
    cell = cells(speed=4.0)
    cell.ready()
    job_id = cell.run_until_moving(EXAMPLES / "motion_square.gcode")
    cell.step(2.0)  # the hub writes once a second
    killed_s = cell.kill("hub")
    job = cell.wait_job(job_id, im.JobState.COMPLETED, im.JobState.ABORTED, timeout_s=90)
    assert job.state == im.JobState.COMPLETED, job.error_msg
    cell.wait(lambda: len(cell.supervisor.pids()) == cell.process_count, 20, "all processes back")
    assert not [event for event in cell.journal.events("quickstop", "halted", "dropped") if event["t"] > killed_s]
    cell.step(4.0)
    with RecordSet.find(cell.directory, cell.directory.parent) as record:
        joints = record.rows(f"{MACHINE}/joint_states")
    seen_s = joints["steady_s"]
    print(f"joint states: {(seen_s < killed_s).sum()} rows before, {(seen_s > killed_s).sum()} after; "
          f"nothing for {np.diff(seen_s).max():.1f} s")  # fmt: skip
    assert (seen_s < killed_s).sum() > 50
    assert (seen_s > killed_s).sum() > 50
    assert killed_s - seen_s[seen_s < killed_s].max() < 2.5, "at most what was not written yet is lost"
