"""Driver, streamer and guard against a virtual printer over a real pseudo-terminal, without ROS."""

import os
import pty
import random
import select
import threading
import time
import tty
from dataclasses import replace

import pytest

from industriverse_core.errors import CoreError, ErrorCode, MachineError
from industriverse_core.permit import StopLevel, sign
from industriverse_core.telemetry import MachineState
from machine_node.execution import Outcome
from machine_node.marlin.driver import MarlinDriver
from machine_node.transport import SerialTransport

SQUARE = "G28\nG1 Z5 F720\n" + "G1 X50 Y0 F6000\nG1 X50 Y50\nG1 X0 Y50\nG1 X0 Y0\n" * 4
LONG = "G28\n" + "G1 X200 Y0 F3000\nG1 X0 Y200\n" * 100
HEAT = "M104 S200\nM109 S200\nG28\nG1 X10 F6000\n"


def motion_lines(printer):
    return [line for line in printer.lines() if " G1 " in line or " G0 " in line or " G28" in line]


def test_a_program_is_executed_whole_and_in_order(bench, gcode):
    b = bench()
    program = gcode(SQUARE + "M104 S60\nM109 S60\nM106 S255\nG4 P200\nM107\nM84\n")
    b.begin(program)
    b.shield(program.digest)
    result = b.result()
    assert (result.outcome, result.code, result.executed) == (Outcome.COMPLETED, ErrorCode.OK, len(program))
    assert not b.printer.events("rx_overflow")
    # no job owns the heaters any more
    end = ["G4", "M104 S0", "M140 S0", "M107"]
    b.wait(lambda: [line.split("*")[0].split(" ", 1)[1] for line in b.printer.lines()[-4:]] == end)
    b.wait(lambda: b.machine.snapshot().reported_position_m[2] == pytest.approx(0.005))
    assert b.machine.snapshot().state is MachineState.IDLE


def test_the_handshake_leaves_a_known_controller_with_cold_heaters(bench):
    b = bench()
    sent = [line.split("*")[0].split(" ", 1)[-1] for line in b.printer.lines()]
    for command in ("G90", "M83", "M220 S100", "M221 S100", "M104 S0", "M140 S0", "M107", "M155 S1", "M154 S1"):
        assert command in sent
    b.wait(lambda: b.machine.snapshot().heaters and b.machine.snapshot().meter)
    assert b.machine.snapshot().heaters[0].temperature_c == pytest.approx(25.0, abs=2.0)


def test_without_a_permit_not_one_byte_of_the_program_is_sent(bench, gcode, monkeypatch):
    monkeypatch.setattr("machine_node.permit_guard.WAIT_LIMIT_S", 1.0)
    b = bench()
    before = len(b.printer.lines())
    b.begin(gcode(SQUARE))
    result = b.result()
    assert (result.outcome, result.code, result.executed) == (Outcome.REFUSED, ErrorCode.NO_PERMIT, 0)
    time.sleep(0.2)
    assert len(b.printer.lines()) == before
    assert not b.printer.events("motion_begin")


def test_a_lapse_stops_the_motion_within_its_queue_and_latches(bench, gcode):
    b = bench(speed=10.0)
    program = gcode(LONG)
    b.begin(program)
    shield = b.shield(program.digest)
    b.wait(lambda: b.machine.snapshot().executed >= 3)
    shield.sending = False
    result = b.result()
    assert (result.outcome, result.code) == (Outcome.STOPPED, ErrorCode.PERMIT_LAPSED)
    lapse = shield.last_s + 0.15
    stopped = b.printer.events("motion_end")[-1]["t"]
    begun = b.printer.events("motion_begin")[-1]["t"]
    assert begun < stopped < lapse + 0.25
    late = [event for event in b.printer.journal() if event["event"] == "rx" and event["t"] > lapse + 0.05]
    assert not [event for event in late if "G1 " in event["line"]]
    assert any("M104 S0" in event["line"] for event in late)
    # permits return: nothing resumes
    shield.sending = True
    time.sleep(0.5)
    assert b.printer.events("motion_end")[-1]["t"] == stopped
    assert b.machine.snapshot().state is MachineState.LATCHED


