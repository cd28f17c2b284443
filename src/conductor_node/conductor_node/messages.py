"""Conversions between this package's dataclasses and messages; nothing else."""

from __future__ import annotations

from dataclasses import replace

import industriverse_msgs.msg as im
from conductor_node.job import Job, MachineView
from industriverse_core.states import Safety
from industriverse_core.telemetry import TelemetrySample
from industriverse_ros import convert


def job_to_msg(job: Job, incarnation: int, stamp_s: float) -> im.JobState:
    """JobState. What a running job waits for stands in error_code and error_msg, as does why it ended."""
    msg = im.JobState(
        stamp=convert.time_to_msg(stamp_s),
        job_id=job.job_id,
        incarnation=incarnation,
        machine_id=job.machine_id,
        intent=job.intent,
        copy=job.copy,
        quantity=job.quantity,
        state=int(job.state),
        error_code=job.error_code or job.live.note_code,
        error_msg=job.error_msg or job.live.note,
        progress=job.live.progress,
    )
    if job.program is not None:
        msg.program = convert.ref_to_msg(job.program)
    if job.report is not None:
        msg.report = convert.report_to_msg(job.report, stamp_s)
    if job.prediction is not None:
        msg.prediction = convert.prediction_to_msg(job.prediction)
    if job.quote is not None:
        msg.quote = convert.quote_to_msg(job.quote)
    if job.ledger is not None:
        msg.ledger = convert.ledger_to_msg(job.ledger, stamp_s)
    return msg


def without_findings(job: Job) -> Job:
    """The job with an empty list of findings, for the heartbeat: counts and verdict stay."""
    return replace(job, report=replace(job.report, findings=())) if job.report is not None else job


def view_of(sample: TelemetrySample | None, age_s: float, safety: im.SafetyState | None) -> MachineView:
    """What telemetry and the shield's state say together. Raises ValueError for a state that does not exist."""
    view = MachineView()
    if sample is not None:
        view = MachineView(
            age_s=age_s,
            state=sample.state,
            incarnation=sample.incarnation,
            job_id=sample.job_id,
            instruction=sample.instruction,
            progress=sample.progress,
            error_code=sample.error_code,
            error_msg=sample.error_msg,
        )
    if safety is not None:
        view = replace(
            view,
            safety=Safety(safety.state),
            safety_digest=convert.digest_from_msg(safety.program_digest),
            safety_error_code=safety.error_code,
            safety_error_msg=safety.error_msg,
        )
    return view
