"""The node over DDS with a virtual printer: what moves it and what does not."""

import time
from dataclasses import replace

import pytest

pytest.importorskip("rclpy")

from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

import industriverse_msgs.msg as im
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.permit import Permit, StopLevel, load_or_create_key, sign
from industriverse_core.store import CellPaths, ProgramStore
from industriverse_core.telemetry import MachineState
from industriverse_msgs.action import ExecuteProgram
from industriverse_ros import convert, names, qos
from industriverse_ros.testing import bring_up, spin_until
from machine_node.execution import Outcome
from machine_node.node import MachineNode

MACHINE = "prusa_mk3s"
SPEED = 50.0
SQUARE = "G28\nG1 Z5 F720\n" + "G1 X50 Y0 F6000\nG1 X50 Y50\nG1 X0 Y50\nG1 X0 Y0\n" * 4
LONG = "G28\n" + "G1 X200 Y0 F3000\nG1 X0 Y200\n" * 100


def make_node(folder, printer, **changes):
    values = {
        "cell_dir": str(folder), "machine": MACHINE, "port": str(printer.link),
        "meter_port": str(printer.meter_link), "time_scale": SPEED, **changes,
    }  # fmt: skip
    return MachineNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])


class Cell:
    """A machine node, and a shield, a conductor and an attacker in one other node."""

    def __init__(self, ros, printer, tmp_path):
        self.printer = printer
        self.paths = CellPaths(tmp_path / "cell")
        self.key = load_or_create_key(self.paths.key)
        self.node = make_node(self.paths.directory, printer)
        self.other = ros.create_node("others")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.other)
        self.telemetry, self.traces, self.feedback = [], [], []
        self.permits = self.other.create_publisher(im.MotionPermit, names.permit(MACHINE), qos.PERMIT)
        self.stops = self.other.create_publisher(im.StopRequest, names.STOP_REQUEST, qos.EVENT)
        self.states = self.other.create_publisher(im.SafetyState, names.safety_state(MACHINE), qos.STATE)
        self.other.create_subscription(im.MachineTelemetry, names.telemetry(MACHINE), self.telemetry.append, qos.SENSOR)
        self.other.create_subscription(im.ExecutionTrace, names.execution_trace(MACHINE), self.traces.append, qos.EVENT)
        self.client = ActionClient(self.other, ExecuteProgram, names.execute_program(MACHINE))
        self.timer = None
        self.sequence = 0
        self.make_permit = None
        self.handle = None

    def up(self):
        assert not self.node.ready()
        self.node.trigger_configure()
        assert self.node.failure is None
        assert self.wait(lambda: self.telemetry and self.telemetry[-1].state == MachineState.IDLE)
        assert not self.node.ready()  # connected, but no shield yet
        self.states.publish(im.SafetyState(machine_id=MACHINE, state=im.SafetyState.IDLE))
        assert self.wait(self.node.ready)
        bring = self.node.trigger_activate()
        assert bring is not None
        assert self.wait(lambda: self.client.server_is_ready())
        assert self.wait(lambda: any("M154" in line for line in self.printer.lines()))
        return self

    def wait(self, condition, timeout_s=30.0):
        found = spin_until(self.executor, condition, timeout_s)
        assert self.node.failure is None
        return found

    def store(self, program):
        return ProgramStore(self.paths.programs).add(program)

    def permit(self, digest, **changes):
        self.sequence += 1
        plain = Permit(MACHINE, 1, self.sequence, self.telemetry[-1].challenge, digest)
        return sign(replace(plain, **changes), self.key)

    def issue(self, make):
        """Publish what `make` returns at 20 Hz."""
        self.make_permit = make
        if self.timer is None:
            self.timer = self.other.create_timer(0.05, self._publish)

    def _publish(self):
        permit = self.make_permit()
        if permit is not None:
            self.permits.publish(convert.permit_to_msg(permit, 0.0))

    def execute(self, ref, execution_id="e1"):
        goal = ExecuteProgram.Goal(program=convert.ref_to_msg(ref), job_id="job-1", execution_id=execution_id)
        sent = self.client.send_goal_async(goal, feedback_callback=self.feedback.append)
        assert self.wait(sent.done)
        self.handle = sent.result()
        assert self.handle.accepted
        return self.handle.get_result_async()

    def result(self, future, timeout_s=60.0):
        assert self.wait(future.done, timeout_s)
        return future.result().result

    def motion_lines(self):
        return [line for line in self.printer.lines() if " G1 " in line or " G28" in line]

    def close(self):
        self.executor.remove_node(self.node)
        self.node.close()
        self.node.destroy_node()
        self.other.destroy_node()
        self.executor.shutdown()


