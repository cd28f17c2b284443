"""The virtual printer: its planner and heat as functions, its protocol as a real process on a pseudo-terminal."""

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.machine import load_machine
from machine_node.marlin.protocol import numbered
from machine_node.meter import MeterParser
from machine_node.virtual.firmware import Firmware
from machine_node.virtual.journal import Journal
from machine_node.virtual.motion import Motion
from machine_node.virtual.plant import Plant

PROFILE = load_machine("prusa_mk3s")


def finish(motion, now=0.0):
    """The time at which the axes come to rest."""
    while not motion.idle:
        now = motion.next_end_s()
        motion.advance(now)
    return now


# --- motion ---


def test_one_long_move_takes_its_trapezoid():
    motion = Motion(PROFILE, 16)
    motion.add((0.1, 0.0, 0.0, 0.0), 0.1, 0.0)
    # from jerk speed 8 mm/s to 100 mm/s at 1000 mm/s^2, and down to rest
    rise = (0.1 - 0.008) / 1.0
    fall = (0.1 - 5e-5) / 1.0
    ways = (0.1**2 - 0.008**2) / 2 + (0.1**2 - 5e-5**2) / 2
    assert finish(motion) == pytest.approx(rise + fall + (0.1 - ways) / 0.1, rel=1e-6)
    assert motion.position_m(9.0)[0] == pytest.approx(0.1)


def test_collinear_pieces_take_as_long_as_the_whole():
    whole, pieces = Motion(PROFILE, 64), Motion(PROFILE, 64)
    for motion in (whole, pieces):
        motion.add((0.0, 0.0, 0.001, 0.0), 0.01, 0.0)  # begins at once; the others wait behind it
    whole.add((0.1, 0.05, 0.001, 0.0), 0.08, 0.0)
    for step in range(1, 41):
        pieces.add((0.1 * step / 40, 0.05 * step / 40, 0.001, 0.0), 0.08, 0.0)
    assert finish(pieces) == pytest.approx(finish(whole), rel=1e-3)


def test_a_corner_is_slower_than_a_straight_line():
    corner, straight = Motion(PROFILE, 16), Motion(PROFILE, 16)
    for motion, end in ((corner, (0.05, 0.05, 0.001, 0.0)), (straight, (0.1, 0.0, 0.001, 0.0))):
        motion.add((0.0, 0.0, 0.001, 0.0), 0.01, 0.0)  # begins at once; the others wait behind it
        motion.add((0.05, 0.0, 0.001, 0.0), 0.1, 0.0)
        motion.add(end, 0.1, 0.0)
    assert finish(corner) > finish(straight) + 0.05


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 0.2), st.floats(0.005, 0.2)), min_size=1, max_size=30))
def test_speeds_never_jump_and_the_end_is_reached(moves):
    motion = Motion(PROFILE, 64)
    for x, y, feed in moves:
        motion.add((x, y, 0.0, 0.0), feed, 0.0)
    end, length = finish(Motion(PROFILE, 64)), motion.travelled_m(0.0)
    way, now, speed = 0.0, 0.0, 0.0
    while not motion.idle:
        now += 1e-3
        motion.advance(now)
        new_way = motion.travelled_m(now)
        new_speed = (new_way - way) / 1e-3
        assert new_speed <= 0.2 * math.sqrt(2) + 1e-6
        # acceleration of both axes, and jerk at the corners
        assert abs(new_speed - speed) <= 2e-3 * math.sqrt(2) + 0.008 * math.sqrt(8) + 1e-6
        way, speed = new_way, new_speed
    assert length <= way
    assert end == 0.0
    target = motion.target_m
    assert motion.position_m(now) == pytest.approx(target, abs=1e-9)


def test_halt_stops_where_it_is():
    motion = Motion(PROFILE, 16)
    motion.add((0.1, 0.0, 0.0, 0.0), 0.05, 0.0)
    motion.halt(1.0)
    assert motion.idle
    assert 0.0 < motion.position_m(5.0)[0] < 0.1
    assert motion.target_m == motion.position_m(5.0)


