"""kill -9 of each node in mid-job: the machine holds, nothing resumes, and the operator learns the job's fate."""

import pytest

import industriverse_msgs.msg as im
from industriverse_core.errors import ErrorCode

from ..conftest import EXAMPLES, MILL_CELL, PERMIT_VALID_S

HOLD_WITHIN_S = 0.25
MILL_SPEED = 4.0
MILL_BRAKES_S = 33.3 / (2.0 * 100.0) / MILL_SPEED  # speed / (2 acceleration) of its rapids, on top of what is queued
SPINDLE_W = 60.0  # at 12000 rpm
RAPIDS = "G21 G90 G94 G54\nM3 S12000\nG0 Z5\n" + "G0 X100\nG0 Y60\nG0 X0\nG0 Y0\n" * 12 + "M5\nM30\n"
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
    assert_it_holds_and_stays(cell, job_id, victim, HOLD_WITHIN_S)


@pytest.mark.parametrize("victim", ["shield", "machine"])
def test_the_mill_holds_and_stays(cells, tmp_path, victim):
    cell = cells(MILL_CELL, speed=MILL_SPEED)
    cell.ready()
    program = tmp_path / "rapids.ngc"
    program.write_text(RAPIDS)
    job_id = cell.run_until_moving(program)
    assert cell.telemetry.power_w > SPINDLE_W
    assert_it_holds_and_stays(cell, job_id, victim, HOLD_WITHIN_S + MILL_BRAKES_S)
    assert cell.telemetry.power_w < SPINDLE_W, "the spindle is off"


def assert_it_holds_and_stays(cell, job_id, victim, within_s):
    killed_s = cell.kill(victim)
    cell.step(4.0)

    # the last permit that anyone could have received, and when it lapsed
    permits = [t for t, permit in cell.permits if any(permit.program_digest)]
    lapse_s = killed_s if victim == "machine" else permits[-1] + PERMIT_VALID_S
    stopped_s = cell.journal.last_motion_s()
    print(f"{cell.machine}, {victim}: last motion {stopped_s - lapse_s:+.3f} s after the lapse")
    assert stopped_s <= lapse_s + within_s

    # every node is back, and nothing moves by itself
    cell.wait(lambda: len(cell.supervisor.pids()) == cell.process_count, 20, "all processes back")
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
