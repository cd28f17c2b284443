"""Whatever comes in whatever order: terminal states stay, and nothing starts that was not allowed."""

import sys
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from conductor_node import job as j
from conductor_node.job import Policy, Stage
from conductor_node.loop import step
from conductor_node.states import ENDED, State
from industriverse_core.artefacts import ProgramRef, Verdict
from industriverse_core.errors import ErrorCode, JobError
from industriverse_core.states import Outcome, Safety
from industriverse_core.telemetry import MachineState

sys.path.insert(0, str(Path(__file__).parent))
import stories as s

DIGESTS = st.sampled_from([s.DIGEST] * 4 + [s.OTHER, bytes(32)])
CODES = st.sampled_from(
    [ErrorCode.NOT_CHECKED, ErrorCode.LATCHED, ErrorCode.BUSY, ErrorCode.NO_LEDGER, ErrorCode.USAGE]
)
VIEWS = st.builds(
    s.view,
    state=st.sampled_from([None, *MachineState, *[MachineState.IDLE] * 9]),
    safety=st.sampled_from([None, *Safety, *[Safety.PERMITTING] * 9]),
    safety_digest=DIGESTS,
    age_s=st.sampled_from([0.0, 0.1, 1.0, 9.0]),
    incarnation=st.sampled_from([5, 5, 5, 6]),
)
ANSWERS = st.one_of(
    st.builds(lambda d, q: j.Compiled(ProgramRef(d), "PLA", q), DIGESTS, st.sampled_from([1, 1, 2, 0, 101])),
    st.builds(lambda d, v: j.Checked(s.report(v, d)), DIGESTS, st.sampled_from(Verdict)),
    st.builds(lambda d: j.Predicted(s.prediction(d)), DIGESTS),
    st.builds(lambda d: j.Priced(s.quote(s.prediction(d))), DIGESTS),
    st.just(j.Armed()),
    st.just(j.Started()),
    st.builds(j.Executed, st.sampled_from(Outcome)),
    st.builds(lambda d: j.LedgerClosed(s.ledger(digest=d)), DIGESTS),
    st.builds(j.Failed, st.sampled_from(Stage), CODES, st.just("It failed.")),
)
EXPECTED = {
    Stage.COMPILE: j.Compiled(s.REF, "PLA", 2),
    Stage.CHECK: j.Checked(s.report()),
    Stage.PREDICT: j.Predicted(s.prediction()),
    Stage.ARM: j.Armed(),
    Stage.EXECUTE: j.Started(),
    Stage.LEDGER: j.LedgerClosed(s.ledger()),
}
FOREIGN = {
    Stage.CHECK: j.Checked(s.report(digest=s.OTHER)),
    Stage.PREDICT: j.Predicted(s.prediction(s.OTHER)),
    Stage.PRICE: j.Priced(s.quote(s.prediction(s.OTHER))),
    Stage.LEDGER: j.LedgerClosed(s.ledger(digest=s.OTHER)),
}
WAYS = ["expected"] * 14 + ["foreign", "late", "view", "answer", "approve", "approve", "cancel", "restart"]


class Loop(RuleBasedStateMachine):
    @initialize(automatic=st.booleans(), asked=st.integers(0, 3))
    def begin(self, automatic, asked):
        self.policy = Policy(automatic_approval=automatic)
        self.job = s.new_job(asked_quantity=asked)
        self.now_s = 0.0
        self.passed = {}  # stage -> digest that it was positive about, since the last compile
        self.approved = False
        self.executions = []

    def feed(self, event):
        before = self.job
        try:
            self.job, commands = step(before, event, self.now_s, self.policy)
        except JobError:
            return
        if before.state in ENDED:
            assert self.job.state is before.state
            assert not commands
        self.note(before, event)
        for command in commands:
            if isinstance(command, j.Compile):
                self.passed = {}
            if isinstance(command, j.Execute):
                self.may_execute(before, event, command)

    def note(self, before, event):
        """What was said, kept apart from the loop's own records."""
        if isinstance(event, j.Checked) and event.report.verdict in (Verdict.ACCEPT, Verdict.WARN):
            self.passed["check"] = event.report.program_digest
        elif isinstance(event, j.Predicted):
            self.passed["predict"] = event.prediction.program_digest
            self.predicted = event.prediction.digest
        elif isinstance(event, j.Priced):
            self.passed["price"] = self.passed["predict"] if event.quote.prediction_digest == self.predicted else None
        elif isinstance(event, j.Armed):
            self.passed["arm"] = before.digest
        elif isinstance(event, j.Approve):
            self.approved = True
        if self.job.copy != before.copy:
            self.approved = False
            self.passed.pop("arm", None)

    def may_execute(self, before, event, command):
        digest = command.program.digest
        assert self.passed == dict.fromkeys(("check", "predict", "price", "arm"), digest)
        assert self.approved or self.policy.automatic_approval
        assert isinstance(event, j.Observed)
        assert event.view.safety is Safety.PERMITTING
        assert event.view.safety_digest == digest
        assert before.state is State.APPROVED
        assert command.execution_id not in self.executions
        self.executions.append(command.execution_id)

    @rule(kind=st.sampled_from(WAYS), view=VIEWS, answer=ANSWERS, wait_s=st.sampled_from([0.1, 2.0, 20.0, 61.0]))
    def happen(self, kind, view, answer, wait_s):
        """Mostly what should happen, so that jobs get far; sometimes what should not."""
        pending = self.job.live.pending
        self.now_s += wait_s if kind == "late" else 0.1
        if kind == "expected" and pending is not None:
            # the price is of whatever prediction the job holds: a foreign one must not get so far
            self.feed(j.Priced(s.quote(self.job.prediction)) if pending is Stage.PRICE else EXPECTED[pending])
        elif kind == "foreign" and pending in FOREIGN:
            self.feed(FOREIGN[pending])
        elif kind == "expected" and self.job.state is State.EXECUTING:
            self.feed(s.DONE)
        elif kind in ("expected", "late"):
            state = MachineState.EXECUTING if self.job.state is State.EXECUTING else MachineState.IDLE
            self.feed(j.Observed(s.view(state, Safety.PERMITTING, safety_digest=s.DIGEST)))
        elif kind == "foreign":
            self.feed(j.Observed(s.view(MachineState.IDLE, Safety.PERMITTING, safety_digest=s.OTHER)))
        elif kind == "view":
            self.feed(j.Observed(view))
        elif kind == "answer":
            self.feed(answer)
        else:
            self.interfere(kind)

    def interfere(self, kind):
        if kind == "approve":
            self.feed(j.Approve())
        elif kind == "cancel":
            self.feed(j.Cancel())
        else:
            self.job = self.job.durable()
            self.approved = False
            self.feed(j.Restarted())

    @precondition(lambda self: self.job.ended)
    @rule(automatic=st.booleans(), asked=st.integers(0, 3))
    def next_job(self, automatic, asked):
        self.begin(automatic, asked)

    @invariant()
    def ended_jobs_say_why(self):
        if self.job.state in (State.ABORTED, State.REFUSED):
            assert self.job.error_code
            assert self.job.error_msg.endswith((".", ")"))

    @invariant()
    def no_more_executions_than_copies(self):
        assert len(self.executions) <= max(self.job.quantity, 1)


TestLoop = Loop.TestCase
TestLoop.settings = settings(max_examples=120, stateful_step_count=80, deadline=None)