# --- heat and electricity ---


def run_plant(plant, seconds, start=0.0):
    now = start
    while now < start + seconds:
        now += 0.1
        fault = plant.step_to(now, 0.0, 0.0)
        if fault is not None:
            return now, fault
    return now, None


def test_the_hotend_reaches_its_target_and_stays_there():
    plant = Plant(PROFILE, 1)
    plant.hotend.set_target(215.0)
    now, fault = run_plant(plant, 150.0)
    assert fault is None
    samples = []
    for _ in range(300):
        now, fault = run_plant(plant, 0.1, now)
        samples.append(plant.hotend.measured_c)
    assert fault is None
    assert np.mean(samples) == pytest.approx(215.0, abs=0.5)
    assert max(samples) - min(samples) < 2.0


def test_energy_at_rest_is_what_the_losses_take():
    plant = Plant(PROFILE, 2)
    plant.hotend.set_target(200.0)
    now, _ = run_plant(plant, 600.0)
    before = plant.energy_j
    run_plant(plant, 600.0, now)
    mean_w = (plant.energy_j - before) / 600.0
    nominal = PROFILE.hotend.loss * 175.0 + PROFILE.power.electronics + PROFILE.power.hotend_fan
    assert mean_w == pytest.approx(nominal, rel=0.06)


def test_the_seed_draws_the_machine():
    parameters = {(Plant(PROFILE, seed).hotend.power_w, Plant(PROFILE, seed).bed.power_w) for seed in (1, 1, 2, 3)}
    assert len(parameters) == 3
    assert all(abs(power / PROFILE.hotend.power - 1.0) <= 0.05 for power, _ in parameters)


@pytest.mark.parametrize(
    ("reached", "expected"), [(False, "Hotend: Heating failed"), (True, "Hotend: Thermal Runaway")]
)
def test_a_dead_heater_is_noticed(reached, expected):
    plant = Plant(PROFILE, 1)
    plant.hotend.set_target(215.0)
    now = run_plant(plant, 150.0)[0] if reached else 0.0
    plant.hotend.power_w = 1e-9
    assert run_plant(plant, 100.0, now)[1] == expected


def test_a_thermal_fault_kills_the_controller():
    firmware = Firmware(PROFILE, 1.0, 1, Journal(None), lambda t: t)
    firmware.power_on(0.0)
    firmware.step(0.1)
    firmware.plant.hotend.power_w = 1e-9
    firmware.receive(b"M104 S215\n", 0.2)
    for tenth in range(3, 400):
        firmware.step(tenth / 10)
    assert firmware.halted
    said = b"Error:Heating failed, system stopped! Heater_ID: E0\nError:Printer halted. kill() called!\n"
    assert said in firmware.output
    assert firmware.plant.hotend.target_c == 0.0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([b"G1 X1\n", b"N1 G28*18\n", b"G2 X\n", b"M104 S\n", b"G4 P-\n"]))
)
def test_the_firmware_survives_any_bytes(chunks):
    firmware = Firmware(PROFILE, 1.0, 1, Journal(None), lambda t: t)
    firmware.power_on(0.0)
    for index, chunk in enumerate(chunks):
        firmware.step(index + 1.0)
        firmware.receive(chunk, index + 1.0)
    firmware.step(len(chunks) + 100.0)


# --- the process ---


class Host:
    """A plain host program on the port."""

    def __init__(self, printer):
        self.port = serial.Serial(str(printer.link), 115200, timeout=5.0)
        self.until("start")

    def until(self, wanted):
        """Lines up to one that begins so."""
        lines = []
        while True:
            line = self.port.readline().decode().rstrip("\n")
            assert line, lines
            lines.append(line)
            if line.startswith(wanted):
                return lines

    def ask(self, command):
        self.port.write(command.encode() + b"\n")
        return self.until("ok")

    def close(self):
        self.port.close()


