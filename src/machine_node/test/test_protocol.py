import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, MachineError
from machine_node.marlin import protocol as p


def events(text):
    return p.Connection().receive(text.encode())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ok", p.Ok()),
        ("ok N12 P15 B3", p.Ok(12, 15, 3)),
        ("ok P15 B3", p.Ok(None, 15, 3)),
        ("okay", p.Other("okay")),
        ("Resend: 7", p.ResendRequest(7)),
        ("rs N7", p.ResendRequest(7)),
        ("echo:busy: processing", p.Busy("processing")),
        ("echo:busy: paused for user", p.Busy("paused for user")),
        ('echo:Unknown command: "FOO"', p.Echo('Unknown command: "FOO"')),
        ("Cap:EMERGENCY_PARSER:1", p.Capability("EMERGENCY_PARSER", True)),
        ("Cap:EEPROM:0", p.Capability("EEPROM", False)),
        ("Error:checksum mismatch, Last Line: 3", p.Recoverable("checksum mismatch, Last Line: 3", 3)),
        (
            "Error:Line Number is not Last Line Number+1, Last Line: 3",
            p.Recoverable("Line Number is not Last Line Number+1, Last Line: 3", 3),
        ),
        ("Error:Printer halted. kill() called!", p.Fault("Printer halted. kill() called!")),
        (
            "Error:Thermal Runaway, system stopped! Heater_ID: 0",
            p.Fault("Thermal Runaway, system stopped! Heater_ID: 0"),
        ),
        ("!! fatal", p.Fault("!! fatal")),
        ("start", p.Reset()),
        ("starting", p.Other("starting")),
        (" T:210.1 /215.0 B:60.0 /60.0 @:64 B@:127", p.Temperatures(210.1, 215.0, 60.0, 60.0, 64 / 127, 1.0)),
        ("X:1.00 Y:2.00 Z:3.00 E:4.00 Count X:100 Y:200 Z:1200", p.Position(1e-3, 2e-3, 3e-3, False)),
        ("X:1.00 Y:2.00 Z:3.00 E:4.00 Count X: 0.50 Y:0.25 Z:0.00 E:0.00", p.Position(5e-4, 2.5e-4, 0.0, True)),
        ("FIRMWARE_NAME:Marlin", p.Other("FIRMWARE_NAME:Marlin")),
    ],
)
def test_lines_of_real_controllers(line, expected):
    assert repr(list(p.parse_line(line.strip()))) == repr([expected])


def test_m105_answers_ok_and_temperatures_in_one_line():
    ok, report = events("ok T:21.3 /0.0 B:22.0 /0.0 @:0 B@:0\n")
    assert ok == p.Ok()
    assert (report.hotend_c, report.bed_c, report.hotend_duty) == (21.3, 22.0, 0.0)


def test_a_report_without_a_bed_has_nan():
    (report,) = events(" T:21.3 /0.0\n")
    assert math.isnan(report.bed_c)
    assert math.isnan(report.hotend_duty)


def test_numbers_and_checksums_are_marlins():
    # worked example of the RepRap wiki: N3 T0*57
    assert p.numbered(3, "T0") == b"N3 T0*57\n"


def test_oks_take_lines_in_order():
    connection = p.Connection()
    for command in ("G28", "G1 X1", "G1 X2"):
        connection.frame(command)
    assert connection.receive(b"ok\n")[0] == p.Acknowledged(1)
    # an ok was lost: the next one names its line and takes both
    assert connection.receive(b"ok N3 P14 B4\n")[:2] == [p.Acknowledged(2), p.Acknowledged(3, 14)]
    assert connection.unacknowledged_bytes == 0


def test_a_resend_gives_the_lost_lines_again_in_order():
    connection = p.Connection()
    sent = [connection.frame(f"G1 X{x}")[1] for x in range(1, 6)]
    connection.receive(b"ok\n")
    got = connection.receive(b"Error:checksum mismatch, Last Line: 2\nResend: 3\nok\n")
    assert [type(event) for event in got] == [p.Recoverable, p.ResendRequest, p.ResendRequest]  # its ok takes no line
    assert [line for line, _ in connection.unacknowledged] == [2]
    # requests for lines that were on their way repeat the first
    connection.receive(b"Error:Line Number is not Last Line Number+1, Last Line: 2\nResend: 3\nok\n")
    again = []
    while (item := connection.replay()) is not None:
        again.append(item[1])
    assert again == sent[2:]
    acknowledged = [
        event.line for event in connection.receive(b"ok\nok\nok\nok\n") if isinstance(event, p.Acknowledged)
    ]
    assert acknowledged == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "line",
    [
        "Error:checksXm mismatch, Last Line: 12",
        "Error:checksum mismatch, Last Line: 12Resend: 13",  # the end of the line was lost
        "Error:Line Numbr is not Last Line Nmber+1, Last Line: 12",
        "Error:No Ch",
        "Error:No Line Number with checksum, Last Line: 1?",
    ],
)
def test_a_spoilt_complaint_about_a_line_is_no_failure(line):
    assert isinstance(p.parse_line(line)[0], p.Recoverable)


