import sys
from dataclasses import replace
from pathlib import Path

import pytest

from conductor_node import job as j
from conductor_node.job import Policy, Stage
from conductor_node.loop import step
from conductor_node.states import State
from industriverse_core.artefacts import Verdict
from industriverse_core.errors import ErrorCode, JobError
from industriverse_core.states import Outcome, Safety
from industriverse_core.telemetry import MachineState

sys.path.insert(0, str(Path(__file__).parent))
import stories as s


def kinds(commands):
    return [type(command).__name__ for command in commands]


def test_one_job_all_the_way():
    job, commands = s.play(s.new_job(), *s.TO_EXECUTING, s.DONE, j.LedgerClosed(s.ledger()))
    assert job.state is State.COMPLETED
    assert job.ledger == s.ledger()
    assert job.error_code == 0
    assert kinds(commands) == [
        "Compile", "Check", "Predict", "Price", "Arm", "Execute", "Disarm", "CloseLedger",
    ]  # fmt: skip
    assert commands[4].digest == s.DIGEST


def test_three_copies_are_three_executions_and_each_is_armed():
    job, commands = s.play(s.new_job(asked_quantity=3), *s.TO_EXECUTING)
    for copy in (1, 2, 3):
        assert (job.copy, job.quantity) == (copy, 3)
        job, new = s.play(job, s.DONE, j.LedgerClosed(s.ledger()))
        commands += new
        if copy < 3:
            job, new = s.play(job, *s.TO_APPROVED[-1:], j.Observed(s.view()), j.Armed(), j.Observed(s.PERMITTING))
            commands += new
            job, _ = s.play(job, j.Started())
    assert job.state is State.COMPLETED
    executions = [command.execution_id for command in commands if isinstance(command, j.Execute)]
    assert len(set(executions)) == 3
    assert kinds(commands).count("Arm") == kinds(commands).count("Disarm") == 3
    assert kinds(commands).count("CloseLedger") == 3


def test_operator_approves_each_copy():
    policy = Policy(automatic_approval=False)
    job, _ = s.play(s.new_job(asked_quantity=2), *s.TO_PRICED, j.Observed(s.view()), policy=policy)
    assert job.state is State.PRICED
    assert "approval" in job.live.note
    rest = (j.Approve(), j.Observed(s.view()), j.Armed(), j.Observed(s.PERMITTING), j.Started(), s.DONE)
    job, _ = s.play(job, *rest, j.LedgerClosed(s.ledger()), j.Observed(s.view()), policy=policy)
    assert (job.state, job.copy) == (State.PRICED, 2)
    assert "remove the part" in job.live.note


def test_approval_before_the_price_counts():
    policy = Policy(automatic_approval=False)
    job, _ = s.play(s.new_job(), s.TO_PRICED[0], j.Approve(), *s.TO_PRICED[1:], j.Observed(s.view()), policy=policy)
    assert job.state is State.APPROVED


def test_gates_refuse():
    job, commands = s.play(s.new_job(), *s.TO_PRICED[:2], j.Checked(s.report(Verdict.REFUSE)))
    assert job.state is State.REFUSED
    assert job.error_code == ErrorCode.GATE_REFUSED
    assert "Line 12" in job.error_msg
    assert "255 mm" in job.error_msg
    assert kinds(commands) == ["Compile", "Check"]