@pytest.fixture
def host(printer):
    made = []

    def start(speed=50.0):
        machine = printer(speed)
        made.append(Host(machine))
        return machine, made[-1]

    yield start
    for item in made:
        item.close()


def test_it_answers_as_marlin_does(host):
    machine, marlin = host()
    assert marlin.ask("M115")[-2:] == ["Cap:ARCS:1", "ok P799 B200"]
    assert marlin.ask("FOO")[-2:] == ['echo:Unknown command: "FOO"', "ok P799 B200"]
    assert marlin.ask("M105")[0].startswith("ok T:")
    marlin.ask("G28")
    marlin.ask("G1 X10 Y20 F6000")
    marlin.ask("M400")
    assert marlin.ask("M114")[0] == "X:10.00 Y:20.00 Z:0.00 E:0.00 Count X: 10.00 Y:20.00 Z:0.00 E:0.00"
    assert marlin.ask("G1 X0 E5")[0] == "echo: cold extrusion prevented"
    assert machine.process.poll() is None


def test_line_numbers_and_checksums_are_enforced(host):
    _, marlin = host()
    marlin.port.write(numbered(0, "M110 N0"))
    assert marlin.until("ok")[-1].startswith("ok N0")
    marlin.port.write(numbered(1, "M105"))
    marlin.until("ok T")
    marlin.port.write(b"N2 G90*1\n")
    assert marlin.until("ok") == ["Error:checksum mismatch, Last Line: 1", "Resend: 2", "ok"]
    marlin.port.write(numbered(5, "G90"))
    expected = ["Error:Line Number is not Last Line Number+1, Last Line: 1", "Resend: 2", "ok"]
    assert marlin.until("ok") == expected
    marlin.port.write(b"N2 G90\n")
    assert marlin.until("ok")[0] == "Error:No Checksum with line number, Last Line: 1"
    marlin.port.write(numbered(2, "G90"))
    assert marlin.until("ok")[-1].startswith("ok N2")


class Ear(Journal):
    """Keeps the received commands that were carried out."""

    def __init__(self):
        super().__init__(None)
        self.moves, self.events = [], []

    def write(self, mono_s, event, **values):
        self.events.append(event)
        if event == "move":
            self.moves.append((values["line"], values["text"]))


def answers_to(*chunks):
    """(what a controller says to these bytes, one chunk after the other, and its journal)."""
    ear = Ear()
    firmware = Firmware(PROFILE, 1.0, 1, ear, lambda t: t)
    firmware.power_on(0.0)
    firmware.step(0.1)
    firmware.output.clear()
    now = 0.1
    for chunk in chunks:
        firmware.receive(chunk, now)
        now += 1.0
        firmware.step(now)
    return firmware.output.decode().splitlines(), ear


@pytest.mark.parametrize("cut", [b"\n", b"\r"])
def test_the_end_of_a_line_that_is_cut_before_its_command_is_carried_out_unchecked(cut):
    """As Marlin 2 does (GCodeQueue::get_serial_commands checks only what begins with N); then the line comes again."""
    line = numbered(1, "G1 X5 F6000")
    said, ear = answers_to(b"N1" + cut, line[3:], line)
    assert said[0] == "Error:No Checksum with line number, Last Line: 0"
    assert [text.split(" P")[0] for text in said[3:]] == ["ok", "ok N1"]
    assert ear.moves == [(None, "G1 X5 F6000"), (1, "G1 X5 F6000")]


def test_a_line_without_its_n_is_an_unknown_command():
    said, ear = answers_to(numbered(1, "G1 X5")[1:])
    assert said[0].startswith('echo:Unknown command: "1 G1 X5')
    assert not ear.moves


