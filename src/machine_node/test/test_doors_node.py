"""The doors' node over DDS: it shows what it hears, and can say nothing to anybody."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from industriverse_core.telemetry import MachineState

sys.path.insert(0, str(Path(__file__).parent))
from door_cells import DIGEST, MILL, PRINTER, sample


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(port, target="/current"):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{target}", timeout=20) as answer:
        return answer.read().decode()


class Cell:
    """A node that speaks as a machine and its shield."""

    def __init__(self, ros):
        import industriverse_msgs.msg as im
        from industriverse_ros import names, qos

        self.node = ros.create_node("machine", namespace="demo")
        make = self.node.create_publisher
        self.telemetry = make(im.MachineTelemetry, names.telemetry(PRINTER), qos.SENSOR)
        self.safety = make(im.SafetyState, names.safety_state(PRINTER), qos.STATE)
        self.job = make(im.JobState, names.JOB_STATE, qos.EVENT)
        self.trace = make(im.ExecutionTrace, names.execution_trace(PRINTER), qos.EVENT)

    def say(self, **fields):
        import industriverse_msgs.msg as im
        from industriverse_ros import convert

        self.telemetry.publish(convert.telemetry_to_msg(sample(**fields)))
        self.trace.publish(im.ExecutionTrace(machine_id=PRINTER, job_id="job-7", executed=42, total=170))
        job = im.JobState(machine_id=PRINTER, job_id="job-7", state=im.JobState.EXECUTING)
        job.program.name, job.program.digest = "washer_pla", list(DIGEST)
        self.job.publish(job)


def make_node(port, **parameters):
    from rclpy.parameter import Parameter

    from industriverse_ros.testing import bring_up
    from machine_node.doors.node import DoorsNode

    values = {"machines": f"{PRINTER}, {MILL}", "mtconnect_port": port, **parameters}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    return bring_up(DoorsNode("doors", namespace="demo", parameter_overrides=overrides))


@pytest.fixture
def shown(ros):
    """(cell, node, look): what the cell says, and what the door shows of it after a while."""
    from rclpy.executors import SingleThreadedExecutor

    port = free_port()
    node = make_node(port)
    cell = Cell(ros)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(cell.node)

    def look(expected, say, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            say()
            end = time.monotonic() + 0.15
            while time.monotonic() < end:
                executor.spin_once(timeout_sec=0.02)
            text = fetch(port)
            if all(part in text for part in expected):
                return text
        pytest.fail(f"the door never showed {expected}:\n{text}")

    yield cell, node, look
    node.close()
    executor.shutdown()


def test_what_the_cell_says_is_shown(shown):
    import industriverse_msgs.msg as im

    cell, node, look = shown
    look([">ACTIVE<", ">100.000<", ">214.96<", ">washer_pla<", ">42<"], cell.say)
    latched = im.SafetyState(machine_id=PRINTER, state=im.SafetyState.LATCHED, latch_id=9, error_code=408)
    latched.error_msg = "operator's stop"

    def stop():
        cell.safety.publish(latched)
        cell.say(state=MachineState.LATCHED, latch_id=9, error_code=408, error_msg="operator's stop")

    look([">STOPPED<", 'nativeCode="408"', "operator's stop"], stop)
    assert "not heard or not connected: grbl_mill" in node.health()[1]


def test_messages_with_unknown_states_are_counted_and_not_shown(shown):
    import industriverse_msgs.msg as im

    cell, node, look = shown
    look([">ACTIVE<"], cell.say)
    cell.safety.publish(im.SafetyState(machine_id=PRINTER, state=99))
    cell.telemetry.publish(im.MachineTelemetry(machine_id=PRINTER, state=99))
    look([">READY<"], lambda: cell.say(state=MachineState.IDLE))
    assert node.health()[2]["unreadable_messages"] >= 1


def test_it_can_say_nothing_to_the_cell(shown):
    _, node, _ = shown
    said = {topic for topic, _ in node.get_publisher_names_and_types_by_node("doors", "/demo")}
    assert said == {"/diagnostics", "/parameter_events", "/rosout", "/demo/doors/transition_event"}
    assert node.get_client_names_and_types_by_node("doors", "/demo") == []
    offered = {
        name.removeprefix("/demo/doors/") for name, _ in node.get_service_names_and_types_by_node("doors", "/demo")
    }
    assert offered <= {
        "change_state", "get_state", "get_available_states", "get_available_transitions", "get_transition_graph",
        "describe_parameters", "get_parameters", "get_parameter_types", "list_parameters", "set_parameters",
        "set_parameters_atomically", "get_type_description",
    }  # fmt: skip


def test_a_bug_in_a_door_ends_the_process(shown):
    cell, node, look = shown
    look([">ACTIVE<"], cell.say)
    bug = RuntimeError("a bug")
    node._doors[0].failure = bug
    look([], lambda: time.sleep(0.2))
    assert node.failure is bug


def start(domain, *parameters):
    command = [sys.executable, "-m", "machine_node.doors.node", "--ros-args", "-r", "__ns:=/demo"]
    for parameter in parameters:
        command += ["-p", parameter]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
    )


def test_the_process_says_where_it_is_and_ends_when_it_is_told(ros_domain):
    port = free_port()
    process = start(ros_domain, f"mtconnect_port:={port}")
    try:
        assert process.stdout.readline() == f"MTConnect: http://127.0.0.1:{port}/current\n"
        assert "UNAVAILABLE" in fetch(port)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.wait()
    with pytest.raises(urllib.error.URLError):
        fetch(port)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ((), "no side door is to be opened"),
        (("mtconnect_port:=PORT",), "port PORT is in use by another program"),
        (("mtconnect_port:=5000", "host:=192.0.2.1"), "192.0.2.1 is no address of this machine"),
        (("mtconnect_port:=5000", "host:=no.such.host.invalid"), "the host 'no.such.host.invalid' is not known"),
        (("mtconnect_port:=70000",), "parameter 'mtconnect_port' is 70000"),
        (("mtconnect_port:=5000", "machines:=nobody"), "nobody"),
    ],
)
def test_what_cannot_be_opened_is_one_line_and_a_status(ros_domain, parameters, said):
    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = str(taken.getsockname()[1])
        process = start(ros_domain, *(parameter.replace("PORT", port) for parameter in parameters))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert said.replace("PORT", port) in err
    assert err.count("\n") == 1