FOREIGN = {
    "report of another program": (2, j.Checked(s.report(digest=s.OTHER))),
    "report for another machine": (2, j.Checked(s.report(machine="mill"))),
    "prediction of another program": (3, j.Predicted(s.prediction(digest=s.OTHER))),
    "prediction for another machine": (3, j.Predicted(s.prediction(machine="mill"))),
    "price of another prediction": (4, j.Priced(s.quote(s.prediction(digest=s.OTHER)))),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_answers_for_something_else_are_refused(name):
    count, event = FOREIGN[name]
    job, commands = s.play(s.new_job(), *s.TO_PRICED[:count], event)
    assert job.state is State.REFUSED
    assert job.error_code == ErrorCode.DIGEST_MISMATCH
    assert not {"Arm", "Execute"} & set(kinds(commands))


def test_illegal_event_raises_and_changes_nothing():
    job, _ = s.play(s.new_job(), *s.TO_EXECUTING)
    before = replace(job)
    for event in (j.Approve(), j.Armed(), j.Checked(s.report()), j.Started(), j.Failed(Stage.ARM, 1, "late")):
        with pytest.raises(JobError) as error:
            step(job, event, 0.0, s.POLICY)
        assert error.value.code is ErrorCode.ILLEGAL_TRANSITION
    assert job == before


def test_intent_that_is_not_understood_refuses():
    failed = j.Failed(Stage.COMPILE, int(ErrorCode.INTENT_NOT_UNDERSTOOD), "No.")
    job, _ = s.play(s.new_job(), s.TO_PRICED[0], failed)
    assert (job.state, job.error_code, job.error_msg) == (State.REFUSED, ErrorCode.INTENT_NOT_UNDERSTOOD, "No.")


def test_two_different_quantities_refuse():
    job, _ = s.play(s.new_job(asked_quantity=2), s.TO_PRICED[0], j.Compiled(s.REF, "PLA", 3))
    assert job.state is State.REFUSED
    assert "3 copies" in job.error_msg


@pytest.mark.parametrize("count", range(1, 6))
def test_a_stage_that_does_not_answer_aborts(count):
    job, _ = s.play(s.new_job(), *s.TO_PRICED[:count])
    waits_for_a_stage = job.live.pending is not None
    job, _ = step(job, j.Observed(s.view()), 61.0, s.POLICY)
    if waits_for_a_stage:
        assert (job.state, job.error_code) == (State.ABORTED, ErrorCode.SERVICE_UNAVAILABLE)
        assert "60 s" in job.error_msg
    else:
        assert job.state is State.APPROVED


@pytest.mark.parametrize(
    "view",
    [
        s.view(age_s=9.0),
        s.view(state=None),
        s.view(safety=None),
        s.view(safety=Safety.LATCHED, safety_error_msg="Door open."),
        s.view(state=MachineState.LATCHED),
        s.view(state=MachineState.FAULT),
        s.view(state=MachineState.DISCONNECTED),
        s.view(state=MachineState.EXECUTING),
    ],
)
def test_a_job_waits_while_the_machine_is_not_ready(view):
    job, _ = s.play(s.new_job(), *s.TO_APPROVED)
    for now_s in (1.0, 100.0, 10_000.0):
        job, commands = step(job, j.Observed(view), now_s, s.POLICY)
        assert job.state is State.APPROVED
        assert not commands
        assert job.live.note.startswith("Waits")
        assert job.live.note_code
    job, commands = step(job, j.Observed(s.view()), 10_001.0, s.POLICY)
    assert kinds(commands) == ["Arm"]
    assert not job.live.note


def test_armed_without_permits_is_disarmed_and_tried_again():
    job, _ = s.play(s.new_job(), *s.TO_APPROVED, j.Observed(s.view()), j.Armed())
    job, commands = step(job, j.Observed(s.view(safety=Safety.ARMED)), 1.0, s.POLICY)
    assert not commands
    job, commands = step(job, j.Observed(s.view(safety=Safety.PERMITTING, safety_digest=s.OTHER)), 2.0, s.POLICY)
    assert not commands, "permits for another program"
    job, commands = step(job, j.Observed(s.view(safety=Safety.ARMED)), 11.0, s.POLICY)
    assert kinds(commands) == ["Disarm"]
    assert job.state is State.APPROVED
    job, commands = step(job, j.Observed(s.view()), 11.5, s.POLICY)
    assert not commands
    job, commands = step(job, j.Observed(s.view()), 12.1, s.POLICY)
    assert kinds(commands) == ["Arm"]


def test_arming_is_refused():
    job, _ = s.play(s.new_job(), *s.TO_APPROVED, j.Observed(s.view()))
    latched, _ = s.play(job, j.Failed(Stage.ARM, int(ErrorCode.LATCHED), "Latched."))
    assert latched.state is State.APPROVED
    forgotten, commands = s.play(job, j.Failed(Stage.ARM, int(ErrorCode.NOT_CHECKED), "Unknown."))
    assert (forgotten.state, kinds(commands)) == (State.COMPILED, ["Check"])
    again, _ = s.play(forgotten, *s.TO_PRICED[2:], j.Observed(s.view()), j.Observed(s.view()))
    again, _ = s.play(again, j.Failed(Stage.ARM, int(ErrorCode.NOT_CHECKED), "Unknown."))
    assert again.state is State.REFUSED, "the gates run a second time, not for ever"


def test_hold_and_resume():
    job, _ = s.play(s.new_job(), *s.TO_EXECUTING, j.Observed(s.running(safety=Safety.WITHHELD)))
    assert job.state is State.HELD
    job, _ = s.play(job, j.Observed(s.running(state=MachineState.HOLDING)))
    assert job.state is State.HELD
    job, commands = s.play(job, j.Observed(s.running()))
    assert (job.state, commands) == (State.EXECUTING, [])
    assert job.live.progress == 0.1


def test_latched_stop_ends_the_job_with_cause_place_and_remedy():
    latched = s.running(safety=Safety.LATCHED, safety_error_msg="The twin is silent.", safety_error_code=406)
    job, _ = s.play(s.new_job(), *s.TO_EXECUTING, j.Observed(latched))
    assert job.state is State.HELD
    job, _ = s.play(job, j.Observed(s.running()))
    assert job.state is State.HELD, "a latched stop does not resume"
    said = j.Executed(Outcome.STOPPED, int(ErrorCode.STOP_REQUESTED), "Someone asked.", 120)
    with_result, commands = s.play(job, said)
    assert with_result.state is State.ABORTED
    assert with_result.error_code == ErrorCode.STOP_REQUESTED
    assert "instruction 120 of 4,512" in with_result.error_msg
    assert "Someone asked" in with_result.error_msg
    assert "clear the stop" in with_result.error_msg
    assert kinds(commands) == ["CancelExecution", "Disarm", "CloseLedger"]
    silent, _ = step(job, j.Observed(s.running()), 3.1, s.POLICY)
    assert silent.state is State.ABORTED
    assert silent.error_code == ErrorCode.SOURCE_STALE
    assert "twin is silent" in silent.error_msg


LAPSED = j.Executed(Outcome.STOPPED, int(ErrorCode.PERMIT_LAPSED), "No permit for more than 1 s.", 120)


@pytest.mark.parametrize("safety", [Safety.LATCHED, Safety.WITHHELD])
def test_a_lapse_is_explained_by_what_the_shield_said(safety):
    view = s.running(safety=safety, safety_error_msg="The twin is silent.", safety_error_code=406)
    job, _ = s.play(s.new_job(), *s.TO_EXECUTING, j.Observed(view), LAPSED)
    assert (job.state, job.error_code) == (State.ABORTED, ErrorCode.SOURCE_STALE)
    assert "120 of 4,512: The twin is silent." in job.error_msg
    alone, _ = s.play(s.new_job(), *s.TO_EXECUTING, LAPSED)
    assert (alone.state, alone.error_code) == (State.ABORTED, ErrorCode.PERMIT_LAPSED)


@pytest.mark.parametrize(
    ("view", "code"),
    [(s.running(incarnation=6), ErrorCode.PROCESS_RESTARTED), (s.running(age_s=3.5), ErrorCode.SOURCE_STALE)],
)
def test_a_lost_machine_ends_the_job(view, code):
    for events in (s.TO_PERMITTED, s.TO_EXECUTING):
        job, _ = s.play(s.new_job(), *events, j.Observed(view))
        assert (job.state, job.error_code) == (State.ABORTED, code)


def test_a_machine_that_idles_without_a_result_ends_the_job():
    job, _ = s.play(s.new_job(), *s.TO_EXECUTING, j.Observed(s.view()))
    job, _ = step(job, j.Observed(s.view()), 5.0, s.POLICY)
    assert job.state is State.EXECUTING
    job, _ = step(job, j.Observed(s.view()), 10.1, s.POLICY)
    assert (job.state, job.error_code) == (State.ABORTED, ErrorCode.SERVICE_UNAVAILABLE)


def test_cancel_while_executing_waits_for_the_machine_and_keeps_the_place():
    job, commands = s.play(s.new_job(), *s.TO_EXECUTING, j.Observed(s.running()))
    job, commands = s.play(job, j.Cancel())
    assert kinds(commands) == ["CancelExecution", "Disarm"]
    ended, _ = s.play(job, j.Executed(Outcome.STOPPED, int(ErrorCode.PERMIT_LAPSED), "No permit.", 130))
    assert (ended.state, ended.error_code) == (State.ABORTED, ErrorCode.CANCELLED)
    assert "130 of 4,512" in ended.error_msg
    alone, _ = step(job, j.Observed(s.running()), 3.1, s.POLICY)
    assert (alone.state, alone.error_code) == (State.ABORTED, ErrorCode.CANCELLED)
    assert "100 of 4,512" in alone.error_msg


@pytest.mark.parametrize("count", range(len(s.TO_PERMITTED)))
def test_cancel_before_execution_aborts_at_once(count):
    job, _ = s.play(s.new_job(), *s.TO_PERMITTED[:count], j.Cancel())
    assert (job.state, job.error_code) == (State.ABORTED, ErrorCode.CANCELLED)


@pytest.mark.parametrize("reply", [j.Failed(Stage.LEDGER, 602, "No meter."), j.LedgerClosed(s.ledger("J9")), None])
def test_a_missing_ledger_never_blocks(reply):
    job, _ = s.play(s.new_job(), *s.TO_EXECUTING, s.DONE)
    job, _ = s.play(job, reply) if reply else step(job, j.Observed(s.view()), 15.1, s.POLICY)
    assert (job.state, job.error_code) == (State.COMPLETED, ErrorCode.NO_LEDGER)
    assert "account" in job.error_msg


def test_late_books_of_an_aborted_job_are_attached_without_reopening_it():
    job, _ = s.play(s.new_job(), *s.TO_EXECUTING, j.Executed(Outcome.FAULT, 503, "Heater fault.", 9))
    after, _ = s.play(job, j.LedgerClosed(s.ledger()))
    assert (after.state, after.ledger) == (State.ABORTED, s.ledger())
    assert s.play(job, j.Failed(Stage.LEDGER, 602, "None."))[0].error_code == 503


def test_restart():
    for count in range(len(s.TO_APPROVED) + 1):
        job, _ = s.play(s.new_job(asked_material="PLA"), *s.TO_APPROVED[:count])
        job, commands = s.play(job.durable(), j.Restarted())
        assert (job.state, job.program, commands) == (State.RECEIVED, None, [])
        assert s.play(job, *s.TO_EXECUTING)[0].state is State.EXECUTING
    for events in (s.TO_PERMITTED, s.TO_EXECUTING):
        job, _ = s.play(s.new_job(), *events)
        job, commands = s.play(job.durable(), j.Restarted())
        assert (job.state, job.error_code) == (State.ABORTED, ErrorCode.CONDUCTOR_RESTARTED)
        assert "permitted" in job.error_msg or "executing" in job.error_msg
        assert "Execute" not in kinds(commands)


def test_restart_with_a_finished_copy_only_closes_its_books():
    job, _ = s.play(s.new_job(), *s.TO_EXECUTING, s.DONE)
    job, commands = s.play(job.durable(), j.Restarted())
    assert kinds(commands) == ["Disarm", "CloseLedger"]
    assert s.play(job, j.LedgerClosed(s.ledger()))[0].state is State.COMPLETED


def test_restart_does_not_repeat_copies_and_refuses_a_changed_file():
    job, _ = s.play(
        s.new_job(asked_quantity=3), *s.TO_EXECUTING, s.DONE, j.LedgerClosed(s.ledger()), *s.TO_APPROVED[-1:]
    )
    job, _ = s.play(job.durable(), j.Restarted(), j.Observed(s.view()))
    assert job.copy == 2
    changed, _ = s.play(job, j.Compiled(replace(s.REF, digest=s.OTHER), "PLA", 1))
    assert (changed.state, changed.error_code) == (State.REFUSED, ErrorCode.DIGEST_MISMATCH)
    same, commands = s.play(job, *s.TO_EXECUTING[1:])
    first, _ = s.play(s.new_job(asked_quantity=3), *s.TO_EXECUTING)
    assert [c.execution_id for c in commands if isinstance(c, j.Execute)] != [first.execution_id]
    assert same.copy == 2
