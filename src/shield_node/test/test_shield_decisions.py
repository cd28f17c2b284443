"""What the shield decides from threats, people and incidents; and every way to a permit, explored to its end."""

import copy
import math
from dataclasses import replace

import pytest

from industriverse_core.artefacts import GateReport, Verdict
from industriverse_core.digest import NO_DIGEST
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import load_machine
from industriverse_core.permit import GRACE_S, PermitLevel, StopLevel
from industriverse_core.safety import Safety
from industriverse_core.telemetry import MachineState, PowerSample, ResidualSample, TelemetrySample
from industriverse_core.threats import Cause, Level, ThreatEstimate
from shield_node.people import People
from shield_node.responses import CALM_S, certain
from shield_node.shield import CONDUCTOR, TWIN, Shield
from shield_node.threats.identifier import ThreatIdentifier
from shield_node.transitions import TABLE, State

KEY, PROGRAM, OTHER = b"k" * 32, b"g" * 32, b"o" * 32
CAMERA = "floor_camera"
SAFETY = Safety.model_validate(
    {
        "place": ["0 m", "0 m"], "reach": "0.4 m", "sensors": [{"name": CAMERA}], "whole_space_seen": True,
        "longest_hold": "20 s",
        "zones": [{"name": "robot", "kind": "exclusion", "corners": [["7 m", "7 m"], ["8 m", "7 m"], ["8 m", "8 m"]]}],
    }
)  # fmt: skip
FAR, NEAR, AT, FORBIDDEN = (9.0, 0.0), (2.1, 0.0), (0.5, 0.0), (7.9, 7.5)


class Fake:
    """An identifier that says what it is told to say, and keeps what it hears."""

    def __init__(self):
        self.says, self.heard, self.resets, self.jobs = certain(Cause.NONE), [], 0, 0

    def begin_job(self, job_id):
        self.jobs += 1

    def reset(self):
        self.resets += 1

    def observe_telemetry(self, sample, now_s):
        self.heard.append((sample, now_s))

    observe_residual = observe_vibration = observe_power = observe_telemetry

    def observe_incident(self, cause, evidence, now_s):
        self.heard.append((cause, evidence))

    def estimate(self, now_s):
        return self.says


class World:
    """A shield whose sources all speak before each tick."""

    def __init__(self, people=False):
        self.fake = Fake()
        self.shield = Shield("m", KEY, 5, identifier=self.fake, people=People(SAFETY, 0.2) if people else None)
        self.shield.remember(GateReport(PROGRAM, "m", Verdict.ACCEPT, (), 0, 0))
        self.now_s, self.person = 0.0, FAR
        self.digest, self.state, self.silent = PROGRAM, MachineState.EXECUTING, ()
        self.permit = None

    def hear(self):
        sample = TelemetrySample(self.now_s + 100.0, "m", 1, 7, self.state, program_digest=self.digest)
        self.shield.observe_telemetry(sample, self.now_s)
        self.shield.observe_source(TWIN, 1, self.now_s)
        self.shield.observe_source(CONDUCTOR, 1, self.now_s)
        if self.shield.people is not None and CAMERA not in self.silent:
            self.shield.observe_persons(CAMERA, 1, [self.person], 0.0, self.now_s)

    def run(self, seconds):
        for _ in range(round(seconds / 0.05)):
            self.now_s += 0.05
            self.hear()
            self.permit = self.shield.tick(self.now_s)
        return self.decision

    @property
    def decision(self):
        return self.shield.decision(self.now_s, self.now_s, 1.0)

    def start(self):
        self.hear()
        self.shield.arm(PROGRAM, self.now_s)
        assert self.run(0.1).level is Level.RUN
        assert self.permit.program_digest == PROGRAM
        return self

    def threat(self, cause, probability=0.99, severity=1.0):
        self.fake.says = ThreatEstimate(self.now_s, cause, probability, severity, (), (), f"Seen: {cause.name}.")


