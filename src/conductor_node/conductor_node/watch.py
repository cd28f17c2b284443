"""What an observation of the cell means for the active job: a trigger (or none) and the job with what was seen."""

from __future__ import annotations

from dataclasses import replace

from conductor_node.job import Ending, Job, Live, MachineView, Policy, Stage
from conductor_node.states import STARTED, State, Trigger
from industriverse_core.errors import ErrorCode
from industriverse_core.states import Safety
from industriverse_core.telemetry import MachineState

Reading = tuple[Trigger | None, Job]
HELD = "Held: "  # begins the reason of a hold
_MACHINE_WAITS = {
    MachineState.DISCONNECTED: (ErrorCode.PORT_UNAVAILABLE, "it is not connected"),
    MachineState.EXECUTING: (ErrorCode.BUSY, "it still executes"),
    MachineState.HOLDING: (ErrorCode.BUSY, "it holds another program"),
    MachineState.LATCHED: (ErrorCode.MACHINE_LATCHED, "it is stopped; clear the stop"),
    MachineState.FAULT: (ErrorCode.MACHINE_FAULT, "it reports a fault; clear the fault"),
}


def observe(job: Job, view: MachineView, now_s: float, policy: Policy) -> Reading:
    """Trigger and job for what the cell looks like now. Time-outs come first."""
    if job.ended:
        return None, job
    if job.live.pending is not None and now_s >= job.live.deadline_s:
        return timed_out(job, policy)
    if job.state is State.RECEIVED and job.live.pending is None:
        return Trigger.BEGIN, job
    if job.state is State.PRICED:
        return _priced(job, policy)
    if job.state is State.APPROVED:
        return _approved(job, view, now_s, policy)
    if job.state in STARTED and not job.copy_made:
        return _started(job, view, now_s, policy)
    return None, job


def noted(job: Job, note: str, code: int = 0, **live: object) -> Job:
    """The job with a reason why it waits (and other live values)."""
    return replace(job, live=replace(job.live, note=note, note_code=int(code), **live))


def timed_out(job: Job, policy: Policy) -> Reading:
    """The awaited stage has not answered in time."""
    stage = job.live.pending
    assert stage is not None
    if stage is Stage.LEDGER:
        return ledger_missing(job, f"no answer within {policy.ledger_limit_s:.0f} s")
    cause = f"'{stage}' gave no answer within {policy.service_limit_s:.0f} s"
    if stage is Stage.EXECUTE:
        return stopped(job, ErrorCode.SERVICE_UNAVAILABLE, cause)
    message = f"Not made: {cause}. See that every node of the cell runs, then submit the job again."
    return Trigger.FAILED, replace(job, error_code=int(ErrorCode.SERVICE_UNAVAILABLE), error_msg=message)


def ledger_missing(job: Job, reason: str) -> Reading:
    """The part is made all the same; the job says that its account is missing."""
    message = f"Copy {job.copy} was made, but its account could not be closed: {reason}."
    return after_ledger(replace(job, ledger=None, error_code=int(ErrorCode.NO_LEDGER), error_msg=message))


def after_ledger(job: Job) -> Reading:
    """On to the next copy, or done."""
    return (Trigger.NEXT_COPY if job.copy < job.quantity else Trigger.FINISHED), job


def stopped(job: Job, code: int, cause: str, executed: int = 0) -> Reading:
    """The execution is over before its end: cause, place, what to do."""
    total = job.program.instruction_count if job.program else 0
    done = executed or job.live.instruction
    copy = f" of copy {job.copy} of {job.quantity}" if job.quantity > 1 else ""
    message = (
        f"Stopped at instruction {done:,} of {total:,}{copy}: {cause.rstrip('. ')}. "
        "Remove the part, clear the stop if one is latched, and submit the job again."
    )
    return Trigger.STOPPED, replace(job, error_code=int(code), error_msg=message)


def not_ready(view: MachineView, policy: Policy) -> tuple[ErrorCode, str] | None:
    """Why nothing can start on this machine now, or None."""
    if view.state is None or view.age_s > policy.stale_s:
        return ErrorCode.SOURCE_STALE, "Waits for the machine: no telemetry."
    if view.safety is None:
        return ErrorCode.SOURCE_STALE, "Waits for the shield: its state is unknown."
    if view.safety is Safety.LATCHED:
        return ErrorCode.LATCHED, f"Waits: a stop is latched ({view.safety_error_msg.rstrip('. ')}); clear it."
    if view.state is not MachineState.IDLE:
        code, reason = _MACHINE_WAITS[view.state]
        detail = f" ({view.error_msg.rstrip('. ')})" if view.error_msg else ""
        return code, f"Waits for the machine: {reason}{detail}."
    return None


def _priced(job: Job, policy: Policy) -> Reading:
    if policy.automatic_approval or job.approved:
        return Trigger.APPROVE, replace(job, approved=True)
    before = (
        f"copy {job.copy} of {job.quantity}: remove the part, then approve" if job.copy > 1 else "approve the price"
    )
    return None, noted(job, f"Waits for the operator's approval ({before}).")


