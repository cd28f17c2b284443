import math
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from industriverse_core.digest import NO_DIGEST
from industriverse_core.errors import ErrorCode, PermitError
from industriverse_core.permit import GRACE_S, PERMIT_VALID_S, Permit, StopLevel, sign
from machine_node.permit_guard import (
    CHALLENGE_LIFE_S,
    CHALLENGE_PERIOD_S,
    TABLE,
    WAIT_LIMIT_S,
    Event,
    GuardState,
    PermitGuard,
)

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
PROGRAM, OTHER_PROGRAM = b"p" * 32, b"q" * 32
MACHINE = "prusa_mk3s"


class World:
    """A guard and an honest shield."""

    def __init__(self):
        self.guard = PermitGuard(MACHINE, KEY)
        self.now = 100.0
        self.sequence = 0
        self.incarnation = 5

    def permit(self, **changes):
        self.sequence += 1
        challenge = self.guard.challenge(self.now)
        plain = Permit(MACHINE, self.incarnation, self.sequence, challenge, PROGRAM)
        return sign(replace(plain, **changes), KEY)

    def give(self, **changes):
        self.guard.on_permit(self.permit(**changes), self.now)

    def live(self):
        self.guard.accept(PROGRAM, self.now)
        self.give()
        assert self.guard.state is GuardState.LIVE
        return self

    def pass_time(self, seconds):
        self.now += seconds
        self.guard.tick(self.now)


@pytest.fixture
def world():
    return World()


def test_motion_is_allowed_from_a_permit_until_its_validity_ends(world):
    world.live()
    assert world.guard.motion_allowed(world.now)
    assert world.guard.motion_allowed(world.now + PERMIT_VALID_S - 1e-6)
    assert not world.guard.motion_allowed(world.now + PERMIT_VALID_S)


def test_nothing_is_valid_before_the_first_challenge():
    guard = PermitGuard(MACHINE, KEY)
    guard.accept(PROGRAM, 0.0)
    guard.on_permit(sign(Permit(MACHINE, 1, 1, 0, PROGRAM), KEY), 0.0)
    assert guard.state is GuardState.WAITING
    assert guard.refused == {"PERMIT_REPLAYED": 1}


def test_a_short_gap_is_a_hold_that_resumes(world):
    world.live().pass_time(PERMIT_VALID_S + 0.5)
    assert world.guard.state is GuardState.HOLD
    assert not world.guard.motion_allowed(world.now)
    world.give()
    assert world.guard.motion_allowed(world.now)


def test_a_longer_gap_latches_and_permits_do_not_resume_it(world):
    world.live().pass_time(PERMIT_VALID_S + GRACE_S)
    assert world.guard.state is GuardState.LATCHED
    assert world.guard.cause.code is ErrorCode.PERMIT_LAPSED
    assert world.guard.latch_id != 0
    world.give()
    assert world.guard.state is GuardState.LATCHED


def test_the_gap_counts_even_when_nobody_ticks(world):
    world.live()
    world.now += PERMIT_VALID_S + GRACE_S + 0.01
    world.give()  # the first call after the gap is the permit itself
    assert world.guard.state is GuardState.LATCHED


def test_a_new_shield_incarnation_latches(world):
    world.live()
    world.incarnation, world.sequence = 6, 0
    world.give()
    assert world.guard.state is GuardState.LATCHED
    assert world.guard.cause.code is ErrorCode.SHIELD_RESTARTED


def test_a_new_incarnation_latches_even_with_a_permit_for_nothing(world):
    world.live()
    world.incarnation, world.sequence = 6, 0
    world.give(program_digest=NO_DIGEST)
    assert world.guard.cause.code is ErrorCode.SHIELD_RESTARTED


