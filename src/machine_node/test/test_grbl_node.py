"""The node over DDS with a small GRBL mill: a mill's program under permits, and where its joints are."""

import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

import industriverse_msgs.msg as im
from industriverse_core.gcode import read_gcode
from industriverse_core.permit import Permit, load_or_create_key, sign
from industriverse_core.states import Outcome
from industriverse_core.store import CellPaths, ProgramStore
from industriverse_core.telemetry import MachineState
from industriverse_msgs.action import ExecuteProgram
from industriverse_ros import convert, names, qos
from industriverse_ros.testing import bring_up, spin_until
from machine_node.node import MachineNode

sys.path.insert(0, str(Path(__file__).parent))
from mills import MillThread

MACHINE = "grbl_mill"


def node_of(folder, port):
    values = {"cell_dir": str(folder), "machine": MACHINE, "port": port}
    return MachineNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])


def test_a_mill_s_program_is_executed_under_permits_and_its_joints_are_told(ros, tmp_path):
    thread = MillThread()
    paths = CellPaths(tmp_path / "cell")
    key = load_or_create_key(paths.key)
    node, other, executor = node_of(paths.directory, thread.port), ros.create_node("others"), SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(other)
    telemetry, joints = [], []
    other.create_subscription(im.MachineTelemetry, names.telemetry(MACHINE), telemetry.append, qos.SENSOR)
    other.create_subscription(JointState, names.joint_states(MACHINE), joints.append, qos.SENSOR)
    permits = other.create_publisher(im.MotionPermit, names.permit(MACHINE), qos.PERMIT)
    states = other.create_publisher(im.SafetyState, names.safety_state(MACHINE), qos.STATE)
    client = ActionClient(other, ExecuteProgram, names.execute_program(MACHINE))
    try:
        bring_up(node)
        assert spin_until(executor, lambda: telemetry and telemetry[-1].state == MachineState.IDLE, 20.0)
        states.publish(im.SafetyState(machine_id=MACHINE, state=im.SafetyState.IDLE))
        assert spin_until(executor, lambda: node.ready() and client.server_is_ready(), 20.0)
        program = read_gcode(b"G0 Z5\nG1 X20 F1200\nG1 X0\n", "m.ngc", "rs274")
        ref = ProgramStore(paths.programs).add(program)
        sequence = iter(range(1, 10**6))

        def issue():
            permit = Permit(MACHINE, 1, next(sequence), telemetry[-1].challenge, ref.digest)
            permits.publish(convert.permit_to_msg(sign(permit, key), 0.0))

        timer = other.create_timer(0.05, issue)
        goal = ExecuteProgram.Goal(program=convert.ref_to_msg(ref), job_id="job-1", execution_id="e1")
        sent = client.send_goal_async(goal)
        assert spin_until(executor, sent.done, 20.0)
        done = sent.result().get_result_async()
        joints.clear()
        began = time.monotonic()
        assert spin_until(executor, done.done, 30.0)
        passed_s = time.monotonic() - began
        timer.cancel()
        result = done.result().result
        assert (result.outcome, result.executed) == (Outcome.COMPLETED, len(program)), result.error_msg
        assert joints[-1].name == ["grbl_mill_x", "grbl_mill_y", "grbl_mill_z"]
        assert max(msg.position[0] for msg in joints) == pytest.approx(0.02, abs=2e-3)
        assert max(msg.velocity[0] for msg in joints) == pytest.approx(0.02, abs=2e-3)
        assert len(joints) > 10 * passed_s  # faster than telemetry, also on a busy machine
        assert not telemetry[-1].heaters
    finally:
        executor.remove_node(node)
        node.close()
        node.destroy_node()
        other.destroy_node()
        executor.shutdown()
        thread.close()
