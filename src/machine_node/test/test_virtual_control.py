"""Requests for faults, their times, and the socket that takes them."""

import json
import os
import socket
import stat
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import MachineError
from machine_node.virtual.control import ControlSocket, Requests, ask
from machine_node.virtual.faults import FaultRequest, FaultSchedule, faults_of

# --- requests and their socket ---


def test_times_and_ends_are_kept():
    schedule = FaultSchedule("printer")
    schedule.request(FaultRequest("clog", after_s=5.0, for_s=2.0), 10.0)
    assert schedule.next_s() == 15.0
    assert schedule.take_due(14.9) == []
    assert [change.on for change in schedule.take_due(15.0)] == [True]
    assert schedule.active == {("clog", ""): 0.0}
    assert [change.on for change in schedule.take_due(20.0)] == [False]
    assert schedule.active == {}
    schedule.request(FaultRequest("clog", on=False), 20.0)
    assert schedule.take_due(20.0) == []  # it is not on


@pytest.mark.parametrize(
    "request_",
    [
        FaultRequest("no_such"), FaultRequest("tool_break"), FaultRequest("clog", value=2.0),
        FaultRequest("clog", value=float("nan")), FaultRequest("clog", after_s=-1.0),
        FaultRequest("clog", for_s=float("inf")), FaultRequest("clog", target="bed"),
        FaultRequest("heater_stuck_on", target="x"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused(request_):
    schedule = FaultSchedule("printer")
    with pytest.raises(MachineError):
        schedule.request(request_, 0.0)
    assert schedule.next_s() == float("inf")


def test_requests_that_wait_are_bounded():
    schedule = FaultSchedule("printer")
    for _ in range(127):
        schedule.request(FaultRequest("clog", after_s=100.0, for_s=1.0), 0.0)
    schedule.request(FaultRequest("clog", after_s=100.0), 0.0)
    with pytest.raises(MachineError, match="waiting already"):
        schedule.request(FaultRequest("clog", after_s=100.0), 0.0)


def requests(asked):
    return Requests(faults_of("printer"), asked.append, lambda: {"a": float("nan"), "b": [1.5]})


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"1", b'{"fault": 1}', b'{"fault": "clog", "on": 1}', b'{"fault": "clog", "value": true}',
     b'{"fault": "clog", "after_s": 1e999}', b'{"faults": true, "x": 1}', b'{"on": true}', b"\xff\xfe", b"[" * 3000],
)  # fmt: skip
def test_anything_else_gets_an_error_and_does_nothing(line):
    asked = []
    answer = json.loads(requests(asked).answer(line))
    assert answer["ok"] is False
    assert answer["error"]
    assert asked == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_request_raises(line):
    assert requests([]).answer(line).endswith(b"\n")


@pytest.fixture
def control(tmp_path):
    """A control socket that is served in a thread, and what was asked for."""
    asked = []
    control = ControlSocket(tmp_path / "c.sock", requests(asked))
    end = threading.Event()

    def serve():
        while not end.wait(0.005):
            control.service()

    thread = threading.Thread(target=serve)
    thread.start()
    yield tmp_path / "c.sock", asked
    end.set()
    thread.join()
    control.close()
    assert not os.path.lexists(tmp_path / "c.sock")


def test_the_socket_answers_and_is_private(control):
    path, asked = control
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ask(path, {"fault": "clog", "value": 0.5}) == {"ok": True}
    assert asked == [FaultRequest("clog", value=0.5)]
    assert ask(path, {"state": True})["state"] == {"a": None, "b": [1.5]}
    assert {fault["name"] for fault in ask(path, {"faults": True})["faults"]} == {
        fault.name for fault in faults_of("printer")
    }


def test_a_client_that_floods_is_dropped_and_others_are_served(control):
    path, _ = control
    with socket.socket(socket.AF_UNIX) as flood:
        flood.connect(str(path))
        flood.settimeout(5.0)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            flood.sendall(b"x" * 10_000_000)
        assert ask(path, {"fault": "clog"}) == {"ok": True}


def test_a_socket_in_use_and_a_file_are_left_alone(control, tmp_path):
    path, _ = control
    with pytest.raises(MachineError, match="another machine"):
        ControlSocket(path, requests([]))
    (tmp_path / "file").write_text("precious")
    with pytest.raises(MachineError, match="something else"):
        ControlSocket(tmp_path / "file", requests([]))
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(MachineError, match="no virtual machine"):
        ask(tmp_path / "nobody", {"faults": True})
