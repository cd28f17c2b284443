"""Made-up answers of the stages, for the tests of the loop and of the node."""

import uuid

from conductor_node import job as j
from conductor_node.job import Job, MachineView, Policy
from conductor_node.loop import step
from industriverse_core.artefacts import (
    Estimate,
    Finding,
    GateReport,
    LedgerEntry,
    Prediction,
    ProgramRef,
    Quote,
    Severity,
    Subsystem,
    Verdict,
)
from industriverse_core.states import Outcome, Safety
from industriverse_core.telemetry import MachineState

MACHINE = "prusa_mk3s"
DIGEST = bytes(range(32))
OTHER = bytes(range(1, 33))
POLICY = Policy()
REF = ProgramRef(DIGEST, "file:///cell/programs/x.arrow", "cable_clip", "PLA", 4512, 5000)
ONE = Estimate(1.0, 0.5, 2.0)


def new_job(**changes):
    values = {"number": 1, "uuid": str(uuid.UUID(int=7)), "intent": "cable clip", "machine_id": MACHINE, **changes}
    return Job(**values)


def report(verdict=Verdict.ACCEPT, digest=DIGEST, machine=MACHINE):
    findings = ()
    if verdict is Verdict.REFUSE:
        findings = (
            Finding("envelope.axis", Severity.ERROR, "Line 12: X is 300 mm, 255 mm is allowed.", "Move it.", line=12),
        )
    return GateReport(digest, machine, verdict, findings, len(findings), 0)


def prediction(digest=DIGEST, machine=MACHINE):
    return Prediction(digest, machine, "PLA", ONE, ONE, ONE, {Subsystem.BED: ONE}, ONE, ONE, ONE, ONE)


def quote(of=None):
    return Quote((of or prediction()).digest, "EUR", 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, ONE, 0.1, 1.0, 0.5, 0.1)


def ledger(job_id="J1", digest=DIGEST):
    return LedgerEntry(job_id, MACHINE, digest, 9.0, 100.0, 10.0, 80.0, 5.0, {Subsystem.BED: 70.0}, 1e-3, 2.0, "EUR")


def view(state=MachineState.IDLE, safety=Safety.IDLE, **changes):
    values = {"age_s": 0.0, "state": state, "incarnation": 5, "safety": safety, **changes}
    return MachineView(**values)


PERMITTING = view(safety=Safety.PERMITTING, safety_digest=DIGEST)


def running(**changes):
    values = {"state": MachineState.EXECUTING, "safety": Safety.PERMITTING, "safety_digest": DIGEST}
    return view(**{**values, "job_id": "J1", "instruction": 100, "progress": 0.1, **changes})


def play(job, *events, now_s=0.0, policy=POLICY):
    """The job after the events, and all commands on the way."""
    commands = []
    for event in events:
        job, new = step(job, event, now_s, policy)
        commands += new
    return job, commands


TO_PRICED = (
    j.Observed(view()),
    j.Compiled(REF, "PLA", 1, "1 x cable_clip in PLA"),
    j.Checked(report()),
    j.Predicted(prediction()),
    j.Priced(quote()),
)
TO_APPROVED = (*TO_PRICED, j.Observed(view()))
TO_PERMITTED = (*TO_APPROVED, j.Observed(view()), j.Armed(), j.Observed(PERMITTING))
TO_EXECUTING = (*TO_PERMITTED, j.Started())
DONE = j.Executed(Outcome.COMPLETED, executed=4512)