@pytest.mark.parametrize(
    "line",
    [
        "Error:Printer halted. kill() called!",
        "Error:MINTEMP triggered, system stopped! Heater_ID: 0",
        "Error:Heating failed, system stopped! Heater_ID: bed",
        "Error:Probing Failed",
        "Error:Homing Failed",
        "Error:STOP called because of BLTouch error - restart with M999",
        "Error:!! KILL caused by too much inactive time - current command: G1 X1",
    ],
)
def test_a_failure_is_not_taken_for_a_spoilt_complaint(line):
    assert isinstance(p.parse_line(line)[0], p.Fault)


def test_a_spoilt_request_is_read_from_the_complaint_before_it_and_its_ok_takes_no_line():
    connection = p.Connection()
    for x in range(3):
        connection.frame(f"G1 X{x}")
    connection.receive(b"Error:checksum mismatch, Last Line: 1\nRes?nd: 2\nok\n")
    assert [line for line, _ in connection.unacknowledged] == [1]
    assert connection.replay()[0] == 2


def test_a_controller_that_numbers_its_oks_takes_no_line_by_a_plain_one():
    connection = p.Connection()
    for x in range(3):
        connection.frame(f"G1 X{x}")
    connection.receive(b"ok N1 P15 B3\nok\n")
    assert [line for line, _ in connection.unacknowledged] == [2, 3]


def test_the_answer_to_a_probe_takes_all_lines_before_it():
    connection = p.Connection()
    connection.frame("G28")
    connection.frame("G1 X1")
    connection.frame_probe(all_taken=True)
    connection.receive(b"ok\n")
    assert not connection.unacknowledged
    connection.frame("M109 S200")
    connection.frame_probe(all_taken=False)  # it may still be heating
    connection.receive(b"ok\n")
    assert [line for line, _ in connection.unacknowledged] == [5]


def test_a_number_that_cannot_be_right_moves_nothing():
    connection = p.Connection()
    for _ in range(p.HISTORY_LINES + 5):
        connection.frame("G4 P0")
        connection.receive(b"ok\n")
    connection.frame("G1 X1")
    connection.receive(b"Resend: 2\nok\n")
    assert connection.replay() is None
    assert len(connection.unacknowledged) == 1


def test_a_line_that_was_taken_can_be_asked_for_again():
    connection = p.Connection()
    data = connection.frame("G28")[1]
    connection.receive(b"ok\n")
    connection.receive(b"Resend: 1\nok\n")
    assert connection.can_replay(1)
    assert connection.replay() == (1, data)


def test_a_forgotten_line_is_known_as_such():
    connection = p.Connection()
    for _ in range(p.HISTORY_LINES + 5):
        connection.frame("G4 P0")
        connection.receive(b"ok\n")
    connection.receive(b"Resend: 2\nok\n")
    assert not connection.can_replay(2)


def test_abandoned_lines_give_their_number_to_the_next_command():
    connection = p.Connection()
    for x in range(4):
        connection.frame(f"G1 X{x}")
    connection.receive(b"Resend: 3\nok\n")
    connection.seal()
    assert connection.replay() is None
    assert connection.frame("M104 S0")[0] == 3


@pytest.mark.parametrize("command", ["G1 X1\nM112", "G1 *", "M117 Grüße", "G1 " + "X1" * 60, "\x00"])
def test_a_command_that_would_break_the_line_is_refused(command):
    with pytest.raises(MachineError) as caught:
        p.Connection().frame(command)
    assert caught.value.code is ErrorCode.PROTOCOL


def test_an_endless_line_is_dropped_and_the_next_one_is_read():
    connection = p.Connection()
    for _ in range(100):
        assert connection.receive(b"x" * 1000) == []
    assert connection.receive(b"\nok\n") == [p.Other("(a line that is too long)"), p.Ok()]


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_garbage_never_raises(chunks):
    connection = p.Connection()
    connection.frame("G28")
    for chunk in chunks:
        connection.receive(chunk)


_FRAGMENTS = [
    "ok",
    " N",
    "1",
    "99",
    " P",
    "\n",
    "Resend: ",
    "Error:",
    "start",
    "T:",
    "/",
    "B@:",
    "X:1 Y:",
    "Cap:A:1",
    "-",
    ".",
]


@given(st.lists(st.sampled_from(_FRAGMENTS), max_size=60))
def test_nearly_valid_lines_never_raise(fragments):
    connection = p.Connection()
    for _ in range(3):
        connection.frame("G1 X1")
    connection.receive("".join(fragments).encode())
    while connection.replay() is not None:
        pass
    lines = [line for line, _ in connection.unacknowledged]
    assert lines == sorted(lines)
    assert connection.unacknowledged_bytes == sum(len(data) for _, data in connection.unacknowledged)


@given(st.binary(max_size=300), st.lists(st.integers(1, 40)))
def test_events_do_not_depend_on_how_the_bytes_arrive(data, cuts):
    whole, parts, at = p.Connection(), p.Connection(), 0
    expected = whole.receive(data)
    got = []
    for cut in [*cuts, len(data)]:
        got += parts.receive(data[at : at + cut])
        at += cut
    assert repr(got) == repr(expected)