def test_a_short_gap_holds_and_the_job_goes_on(bench, gcode):
    b = bench()
    program = gcode(LONG.replace("\nG1 X200 Y0 F3000\nG1 X0 Y200" * 60, ""))
    b.begin(program)
    shield = b.shield(program.digest)
    b.wait(lambda: b.machine.snapshot().executed >= 3)
    shield.sending = False
    b.wait(lambda: b.machine.snapshot().state is MachineState.HOLDING)
    shield.sending = True
    assert b.result().outcome is Outcome.COMPLETED
    assert b.result().executed == len(program)


def test_a_lapse_during_homing_breaks_it_off(bench, gcode):
    b = bench(speed=2.0)
    program = gcode(SQUARE)
    b.begin(program)
    shield = b.shield(program.digest)
    b.wait(lambda: b.printer.events("motion_begin"))
    shield.sending = False
    result = b.result()
    assert (result.outcome, result.code) == (Outcome.STOPPED, ErrorCode.PERMIT_LAPSED)
    assert b.printer.events("quickstop")
    assert b.printer.events("motion_end")[-1]["t"] < shield.last_s + 0.15 + 0.25
    assert not [line for line in b.printer.lines() if " G1 " in line]


def test_a_stop_ends_a_wait_for_heat_and_cools(bench, gcode):
    b = bench(speed=1.0)
    program = gcode(HEAT)
    b.begin(program)
    b.shield(program.digest)
    b.wait(lambda: any("M109" in line for line in b.printer.lines()))
    b.machine.on_stop("", StopLevel.STOP1, "operator", "smoke")
    result = b.result(timeout_s=10.0)
    assert (result.outcome, result.code) == (Outcome.STOPPED, ErrorCode.STOP_REQUESTED)
    assert "smoke" in result.message
    b.wait(lambda: b.printer.events("heater")[-1]["target_c"] == 0.0)
    assert not motion_lines(b.printer)
    assert any("M84" in line for line in b.printer.lines())


def test_stop0_kills_and_the_machine_comes_back_without_the_job(bench, gcode):
    b = bench()
    program = gcode(LONG)
    b.begin(program)
    shield = b.shield(program.digest)
    b.wait(lambda: b.machine.snapshot().executed >= 2)
    b.machine.on_stop("prusa_mk3s", StopLevel.STOP0, "operator", "hand in the machine")
    result = b.result()
    assert (result.outcome, result.code) == (Outcome.STOPPED, ErrorCode.STOP_REQUESTED)
    b.wait(lambda: b.printer.events("halted"))
    count = len(b.printer.events("motion_begin"))
    b.wait(lambda: b.machine.connected)  # reopening the port resets the board
    latch = b.machine.snapshot().latch_id
    assert latch != 0
    with pytest.raises(CoreError) as caught:
        b.begin(program)
    assert caught.value.code is ErrorCode.MACHINE_LATCHED
    shield.changes = {"cleared_latch": latch}
    b.wait(lambda: b.machine.snapshot().state is MachineState.IDLE)
    assert len(b.printer.events("motion_begin")) == count


def test_cancel_stops_and_does_not_latch(bench, gcode):
    b = bench()
    program = gcode(LONG)
    b.begin(program)
    b.shield(program.digest)
    b.wait(lambda: b.machine.snapshot().executed >= 2)
    with pytest.raises(CoreError) as caught:
        b.begin(program)
    assert caught.value.code is ErrorCode.BUSY
    b.machine.cancel("the owner said so")
    result = b.result()
    assert (result.outcome, result.code) == (Outcome.STOPPED, ErrorCode.CANCELLED)
    assert b.machine.snapshot().state is MachineState.IDLE


def test_reduced_permits_slow_the_machine(bench, gcode):
    b = bench()
    program = gcode("G28\nG1 X100 F6000\n")
    b.begin(program)
    b.shield(program.digest, speed_scale=0.5)
    assert b.result().outcome is Outcome.COMPLETED
    b.wait(lambda: any("F3000" in line for line in b.printer.lines()))
    assert not any("F6000" in line for line in b.printer.lines())