def test_a_runaway_latches_and_the_decision_names_it():
    world = World().start()
    world.threat(Cause.THERMAL_RUNAWAY)
    decision = world.run(0.5)
    assert (world.shield.state, world.permit) == (State.LATCHED, None)
    assert (world.shield.latched().code, world.shield.latched().level) == (ErrorCode.THREAT, StopLevel.STOP1)
    assert world.shield.latched().cause == "Seen: THERMAL_RUNAWAY."
    assert (decision.level, decision.threat.cause, decision.speed_scale) == (Level.STOP1, Cause.THERMAL_RUNAWAY, 0.0)
    world.fake.says = certain(Cause.NONE)
    assert world.run(0.1).threat.cause is Cause.THERMAL_RUNAWAY, "what it was stopped for, until it is cleared"
    world.shield.clear(world.shield.latched().latch_id, "looked at it", world.now_s)
    assert world.fake.resets == 1
    assert world.run(0.1).threat.cause is Cause.NONE
    assert world.shield.state is State.IDLE


def test_a_runaway_latches_an_idle_shield_and_a_collision_does_not():
    world = World()
    world.threat(Cause.COLLISION)
    world.run(0.5)
    assert world.shield.state is State.IDLE
    world.threat(Cause.THERMAL_RUNAWAY)
    world.run(0.5)
    assert world.shield.state is State.LATCHED


def test_a_reduction_is_in_the_permits():
    world = World().start()
    world.threat(Cause.VIBRATION)
    decision = world.run(4.0)
    assert (world.permit.level, world.permit.speed_scale) == (PermitLevel.REDUCED, 0.5)
    assert (decision.level, decision.speed_scale) == (Level.REDUCED, 0.5)
    world.fake.says = certain(Cause.NONE)
    world.run(CALM_S + 0.1)
    assert world.permit.level is PermitLevel.RUN


def test_a_hold_for_a_threat_resumes_within_the_grace_time_and_latches_after_it():
    world = World().start()
    world.threat(Cause.CLOG)
    world.run(2.1)
    assert (world.shield.state, world.permit) == (State.WITHHELD, None), "silence: the machine holds by itself"
    assert world.shield.snapshot(world.now_s).code is ErrorCode.THREAT
    world.fake.says = certain(Cause.NONE)
    world.run(CALM_S + 0.1)
    assert world.shield.state is State.PERMITTING
    world.threat(Cause.CLOG)
    world.run(2.3 + GRACE_S)
    assert (world.shield.latched().level, world.shield.latched().code) == (StopLevel.HOLD, ErrorCode.THREAT)
    assert world.decision.level is Level.HOLD


def test_a_threat_at_rest_keeps_a_program_waiting():
    world = World()
    world.threat(Cause.CLOG)
    world.run(2.1)
    world.shield.arm(PROGRAM, world.now_s)
    world.run(1.5)
    assert (world.shield.state, world.permit) == (State.ARMED, None)
    assert world.shield.snapshot(world.now_s).cause == "Seen: CLOG."


def test_a_machine_that_executes_another_program_is_stopped():
    world = World().start()
    world.digest = OTHER
    world.run(0.1)
    assert world.shield.state is State.PERMITTING, "a sample may have been on its way"
    decision = world.run(0.05)
    assert world.shield.latched().code is ErrorCode.THREAT
    assert (decision.threat.cause, decision.threat.probability) == (Cause.PROGRAM_TAMPERING, 1.0)
    assert OTHER.hex()[:6] in decision.threat.message
    assert any(item[0] is Cause.PROGRAM_TAMPERING for item in world.fake.heard)


def test_what_the_shield_notices_reaches_the_identifier():
    world = World().start()
    world.shield.observe_refused_permits({"PERMIT_FORGED": 3})
    world.shield.observe_refused_permits({"PERMIT_FORGED": 5})
    world.now_s += 1.0  # a late tick
    world.run(0.1)
    noted = [(item[1].detector, item[1].value) for item in world.fake.heard if item[0] is Cause.NETWORK_FAULT]
    assert noted == [("permit_forged", 2.0), ("missed_deadlines", 1.0)]


def test_a_person_slows_holds_and_lets_go_on_after_any_time():
    world = World(people=True).start()
    world.person = NEAR
    decision = world.run(0.1)
    assert (decision.level, decision.threat.cause) == (Level.REDUCED, Cause.OPERATOR_DANGER)
    assert world.permit.speed_scale == decision.speed_scale < 1.0
    world.person = AT
    decision = world.run(10 * GRACE_S)
    assert (decision.level, world.shield.state) == (Level.HOLD, State.WITHHELD)
    assert world.permit.program_digest == NO_DIGEST, "the machine is told to stand still and to wait"
    assert world.shield.snapshot(world.now_s).code is ErrorCode.PERSON_NEAR
    world.person = FAR
    world.run(CALM_S + 0.1)
    assert world.permit.program_digest == PROGRAM


def test_a_person_who_stays_latches_in_the_end():
    world = World(people=True).start()
    world.person = AT
    world.run(SAFETY.longest_hold + 0.2)
    assert (world.shield.latched().code, world.shield.latched().level) == (ErrorCode.PERSON_NEAR, StopLevel.HOLD)
    assert world.decision.threat.cause is Cause.OPERATOR_DANGER


def test_a_silent_source_latches_even_while_a_person_holds():
    world = World(people=True).start()
    world.person = AT
    world.run(5.0)
    world.silent = (CAMERA,)
    world.run(0.5)
    assert world.permit is None
    world.run(GRACE_S)
    assert world.shield.latched().code is ErrorCode.SOURCE_STALE
    assert CAMERA in world.shield.latched().cause


def test_nobody_may_be_in_an_exclusion_zone_while_the_machine_is_permitted():
    world = World(people=True)
    world.person = FORBIDDEN
    world.run(0.5)
    assert world.shield.state is State.IDLE, "with nothing armed one may go there"
    world.shield.arm(PROGRAM, world.now_s)
    world.run(0.5)
    assert world.shield.state is State.ARMED
    world.person = FAR
    world.run(CALM_S + 0.1)
    assert world.shield.state is State.PERMITTING
    world.person = FORBIDDEN
    decision = world.run(0.05)
    assert (world.shield.latched().code, decision.level) == (ErrorCode.PERSON_NEAR, Level.STOP1)
    assert "robot" in decision.threat.message


def test_a_shield_without_people_takes_no_sighting():
    with pytest.raises(KeyError):
        Shield("m", KEY, 5).observe_persons(CAMERA, 1, [], 0.0, 0.0)


def test_a_tick_hands_over_in_the_order_of_the_stamps_and_no_sensor_ahead_of_the_machine():
    world = World()
    power = PowerSample(100.2, "m", 100.2)
    world.shield.observe_sensor(power)
    world.shield.observe_residual(ResidualSample(99.9, "m", 1, "", NO_DIGEST, 0, (), 0.0), 0.0)
    world.run(0.05)
    assert [sample.stamp_s for sample, _ in world.fake.heard] == [99.9, pytest.approx(100.05)]
    world.run(0.15)
    assert power in [sample for sample, _ in world.fake.heard]
    assert all(now_s == pytest.approx(0.05) for _, now_s in world.fake.heard[:2])
    decision = world.decision
    assert (decision.tick, decision.residual_stamp_s) == (4, 99.9)
    assert decision.telemetry_stamp_s == pytest.approx(100.2)
    assert decision.latency_s == pytest.approx(0.0)


def test_the_same_inputs_give_the_same_decisions():
    def decisions():
        shield = Shield("m", KEY, 5, identifier=ThreatIdentifier(load_machine("prusa_mk3s")))
        found = []
        for step in range(60):
            sample = TelemetrySample(step * 0.6, "m", 1, 7, MachineState.IDLE, power_w=20.0 + 9.0 * math.sin(step))
            shield.observe_telemetry(sample, step * 0.05)
            shield.tick(step * 0.05)
            found.append(shield.decision(step * 0.05, step * 0.05, 0.0))
        return [repr(each) for each in found]

    assert decisions() == decisions()


# --- every state that can be reached, by every order of these events ---

ALARM = ThreatEstimate(0.0, Cause.COLLISION, 0.99, 0.8, (), (), "Seen.")
HOLD_ALARM = replace(ALARM, probability=0.92)
EVENTS = (
    "check", "refuse", "arm", "arm_other", "disarm", "speak", "restart", "stop", "clear", "alarm", "hold", "calm",
    "near", "far", "short", "long",
)  # fmt: skip


class Terse(Fake):
    """Keeps nothing: it is copied with every state."""

    def observe_telemetry(self, sample, now_s):
        pass

    observe_residual = observe_vibration = observe_power = observe_telemetry

    def observe_incident(self, cause, evidence, now_s):
        pass


class Explored:
    """A shield and an honest account of why it may permit; quantised to what matters for that."""

    def __init__(self):
        self.world = World(people=True)
        self.world.fake = Terse()
        self.world.shield = Shield("m", KEY, 5, identifier=self.world.fake, people=People(SAFETY, 0.2))
        self.checked = ""
        self.fresh_s = -math.inf  # when all sources had spoken last

    def apply(self, event):
        world, shield = self.world, self.world.shield
        now_s = world.now_s
        match event:
            case "check" | "refuse":
                verdict = Verdict.ACCEPT if event == "check" else Verdict.REFUSE
                self.checked = "refused" if event == "refuse" or self.checked == "refused" else "passed"
                shield.remember(GateReport(PROGRAM, "m", verdict, (), 0, 0))
            case "arm" | "arm_other":
                shield.arm(PROGRAM if event == "arm" else OTHER, now_s)
            case "disarm":
                shield.disarm()
            case "speak":
                world.hear()
                self.fresh_s = now_s
            case "restart":
                shield.observe_source(TWIN, 2, now_s)
            case "stop":
                shield.stop(StopLevel.STOP1, ErrorCode.STOP_REQUESTED, "test")
            case "clear":
                shield.clear(shield.latched().latch_id, "test", now_s)
            case "alarm" | "hold" | "calm":
                world.fake.says = {"alarm": ALARM, "hold": HOLD_ALARM, "calm": certain(Cause.NONE)}[event]
            case "near" | "far":
                world.person = AT if event == "near" else FAR
        steps = {"short": 0.05, "long": 1.2}.get(event)
        if steps is not None:
            world.now_s += steps
            return shield.tick(world.now_s)
        return None

    def key(self):
        """The state as far as permits depend on it. Ages count as young, or older than what they are compared with."""
        shield, now_s = self.world.shield, self.world.now_s
        doubt_s = now_s - shield._doubt_since_s
        return (
            shield.state, shield._latch is None, self.checked,
            tuple(status.fresh for status in shield.sources(now_s)),
            tuple(each.armed_incarnation in (0, each.incarnation) for each in shield._sources.values()),
            (doubt_s >= 0.0) + (doubt_s > GRACE_S), shield._response.level, shield._response.waits,
            self.world.fake.says.probability, self.world.person, shield.people._seen.get(CAMERA),
        )  # fmt: skip


def test_no_way_leads_to_motion_without_gate_sources_and_a_clear_latch():
    """Breadth first over the states that differ in what permits depend on. Every permit for a program is judged."""
    frontier, seen, permits, transitions = [Explored()], set(), 0, set()
    while frontier:
        following = []
        for state in frontier:
            for event in EVENTS:
                world = copy.deepcopy(state)
                before = world.world.shield.state
                try:
                    permit = world.apply(event)
                except CoreError:
                    assert world.world.shield.state is before
                    continue
                shield = world.world.shield
                transitions.add((before, shield.state))
                if permit is not None and permit.program_digest != NO_DIGEST:
                    permits += 1
                    assert shield.state is State.PERMITTING
                    assert permit.program_digest == PROGRAM == shield._digest
                    assert world.checked == "passed"
                    assert all(status.fresh for status in shield.sources(world.world.now_s))
                    assert world.world.now_s - world.fresh_s <= 0.5
                    assert shield._latch is None
                    assert world.world.fake.says.cause is Cause.NONE
                    assert shield.people._seen[CAMERA] == (FAR,)
                if shield.state is State.LATCHED:
                    assert shield._digest == NO_DIGEST
                key = world.key()
                if key not in seen:
                    seen.add(key)
                    following.append(world)
        frontier = following
    print(f"{len(seen)} states, {permits} ways to a permit")
    assert len(seen) > 1000
    assert permits > 0
    assert {(old, new) for (old, _), new in TABLE.rows.items()} <= transitions, "every row was seen to happen"
    assert {new for old, new in transitions if old is State.LATCHED} == {State.LATCHED, State.IDLE}
