"""The node over DDS: what it hears becomes decisions, permits and stops."""

import time

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

import industriverse_msgs.msg as im
import industriverse_msgs.srv as srv
from industriverse_core.errors import ErrorCode, ProfileError
from industriverse_core.gcode import read_gcode
from industriverse_core.program import Heater
from industriverse_core.store import CellPaths, ProgramStore
from industriverse_core.telemetry import HeaterReading, MachineState, ResidualSample, TelemetrySample
from industriverse_core.threats import Cause, Level
from industriverse_ros import convert, names, qos
from industriverse_ros.testing import bring_up, spin_until
from shield_node.node import ShieldNode
from shield_node.threats.identifier import ThreatIdentifier

MACHINE = "prusa_mk3s"
CELL = """
safety:
  place: [0 m, 0 m]
  reach: 0.4 m
  sensors: [{name: floor_camera, limit: 2 s}]
  separation: {reaction: 2.5 s}
  whole_space_seen: true
"""
FAR, AT = 20.0, 0.5
LIMIT_S = {"machine_limit_s": 2.0, "twin_limit_s": 2.0, "conductor_limit_s": 2.0}  # a busy computer stops nothing here


class World:
    """A shield, and everybody else in one other node that speaks twenty times a second."""

    def __init__(self, ros, folder, cell_file=""):
        self.paths = CellPaths(folder / "cell")
        self.paths.directory.mkdir()
        values = {"machine": MACHINE, "cell_dir": str(self.paths.directory), "cell_file": str(cell_file), **LIMIT_S}
        self.node = ShieldNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
        self.other = ros.create_node("others")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.other)
        make, watch = self.other.create_publisher, self.other.create_subscription
        self.telemetry = make(im.MachineTelemetry, names.telemetry(MACHINE), qos.SENSOR)
        self.residual = make(im.Residual, names.residual(MACHINE), qos.SENSOR)
        self.job_state = make(im.JobState, names.JOB_STATE, qos.EVENT)
        self.persons = make(im.PersonsSeen, names.PERSONS, qos.SENSOR)
        self.diagnostics = make(DiagnosticArray, names.DIAGNOSTICS, qos.EVENT)
        self.decisions, self.permits, self.states = [], [], []
        watch(im.Decision, names.decision(MACHINE), self.decisions.append, qos.SENSOR)
        watch(im.MotionPermit, names.permit(MACHINE), self.permits.append, qos.PERMIT)
        watch(im.SafetyState, names.safety_state(MACHINE), self.states.append, qos.STATE)
        self.clients = {
            name: self.other.create_client(kind, name)
            for name, kind in ((names.CHECK_PROGRAM, srv.CheckProgram), (names.ARM_PROGRAM, srv.ArmProgram))
        }
        self.frame, self.distance_m, self.hot_c, self.digest = "cell", FAR, 25.0, bytes(32)
        bring_up(self.node)
        self.other.create_timer(0.05, self.speak)

    def speak(self):
        stamp_s = time.monotonic() + 1000.0
        heaters = (HeaterReading(Heater.HOTEND, self.hot_c, 0.0, 0.0), HeaterReading(Heater.BED, 25.0, 0.0, 0.0))
        state = MachineState.EXECUTING if any(self.digest) else MachineState.IDLE
        sample = TelemetrySample(stamp_s, MACHINE, 1, 7, state, program_digest=self.digest, heaters=heaters)
        self.telemetry.publish(convert.telemetry_to_msg(sample))
        residual = ResidualSample(stamp_s, MACHINE, 2, "", bytes(32), 0, (), 0.0)
        self.residual.publish(convert.residual_to_msg(residual))
        self.job_state.publish(im.JobState(incarnation=4))
        seen = im.PersonsSeen(sensor="floor_camera", incarnation=3, uncertainty_m=0.05)
        seen.header.frame_id = self.frame
        seen.positions.append(Point(x=self.distance_m))
        self.persons.publish(seen)

    def until(self, condition, timeout_s=30.0):
        assert spin_until(self.executor, condition, timeout_s), (self.decisions[-1:], self.states[-1:])

    def call(self, name, request):
        client = self.clients[name]
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        assert future.result().error_code == 0, future.result().error_msg
        return future.result()

    def arm(self):
        program = read_gcode(b"G28\nG1 Z5 F720\nG1 X50 Y50 F3000\n", "square.gcode", "marlin")
        ref = ProgramStore(self.paths.programs).add(program)
        self.call(names.CHECK_PROGRAM, srv.CheckProgram.Request(program=convert.ref_to_msg(ref), machine_id=MACHINE))
        self.digest = program.digest
        digest = convert.digest_to_msg(program.digest)
        self.call(names.ARM_PROGRAM, srv.ArmProgram.Request(program_digest=digest, machine_id=MACHINE, job_id="J1"))
        self.until(lambda: self.decided(Level.RUN, im.SafetyState.PERMITTING))

    def decided(self, level, state):
        return bool(self.decisions) and (self.decisions[-1].level, self.decisions[-1].state) == (level, state)