@pytest.fixture
def cell(ros, printer, tmp_path):
    made = Cell(ros, printer(SPEED), tmp_path).up()
    yield made
    made.close()


def test_valid_permits_execute_the_program_and_everything_is_told(cell, gcode):
    program = gcode(SQUARE)
    ref = cell.store(program)
    cell.issue(lambda: cell.permit(ref.digest))
    result = cell.result(cell.execute(ref))
    assert (result.outcome, result.error_code) == (Outcome.COMPLETED, 0), result.error_msg
    assert result.executed == len(program)
    assert cell.wait(lambda: cell.traces and cell.traces[-1].executed == len(program))
    executed = [trace.executed for trace in cell.traces]
    assert executed == sorted(executed)
    samples = [convert.telemetry_from_msg(msg) for msg in cell.telemetry]
    running = [sample for sample in samples if sample.state is MachineState.EXECUTING]
    assert all(sample.program_digest == ref.digest and sample.job_id == "job-1" for sample in running)
    assert max(sample.queued_s for sample in samples) <= 0.2
    assert any(sample.power_w > 5.0 for sample in samples)
    assert any(sample.heaters for sample in samples)
    assert len({sample.challenge for sample in samples}) > 1
    # the same execution is refused for ever
    again = cell.result(cell.execute(ref))
    assert (again.outcome, again.error_code) == (Outcome.REFUSED, ErrorCode.ALREADY_STARTED)


def test_forged_replayed_and_foreign_permits_move_nothing(cell, gcode):
    program, other = gcode(SQUARE), gcode(LONG)
    ref = cell.store(program)
    old = cell.permit(ref.digest)
    time.sleep(1.3)  # its challenge is over
    bad = [
        lambda: replace(cell.permit(ref.digest), mac=bytes(32)),
        lambda: sign(cell.permit(ref.digest), b"n" * 32),
        lambda: old,
        lambda: cell.permit(other.digest),
        lambda: cell.permit(ref.digest, machine_id="other_machine"),
        lambda: replace(cell.permit(other.digest), program_digest=ref.digest),
    ]
    turn = iter(range(10**9))
    cell.issue(lambda: bad[next(turn) % len(bad)]())
    future = cell.execute(ref)
    assert not cell.wait(future.done, 3.0)
    assert not cell.motion_lines()
    assert not cell.printer.events("motion_begin")
    refused = cell.node.health()[2]
    for reason in ("PERMIT_FORGED", "PERMIT_REPLAYED", "PERMIT_FOREIGN"):
        assert refused[f"permits_refused.{reason}"] > 0
    cell.issue(lambda: cell.permit(ref.digest))  # the same machine moves with a valid one
    assert cell.result(future).outcome == Outcome.COMPLETED
    assert cell.motion_lines()


def test_a_changed_program_is_refused_before_one_byte_is_sent(cell, gcode):
    ref = cell.store(gcode(SQUARE))
    path = ProgramStore(cell.paths.programs).path(ref.digest)
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at] ^= 1
    path.write_bytes(data)
    before = cell.printer.lines()
    cell.issue(lambda: cell.permit(ref.digest))
    result = cell.result(cell.execute(ref))
    assert result.outcome == Outcome.REFUSED
    assert result.error_code in (ErrorCode.DIGEST_MISMATCH, ErrorCode.BYTECODE_BROKEN)
    time.sleep(0.2)
    assert cell.printer.lines() == before


