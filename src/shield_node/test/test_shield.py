"""The permit machine: its table, and that no path leads to a permit without gate, fresh sources and clear latch."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from industriverse_core.artefacts import GateReport, Verdict
from industriverse_core.digest import NO_DIGEST
from industriverse_core.errors import CoreError, ErrorCode, GateError, PermitError
from industriverse_core.permit import StopLevel, is_authentic
from industriverse_core.telemetry import MachineState, TelemetrySample
from shield_node.shield import CONDUCTOR, DEFAULT_LIMITS_S, MACHINE, TWIN, UNUSED_S, Shield
from shield_node.transitions import TABLE, Event, State

KEY = b"k" * 32
GOOD, BAD, UNSEEN = b"g" * 32, b"b" * 32, b"u" * 32


def report(digest=GOOD, verdict=Verdict.ACCEPT, machine="m"):
    return GateReport(digest, machine, verdict, (), 0, 0)


def telemetry(incarnation=1, latch_id=0, state=MachineState.IDLE, challenge=77):
    return TelemetrySample(0.0, "m", incarnation, challenge, state, latch_id=latch_id)


def hear_all(shield, now_s, incarnation=1):
    shield.observe_telemetry(telemetry(incarnation), now_s)
    shield.observe_source(TWIN, incarnation, now_s)
    shield.observe_source(CONDUCTOR, incarnation, now_s)


@pytest.fixture
def permitting():
    shield = Shield("m", KEY, incarnation=5)
    shield.remember(report())
    hear_all(shield, 0.0)
    shield.arm(GOOD, 0.0)
    assert shield.tick(0.05) is not None
    return shield


def test_a_pair_outside_the_table_raises_and_changes_nothing():
    for state in State:
        for event in Event:
            if (state, event) in TABLE.rows:
                assert TABLE.next_state(state, event) is TABLE.rows[state, event]
            else:
                with pytest.raises(PermitError):
                    TABLE.next_state(state, event)


def test_every_state_can_be_stopped_and_only_clear_leaves_the_latch():
    assert all(TABLE.rows[state, Event.STOP] is State.LATCHED for state in State)
    exits = {event for (state, event), new in TABLE.rows.items() if state is State.LATCHED and new is not State.LATCHED}
    assert exits == {Event.CLEAR}
    assert "LATCHED --> IDLE: CLEAR" in TABLE.diagram()


def test_permit_is_signed_sequenced_and_bound(permitting):
    first, second = permitting.tick(0.10), permitting.tick(0.15)
    assert is_authentic(first, KEY)
    assert not is_authentic(first, b"x" * 32)
    assert (first.program_digest, first.machine_id, first.incarnation, first.challenge) == (GOOD, "m", 5, 77)
    assert second.sequence == first.sequence + 1


def test_unchecked_and_refused_programs_are_never_armed():
    shield = Shield("m", KEY, 5)
    shield.remember(report(BAD, Verdict.REFUSE))
    shield.remember(report(UNSEEN, machine="another"))
    for digest, code in ((UNSEEN, ErrorCode.NOT_CHECKED), (BAD, ErrorCode.GATE_REFUSED)):
        with pytest.raises(GateError) as error:
            shield.arm(digest, 0.0)
        assert error.value.code is code
    assert shield.state is State.IDLE


@pytest.mark.parametrize("silent", [MACHINE, TWIN, CONDUCTOR])
def test_a_silent_source_withholds_then_latches(permitting, silent):
    limit_s, now_s = DEFAULT_LIMITS_S[silent], 0.05
    while now_s < limit_s + 1.5:
        now_s += 0.05
        for name in {MACHINE, TWIN, CONDUCTOR} - {silent}:
            permitting.observe_telemetry(telemetry(), now_s) if name == MACHINE else permitting.observe_source(
                name, 1, now_s
            )
        permit = permitting.tick(now_s)
        assert (permit is not None) == (now_s <= limit_s)
    assert permitting.state is State.LATCHED
    assert permitting.latched().code is ErrorCode.SOURCE_STALE
    assert silent in permitting.latched().cause


def test_a_short_silence_resumes(permitting):
    assert permitting.tick(0.6) is None
    assert permitting.state is State.WITHHELD
    hear_all(permitting, 1.0)
    assert permitting.tick(1.0) is not None


def test_a_restarted_source_latches_even_when_it_is_quick(permitting):
    permitting.observe_source(TWIN, 2, 0.1)
    assert permitting.tick(0.1) is None
    assert permitting.latched().code is ErrorCode.SOURCE_RESTARTED


def test_clear_needs_the_shown_latch_a_reason_and_a_machine_that_is_heard(permitting):
    latch = permitting.stop(StopLevel.HOLD, ErrorCode.STOP_REQUESTED, "test")
    for latch_id, reason, now_s, code in (
        (latch.latch_id + 1, "ok", 0.1, ErrorCode.CLEAR_MISMATCH),
        (latch.latch_id, "  ", 0.1, ErrorCode.REASON_MISSING),
        (latch.latch_id, "ok", 9.0, ErrorCode.SOURCE_STALE),
    ):
        with pytest.raises(PermitError) as error:
            permitting.clear(latch_id, reason, now_s)
        assert error.value.code is code
        assert permitting.state is State.LATCHED
    assert permitting.clear(latch.latch_id, "looked at it", 0.1).cause == "test"
    assert permitting.tick(0.1) is None, "nothing resumes by itself"
    with pytest.raises(PermitError):
        permitting.latched()


def test_the_machines_latch_is_taken_over_and_cleared_by_a_permit_for_no_program(permitting):
    permitting.observe_telemetry(telemetry(latch_id=99, state=MachineState.LATCHED), 0.1)
    latch = permitting.latched()
    assert latch.code is ErrorCode.MACHINE_LATCHED
    permitting.observe_telemetry(telemetry(latch_id=99, state=MachineState.LATCHED), 0.15)
    permitting.clear(latch.latch_id, "looked at it", 0.2)
    permit = permitting.tick(0.2)
    assert (permit.program_digest, permit.cleared_latch) == (NO_DIGEST, 99)
    permitting.observe_telemetry(telemetry(latch_id=99, state=MachineState.LATCHED), 0.25)
    assert permitting.state is State.IDLE, "the cleared latch does not latch again while the machine still shows it"
    permitting.observe_telemetry(telemetry(), 0.3)
    assert permitting.tick(0.3) is None


def test_a_harder_stop_raises_the_level_and_keeps_the_first_cause(permitting):
    first = permitting.stop(StopLevel.HOLD, ErrorCode.STOP_REQUESTED, "first")
    second = permitting.stop(StopLevel.STOP0, ErrorCode.STOP_REQUESTED, "second")
    assert (second.latch_id, second.level, second.cause) == (first.latch_id, StopLevel.STOP0, "first")


def test_a_refusal_stays_a_refusal():
    shield = Shield("m", KEY, 5)
    shield.remember(report(GOOD, Verdict.REFUSE))
    shield.remember(report(GOOD, Verdict.ACCEPT))
    with pytest.raises(GateError):
        shield.arm(GOOD, 0.0)


def test_an_armed_program_that_nobody_executes_is_disarmed(permitting):
    now_s = 0.05
    while now_s < UNUSED_S + 1.0:
        now_s += 0.2
        hear_all(permitting, now_s)
        permitting.tick(now_s)
    assert permitting.state is State.IDLE
    assert permitting.tick(now_s) is None


def test_late_ticks_are_counted(permitting):
    before = permitting.missed_deadlines
    permitting.tick(0.1)
    permitting.tick(0.3)
    assert permitting.missed_deadlines == before + 1


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Whatever happens in whatever order: a permit goes out only when everything that must hold, holds."""

    def __init__(self):
        super().__init__()
        self.shield = Shield("m", KEY, 5)
        self.now_s = 0.0
        self.heard = {}
        self.checked = {}
        self.armed = None
        self.latched = False
        self.machine_latch = 0
        self.permit = None

    @rule(step_s=st.sampled_from([0.01, 0.05, 0.2, 0.6, 2.0]))
    def time_passes_and_ticks(self, step_s):
        self.now_s += step_s
        self.permit = self.shield.tick(self.now_s)
        self.latched = self.latched or self.shield.state is State.LATCHED
        if self.permit is not None and self.permit.program_digest != NO_DIGEST:
            assert self.permit.program_digest == self.armed
            assert self.checked.get(self.armed) in (Verdict.ACCEPT, Verdict.WARN)
            assert not self.latched
            for name, limit_s in DEFAULT_LIMITS_S.items():
                assert self.now_s - self.heard[name] <= limit_s

    @rule()
    def all_speak(self):
        self.machine_speaks(0, MachineState.EXECUTING)
        for name in (TWIN, CONDUCTOR):
            self.source_speaks(name, 1)

    @precondition(lambda self: self.shield.state is State.IDLE and self.checked.get(GOOD) is not Verdict.REFUSE)
    @rule()
    def an_ordinary_start(self):
        self.all_speak()
        self.gates_answer(GOOD, Verdict.ACCEPT)
        self.arm(GOOD)
        self.time_passes_and_ticks(0.05)
        assert self.permit is not None

    @rule(name=st.sampled_from([TWIN, CONDUCTOR]), incarnation=st.sampled_from([1, 1, 1, 2]))
    def source_speaks(self, name, incarnation):
        self.heard[name] = self.now_s
        self.shield.observe_source(name, incarnation, self.now_s)

    @rule(latch=st.sampled_from([0, 0, 0, 8]), state=st.sampled_from(list(MachineState)))
    def machine_speaks(self, latch, state):
        self.heard[MACHINE] = self.now_s
        self.shield.observe_telemetry(telemetry(latch_id=latch, state=state), self.now_s)

    @rule(digest=st.sampled_from([GOOD, BAD]), verdict=st.sampled_from(list(Verdict)))
    def gates_answer(self, digest, verdict):
        if self.checked.get(digest) is not Verdict.REFUSE:
            self.checked[digest] = verdict
        self.shield.remember(report(digest, verdict))
        if verdict is Verdict.REFUSE and digest == self.armed:
            self.armed = None

    @rule(digest=st.sampled_from([GOOD, BAD, UNSEEN]))
    def arm(self, digest):
        before = self.shield.state
        try:
            self.shield.arm(digest, self.now_s)
        except CoreError:
            assert self.shield.state is before
        else:
            assert before is State.IDLE
            self.armed, self.latched = digest, False

    @rule()
    def disarm(self):
        self.shield.disarm()
        self.armed = None

    @rule(level=st.sampled_from(list(StopLevel)))
    def stop(self, level):
        self.shield.stop(level, ErrorCode.STOP_REQUESTED, "test")
        self.latched, self.armed = True, None

    @precondition(lambda self: self.shield.state is State.LATCHED)
    @rule(right=st.booleans())
    def clear(self, right):
        latch_id = self.shield.latched().latch_id + (0 if right else 1)
        try:
            self.shield.clear(latch_id, "test", self.now_s)
        except PermitError:
            assert self.shield.state is State.LATCHED
        else:
            assert right
            self.armed = None

    @invariant()
    def latch_means_no_program(self):
        if self.shield.state in (State.IDLE, State.LATCHED):
            assert self.shield.snapshot(self.now_s).digest == NO_DIGEST


AnyOrderOfEvents.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase
