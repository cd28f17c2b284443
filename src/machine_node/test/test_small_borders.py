"""Meter, ledger of starts, serial port."""

import os
import pty
import tty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import CoreError, ErrorCode, MachineError
from machine_node.meter import MeterParser, MeterReading
from machine_node.starts import StartLedger
from machine_node.transport import SerialTransport

DIGEST = b"d" * 32


def test_the_meter_drops_half_lines_and_garbage():
    parser = MeterParser()
    data = b"7,0.5,1\r\n1000,24.01,0.5,12.0,3.5\nhello\n1,2,3,4\n1,nan,3,4,5\n\xff\n1100,24.0,0.5,12.1,4.7\n1200,24"
    got = parser.feed(data)
    assert got == [MeterReading(1.0, 24.01, 0.5, 12.0, 3.5), MeterReading(1.1, 24.0, 0.5, 12.1, 4.7)]
    assert parser.feed(b".0,0.5,12.2,5.9\n") == [MeterReading(1.2, 24.0, 0.5, 12.2, 5.9)]


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_the_meter_survives_anything(chunks):
    parser = MeterParser()
    for chunk in chunks:
        parser.feed(chunk)
    parser.feed(b"\n")
    assert parser.feed(b"1000,24,0.5,12,3.5\n") == [MeterReading(1.0, 24.0, 0.5, 12.0, 3.5)]


def test_an_execution_starts_once_and_the_ledger_survives(tmp_path):
    path = tmp_path / "var" / "starts.sqlite"
    ledger = StartLedger(path)
    ledger.claim("e1", "job", DIGEST, 1.0)
    ledger.close()
    again = StartLedger(path)
    with pytest.raises(MachineError) as caught:
        again.claim("e1", "other job", DIGEST, 2.0)
    assert caught.value.code is ErrorCode.ALREADY_STARTED
    again.claim("e2", "job", DIGEST, 2.0)
    again.close()


def test_a_broken_ledger_is_one_sentence(tmp_path):
    path = tmp_path / "starts.sqlite"
    path.write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(CoreError) as caught:
        StartLedger(path)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert str(path) in str(caught.value)


def test_ports_that_cannot_be_opened_say_why(tmp_path):
    plain = tmp_path / "file"
    plain.write_text("")
    for port, word in (
        (tmp_path / "absent", "no such device"),
        (plain, "not a serial port"),
        (tmp_path, "not a serial"),
    ):
        with pytest.raises(MachineError) as caught:
            SerialTransport(str(port), 115200)
        assert caught.value.code is ErrorCode.PORT_UNAVAILABLE
        assert word in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.remedy


def test_a_port_is_held_alone_and_its_end_is_noticed():
    master, slave = pty.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    first = SerialTransport(name, 115200)
    with pytest.raises(MachineError, match="another program"):
        SerialTransport(name, 115200)
    assert first.read() == b""  # silence is not the end
    first.write(b"hello")
    assert os.read(master, 10) == b"hello"
    os.close(slave)
    os.close(master)
    with pytest.raises(MachineError) as caught:
        first.read()
    assert caught.value.code is ErrorCode.PORT_UNAVAILABLE
    first.close()
