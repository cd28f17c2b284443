"""A job over a bad serial line, and the judgement of what the controller took: every move once, in order, or a stop.

    ./cell exec -- python -m tests.failures.noisy_line --hours 2 --speed 20 --pulls 5

A virtual machine with its journal, a bad line (machine_node.line_noise), and the worker of machine_node under
permits; no ROS. A pulled cable ends the job in a named state, nothing resumes; the next attempt begins anew after the
operator's clear. So N pulls are N + 1 attempts, of which the last one runs to the end of the program.

With `--machine grbl_mill` the same for a mill. GRBL has no checksums: a spoilt line is an error, or another valid line.
With Marlin two changes in one line can cancel in the checksum's XOR: such a line is taken as it is, by any Marlin
(`altered` counts them). The driver has to notice both and to end the job in a named state. So an attempt is sound when
the whole program was taken without a deviation, or when the job ended otherwise and no deviation was there before, or
when it ended by a code of `NOTICED` at most PROMPT_LINES motion lines after the first one. A stop for another reason,
long after a deviation, does not count as having noticed it. `after_first` says how many motion lines were still taken
after the first harm. `--keep FOLDER` keeps the journal, without which a deviation cannot be explained afterwards.

What a Marlin took is read from its journal of received bytes by Marlin's published rule (the line's number is
the last one's plus one, and the checksum is the XOR of what stands before it; a line without a number is not checked),
not from what the virtual machine did.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from industriverse_core.errors import CoreError
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from industriverse_core.permit import PERMIT_PERIOD_S, Permit, sign
from industriverse_core.program import Op, Program
from industriverse_core.states import Outcome
from industriverse_core.units import filament_area_m2
from machine_node.execution import Result
from machine_node.line_noise import BadLine
from machine_node.machine import Machine
from machine_node.permit_guard import PermitGuard
from machine_node.preparation import prepare

KEY = b"n" * 32
GARBLE, LOSE = 0.01, 0.001
POSITION_MM, FILAMENT_MM, FEED_MM_MIN = 2e-3, 3e-5, 1e-2  # what is lost by writing numbers as text
CABLE_OUT_S = 2.0
LOOK_AHEAD = 40  # instructions among which the judge looks for its place after a deviation
PROMPT_LINES = 20  # the queue's 0.2 s, in these programs' shortest moves of 10 ms (steady, at speed 20)
NOTICED = ("PROTOCOL", "POSITION_MISMATCH", "CONTROLLER_ERROR", "CONTROLLER_LOCKED", "CONTROLLER_RESET")
ATTEMPT_LIMIT_S = 3600.0


def mill_text(duration_s: float, seed: int = 1) -> str:
    """The same for a mill: feed moves in the air, of which no two ends are alike."""
    draw = random.Random(seed)
    lines = ["G21 G90 G17 G94", "G0 Z5", "G0 X10 Y10", "G1 Z1 F900"]
    for stroke in range(round(duration_s / 0.7)):
        x, y = 10.0 + (stroke % 2) * 10.0 + draw.uniform(0.0, 2.0), 10.0 + stroke * 0.5 % 120.0
        lines.append(f"G1 X{x:.3f} Y{y + draw.uniform(0.0, 0.4):.3f} F1500")
    return "\n".join([*lines, "M2", ""])


def program_text(duration_s: float, seed: int = 1) -> str:
    """G-code of about this duration on a printer: dense infill with short joints, retractions, circles of 1 mm chords.

    No two ends of moves are alike, so that a line which is skipped, doubled or swapped shows.
    """
    draw = random.Random(seed)
    lines = ["M104 S60", "M109 S60", "G28", "M83", "G1 Z0.3 F720"]
    spent_s, x, y, z = 60.0, 20.0, 20.0, 0.3
    while spent_s < duration_s:
        z = round(z + 0.001, 4)
        lines.append(f"G1 Z{z} F720")
        for stroke in range(80):
            x = round(20.0 + draw.uniform(0.0, 2.0) + (stroke % 2) * 16.0, 3)
            lines.append(f"G1 X{x} Y{round(y, 3)} E{draw.uniform(0.3, 0.5):.5f} F4800")
            y = 20.0 + stroke * 1.1 + draw.uniform(0.0, 0.5)
            lines.append(f"G1 X{x} Y{round(y, 3)} E0.03")
        lines += ["G1 E-0.8 F2100", "G1 E0.8 F2100"]
        for chord in range(60):
            angle = chord / 30.0 * math.pi
            x, y = round(100.0 + 10.0 * math.cos(angle), 3), round(150.0 + 10.0 * math.sin(angle), 3)
            lines.append(f"G1 X{x} Y{y} E0.03326 F3600")
        spent_s += 80 * (16.0 / 80.0 + 0.1) + 60 / 60.0 + 4.0  # nearly; the planner knows better
    return "\n".join([*lines, "M84", ""])


# --- what the controller took ---


def taken(events: Iterable[dict], first: int = 0) -> Iterator[str]:
    """Commands that a Marlin controller takes from the lines that it received, in order, from this event on."""
    last = 0
    for index, event in enumerate(events):
        if event["event"] == "reset":
            last = 0
        elif event["event"] == "rx":
            command, last = _judged(event["line"], last)
            if command and index >= first:
                yield command


def taken_by_grbl(events: Iterable[dict], first: int = 0) -> Iterator[str]:
    """The lines that a GRBL controller received, without their numbers, from this event on."""
    for index, event in enumerate(events):
        if event["event"] == "rx" and index >= first:
            yield re.sub(r"^N\d+\s*", "", event["line"])


def _judged(line: str, last: int) -> tuple[str, int]:
    """(the command, or "" for a line that is refused; the last line's number after it).

    As Marlin 2: what does not begin with N is taken without a check, and is unknown unless it begins with its letter.
    """
    match = re.fullmatch(r"N(\d+)\s*(.*)\*(\d+)\s*", line, re.DOTALL)
    if match is None:
        known = re.match(r"[GMT]\d", line) is not None
        return (line.rpartition("*")[0] or line) if known else "", last
    number, body = int(match[1]), match[2]
    checksum = 0
    for byte in line[: line.rindex("*")].encode("ascii", "replace"):
        checksum ^= byte
    if checksum != int(match[3]) or (number != last + 1 and "M110" not in body):
        return "", last
    return body, number


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A motion instruction: where it ends [mm], its filament [mm], its feed [mm/min]; homing has no end."""

    end: tuple[float, ...] | None
    filament: float
    feed: float


def wanted(program: Program) -> list[_Wanted]:
    """The motion instructions of a program, in order."""
    area_mm2 = filament_area_m2(program.metadata.filament_diameter_m) * 1e6
    found = []
    for index in range(len(program)):
        op = int(program.op[index])
        if op == Op.HOME:
            found.append(_Wanted(None, 0.0, 0.0))
        elif op in (Op.STRAIGHT_FEED, Op.STRAIGHT_TRAVERSE):
            end = tuple(float(program.columns[name][index]) * 1e3 for name in ("x_m", "y_m", "z_m"))
            filament = float(program.extrude_m3[index]) * 1e9 / area_mm2
            found.append(_Wanted(end, filament, float(program.feed_m_s[index]) * 6e4))
    return found


@dataclass(slots=True)
class Comparison:
    """What was taken against what was wanted."""

    after_first: int = 0  # motion lines that were taken after the first deviation
    done: int = 0  # motion instructions that were taken whole, each once and in order
    deviations: list[str] = field(default_factory=list)


class Judge:
    """Follows the commands that were taken along the program. A move may be cut into collinear pieces.

    `approach`: how the tool comes to the end of the first move is the driver's own affair (a mill starts anywhere but
    above its work zero). After a deviation the judge looks for its place: the next command that ends where one of the
    next LOOK_AHEAD instructions ends, ends that one, and what comes before it belongs to the same deviation.
    """

    def __init__(self, program: list[_Wanted], approach: bool = False) -> None:
        self._wanted = program
        self._approach = approach
        self._named: set[str] = set()  # axes that were named so far
        self._at = (0.0, 0.0, 0.0)  # where the last piece ended [mm]
        self._start = self._at
        self._filament = 0.0  # of the pieces of the current move
        self._feed = 0.0
        self._astray = False  # after a deviation, until a command ends where an instruction does
        self.result = Comparison()

    def take(self, command: str) -> None:
        """One command that the controller has taken."""
        words = re.findall(r"([A-Z])\s*([^A-Z\s]*)", command)
        codes = {f"G{float(value):g}" for letter, value in words if letter == "G" and _is_number(value)}
        self.result.after_first += bool(self.result.deviations and codes & {"G0", "G1"})
        if "G28" in codes:
            self._finish(self._next() is not None and self._next().end is None, command)
            self._at = (0.0, 0.0, 0.0)
            self._start = self._at
        elif codes & {"G0", "G1"}:
            if not all(_is_number(value) for _, value in words):
                self._deviate(command)
                return
            self._move({letter: float(value) for letter, value in words if letter != "G"}, command, "G0" in codes)
        elif codes & {"G2", "G3", "G29", "G91", "G92"} and command != "G92 E0":
            self._deviate(command)

    def _deviate(self, command: str) -> None:
        if not self._astray:
            self.result.deviations.append(f"after {self.result.done}: {command}")
        self._astray = True

    def _next(self) -> _Wanted | None:
        return self._wanted[self.result.done] if self.result.done < len(self._wanted) else None

    def _move(self, values: dict[str, float], command: str, rapid: bool) -> None:
        item = self._next()
        end = tuple(values.get(letter, old) for letter, old in zip("XYZ", self._at, strict=True))
        self._feed = values.get("F", self._feed)
        if self._astray:
            self._find_place(end, command)
            return
        wrong_feed = item is not None and abs(self._feed - item.feed) > FEED_MM_MIN  # a rapid's is NaN: never wrong
        if item is None or item.end is None or (wrong_feed and not rapid):
            self._finish(False, command)
            return
        if self._approach and self.result.done == 0:
            self._at = end
            self._named |= values.keys() & set("XYZ")
            known = len(self._named) == 3  # it goes up, across and down
            if known and math.dist(end, item.end) <= POSITION_MM:
                self._finish(True, command)
            return
        self._filament += values.get("E", 0.0)
        whole = math.dist(self._start, item.end)
        way = math.dist(self._start, self._at), math.dist(self._start, end)
        on_line = abs(way[1] + math.dist(end, item.end) - whole) <= POSITION_MM
        forward = way[1] > way[0] or whole <= POSITION_MM
        self._at = end
        if not on_line or not forward:
            self._finish(False, command)
        elif math.dist(end, item.end) <= POSITION_MM:
            self._finish(abs(self._filament - item.filament) <= FILAMENT_MM, command)

    def _find_place(self, end: tuple[float, ...], command: str) -> None:
        self._at = end
        ahead = self._wanted[self.result.done : self.result.done + LOOK_AHEAD]
        ends = (n for n, item in enumerate(ahead) if item.end and math.dist(end, item.end) <= POSITION_MM)
        found = next(ends, None)
        if found is not None:
            self.result.done += found
            self._astray = False
            self._finish(True, command)

    def _finish(self, good: bool, command: str) -> None:
        """The current instruction is over, or nothing that was wanted: then the judge has lost its place."""
        if not good:
            self._deviate(command)
            self._filament = 0.0
            return
        item = self._next()
        if item is not None:
            self.result.done += 1
            self._start = item.end if item.end is not None else self._start
            self._at = self._start
        self._filament = 0.0


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", text) is not None


def compare(program: Program, commands: Iterable[str], approach: bool = False) -> Comparison:
    """Judge one attempt: the commands taken since its beginning."""
    judge = Judge(wanted(program), approach)
    for command in commands:
        judge.take(command)
    return judge.result


# --- the job ---


class Permits:
    """Stands for the shield: permits for one program at 20 Hz, in a thread; `cleared_latch` is the operator's word.

    `numbers`: of the permits; one sequence for the whole life of this shield.
    """

    def __init__(self, machine: Machine, machine_id: str, digest: bytes, numbers: Iterator[int]) -> None:
        self._machine, self._numbers = machine, numbers
        self._permit = Permit(machine_id, 1, 0, 0, digest)
        self.cleared_latch = 0
        self.last_s = 0.0  # when the last one was given
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(PERMIT_PERIOD_S):
            challenge = self._machine.snapshot().challenge
            permit = replace(
                self._permit, sequence=next(self._numbers), challenge=challenge, cleared_latch=self.cleared_latch
            )
            self.last_s = time.monotonic()
            self._machine.on_permit(sign(permit, KEY))

    def close(self) -> None:
        self._end.set()
        self._thread.join()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of the program, and what the controller took of it."""

    outcome: str
    code: str
    message: str
    wall_s: float
    executed: int  # instructions, as the driver states
    motions_taken: int
    motions_wanted: int
    deviations: tuple[str, ...]
    after_first: int
    altered: int  # lines of the whole campaign that the noise has changed into other valid ones (Marlin)
    resends: int
    sound: bool


class Stand:
    """Virtual machine, bad line and worker. Time in seconds of the wall clock."""

    def __init__(
        self, folder: Path, speed: float, seed: int, machine: str = "prusa_mk3s", garble: float = GARBLE,
        lose: float = LOSE,
    ) -> None:  # fmt: skip
        self.profile = load_machine(machine)
        self.speed = speed
        self.journal = folder / "journal.jsonl"
        port, link = folder / "machine.tty", folder / "noisy.tty"
        command = [sys.executable, "-m", "machine_node.virtual.main", "--machine", machine, "--link", str(port)]
        command += ["--speed", str(speed), "--seed", str(seed), "--journal", str(self.journal)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.line = BadLine(str(port), link, garble, lose, seed=seed)
        self.altered: dict[str, str] = {}
        self.line.to_controller.on_spoilt = self._on_spoilt
        self._relay = threading.Thread(target=self.line.run, daemon=True)
        self._relay.start()
        self.log: list[str] = []
        guard = PermitGuard(self.profile.id, KEY)
        host_port = link if garble or lose else port  # no noise: the relay would only add its own delays
        self.machine = Machine(self.profile, str(host_port), "", guard, speed, log=self.log.append)
        self.machine.start()
        self._permit_numbers = itertools.count(1)

    def _on_spoilt(self, before: bytes, after: bytes) -> None:
        old, new = (data.decode("ascii", "replace").strip() for data in (before, after))
        number = re.match(r"N(\d+)", old)
        if number is not None and old != new and _judged(new, int(number[1]) - 1)[0]:
            self.altered[new] = old

    def wait(self, condition, limit_s: float) -> None:
        """Until the condition holds. Raises TimeoutError with the story."""
        end = time.monotonic() + limit_s
        while not condition():
            if self.machine.failure is not None:
                raise self.machine.failure
            if time.monotonic() > end:
                raise TimeoutError(f"waited {limit_s:g} s; {self.machine.snapshot()}; {self.log[-5:]}")
            time.sleep(0.02)

    def events(self) -> list[dict]:
        """The journal so far."""
        time.sleep(0.2)  # it is written in batches
        return [json.loads(line) for line in self.journal.read_text().split("\n")[:-1]]

    def permits(self, program: Program) -> Permits:
        """Permits for a program, at a connected machine whose latch the operator has cleared."""
        self.wait(lambda: self.machine.connected, 120.0)
        permits = Permits(self.machine, self.profile.id, program.digest, self._permit_numbers)
        permits.cleared_latch = self.machine.snapshot().latch_id
        self.wait(lambda: self.machine.snapshot().latch_id == 0, 10.0)
        return permits

    def attempt(self, program: Program, pull_after_s: float = math.inf) -> Attempt:
        """Execute the program once; pull the cable in its middle."""
        results: list[Result] = []
        permits = self.permits(program)
        try:
            seen = len(self.events())
            began = time.monotonic()
            self._begin(program, results)
            if pull_after_s < math.inf:
                self.wait(lambda: bool(results) or time.monotonic() - began >= pull_after_s, ATTEMPT_LIMIT_S)
                self.line.pull(CABLE_OUT_S)
            resends = 0
            while not results:
                resends = max(resends, self.machine.snapshot().resends)
                if self.machine.failure is not None or time.monotonic() - began > ATTEMPT_LIMIT_S:
                    raise TimeoutError(f"the job does not end ({self.machine.failure})")
                time.sleep(0.02)
        finally:
            permits.close()
        result, wall_s = results[0], time.monotonic() - began
        marlin = self.profile.protocol.family == "marlin"
        events = self.events()
        commands = taken(events, seen) if marlin else taken_by_grbl(events, seen)
        compared = compare(program, commands, approach=not marlin)
        if result.outcome is Outcome.COMPLETED:
            sound = not compared.deviations and compared.done == len(wanted(program))
        else:
            prompt = result.code.name in NOTICED and compared.after_first <= PROMPT_LINES
            sound = not compared.deviations or prompt
        return Attempt(
            result.outcome.name, result.code.name, result.message, round(wall_s, 1), result.executed, compared.done,
            len(wanted(program)), tuple(compared.deviations[:20]), compared.after_first, len(self.altered), resends,
            sound,
        )  # fmt: skip

    def _begin(self, program: Program, results: list[Result]) -> None:
        """The line may break down again between the connection and the beginning: then try once more."""
        end = time.monotonic() + 120.0
        while True:
            try:
                self.machine.begin(prepare(program, program.digest, self.profile, self.speed, "noisy", results.append))
                return
            except CoreError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def close(self) -> None:
        """End everything."""
        self.machine.close()
        self.line.stop()
        self._relay.join()
        self.line.close()
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def campaign(
    folder: Path, hours: float, speed: float, pulls: int, seed: int, garble: float = GARBLE, lose: float = LOSE,
    machine: str = "prusa_mk3s",
) -> Iterator[Attempt]:  # fmt: skip
    """`pulls` attempts that end by a pulled cable at times drawn from the seed, and one that is let to its end.

    An attempt that ends otherwise (the line was too bad) is repeated at most twice as often.
    """
    mill = load_machine(machine).kind == "mill"
    text = (mill_text if mill else program_text)(hours * 3600.0, seed)
    program = read_gcode(text.encode(), "noisy.gcode", "rs274" if mill else "marlin")
    whole_s = hours * 3600.0 / speed
    draw = random.Random(seed)
    stand = Stand(folder, speed, seed, machine, garble, lose)
    try:
        for _ in range(pulls):
            yield stand.attempt(program, draw.uniform(0.1, 0.5) * whole_s)
        for _ in range(pulls + 2):
            last = stand.attempt(program)
            yield last
            if last.outcome == Outcome.COMPLETED.name:
                break
        print(json.dumps({"line": asdict(stand.line.report)}), flush=True)
    finally:
        stand.close()


def main() -> int:
    """Exit status 0 = every attempt is whole or a named stop, without a deviation; 1 = not."""
    parser = argparse.ArgumentParser(prog="noisy_line", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0, help="length of the print (%(default)s)")
    parser.add_argument("--speed", type=float, default=20.0, help="physics seconds in a second (%(default)s)")
    parser.add_argument("--pulls", type=int, default=5, help="cable pulls (%(default)s)")
    parser.add_argument("--garble", type=float, default=GARBLE, help="share of garbled lines (%(default)s)")
    parser.add_argument("--lose", type=float, default=LOSE, help="share of lost bytes (%(default)s)")
    parser.add_argument("--machine", default="prusa_mk3s", help="profile of the virtual machine (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of program, machine, noise and pulls (%(default)s)")
    parser.add_argument("--keep", type=Path, help="an empty folder for the journal, which stays")
    options = parser.parse_args()
    good = True
    with contextlib.ExitStack() as stack:
        folder = options.keep or stack.enter_context(tempfile.TemporaryDirectory())
        arguments = (options.hours, options.speed, options.pulls, options.seed, options.garble, options.lose,
                     options.machine)  # fmt: skip
        for attempt in campaign(Path(folder), *arguments):
            print(json.dumps(asdict(attempt)), flush=True)
            good = good and attempt.sound
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