def test_a_dead_printer_is_a_fault_and_is_tried_again(bench, gcode):
    b = bench()
    program = gcode(LONG)
    b.begin(program)
    b.shield(program.digest)
    b.wait(lambda: b.machine.snapshot().executed >= 2)
    b.printer.process.terminate()
    result = b.result()
    assert (result.outcome, result.code) == (Outcome.FAULT, ErrorCode.PORT_UNAVAILABLE)
    assert b.machine.snapshot().state is MachineState.LATCHED  # nobody knows what the controller does now
    time.sleep(2.5)
    assert len([line for line in b.log if "no such device" in line or "disconnected" in line]) <= 2


class Wire(threading.Thread):
    """A bad cable between two pseudo-terminals: passes bytes, and spoils some of the host's lines."""

    def __init__(self, printer_link, spoil):
        super().__init__(daemon=True)
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.name_of_port = os.ttyname(slave)
        self.slave = slave
        self.port = SerialTransport(str(printer_link), 115200)
        # by chance, not by count: a window of lines that is sent again and again could fall in step with a count,
        # and the same line would be spoilt for ever
        self.dice, self.spoil = random.Random(spoil), spoil
        self.count, self.spoiled, self.spoils = 0, 0, False
        self.end = False
        self.start()

    def run(self):
        while not self.end:
            readable, _, _ = select.select([self.master, self.port], [], [], 0.05)
            if self.master in readable:
                self.port.write(self._through(os.read(self.master, 4096)))
            if self.port in readable:
                try:
                    os.write(self.master, self.port.read())
                except MachineError:  # the printer has been switched off
                    return

    def _through(self, data):
        out = bytearray(data)
        for at, byte in enumerate(out):
            if byte == 10:
                self.count += 1
                self.spoils = self.count > 30 and self.dice.randrange(self.spoil) == 0
            elif byte == ord("G") and self.spoils:
                out[at] = ord("?")
                self.spoiled += 1
        return bytes(out)

    def close(self):
        self.end = True
        self.join()
        self.port.close()
        os.close(self.master)
        os.close(self.slave)


def test_a_bad_cable_costs_resends_and_nothing_else(printer):
    made = printer(50.0)
    wire = Wire(made.link, 23)
    transport = SerialTransport(wire.name_of_port, 115200)
    driver = MarlinDriver(transport, 128 * 50, time.monotonic())
    wanted = [f"G1 X{n % 200} Y{n % 150} F9000" for n in range(300)]
    sent = 0
    deadline = time.monotonic() + 60.0
    while sent < len(wanted) or not driver.settled:
        assert time.monotonic() < deadline, (driver.phase, sent, driver.resends)
        select.select([transport], [], [], 0.002)
        driver.poll(time.monotonic())
        while sent < len(wanted) and driver.can_send(wanted[sent]):
            driver.send(wanted[sent], time.monotonic())
            sent += 1
    transport.close()
    wire.close()
    assert wire.spoiled > 3
    assert driver.resends >= wire.spoiled
    made.process.terminate()
    made.process.wait()
    # what the controller accepted is what was wanted, each once and in order
    accepted, expected = [], 1
    for line in made.lines():
        number, _, rest = line.removeprefix("N").partition(" ")
        body = rest.split("*")[0]
        if number.isdigit() and int(number) == expected and "?" not in line:
            expected += 1
            accepted.append(body)
        elif "M110" in line:
            accepted, expected = [], 1
    assert [command for command in accepted if command.startswith("G1")] == wanted


def test_forged_permits_move_nothing_and_are_counted(bench, gcode):
    b = bench()
    program = gcode(SQUARE)
    b.begin(program)
    shield = b.shield(b"x" * 32)  # honest, for another program
    for _ in range(10):
        b.machine.on_permit(sign(replace(shield.permit(), program_digest=program.digest), b"n" * 32))
        b.machine.on_permit(replace(shield.permit(), program_digest=program.digest))
        time.sleep(0.02)
    refused = b.machine.snapshot().refused_permits
    assert refused["PERMIT_FORGED"] == 20
    assert refused["PERMIT_FOREIGN"] >= 1
    assert not motion_lines(b.printer)
    assert not b.printer.events("motion_begin")
