"""virtual printer, mill and fault: as people start them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import serial

MAIN = [sys.executable, "-c", "import sys; from industriverse_cli.main import main; sys.exit(main())", "virtual"]


@pytest.fixture
def start(tmp_path):
    """Start a virtual machine; its process, its link and its control socket."""
    started = []

    def start(kind, *options):
        link, control = tmp_path / kind, tmp_path / f"{kind}.sock"
        command = [*MAIN, kind, "--link", str(link), "--control", str(control), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append((process, link, control))
        introduction = []
        while not introduction or not introduction[-1].startswith("Try:"):
            introduction.append(process.stdout.readline())
            assert introduction[-1], process.stderr.read()
        return introduction, link, control

    yield start
    for process, link, control in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        assert not os.path.lexists(link)
        assert not os.path.lexists(control)


def until(port, wanted):
    """Lines up to one that begins so."""
    lines = []
    while not lines or not lines[-1].startswith(wanted):
        line = port.readline().decode("latin-1").strip()
        assert line or lines[-2:] != ["", ""], lines
        lines.append(line)
    return lines


def ask_for_ever(port):
    while True:
        port.read(1)
        port.write(b"?")
        time.sleep(0.01)


def test_a_printer_says_what_it_is_and_fails_on_request(start, run):
    introduction, link, control = start("printer", "--speed", "20", "--seed", "7")
    assert any("prusa_mk3s" in line for line in introduction)
    assert any(str(link) in line for line in introduction)
    with serial.Serial(str(link), 115200, timeout=10.0) as port:
        until(port, "start")
        assert run("virtual", "fault", "--control", control, "thermistor_short", "--target", "bed")[0] == 0
        assert "Heater_ID: bed" in until(port, "Error:MAXTEMP")[-1]
    status, out, _ = run("virtual", "fault", "--control", control, "--state", "--json")
    state = json.loads(out)["state"]
    assert (status, state["state"]) == (0, "halted")
    assert state["faults"] == [{"fault": "thermistor_short", "target": "bed", "value": 0.0}]


def test_a_mill_is_pulled_off_and_comes_back(start, run):
    _, link, control = start("mill", "--speed", "20")
    port = serial.Serial(str(link), 115200, timeout=10.0)
    until(port, "Grbl 1.1")
    port.write(b"$H\n")
    until(port, "ok")
    assert run("virtual", "fault", "--control", control, "cable_pull", "--value", "0.3")[0] == 0
    with pytest.raises(serial.SerialException):
        ask_for_ever(port)
    port.close()
    deadline = time.monotonic() + 20.0
    while not os.path.lexists(link):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with serial.Serial(str(link), 115200, timeout=10.0) as again:
        assert until(again, "[MSG")[-1] == "[MSG:'$H'|'$X' to unlock]"


def test_faults_are_listed_and_bad_ones_refused(start, run):
    _, _, control = start("mill")
    status, out, _ = run("virtual", "fault", "--control", control)
    assert status == 0
    assert "spindle_stall" in out
    for words in (["no_such"], ["clog"], ["belt_slip", "--value", "1e9"], ["belt_slip", "--target", "bed"]):
        status, _, err = run("virtual", "fault", "--control", control, *words)
        assert status == 2
        assert err.startswith("industriverse: [USAGE]")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["mill", "--machine", "prusa_mk3s", "--link", "LINK"], 2),
        (["printer", "--machine", "voron_24", "--link", "LINK"], 1),
        (["printer", "--machine", "no_such", "--link", "LINK"], 2),
        (["printer", "--link", "FILE"], 1),
        (["printer", "--link", "LINK", "--control", "FILE"], 1),
        (["printer", "--link", "LINK", "--journal", "/proc/nowhere/journal"], 2),
        (["printer"], 2),
        (["fault", "--control", "LINK"], 1),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(run, tmp_path, words, status):
    (tmp_path / "file").write_text("precious")
    places = {"LINK": str(tmp_path / "link"), "FILE": str(tmp_path / "file")}
    code, _, err = run("virtual", *[places.get(word, word) for word in words])
    assert code == status
    assert len(err.splitlines()) == 1
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "precious"