def test_an_old_incarnation_never_comes_back(world):
    world.give()
    old = world.permit()
    world.incarnation, world.sequence = 6, 0
    world.give()
    world.guard.on_permit(old, world.now)
    assert world.guard.refused["PERMIT_REPLAYED"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"machine_id": "other"}, "PERMIT_FOREIGN"),
        ({"program_digest": OTHER_PROGRAM}, "PERMIT_FOREIGN"),
        ({"challenge": 12345}, "PERMIT_REPLAYED"),
        ({"sequence": 0}, "PERMIT_REPLAYED"),
        ({"incarnation": 1}, "PERMIT_REPLAYED"),
        ({"speed_scale": math.nan}, "PERMIT_FORGED"),
        ({"speed_scale": 0.0}, "PERMIT_FORGED"),
        ({"valid_for_ms": 10_000}, "PERMIT_FORGED"),
        ({"valid_for_ms": 0}, "PERMIT_FORGED"),
    ],
)
def test_wrong_permits_are_counted_and_change_nothing(world, change, reason):
    world.give(program_digest=NO_DIGEST)  # an earlier permit of this incarnation
    world.guard.accept(PROGRAM, world.now)
    world.give(**change)
    assert world.guard.state is GuardState.WAITING
    assert world.guard.refused == {reason: 1}


def test_every_field_is_under_the_mac(world):
    good = world.permit()
    world.guard.accept(PROGRAM, world.now)
    for change in (
        {"sequence": good.sequence + 1}, {"program_digest": OTHER_PROGRAM}, {"cleared_latch": 7},
        {"speed_scale": 0.5}, {"valid_for_ms": 149}, {"incarnation": 9}, {"mac": b""}, {"sequence": -1},
    ):  # fmt: skip
        world.guard.on_permit(replace(good, **change), world.now)
        assert world.guard.state is GuardState.WAITING
    assert world.guard.refused == {"PERMIT_FORGED": 8}


def test_an_old_challenge_is_worth_nothing(world):
    old = world.permit()
    for _ in range(2):
        world.now += CHALLENGE_PERIOD_S
        world.guard.challenge(world.now)
    world.guard.accept(PROGRAM, world.now)
    world.guard.on_permit(old, world.now)
    assert world.guard.state is GuardState.WAITING


def test_a_challenge_dies_even_when_it_is_not_renewed(world):
    permit = world.permit()
    world.now += CHALLENGE_LIFE_S + 0.01
    world.guard.accept(PROGRAM, world.now)
    world.guard.on_permit(permit, world.now)
    assert world.guard.state is GuardState.WAITING


def test_waiting_ends_in_a_refusal(world):
    world.guard.accept(PROGRAM, world.now)
    world.pass_time(WAIT_LIMIT_S)
    assert world.guard.state is GuardState.IDLE
    assert world.guard.cause.code is ErrorCode.NO_PERMIT


@pytest.mark.parametrize("machine_id", [MACHINE, ""])
def test_a_stop_request_latches(world, machine_id):
    world.live()
    world.guard.on_stop(machine_id, StopLevel.STOP0, "operator", "smoke", world.now)
    assert world.guard.state is GuardState.LATCHED
    assert world.guard.cause.code is ErrorCode.STOP_REQUESTED
    assert world.guard.stop_level is StopLevel.STOP0


def test_a_stop_for_another_machine_changes_nothing(world):
    world.live()
    world.guard.on_stop("other", StopLevel.STOP0, "operator", "", world.now)
    assert world.guard.state is GuardState.LIVE


def test_a_latch_is_cleared_by_its_own_number_alone(world):
    world.live()
    world.guard.on_stop("", StopLevel.HOLD, "operator", "", world.now)
    latch = world.guard.latch_id
    world.give(cleared_latch=latch + 1)
    assert world.guard.state is GuardState.LATCHED
    world.guard.on_permit(replace(world.permit(), cleared_latch=latch), world.now)  # not signed
    assert world.guard.state is GuardState.LATCHED
    world.give(cleared_latch=latch, program_digest=NO_DIGEST)
    assert world.guard.state is GuardState.IDLE
    assert not world.guard.motion_allowed(world.now)
    assert world.guard.latch_id == 0


def test_a_latched_machine_accepts_nothing(world):
    world.live()
    world.guard.on_stop("", StopLevel.HOLD, "operator", "", world.now)
    with pytest.raises(PermitError) as caught:
        world.guard.accept(PROGRAM, world.now)
    assert caught.value.code is ErrorCode.LATCHED
    assert world.guard.state is GuardState.LATCHED