def test_a_stop_request_latches_and_only_the_operator_s_clearing_helps(cell, gcode):
    ref = cell.store(gcode(LONG))
    cell.issue(lambda: cell.permit(ref.digest))
    future = cell.execute(ref)
    assert cell.wait(lambda: cell.telemetry[-1].instruction > 2)
    cell.stops.publish(im.StopRequest(machine_id="", source="operator", level=int(StopLevel.HOLD), reason="look"))
    result = cell.result(future)
    assert (result.outcome, result.error_code) == (Outcome.STOPPED, ErrorCode.STOP_REQUESTED)
    assert cell.wait(lambda: cell.telemetry[-1].state == MachineState.LATCHED)
    assert cell.telemetry[-1].error_code == ErrorCode.STOP_REQUESTED
    latched = cell.result(cell.execute(ref, "e2"))
    assert (latched.outcome, latched.error_code) == (Outcome.REFUSED, ErrorCode.MACHINE_LATCHED)
    latch = cell.telemetry[-1].latch_id
    cell.issue(lambda: cell.permit(bytes(32), cleared_latch=latch))
    assert cell.wait(lambda: cell.telemetry[-1].state == MachineState.IDLE)


def test_a_second_goal_is_refused_while_one_runs(cell, gcode):
    ref = cell.store(gcode(LONG))
    cell.issue(lambda: cell.permit(ref.digest))
    cell.execute(ref)
    assert cell.wait(lambda: cell.telemetry[-1].instruction > 1 and cell.feedback)
    busy = cell.result(cell.execute(ref, "e2"))
    assert (busy.outcome, busy.error_code) == (Outcome.REFUSED, ErrorCode.BUSY)


def test_an_inactive_node_executes_nothing(cell, gcode):
    ref = cell.store(gcode(SQUARE))
    cell.node.trigger_deactivate()
    cell.issue(lambda: cell.permit(ref.digest))
    result = cell.result(cell.execute(ref))
    assert (result.outcome, result.error_code) == (Outcome.REFUSED, ErrorCode.BUSY)
    assert not cell.motion_lines()


def test_a_cancel_request_stops_the_machine(cell, gcode):
    ref = cell.store(gcode(LONG))
    cell.issue(lambda: cell.permit(ref.digest))
    future = cell.execute(ref)
    assert cell.wait(lambda: cell.telemetry[-1].instruction > 1)
    cell.handle.cancel_goal_async()
    result = cell.result(future)
    assert (result.outcome, result.error_code) == (Outcome.STOPPED, ErrorCode.CANCELLED)


def test_a_missing_machine_is_waited_for(ros, tmp_path, printer):
    made = printer(SPEED)
    made.link.rename(tmp_path / "hidden")
    node = make_node(tmp_path / "cell", made)
    node.trigger_configure()
    assert node.failure is None
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    assert not spin_until(executor, lambda: node._machine.connected, 0.5)
    assert node._machine.snapshot().state is MachineState.DISCONNECTED
    (tmp_path / "hidden").rename(made.link)
    assert spin_until(executor, lambda: node._machine.connected, 10.0)
    node.close()
    node.destroy_node()
    executor.shutdown()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"port": ""}, ErrorCode.BAD_PARAMETER),
        ({"cell_dir": ""}, ErrorCode.BAD_PARAMETER),
        ({"machine": "voron_24"}, ErrorCode.BAD_PARAMETER),
        ({"machine": "nothing"}, ErrorCode.UNKNOWN_MACHINE),
    ],
)
def test_wrong_parameters_are_errors_at_start(ros, tmp_path, printer, changes, code):
    node = make_node(tmp_path / "cell", printer(SPEED), **changes)
    with pytest.raises(CoreError) as caught:
        bring_up(node)
    assert caught.value.code is code
    node.destroy_node()
