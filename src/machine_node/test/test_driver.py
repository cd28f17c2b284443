"""The driver against scripted controllers: golden transcripts, and how each failure shows."""

import sys
from pathlib import Path

import pytest

from industriverse_core.errors import ErrorCode, MachineError
from machine_node.marlin.driver import CONNECT, HANDSHAKE_LIMIT_S, NO_REPLY_S, PROBE_S, QUIET_S

sys.path.insert(0, str(Path(__file__).parent))
from boards import Session


def test_the_handshake_is_this_conversation():
    session = Session()
    session.connect()
    assert session.port.taken() == ["M108", "M410", "M110 N0", "M115", *CONNECT, "M155 S1"]
    assert session.driver.capabilities == {"AUTOREPORT_TEMP": True, "EMERGENCY_PARSER": True}


def test_the_idle_planner_is_learnt_from_numbered_oks():
    session = Session()
    session.poll()
    session.poll("ok N0 P15 B3\n")
    session.poll(after_s=QUIET_S + 0.01)
    line = 1
    while not session.driver.ready:
        session.poll()
        session.poll(f"ok N{line} P15 B3\n")
        line += 1
    assert session.driver.planner_free_idle == 15


def test_a_board_that_boots_while_it_is_spoken_to_is_numbered_again():
    session = Session()
    session.poll()
    session.poll(after_s=1.1)  # no answer: asked again
    session.poll("start\necho:Marlin\n")
    assert session.port.taken() == ["M108", "M410", "M110 N0"] * 3


def test_nobody_there():
    session = Session()
    for _ in range(round(HANDSHAKE_LIMIT_S)):
        session.poll(after_s=1.0)
    with pytest.raises(MachineError) as caught:
        session.poll(after_s=1.0)
    assert caught.value.code is ErrorCode.NO_REPLY


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("start\n", ErrorCode.CONTROLLER_RESET),
        ("Error:Printer halted. kill() called!\n", ErrorCode.CONTROLLER_ERROR),
        ("Error:Thermal Runaway, system stopped! Heater_ID: 0\n", ErrorCode.CONTROLLER_ERROR),
        ("!!\n", ErrorCode.CONTROLLER_ERROR),
        ("Resend: 0\nok\n" * 3, ErrorCode.PROTOCOL),
    ],
)
def test_failures_in_mid_job(text, code):
    session = Session().connect()
    session.driver.send("G1 X1", session.now)
    with pytest.raises(MachineError) as caught:
        session.poll(text)
    assert caught.value.code is code
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Error:Thermal Runaway, system stopped! Heater_ID: bed", "did not hold its temperature"),
        ("Error:Heating failed, system stopped! Heater_ID: 0", "did not warm up"),
        ("Error:MINTEMP triggered, system stopped! Heater_ID: 0", "unplugged"),
        ("Error:MAXTEMP triggered, system stopped! Heater_ID: 0", "shorted"),
        ("Error:Printer halted. kill() called!", "halted"),
    ],
)
def test_firmware_faults_are_explained(text, word):
    session = Session().connect()
    with pytest.raises(MachineError, match=word) as caught:
        session.poll(text + "\n")
    assert text.removeprefix("Error:").rstrip(".") in str(caught.value)


def test_silence_is_a_failure_and_busy_is_not_silence():
    session = Session().connect()
    session.driver.send("G28", session.now)
    for _ in range(5):
        session.poll("echo:busy: processing\n", after_s=NO_REPLY_S - 1.0)
    with pytest.raises(MachineError) as caught:
        session.poll(" T:20.0 /0.0\n", after_s=NO_REPLY_S + 0.1)  # it lives, but it takes no line
    assert caught.value.code is ErrorCode.NO_REPLY


def test_a_lost_ok_is_found_again_by_a_question():
    session = Session().connect()
    session.driver.send("G28", session.now)
    session.port.taken()
    session.poll(after_s=PROBE_S + 0.1)
    assert session.port.taken() == ["G4"]
    session.poll("ok\n")
    assert session.driver.settled


def test_one_request_with_a_spoilt_number_is_borne():
    session = Session().connect()
    session.driver.send("G1 X1", session.now)
    session.poll("Resend: 0\nok\n")
    session.poll(after_s=PROBE_S + 0.1)  # silence: the controller is asked, and says it again
    first = session.driver._connection.unacknowledged[0][0]
    session.poll(f"Error:Line Number is not Last Line Number+1, Last Line: {first - 1}\nResend: {first}\nok\n")
    session.port.taken()
    session.poll(after_s=QUIET_S + 0.01)
    assert session.port.taken() == ["G1 X1", "M111 S1", "G4"]


def test_a_wait_for_heat_lives_as_long_as_temperatures_come():
    session = Session().connect()
    session.driver.send("M109 S200", session.now)
    for _ in range(5):
        session.poll(" T:50.0 /200.0 W:?\n", after_s=NO_REPLY_S - 1.0)
    with pytest.raises(MachineError):
        session.poll(after_s=NO_REPLY_S + 0.1)


def test_the_window_leaves_room_for_an_urgent_command():
    session = Session(receive_buffer=128).connect()
    while session.driver.can_send("G1 X100.123 Y100.123"):
        session.driver.send("G1 X100.123 Y100.123", session.now)
    assert len(session.port.written) <= 128 + len("\n".join(CONNECT)) * 3
    pending = session.driver._connection.unacknowledged_bytes
    assert 60 < pending <= 128 - 24


def test_lost_lines_are_sent_again_only_when_something_may_move():
    session = Session().connect()
    for x in range(3):
        session.driver.send(f"G1 X{x}", session.now)
    first = session.driver._connection.unacknowledged[0][0]
    session.port.taken()
    session.poll(f"Error:checksum mismatch, Last Line: {first}\nResend: {first + 1}\nok\n")
    assert session.port.taken() == []  # requests for the third line may still come
    session.now += QUIET_S
    session.driver.poll(session.now, lambda: False)
    assert session.port.taken() == []
    session.poll()
    assert session.port.taken() == ["G1 X1", "G1 X2", "M111 S1"]


def test_a_stop_gives_lost_moves_up():
    session = Session().connect()
    for x in range(3):
        session.driver.send(f"G1 X{x}", session.now)
    first = session.driver._connection.unacknowledged[0][0]
    session.poll(f"Error:checksum mismatch, Last Line: {first}\nResend: {first + 1}\nok\n")
    session.port.written = b""
    session.driver.stop("M104 S0", now=session.now, urgent="M410")
    session.poll()
    assert session.port.written.decode().split("*")[0] == f"\nN{first + 1} M410"
    assert session.port.taken() == ["M410", "M104 S0", "M111 S1"]
    session.poll("ok\nok\nok\nok\n")
    assert session.driver.settled