def test_one_wrong_byte_turns_m400_into_a_quick_stop_before_any_checksum():
    """EMERGENCY_PARSER acts on bytes: so the driver waits with G4 (marlin.protocol.HARMLESS)."""
    spoilt = numbered(1, "M400").replace(b"M400", b"M410")
    said, ear = answers_to(b"G1 X200 F600\n", spoilt)
    assert "quickstop" in ear.events
    assert "Error:checksum mismatch, Last Line: 0" in said


def test_waiting_for_heat_is_ended_by_m108_and_everything_by_m112(host):
    machine, marlin = host(speed=1.0)
    marlin.port.write(b"M109 S200\n")
    marlin.until(" T:")
    marlin.port.write(b"M108\n")
    assert marlin.until("ok")[-1].startswith("ok P15")
    marlin.port.write(b"G28\n")
    time.sleep(0.2)
    marlin.port.write(b"M112\n")
    assert marlin.until("Error:")[-1] == "Error:Printer halted. kill() called!"
    marlin.port.write(b"M105\n")
    marlin.port.timeout = 0.3
    assert marlin.port.readline() == b""  # deaf until it is reset
    deadline = time.monotonic() + 5.0
    while not machine.events("halted") and time.monotonic() < deadline:
        time.sleep(0.02)
    begin, end = machine.events("motion_begin")[-1]["t"], machine.events("motion_end")[-1]["t"]
    assert begin < end == machine.events("halted")[0]["t"]


def test_opening_the_port_again_resets_the_board(printer):
    machine = printer(10.0)
    first = Host(machine)
    first.ask("M104 S200")
    first.close()
    time.sleep(0.1)
    second = Host(machine)
    assert " /0.00 B:" in second.ask("M105")[-1]
    second.close()


def test_the_receive_buffer_loses_what_does_not_fit(host):
    machine, marlin = host(speed=1.0)
    marlin.port.write(b"M109 S200\n" + b"G1 X1 Y1 F6000\n" * 40)
    deadline = time.monotonic() + 5.0
    while not machine.events("rx_overflow") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sum(event["bytes"] for event in machine.events("rx_overflow")) > 300


def test_the_meter_counts_joules(host):
    machine, marlin = host()
    meter = serial.Serial(str(machine.meter_link), 115200, timeout=0.0)
    parser, readings = MeterParser(), []
    marlin.ask("M140 S60")
    deadline = time.monotonic() + 10.0
    while len(readings) < 60 and time.monotonic() < deadline:
        readings += parser.feed(meter.read(4096))
        time.sleep(0.01)
    meter.close()
    times = [reading.uptime_s for reading in readings]
    assert times == sorted(times)
    counted = readings[-1].energy_j - readings[10].energy_j
    powers = [reading.power_w for reading in readings[10:]]
    assert counted == pytest.approx(np.mean(powers) * (times[-1] - times[10]), rel=0.05)
    assert powers[-1] > 200.0  # the bed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--machine", "voron_24"],
        ["--machine", "no_such_machine"],
        ["--speed", "0.5"],
        ["--speed", "fast"],
        ["--journal", "/proc/nowhere/journal"],
    ],
)
def test_bad_arguments_are_one_line_and_status_2(tmp_path, arguments):
    command = [sys.executable, "-m", "machine_node.virtual.main", "--link", str(tmp_path / "tty"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert ended.stderr.strip().splitlines()[-1].startswith("virtual_machine: ")
    assert not os.path.lexists(tmp_path / "tty")


def test_a_link_that_is_a_file_is_not_touched(tmp_path):
    precious = tmp_path / "tty"
    precious.write_text("precious")
    command = [sys.executable, "-m", "machine_node.virtual.main", "--link", str(precious)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert precious.read_text() == "precious"


def test_it_ends_with_its_parent(tmp_path):
    link = tmp_path / "tty"
    script = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'machine_node.virtual.main', '--link', {str(link)!r}],"
        " stdout=subprocess.PIPE)\np.stdout.readline(); print(p.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    parent.stdout.readline()
    assert link.is_symlink()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10.0
    while link.is_symlink() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not link.is_symlink()