@pytest.fixture
def watched(ros, tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text(CELL)
    return World(ros, tmp_path, path)


def test_each_sample_is_a_tick_and_its_decision_names_it(watched):
    watched.until(lambda: len(watched.decisions) > 20)
    stamps = [convert.time_from_msg(msg.telemetry_stamp) for msg in watched.decisions[5:]]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) > 5
    last = watched.decisions[-1]
    assert [msg.tick for msg in watched.decisions] == sorted({msg.tick for msg in watched.decisions})
    assert (last.level, last.cause, last.machine_id) == (Level.RUN, Cause.NONE, MACHINE)
    assert len(last.probabilities) == len(Cause)
    assert convert.time_from_msg(last.residual_stamp) > 1000.0
    assert watched.paths.description.read_text() == CELL, "for whoever records the cell"


def test_a_person_holds_the_machine_and_lets_it_go_on(watched):
    watched.arm()
    watched.distance_m = AT
    watched.until(lambda: watched.decided(Level.HOLD, im.SafetyState.WITHHELD))
    assert watched.decisions[-1].cause == Cause.OPERATOR_DANGER
    watched.until(lambda: not any(watched.permits[-1].program_digest))
    watched.until(lambda: watched.states[-1].error_code == ErrorCode.PERSON_NEAR)
    watched.distance_m = FAR
    watched.until(lambda: any(watched.permits[-1].program_digest))


def test_sightings_in_another_frame_are_none(watched):
    watched.arm()
    watched.frame = "map"
    watched.until(lambda: watched.states[-1].state == im.SafetyState.LATCHED)
    assert watched.states[-1].error_code == ErrorCode.SOURCE_STALE
    assert "floor_camera" in watched.states[-1].error_msg


def test_a_hot_end_that_heats_by_itself_is_named_and_latched(watched):
    watched.until(lambda: watched.decisions)

    def hotter():
        watched.hot_c += 0.3
        return watched.states[-1].state == im.SafetyState.LATCHED

    watched.until(hotter)
    watched.until(lambda: watched.decided(Level.STOP1, im.SafetyState.LATCHED))
    assert watched.decisions[-1].cause == Cause.THERMAL_RUNAWAY
    assert watched.states[-1].error_code == ErrorCode.THREAT


def test_refused_permits_are_evidence(watched, monkeypatch):
    noted, observe = [], ThreatIdentifier.observe_incident

    def spy(self, cause, evidence, now_s):
        noted.append((cause, evidence.detector))
        observe(self, cause, evidence, now_s)

    monkeypatch.setattr(ThreatIdentifier, "observe_incident", spy)

    def tell(count):
        status = DiagnosticStatus(name="/machine", values=[KeyValue(key="permits_refused.PERMIT_FORGED", value=count)])
        watched.diagnostics.publish(DiagnosticArray(status=[status]))

    watched.until(lambda: watched.diagnostics.get_subscription_count() > 0 and watched.decisions)
    counts = iter(str(number) for number in range(10_000))

    def forged():
        tell(next(counts))
        return (Cause.NETWORK_FAULT, "permit_forged") in noted

    watched.until(forged)
    tell("nonsense")
    count = len(watched.decisions)
    watched.until(lambda: len(watched.decisions) > count + 5)


def test_a_wrong_safety_section_ends_the_start(ros, tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text("safety: {reach: 0.4 m}\n")
    with pytest.raises(ProfileError, match="place"):
        World(ros, tmp_path, path)
