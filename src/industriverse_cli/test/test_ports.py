"""ports: bad input is one line with a remedy and an exit status; what is found is shown."""

import json
from types import SimpleNamespace

import pytest

from industriverse_core.errors import ErrorCode, MachineError
from machine_node import ports
from machine_node.detect import Family


@pytest.fixture
def two_ports(monkeypatch):
    """A printer and something that is silent."""
    devices = [
        SimpleNamespace(device="/dev/ttyACM0", description="Original Prusa i3 MK3", vid=0x2C99, pid=2),
        SimpleNamespace(device="/dev/ttyUSB0", description="n/a", vid=None, pid=None),
    ]

    def probe(port, bauds):
        if "ACM" in port:
            return ports.Found(port, bauds[0], Family.MARLIN, "Prusa-Firmware 3.14.0 based on Marlin")
        raise MachineError(ErrorCode.NO_REPLY, f"serial port {port}: nothing answers.", "Switch it on.")

    monkeypatch.setattr(ports.list_ports, "comports", lambda: devices)
    monkeypatch.setattr(ports, "probe", probe)


def test_ports_are_listed(run, two_ports):
    status, out, _ = run("ports")
    assert status == 0
    assert "2c99:0002" in out
    assert [port["device"] for port in json.loads(run("ports", "--json")[1])["ports"]] == [
        "/dev/ttyACM0",
        "/dev/ttyUSB0",
    ]


def test_nothing_plugged_in_is_said(run, monkeypatch):
    monkeypatch.setattr(ports.list_ports, "comports", list)
    assert run("ports")[0] == 0
    status, out, err = run("ports", "--probe")
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1


def test_controllers_are_shown_beside_what_is_none(run, two_ports):
    status, out, err = run("ports", "--probe")
    assert (status, err) == (0, "")
    assert "Prusa-Firmware 3.14.0" in out
    assert "nothing answers" in out
    rows = json.loads(run("ports", "--probe", "--json")[1])["controllers"]
    assert [row.get("family") for row in rows] == ["marlin", None]


def test_one_named_port_without_a_controller_is_an_error(run, two_ports):
    status, out, err = run("ports", "--probe", "/dev/ttyUSB0")
    assert (status, out) == (1, "")
    assert err == "industriverse: [NO_REPLY] serial port /dev/ttyUSB0: nothing answers. Switch it on.\n"


def test_several_without_any_controller_are_a_failure(run, two_ports):
    assert run("ports", "--probe", "/dev/ttyUSB0", "/dev/ttyUSB1")[0] == 1


@pytest.mark.parametrize("words", [["/dev/ttyUSB0"], ["--baud", "9600"], ["--probe", "--baud", "-1"]])
def test_bad_usage_is_one_line(run, two_ports, words):
    status, out, err = run("ports", *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_a_wrong_port_is_one_line(run, tmp_path):
    status, _, err = run("ports", "--probe", tmp_path / "no")
    assert status == 1
    assert "no such device" in err
    assert len(err.splitlines()) == 1