def _approved(job: Job, view: MachineView, now_s: float, policy: Policy) -> Reading:
    live = job.live
    if live.pending is not None:
        return None, job
    reason = not_ready(view, policy)
    if live.armed:
        if reason is None and view.safety is Safety.PERMITTING and view.safety_digest == job.digest:
            fresh = Live(machine_incarnation=view.incarnation)
            return Trigger.PERMITTING, replace(job, live=fresh)
        if reason is None and now_s < live.deadline_s:
            return None, noted(job, f"Waits for permits. {view.safety_error_msg}".strip(), view.safety_error_code)
        if reason is None:
            detail = view.safety_error_msg.rstrip(". ") or "a source of the shield is not fresh"
            reason = ErrorCode.NO_PERMIT, f"Waits: the shield gives no permits ({detail})."
    elif reason is None:
        return (Trigger.READY, job) if now_s >= live.retry_at_s else (None, job)
    return Trigger.NOT_READY, noted(job, reason[1], reason[0], retry_at_s=max(live.retry_at_s, now_s))


def _started(job: Job, view: MachineView, now_s: float, policy: Policy) -> Reading:
    lost = _lost(job, view, now_s, policy)
    if lost is not None:
        return lost
    live = job.live
    if view.age_s <= policy.stale_s and view.job_id == job.job_id:
        live = replace(live, progress=view.progress, instruction=view.instruction)
    idle = view.age_s <= policy.stale_s and view.state is MachineState.IDLE
    idle_since_s = min(live.idle_since_s, now_s) if idle else float("inf")
    job = replace(job, live=replace(live, idle_since_s=idle_since_s))
    if job.state is State.PERMITTED:
        return None, job
    return _held_or_moving(job, view, now_s, policy)


def _lost(job: Job, view: MachineView, now_s: float, policy: Policy) -> Reading | None:
    """The execution is over, whatever the machine may still say."""
    ending = job.live.ending
    restarted = view.incarnation != job.live.machine_incarnation
    silent = view.age_s > policy.silence_limit_s
    if ending is not None and (now_s >= ending.deadline_s or restarted or silent):
        return stopped(job, ending.code, ending.cause)
    if restarted:
        return stopped(job, ErrorCode.PROCESS_RESTARTED, "the machine node restarted")
    if silent:
        cause = f"the machine node has been silent for more than {policy.silence_limit_s:.0f} s"
        return stopped(job, ErrorCode.SOURCE_STALE, cause)
    if now_s - job.live.idle_since_s > policy.orphan_limit_s and job.state is not State.PERMITTED:
        cause = f"the machine has been idle for {policy.orphan_limit_s:.0f} s and has given no result"
        return stopped(job, ErrorCode.SERVICE_UNAVAILABLE, cause)
    return None


def _held_or_moving(job: Job, view: MachineView, now_s: float, policy: Policy) -> Reading:
    latch = _latch(view)
    if job.live.ending is not None:
        return None, job
    if latch is not None:
        ending = Ending(*latch, deadline_s=now_s + policy.ending_limit_s)
        return Trigger.STOPPING, noted(job, f"Stopping: {ending.cause}", ending.code, ending=ending)
    reason = _hold(view, policy)
    if reason is not None:
        job = noted(job, *reason)
        return (Trigger.HELD if job.state is State.EXECUTING else None), job
    if job.state is State.HELD and view.state is MachineState.EXECUTING:
        return Trigger.RESUMED, noted(job, "")
    return None, job


def _latch(view: MachineView) -> tuple[ErrorCode, str] | None:
    if view.safety is Safety.LATCHED:
        code = view.safety_error_code or ErrorCode.LATCHED
        return _code(code), view.safety_error_msg or "the shield latched a stop"
    if view.state in (MachineState.LATCHED, MachineState.FAULT):
        usual = ErrorCode.MACHINE_LATCHED if view.state is MachineState.LATCHED else ErrorCode.MACHINE_FAULT
        return _code(view.error_code or usual), view.error_msg or f"the machine reports {view.state.name}"
    return None


def _hold(view: MachineView, policy: Policy) -> tuple[str, int] | None:
    if view.age_s > policy.stale_s:
        return f"{HELD}no telemetry from the machine.", ErrorCode.SOURCE_STALE
    if view.safety is Safety.WITHHELD:
        return f"{HELD}{view.safety_error_msg or 'the shield withholds permits.'}", view.safety_error_code
    if view.state is MachineState.HOLDING:
        return f"{HELD}{view.error_msg or 'the machine has no permit.'}", view.error_code
    return None


def _code(value: int) -> ErrorCode:
    """A code from a message; one that is not known here counts as a latch."""
    try:
        return ErrorCode(value)
    except ValueError:
        return ErrorCode.LATCHED
