"""kill -9 of each node in mid-job: the machine holds, nothing resumes, and the operator learns the job's fate."""

import pytest

import industriverse_msgs.msg as im
from industriverse_core.errors import ErrorCode

from ..conftest import EXAMPLES, PERMIT_VALID_S

HOLD_WITHIN_S = 0.25
CAUSES = {
    "shield": {ErrorCode.PERMIT_LAPSED, ErrorCode.SHIELD_RESTARTED, ErrorCode.MACHINE_LATCHED},
    "twin": {ErrorCode.SOURCE_STALE, ErrorCode.SOURCE_RESTARTED, ErrorCode.PERMIT_LAPSED},
    "conductor": {ErrorCode.SOURCE_STALE, ErrorCode.SOURCE_RESTARTED, ErrorCode.CONDUCTOR_RESTARTED},
    "machine": {ErrorCode.SOURCE_STALE, ErrorCode.SOURCE_RESTARTED, ErrorCode.PROCESS_RESTARTED},
}


@pytest.mark.parametrize("victim", CAUSES)
def test_the_machine_holds_and_stays(cells, victim):
    cell = cells(speed=1.0)
    cell.ready()
    job_id = cell.run_until_moving(EXAMPLES / "motion_square.gcode")
    killed_s = cell.kill(victim)
    cell.step(4.0)

    # the last permit that anyone could have received, and when it lapsed
    permits = [t for t, permit in cell.permits if any(permit.program_digest)]
    lapse_s = killed_s if victim == "machine" else permits[-1] + PERMIT_VALID_S
    stopped_s = cell.journal.last_motion_s()
    print(f"{victim}: last motion {stopped_s - lapse_s:+.3f} s after the lapse")
    assert stopped_s <= lapse_s + HOLD_WITHIN_S

    # every node is back, and nothing moves by itself
    cell.wait(lambda: len(cell.supervisor.pids()) == 6, 20, "all processes back")
    commands = len(cell.journal.motion_commands())
    cell.step(3.0)
    assert len(cell.journal.motion_commands()) == commands
    assert cell.journal.last_motion_s() == stopped_s

    # the job's fate is stated, and the operator clears the latch
    job = cell.wait_job(job_id, im.JobState.ABORTED)
    assert job.error_code in CAUSES[victim] | {ErrorCode.LATCHED, ErrorCode.STOP_REQUESTED}, job.error_msg
    assert job.error_msg
    cell.wait(lambda: cell.safety.state == im.SafetyState.LATCHED, 20, "the latch")
    cell.wait(lambda: cell.telemetry.state != im.MachineTelemetry.DISCONNECTED, 20, "the machine")
    cell.step(0.5)
    answer = cell.clear()
    assert answer.error_code == 0, answer.error_msg
    cell.wait(lambda: cell.safety.state == im.SafetyState.IDLE, 10, "the cleared shield")
    cell.wait(lambda: cell.telemetry.state == im.MachineTelemetry.IDLE, 10, "the cleared machine")
    cell.step(1.0)
    assert len(cell.journal.motion_commands()) == commands, "clearing does not resume"
    assert cell.jobs[job_id].state == im.JobState.ABORTED
