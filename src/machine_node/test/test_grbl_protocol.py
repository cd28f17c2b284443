"""GRBL's lines: the interface document's own examples, other firmwares' differences, and anything at all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import MachineError
from machine_node.grbl import protocol as p
from machine_node.grbl.codes import ALARMS, ERRORS, alarm_name, error_name
from machine_node.streaming.events import Acknowledged


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("ok", p.Ok()),
        ("error:22", p.Refused(22)),
        ("error: Bad number format", p.Refused(0)),
        ("ALARM:1", p.Alarm(1)),
        ("Grbl 1.1h ['$' for help]", p.Welcome("Grbl 1.1h ['$' for help]")),
        ("GrblHAL 1.1f ['$' or '$HELP' for help]", p.Welcome("GrblHAL 1.1f ['$' or '$HELP' for help]")),
        ("Grbl 3.7 [FluidNC v3.7.8 (wifi) '$' for help]", p.Welcome("Grbl 3.7 [FluidNC v3.7.8 (wifi) '$' for help]")),
        ("$110=500.000", p.Setting(110, 500.0)),
        ("$0=10 (step pulse, usec)", p.Setting(0, 10.0)),
        ("[VER:1.1f.20170131:My mill]", p.Version("1.1f.20170131", "My mill")),
        ("[OPT:VNM,15,128]", p.Options("VNM", 15, 128)),
        ("[OPT:VNMSL,35,1024,3,0]", p.Options("VNMSL", 35, 1024)),
        ("[OPT:PHS]", p.Options("PHS", 0, 0)),
        ("[G54:4.000,0.000,-1.500]", p.Offset("G54", (4.0, 0.0, -1.5))),
        ("[G92:0.000,0.000,0.000]", p.Offset("G92", (0.0, 0.0, 0.0))),
        ("[GC:G0 G54 M5 T0 F0 S0]", p.Modes(("G0", "G54", "M5", "T0", "F0", "S0"))),
        ("[PRB:0.000,0.000,-5.125:1]", p.Probe((0.0, 0.0, -5.125), True)),
        ("[MSG:'$H'|'$X' to unlock]", p.Message("'$H'|'$X' to unlock")),
        ("[echo: G1X10]", p.Echo("G1X10")),
        (">G54G20:ok", p.StartupLine(">G54G20:ok")),
        ("okay", p.Other("okay")),
        ("<Idle|MPos:0.000,0.000", p.Other("<Idle|MPos:0.000,0.000")),
        ("<Idle|MPos:0.000,0.000,0.0<Idle|FS:0,0>", p.Other("<Idle|MPos:0.000,0.000,0.0<Idle|FS:0,0>")),
        ("<Idlf|MPos:0.000,0.000,0.000>", p.Other("<Idlf|MPos:0.000,0.000,0.000>")),
    ],
)
def test_each_line_is_one_event(text, event):
    assert p.parse_line(text) == event


def test_a_status_report_has_all_its_fields():
    text = "<Hold:1|MPos:1.000,2.000,-3.500|Bf:12,100|Ln:99|FS:500,8000|Pn:XZ|WCO:0.000,1.000,0.000|Ov:90,50,100|A:SF>"
    assert p.parse_line(text) == p.Status(
        "Hold", 1, (1.0, 2.0, -3.5), None, (0.0, 1.0, 0.0), 12, 100, 99, 500.0, 8000.0, (90, 50, 100), "XZ", "SF"
    )


def test_more_axes_and_unknown_fields_do_no_harm():
    status = p.parse_line("<Run|WPos:1.000,2.000,3.000,4.000|F:120|SD:50.0,/a.nc|Foo:bar|H:1,7>")
    assert (status.state, status.work, status.feed) == ("Run", (1.0, 2.0, 3.0), 120.0)
    assert math.isnan(status.spindle_rpm)


def test_every_published_code_has_a_name():
    assert set(ERRORS) == {*range(1, 18), *range(20, 39)}
    assert set(ALARMS) == set(range(1, 10))
    assert "hard limit" in alarm_name(1)
    assert error_name(22) == "error:22 (a feed move without a feed)"
    assert "error:99" in error_name(99)


def test_answers_belong_to_lines_in_order():
    connection = p.Connection(128)
    lines = [connection.frame(f"G1X{x}F600")[0] for x in range(3)]
    events = list(connection.receive(b"ok\r\nerror:22\r\nok\r\nok\r\n"))
    assert events == [Acknowledged(lines[0]), p.Refused(22, lines[1]), Acknowledged(lines[2]), p.Surplus()]


def test_the_receive_buffer_is_never_overfilled_and_lines_are_counted_whole():
    connection = p.Connection(128)
    sent = 0
    while connection.fits("G1X100.1234F600"):
        sent += len(connection.frame("G1X100.1234F600")[1])
    assert 128 - 18 < sent < 128
    list(connection.receive(b"ok\n"))
    assert connection.fits("G1X100.1234F600")


def test_line_numbers_are_written_where_they_are_reported():
    connection = p.Connection(128)
    connection.numbered = True
    assert connection.frame("G1X1F1")[1] == b"N1G1X1F1\n"
    assert connection.frame("$H")[1] == b"$H\n"
    assert connection.frame("G1X1F1")[1] == b"N3G1X1F1\n"
    assert connection.sent_lately(1, 4)
    assert not connection.sent_lately(4, 4)
    assert p.number_of(p.LARGEST_LINE_NUMBER + 1) == 1


@pytest.mark.parametrize("command", ["", "G1\nX1", "G1 X1?", "M0!", "x" * 79, "Gé", "~"])
def test_what_is_no_short_line_is_never_sent(command):
    with pytest.raises(MachineError):
        p.Connection(128).frame(command)


@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([b"ok\n", b"<Idle|MPos:1,2,3>\n", b"[", b"<"]))))
def test_any_bytes_give_events_and_memory_stays_small(chunks):
    connection = p.Connection(128)
    connection.frame("G1X1F1")
    for chunk in chunks:
        list(connection.receive(chunk))
    assert len(connection._partial) <= p.MAX_LINE_BYTES
    list(connection.receive(b"\n"))
    assert p.Alarm(2) in list(connection.receive(b"\nALARM:2\n"))


def test_a_line_that_never_ends_is_dropped_and_the_next_one_is_read():
    connection = p.Connection(128)
    for _ in range(10):
        list(connection.receive(b"x" * 1000))
    assert list(connection.receive(b"y\nALARM:1\n")) == [p.Other("(a line that is too long)"), p.Alarm(1)]
