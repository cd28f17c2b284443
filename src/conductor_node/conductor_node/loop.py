"""The loop controller: (job, event, now) -> (job, commands). Pure; node.py carries the commands out.

Nothing is executed unless, for one and the same digest, the gates accepted, the oracle predicted, the price was
made, approval was given, the shield armed the program and permits were seen. Every other way ends in a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from conductor_node import job as j
from conductor_node import watch
from conductor_node.job import Command, Event, Job, Live, Policy, Stage
from conductor_node.states import ENDED, STARTED, Action, State, Trigger, transition
from conductor_node.watch import Reading
from industriverse_core.artefacts import Verdict
from industriverse_core.digest import Digest, short
from industriverse_core.errors import ErrorCode, JobError
from industriverse_core.states import MAX_COPIES, Outcome

FINDINGS_IN_MESSAGE = 3
Commands = tuple[Command, ...]


def step(job: Job, event: Event, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    """The job after an event, and what is to be done now. `now_s` is steady time [s].

    Raises JobError (ILLEGAL_TRANSITION) for an event that the job's state does not allow, or an answer that
    nobody waits for; the given job is not changed.
    """
    trigger, read = _read(job, event, now_s, policy)
    if trigger is None:
        return read, ()
    row = transition(job.state, trigger)
    return _ACTIONS[row.action](replace(read, state=row.next_state), now_s, policy)


# --- what events mean -----------------------------------------------------------------------------------


def _read(job: Job, event: Event, now_s: float, policy: Policy) -> Reading:
    if isinstance(event, j.Observed):
        return watch.observe(job, event.view, now_s, policy)
    answers = _ANSWERS.get(type(event))
    if answers is not None:
        stage, read = answers
        if job.live.pending is not stage:
            raise _unexpected(job, stage)
        return read(replace(job, live=replace(job.live, pending=None)), event)
    if isinstance(event, j.Failed):
        if job.live.pending is not event.stage:
            raise _unexpected(job, event.stage)
        cleared = replace(job, live=replace(job.live, pending=None))
        return _failed(cleared, event, now_s, policy)
    if isinstance(event, j.Executed):
        return _executed(job, event)
    if isinstance(event, j.Approve):
        return Trigger.APPROVE, replace(job, approved=True)
    if isinstance(event, j.Cancel):
        return _cancel(job, now_s, policy)
    return _restarted(job)


def _unexpected(job: Job, stage: Stage) -> JobError:
    waits = f"waits for '{job.live.pending}'" if job.live.pending else "waits for no answer"
    return JobError(
        ErrorCode.ILLEGAL_TRANSITION,
        f"{job.job_id} is {job.state.name.lower()} and {waits}; an answer from '{stage}' came.",
        "The answer is too late and is dropped.",
    )


def _refused(job: Job, code: int, message: str) -> Reading:
    return Trigger.REFUSED, replace(job, error_code=int(code), error_msg=message)


def _foreign(job: Job, what: str, digest: Digest) -> Reading:
    message = (
        f"The {what} is for {short(digest)}, the job's own is {short(job.digest)}. Nothing was started. "
        "Submit the job again."
    )
    return _refused(job, ErrorCode.DIGEST_MISMATCH, message)


def _compiled(job: Job, event: j.Compiled) -> Reading:
    asked = job.asked_quantity
    if asked and event.quantity not in (1, asked):
        message = f"The sentence asks for {event.quantity} copies, the submission for {asked}. State one of them."
        return _refused(job, ErrorCode.INTENT_NOT_UNDERSTOOD, message)
    quantity = asked or event.quantity
    if not 1 <= quantity <= MAX_COPIES or not any(event.program.digest):
        message = f"Compiled to {quantity} copies of {short(event.program.digest)}; 1 to {MAX_COPIES} are allowed."
        return _refused(job, ErrorCode.INTENT_NOT_UNDERSTOOD, message)
    if job.copy > 1 and event.program.digest != job.digest:
        return _foreign(job, "program that the file holds now", event.program.digest)
    compiled = replace(
        job, program=event.program, material=event.material, quantity=quantity, understood=event.understood
    )
    return Trigger.COMPILED, compiled


def _checked(job: Job, event: j.Checked) -> Reading:
    report = event.report
    job = replace(job, report=report)
    if report.program_digest != job.digest or report.machine_id != job.machine_id:
        return _foreign(job, f"gate report (machine '{report.machine_id}')", report.program_digest)
    if report.verdict not in (Verdict.ACCEPT, Verdict.WARN):
        findings = report.findings[:FINDINGS_IN_MESSAGE]
        said = " ".join(f"{finding.message} {finding.remedy}".strip() for finding in findings)
        more = report.error_count - len(findings)
        rest = f" ({more} more)" if more > 0 else ""
        return _refused(job, ErrorCode.GATE_REFUSED, f"The gates refuse the program. {said}{rest}")
    return Trigger.CHECKED, job


def _predicted(job: Job, event: j.Predicted) -> Reading:
    prediction = event.prediction
    if prediction.program_digest != job.digest or prediction.machine_id != job.machine_id:
        return _foreign(job, f"prediction (machine '{prediction.machine_id}')", prediction.program_digest)
    return Trigger.PREDICTED, replace(job, prediction=prediction)


def _priced(job: Job, event: j.Priced) -> Reading:
    assert job.prediction is not None
    if event.quote.prediction_digest != job.prediction.digest:
        return _foreign(job, "price rests on another prediction; it", event.quote.prediction_digest)
    return Trigger.PRICED, replace(job, quote=event.quote)


def _armed(job: Job, event: j.Armed) -> Reading:
    return Trigger.ARMED, replace(job, live=replace(job.live, armed=True))


def _started(job: Job, event: j.Started) -> Reading:
    return Trigger.STARTED, job


def _closed(job: Job, event: j.LedgerClosed) -> Reading:
    ledger = event.ledger
    own = ledger.job_id == job.job_id and ledger.program_digest == job.digest
    if job.state is State.ABORTED:
        return (Trigger.LEDGER, replace(job, ledger=ledger)) if own else (None, job)
    if not own:
        return watch.ledger_missing(job, f"the account is of job '{ledger.job_id}', {short(ledger.program_digest)}")
    return watch.after_ledger(replace(job, ledger=ledger))


def _failed(job: Job, event: j.Failed, now_s: float, policy: Policy) -> Reading:
    code, message = event.error_code, event.error_msg
    if event.stage is Stage.LEDGER:
        return (None, job) if job.state in ENDED else watch.ledger_missing(job, message.rstrip(". "))
    if event.stage is Stage.EXECUTE:
        return watch.stopped(job, code, message)
    if event.stage is Stage.ARM:
        if code == ErrorCode.NOT_CHECKED and not job.rechecked:
            return Trigger.NOT_CHECKED, replace(job, rechecked=True)
        if code == ErrorCode.BUSY or 400 <= code < 500:
            job = watch.noted(job, f"Waits: {message}", code, retry_at_s=now_s + policy.retry_s)
            return Trigger.NOT_READY, job
    return _refused(job, code, message)


def _executed(job: Job, event: j.Executed) -> Reading:
    """The machine's last word. Only while an execution is awaited or runs."""
    if job.state not in STARTED or job.copy_made:
        raise _unexpected(job, Stage.EXECUTE)
    ending = job.live.ending
    cancelled = ending is not None and ending.code is ErrorCode.CANCELLED
    if event.outcome is Outcome.COMPLETED:
        if cancelled and job.copy < job.quantity:
            return watch.stopped(job, ErrorCode.CANCELLED, f"cancelled when copy {job.copy} was done", event.executed)
        live = replace(job.live, ending=None, progress=1.0, note="", note_code=0, instruction=event.executed)
        return Trigger.COPY_MADE, replace(job, copy_made=True, live=live)
    code, cause = event.error_code, event.error_msg
    lapsed = code == ErrorCode.PERMIT_LAPSED  # only how the shield's cause arrived at the machine
    shield_latched = ending is not None and ending.code is not ErrorCode.MACHINE_LATCHED
    if ending is not None and (cancelled or not code or (lapsed and shield_latched)):
        code, cause = int(ending.code), ending.cause
    elif lapsed and ending is None and job.live.note_code == ErrorCode.SOURCE_STALE:
        code, cause = job.live.note_code, job.live.note.removeprefix(watch.HELD)
    if event.outcome is Outcome.REFUSED:
        cause = f"the machine refused to start ({cause.rstrip('. ')})"
    return watch.stopped(job, code or ErrorCode.MACHINE_FAULT, cause or event.outcome.name.lower(), event.executed)


