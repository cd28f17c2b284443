"""The base node: parameters, failures, long services, and how a process ends."""

import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass
from typing import ClassVar

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

from industriverse_core.errors import ErrorCode, InputError, ProfileError
from industriverse_msgs.srv import CheckProgram
from industriverse_ros.node import CellNode
from industriverse_ros.params import param
from industriverse_ros.testing import bring_up, spin_until


@dataclass(frozen=True, slots=True)
class ExampleParams:
    """Parameters of the example node."""

    rate_hz: float = param(10.0, "publishing rate", unit="Hz", low=1.0, high=50.0)
    machine: str = param("m", "machine")


class ExampleNode(CellNode):
    """A node that does nothing."""

    Params: ClassVar[type] = ExampleParams

    def __init__(self, **options):
        super().__init__("example", **options)


def test_parameters_carry_defaults_units_and_bounds(ros):
    node = ExampleNode(parameter_overrides=[Parameter("rate_hz", value=20)])
    assert node.params == ExampleParams(rate_hz=20.0)
    descriptor = node.describe_parameter("rate_hz")
    assert "[Hz]" in descriptor.description
    assert descriptor.read_only
    assert descriptor.floating_point_range[0].to_value == 50.0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rate_hz", 51.0, "Allowed: 1.0 to 50.0 Hz"),
        ("rate_hz", float("nan"), "Allowed: 1.0 to 50.0 Hz"),
        ("rate_hz", "fast", "type float"),
        ("machine", 3, "type str"),
        ("mashine", "m", "not a parameter"),
    ],
)
def test_a_wrong_override_is_one_clear_error(ros, name, value, words):
    with pytest.raises(ProfileError, match=words) as error:
        ExampleNode(parameter_overrides=[Parameter(name, value=value)])
    assert error.value.code is ErrorCode.BAD_PARAMETER


def test_an_exception_in_a_hook_is_kept_not_swallowed(ros):
    class Broken(ExampleNode):
        def setup(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bring_up(Broken())


def test_late_calls_of_the_activation_timer_do_no_harm(ros, monkeypatch):
    node = ExampleNode()
    late = []
    made = node.steady_timer

    def steady_timer(period_s, callback):
        late.append(callback)
        return made(period_s, callback)

    monkeypatch.setattr(node, "steady_timer", steady_timer)
    node._autostart()
    late[0]()
    late[0]()
    assert node.active
    assert node.failure is None
    node.destroy_node()


def test_a_long_service_refuses_with_a_code_and_does_not_block_the_node(ros):
    release = threading.Event()

    class Slow(ExampleNode):
        def setup(self):
            self.create_long_service(CheckProgram, "check_program", self.check)

        def check(self, request, response):
            release.wait(10.0)
            raise InputError(ErrorCode.FILE_EMPTY, "it is empty.", "Fill it.")

    node = bring_up(Slow())
    client_node = ros.create_node("client")
    client = client_node.create_client(CheckProgram, "check_program")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(client_node)
    assert spin_until(executor, client.service_is_ready)
    ticks = []
    node.steady_timer(0.02, lambda: ticks.append(1))
    future = client.call_async(CheckProgram.Request())
    assert spin_until(executor, lambda: len(ticks) > 5), "the node's timers go on while the service works"
    assert not future.done()
    release.set()
    assert spin_until(executor, future.done)
    assert (future.result().error_code, future.result().error_msg) == (102, "it is empty. Fill it.")


PROGRAM = """
from dataclasses import dataclass
from industriverse_core.errors import ErrorCode, InputError
from industriverse_ros.node import CellNode, run
from industriverse_ros.params import param

@dataclass(frozen=True, slots=True)
class P:
    machine: str = param("m", "machine")

class N(CellNode):
    Params = P
    def __init__(self):
        super().__init__("n")
    def setup(self):
        {setup}
    def start(self):
        {start}
    def bug(self):
        raise ZeroDivisionError("a bug")
    def stop(self):
        print("stopped", flush=True)
    def close(self):
        print("closed", flush=True)

run(N)
"""


@pytest.mark.parametrize(
    ("setup", "start", "status", "words"),
    [
        ("raise InputError(ErrorCode.FILE_EMPTY, 'it is empty.')", "pass", 2, "[FILE_EMPTY] it is empty."),
        ("pass", "self.steady_timer(0.05, self.bug)", 1, "ZeroDivisionError: a bug"),
        ("pass", "self.post(self.bug)", 1, "ZeroDivisionError: a bug"),
        ("pass", "import os, signal; self.steady_timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM))", 0, ""),
    ],
    ids=["bad input", "bug in a timer", "bug in a posted callback", "told to end"],
)
def test_how_a_process_ends(ros_domain, setup, start, status, words):
    source = textwrap.dedent(PROGRAM).format(setup=setup, start=start)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert ("Traceback" in done.stderr) == (status == 1)
    assert "closed" in done.stdout
    assert ("stopped" in done.stdout) == (status != 2), "an active node stops before it ends"