def test_a_permit_for_no_program_is_a_hold_that_lasts_as_long_as_it_is_said(world):
    world.live()
    world.give(program_digest=NO_DIGEST)
    assert world.guard.state is GuardState.HOLD
    assert not world.guard.motion_allowed(world.now), "at once, not only when the last permit has lapsed"
    for _ in range(10):
        world.pass_time(GRACE_S / 2)
        world.give(program_digest=NO_DIGEST)
        assert world.guard.state is GuardState.HOLD
    world.give()
    assert world.guard.motion_allowed(world.now)
    assert world.guard.refused == {}


def test_silence_after_a_permit_for_no_program_latches(world):
    world.live()
    world.give(program_digest=NO_DIGEST)
    world.pass_time(GRACE_S)
    assert world.guard.cause.code is ErrorCode.PERMIT_LAPSED


@pytest.mark.parametrize("state", GuardState)
@pytest.mark.parametrize("event", Event)
def test_an_absent_transition_raises_and_nothing_else_allows_motion(state, event):
    if (state, event) not in TABLE.rows:
        with pytest.raises(PermitError):
            TABLE.next_state(state, event)
    elif TABLE.next_state(state, event) is GuardState.LIVE:
        assert event is Event.PERMIT


def test_the_diagram_shows_every_transition():
    assert TABLE.diagram().count("-->") == len(TABLE.rows) + 1


class GuardMachine(RuleBasedStateMachine):
    """Whatever happens, motion needs an authentic, fresh permit for the executing program."""

    @initialize()
    def begin(self):
        self.world = World()
        self.running = None  # digest
        self.allowed_until = -math.inf  # what an honest observer would grant
        self.old = []

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.149, 0.3, 0.9, 1.2, 5.0, 11.0]))
    def time_passes(self, seconds):
        self.world.now += seconds

    @rule(digest=st.sampled_from([PROGRAM, OTHER_PROGRAM]))
    def accept(self, digest):
        try:
            self.world.guard.accept(digest, self.world.now)
        except PermitError:
            return
        self.running, self.allowed_until = digest, -math.inf

    @rule()
    def end(self):
        self.world.guard.end(self.world.now)
        self.allowed_until = -math.inf

    @rule(digest=st.sampled_from([PROGRAM, OTHER_PROGRAM, NO_DIGEST]), clear=st.booleans())
    def honest_permit(self, digest, clear):
        world = self.world
        permit = world.permit(program_digest=digest, cleared_latch=world.guard.latch_id if clear else 0)
        self.old.append(permit)
        world.guard.on_permit(permit, world.now)
        if digest == self.running:
            self.allowed_until = world.now + PERMIT_VALID_S

    @rule(data=st.data())
    def attack(self, data):
        world = self.world
        kind = data.draw(st.sampled_from(["forged", "replayed", "restarted", "tampered"]))
        permit = world.permit()
        if kind == "forged":
            permit = sign(permit, OTHER_KEY)
        elif kind == "replayed" and self.old:
            permit = data.draw(st.sampled_from(self.old))
        elif kind == "restarted":
            world.incarnation += 1
            world.sequence = 0
            permit = world.permit(program_digest=NO_DIGEST)
        else:
            permit = replace(permit, program_digest=self.running or PROGRAM, sequence=permit.sequence + 1)
        world.guard.on_permit(permit, world.now)

    @rule(level=st.sampled_from(StopLevel))
    def stop(self, level):
        self.world.guard.on_stop("", level, "test", "", self.world.now)
        self.allowed_until = -math.inf

    @invariant()
    def motion_needs_a_permit(self):
        if self.world.guard.motion_allowed(self.world.now):
            assert self.world.now < self.allowed_until
            assert self.world.guard.digest == self.running

    @invariant()
    def latched_has_a_number(self):
        assert (self.world.guard.state is GuardState.LATCHED) == (self.world.guard.latch_id != 0)


TestGuardMachine = GuardMachine.TestCase
TestGuardMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_stop_request_latches_an_idle_machine(world):
    world.guard.on_stop("", StopLevel.STOP1, "ada", "smells odd", world.now)
    assert world.guard.state is GuardState.LATCHED
    with pytest.raises(PermitError):
        world.guard.accept(PROGRAM, world.now)
    world.give(program_digest=NO_DIGEST, cleared_latch=world.guard.latch_id)
    assert world.guard.state is GuardState.IDLE
