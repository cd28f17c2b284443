"""What must never reach the machine: programs that the gates refuse, and programs changed after the gates."""

import pytest

import industriverse_msgs.msg as im
from industriverse_core.errors import ErrorCode
from industriverse_msgs.action import RunJob

from ..conftest import EXAMPLES

CELL_WITH_APPROVAL = """
id: approved
title: A cell in which the operator approves
machine:
  profile: prusa_mk3s
  virtual: {speed: 20, seed: 1}
approval: operator
programs: examples
"""


def test_a_program_outside_the_envelope_is_refused_before_one_byte(cells):
    cell = cells()
    cell.ready()
    cell.step(0.5)
    before = len(cell.journal.events("rx"))
    job_id = cell.submit(EXAMPLES / "outside_envelope.gcode")
    job = cell.wait_job(job_id, im.JobState.REFUSED)
    assert job.error_code == ErrorCode.GATE_REFUSED
    assert any(finding.rule.startswith("envelope") for finding in job.report.findings)
    cell.step(1.0)
    assert len(cell.journal.events("rx")) == before, "not one line reached the serial port"
    assert not cell.permits


def _approve(cell, job_id):
    cell.wait(cell.runner.server_is_ready, 20, "run_job")
    goal = cell.runner.send_goal_async(RunJob.Goal(job_id=job_id))
    cell.wait(goal.done, 20, "the goal")
    return goal.result().get_result_async()


def test_one_changed_byte_after_the_gate_is_refused(cells, tmp_path):
    description = tmp_path / "approved.yaml"
    description.write_text(CELL_WITH_APPROVAL)
    cell = cells(description)
    cell.ready()
    job_id = cell.submit(EXAMPLES / "motion_square.gcode")
    job = cell.wait_job(job_id, im.JobState.PRICED)
    cell.step(0.5)
    before = len(cell.journal.events("rx"))
    stored = cell.paths.programs / f"{bytes(bytearray(job.program.digest)).hex()}.arrow"
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    result = _approve(cell, job_id)
    cell.wait(result.done, 60, "the end of the job")
    job = result.result().result.job
    assert job.state in (im.JobState.ABORTED, im.JobState.REFUSED)
    assert job.error_code in (ErrorCode.DIGEST_MISMATCH, ErrorCode.BYTECODE_BROKEN), job.error_msg
    cell.step(0.5)
    assert len(cell.journal.events("rx")) == before
    assert not cell.journal.motion_commands()


@pytest.mark.parametrize("intent", ["build me a rocket", "washer in unobtainium", "/no/such/file.gcode"])
def test_an_intent_that_is_not_understood_is_refused_with_help(cells, intent):
    cell = cells()
    cell.ready()
    job = cell.wait_job(cell.submit(intent), im.JobState.REFUSED)
    assert job.error_code
    assert len(job.error_msg) > 30