def _cancel(job: Job, now_s: float, policy: Policy) -> Reading:
    if job.copy_made:  # nothing moves any more: only further copies can be cancelled
        if job.copy >= job.quantity:
            return None, job
        return watch.stopped(job, ErrorCode.CANCELLED, f"cancelled when copy {job.copy} was done")
    if job.live.ending is not None:  # already stopping: the first cause stands
        return None, job
    if job.state in STARTED and job.state is not State.PERMITTED:
        ending = j.Ending(ErrorCode.CANCELLED, "cancelled by a person", now_s + policy.ending_limit_s)
        return Trigger.CANCEL, watch.noted(job, "Stopping: cancelled.", ErrorCode.CANCELLED, ending=ending)
    message = f"Cancelled while it was {job.state.name.lower()}"
    made = f"; {job.copy - 1} of {job.quantity} copies were made" if job.copy > 1 else ""
    return Trigger.CANCEL, replace(job, error_code=int(ErrorCode.CANCELLED), error_msg=f"{message}{made}.")


def _restarted(job: Job) -> Reading:
    if job.copy_made and job.state in STARTED:
        return Trigger.COPY_MADE, job  # the part is finished; only its books are open
    if job.state in STARTED:
        copy = f" (copy {job.copy} of {job.quantity})" if job.quantity > 1 else ""
        message = (
            f"The conductor restarted while the job was {job.state.name.lower()}{copy}; the machine has stopped. "
            "Remove the part, clear the stop and submit the job again."
        )
        return Trigger.RESTARTED, replace(job, error_code=int(ErrorCode.CONDUCTOR_RESTARTED), error_msg=message)
    return Trigger.RESTARTED, job


