"""Virtual machines without a process: a controller, its body, and a clock that the test moves."""

import json

import numpy as np

from industriverse_core.machine import load_machine
from machine_node.virtual.fault_effects import Effects
from machine_node.virtual.faults import FaultRequest, FaultSchedule
from machine_node.virtual.firmware import Firmware
from machine_node.virtual.grbl_firmware import GrblFirmware
from machine_node.virtual.journal import Journal
from machine_node.virtual.line import SerialLine

PROFILES = {"printer": load_machine("prusa_mk3s"), "mill": load_machine("grbl_mill")}


class Rig:
    """A controller with its body, its faults and its line; no process."""

    def __init__(self, kind, journal=None, seed=3):
        controller = Firmware if kind == "printer" else GrblFirmware
        self.journal_path, self.journal = journal, Journal(journal)
        self.firmware = controller(PROFILES[kind], 1.0, seed, self.journal, lambda t: t)
        self.line = SerialLine(seed)
        self.pulled = []
        self.faults = FaultSchedule(kind)
        self.effects = Effects(self.firmware, self.line, self.pulled.append)
        self.now = 0.0
        self.firmware.power_on(0.0)
        self.wait(0.2)

    @property
    def plant(self):
        return self.firmware.plant

    def fault(self, name, **changes):
        self.faults.request(FaultRequest(name, **changes), self.now)

    def send(self, *lines):
        self.firmware.receive(self.line.carry("".join(line + "\n" for line in lines).encode()), self.now)

    def wait(self, seconds, dt=0.05):
        """Let time pass; what arrived at the host."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + dt)
            for change in self.faults.take_due(self.now):
                self.effects.apply(change, self.now)
            self.firmware.step(self.now)
        said = self.line.carry(self.firmware.output).decode("latin-1")
        self.firmware.output.clear()
        return said

    def tool(self):
        return np.array(self.plant.axes.tool_m(self.firmware.motion.position_m(self.now)[:3]))

    def moves(self):
        self.journal.flush(0.0, force=True)
        events = [json.loads(line) for line in self.journal_path.read_text().splitlines()]
        return [event for event in events if event["event"] == "move"]


class Mill:
    """A mill and its clock."""

    def __init__(self, speed=1.0, journal=None, homed=True, seed=3):
        self.journal_path = journal
        self.journal = Journal(journal)
        self.firmware = GrblFirmware(PROFILES["mill"], speed, seed, self.journal, lambda t: t)
        self.now = 0.0
        self.firmware.power_on(0.0)
        self.said = self.wait(0.1)
        if homed:
            assert self.ask("$H", 60.0) == ["ok"]

    def wait(self, seconds, dt=0.01):
        """Let time pass; the lines that were said."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + dt)
            self.firmware.step(self.now)
        return self.take()

    def take(self):
        lines = bytes(self.firmware.output).decode().split("\r\n")
        self.firmware.output.clear()
        return [line for line in lines if line]

    def send(self, text):
        self.firmware.receive(text if isinstance(text, bytes) else text.encode("latin-1"), self.now)

    def ask(self, text, seconds=0.05):
        self.send(text + "\n")
        return self.wait(seconds)

    def status(self):
        """The fields of a status report; the state under ''."""
        self.send("?")
        report = next(line for line in self.take() if line[0] == "<")
        first, *fields = report[1:-1].split("|")
        return {"": first} | dict(field.split(":", 1) for field in fields)

    def place(self):
        return [float(value) for value in self.status()["MPos"].split(",")]

    def idle(self, most_s=120.0):
        """Until nothing moves; what was said."""
        said = []
        for _ in range(int(most_s / 0.05)):
            said += self.wait(0.05)
            if self.firmware.cycle.state.value in ("Idle", "Alarm"):
                return said
        raise AssertionError(self.status())

    def events(self, name):
        self.journal.flush(0.0, force=True)
        events = [json.loads(line) for line in self.journal_path.read_text().splitlines()]
        return [event for event in events if event["event"] == name]


def homed_printer():
    """A printer that has homed."""
    rig = Rig("printer")
    rig.send("G28", "M83", "G90")
    rig.wait(60.0, 0.2)
    return rig


def homed_mill():
    """A mill that has homed."""
    rig = Rig("mill")
    rig.send("$H")
    rig.wait(40.0)
    assert rig.firmware.cycle.state.value == "Idle"
    return rig
