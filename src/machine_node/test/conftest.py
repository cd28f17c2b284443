"""A virtual printer as a real process, its journal, and a shield's permits."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from machine_node.machine import Machine
from machine_node.permit_guard import PermitGuard
from machine_node.preparation import prepare

sys.path.insert(0, str(Path(__file__).parent))
from boards import KEY, Shield


@dataclass
class Printer:
    process: subprocess.Popen
    link: Path
    meter_link: Path
    journal_path: Path

    def journal(self):
        """Events so far; a line that is being written is left out."""
        lines = self.journal_path.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def lines(self):
        return [event["line"] for event in self.journal() if event["event"] == "rx"]

    def events(self, name):
        return [event for event in self.journal() if event["event"] == name]


@pytest.fixture
def printer(tmp_path):
    """A factory: printer(speed=50) starts a virtual printer."""
    started = []

    def start(speed=50.0, seed=3):
        folder = tmp_path / f"printer{len(started)}"
        made = Printer(None, folder / "machine.tty", folder / "meter.tty", folder / "journal.jsonl")
        command = [sys.executable, "-m", "machine_node.virtual.main", "--link", str(made.link), "--seed", str(seed)]
        command += ["--meter-link", str(made.meter_link), "--speed", str(speed), "--journal", str(made.journal_path)]
        made.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert made.process.stdout.readline().strip() == str(made.link), made.process.stderr.read()
        started.append(made)
        return made

    yield start
    for made in started:
        made.process.terminate()
        assert made.process.wait(10) == 0, made.process.stderr.read()
        assert not made.link.is_symlink()
        assert not made.meter_link.is_symlink()


def program_of(text):
    return read_gcode(text.encode(), "test.gcode", "marlin")


class Bench:
    """A machine at a virtual printer, without ROS."""

    def __init__(self, printer, speed):
        self.profile = load_machine("prusa_mk3s")
        self.printer = printer
        self.speed = speed
        self.guard = PermitGuard(self.profile.id, KEY)
        self.log = []
        self.machine = Machine(
            self.profile, str(printer.link), str(printer.meter_link), self.guard, speed, log=self.log.append
        )
        self.machine.start()
        self.shields = []
        self.results = []

    def wait(self, condition, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.machine.failure is None, self.machine.failure
            assert time.monotonic() < deadline, (self.machine.snapshot(), self.log)
            time.sleep(0.01)

    def connect(self):
        self.wait(lambda: self.machine.connected)
        self.wait(lambda: any("M154" in line for line in self.printer.lines()))  # the journal lags by 50 ms

    def begin(self, program):
        self.machine.begin(prepare(program, program.digest, self.profile, self.speed, "job", self.results.append))

    def shield(self, digest, **changes):
        self.shields.append(Shield(self.machine, digest, **changes))
        return self.shields[-1]

    def result(self, timeout_s=60.0):
        self.wait(lambda: self.results, timeout_s)
        return self.results[0]

    def close(self):
        for shield in self.shields:
            shield.close()
        self.machine.close()
        assert self.machine.failure is None


@pytest.fixture
def bench(printer):
    """A factory: bench(speed=50) is a connected machine at a virtual printer."""
    made = []

    def start(speed=50.0):
        made.append(Bench(printer(speed), speed))
        made[-1].connect()
        return made[-1]

    yield start
    for item in made:
        item.close()


@pytest.fixture
def gcode():
    """G-code text to a program."""
    return program_of
