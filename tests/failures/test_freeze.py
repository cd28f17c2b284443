"""A short silence is a hold that resumes; what is stopped for longer stays stopped."""

import os
import signal
import time

import industriverse_msgs.msg as im

from ..conftest import EXAMPLES


def _freeze(cell, name: str, seconds: float) -> float:
    """SIGSTOP a process for a while; the steady time at which it went on."""
    pid = cell.supervisor.pids()[name]
    os.kill(pid, signal.SIGSTOP)
    cell.step(seconds)
    os.kill(pid, signal.SIGCONT)
    return time.monotonic()


def test_a_shield_that_freezes_for_half_a_second_holds_the_machine_and_lets_it_go_on(cells):
    cell = cells(speed=1.0)
    cell.ready()
    job_id = cell.run_until_moving(EXAMPLES / "motion_square.gcode")
    frozen_s = time.monotonic()
    resumed_s = _freeze(cell, "shield", 0.6)
    cell.step(1.5)
    pauses = [
        (end["t"], begin["t"])
        for end, begin in zip(cell.journal.events("motion_end"), cell.journal.events("motion_begin")[1:], strict=False)
        if frozen_s < end["t"] < resumed_s
    ]
    assert pauses, "the machine held"
    stopped_s, went_on_s = pauses[0]
    assert stopped_s <= frozen_s + 0.05 + 0.15 + 0.25
    assert went_on_s >= resumed_s - 0.05
    assert cell.jobs[job_id].state in (im.JobState.EXECUTING, im.JobState.HELD)
    cell.wait_job(job_id, im.JobState.COMPLETED, timeout_s=90)


def test_an_operators_stop_ends_the_job_and_stays(cells):
    cell = cells(speed=1.0)
    cell.ready()
    job_id = cell.run_until_moving(EXAMPLES / "motion_square.gcode")
    asked_s = time.monotonic()
    cell.stop_publisher.publish(im.StopRequest(level=im.StopRequest.STOP1, source="test", reason="smells odd"))
    job = cell.wait_job(job_id, im.JobState.ABORTED)
    assert "smells odd" in job.error_msg
    cell.step(2.0)
    assert cell.journal.last_motion_s() <= asked_s + 0.35
    assert cell.safety.state == im.SafetyState.LATCHED
    second = cell.submit(EXAMPLES / "motion_square.gcode")
    commands = len(cell.journal.motion_commands())
    cell.step(3.0)
    assert cell.jobs[second].state < im.JobState.PERMITTED, "a new job waits for the operator"
    assert len(cell.journal.motion_commands()) == commands
    assert cell.clear().error_code == 0
    cell.wait_job(second, im.JobState.EXECUTING, timeout_s=30)


def test_a_latch_survives_the_shield(cells):
    cell = cells()
    cell.ready()
    cell.stop_publisher.publish(im.StopRequest(level=im.StopRequest.HOLD, source="test", reason="smells odd"))
    cell.wait(lambda: cell.safety.state == im.SafetyState.LATCHED, 10, "the latch")
    before = cell.safety
    cell.kill("shield")
    cell.wait(lambda: cell.safety.incarnation > before.incarnation, 20, "the new shield")
    assert cell.safety.state == im.SafetyState.LATCHED
    assert (cell.safety.latch_id, cell.safety.error_msg) == (before.latch_id, before.error_msg)
    assert cell.clear().error_code == 0
    cell.wait(lambda: cell.safety.state == im.SafetyState.IDLE, 10, "the cleared shield")
    cell.wait(lambda: cell.telemetry.state == im.MachineTelemetry.IDLE, 10, "the cleared machine")