_ANSWERS: dict[type, tuple[Stage, Callable[[Job, Any], Reading]]] = {
    j.Compiled: (Stage.COMPILE, _compiled),
    j.Checked: (Stage.CHECK, _checked),
    j.Predicted: (Stage.PREDICT, _predicted),
    j.Priced: (Stage.PRICE, _priced),
    j.Armed: (Stage.ARM, _armed),
    j.Started: (Stage.EXECUTE, _started),
    j.LedgerClosed: (Stage.LEDGER, _closed),
}


# --- what is done ---------------------------------------------------------------------------------------


def _await(job: Job, stage: Stage, deadline_s: float) -> Job:
    return replace(job, live=replace(job.live, pending=stage, deadline_s=deadline_s, note="", note_code=0))


def _compile(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    command = j.Compile(job.job_id, job.intent, job.machine_id, job.asked_material)
    return _await(job, Stage.COMPILE, now_s + policy.service_limit_s), (command,)


def _check(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    assert job.program is not None
    job = replace(job, report=None, prediction=None, quote=None)
    command = j.Check(job.job_id, job.program, job.machine_id, job.material)
    return _await(job, Stage.CHECK, now_s + policy.service_limit_s), (command,)


def _predict(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    assert job.program is not None
    command = j.Predict(job.job_id, job.program, job.machine_id, job.material)
    return _await(job, Stage.PREDICT, now_s + policy.service_limit_s), (command,)


def _price(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    assert job.prediction is not None
    return _await(job, Stage.PRICE, now_s + policy.service_limit_s), (j.Price(job.job_id, job.prediction),)


def _wait(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    return replace(job, live=replace(job.live, deadline_s=now_s + policy.permit_limit_s, note="", note_code=0)), ()


def _arm(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    job = _await(job, Stage.ARM, now_s + policy.service_limit_s)
    return job, (j.Arm(job.job_id, job.digest, job.machine_id),)


def _explain(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    if not job.live.armed:
        return job, ()
    live = replace(job.live, armed=False, retry_at_s=now_s + policy.retry_s)
    return replace(job, live=live), (j.Disarm(job.job_id, job.machine_id),)


def _execute(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    assert job.program is not None
    job = _await(job, Stage.EXECUTE, now_s + policy.service_limit_s)
    return job, (j.Execute(job.job_id, job.program, job.execution_id),)


def _no_command(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    return job, ()


def _stop_execution(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    return job, (j.CancelExecution(job.job_id), j.Disarm(job.job_id, job.machine_id))


def _close_ledger(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    job = _await(job, Stage.LEDGER, now_s + policy.ledger_limit_s)
    return job, (j.Disarm(job.job_id, job.machine_id), j.CloseLedger(job.job_id, job.machine_id))


def _next_copy(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    return replace(job, copy=job.copy + 1, copy_made=False, approved=False, rechecked=False, live=Live()), ()


def _start_again(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    # the program stays: a later copy has to be of the same one
    program = job.program if job.copy > 1 else None
    job = replace(job, program=program, report=None, prediction=None, quote=None, approved=False, rechecked=False)
    return replace(job, live=Live()), ()


def _end(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    live = Live(instruction=job.live.instruction, progress=job.live.progress)
    return replace(job, copy_made=False, live=live), ()


def _end_disarmed(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    arming = job.live.armed or job.live.pending is Stage.ARM
    job, _ = _end(job, now_s, policy)
    return job, (j.Disarm(job.job_id, job.machine_id),) if arming else ()


def _end_execution(job: Job, now_s: float, policy: Policy) -> tuple[Job, Commands]:
    job, _ = _end(job, now_s, policy)
    job = _await(job, Stage.LEDGER, now_s + policy.ledger_limit_s)
    ledger = j.CloseLedger(job.job_id, job.machine_id)
    return job, (j.CancelExecution(job.job_id), j.Disarm(job.job_id, job.machine_id), ledger)


_ACTIONS: dict[Action, Callable[[Job, float, Policy], tuple[Job, Commands]]] = {
    Action.COMPILE: _compile,
    Action.CHECK: _check,
    Action.PREDICT: _predict,
    Action.PRICE: _price,
    Action.WAIT: _wait,
    Action.ARM: _arm,
    Action.EXPLAIN: _explain,
    Action.EXECUTE: _execute,
    Action.NOTE: _no_command,
    Action.STOP_EXECUTION: _stop_execution,
    Action.CLOSE_LEDGER: _close_ledger,
    Action.NEXT_COPY: _next_copy,
    Action.ATTACH_LEDGER: _no_command,
    Action.START_AGAIN: _start_again,
    Action.END: _end,
    Action.END_DISARMED: _end_disarmed,
    Action.END_EXECUTION: _end_execution,
}
