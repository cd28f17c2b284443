"""What becomes of a spoilt line on its way to a GRBL mill: refused, noticed, harmless or silent? In simulated time.

    ./cell exec -- python -m tests.failures.noisy_mill --trials 1000

GRBL has no checksums, so an altered line may be another valid one. The virtual mill's controller and the real driver,
stream and witness are joined here without a process, a port or a wall clock, so that thousands of spoilt lines can be
judged. Each trial is one short job. `faults`: exactly one of its lines is spoilt, by one wrong byte or one lost byte.
`campaign`: a bad line in both directions, at a rate of errors.

What the controller has carried out is read from its journal of ended moves and compared with what the driver wrote.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from machine_node.families import family_of
from machine_node.grbl.driver import GrblDriver
from machine_node.line_noise import Noise
from machine_node.preparation import prepare
from machine_node.stopping import Progress
from machine_node.streaming.streamer import Streamer
from machine_node.virtual.grbl_firmware import GrblFirmware
from machine_node.virtual.journal import Journal

TICK_S = 0.005
LIMIT_S = 120.0  # four times the longest of these jobs
HELD_S = 20.0
NOTICEABLE_MM = 0.1  # the witness' tolerance
PROFILE = load_machine("grbl_mill")
Spoil = Callable[[bytes], bytes]


def program_text(strokes: int, seed: int) -> str:
    """Feed moves of many lengths and directions, some rapids, the spindle on."""
    draw = random.Random(seed)
    lines = ["G21 G90 G17 G94", "G0 Z5", "S8000 M3", "G0 X20 Y20", "G1 Z1 F600"]
    for stroke in range(strokes):
        feed, x, y = draw.choice((300, 600, 1200, 1800)), draw.uniform(5.0, 60.0), draw.uniform(5.0, 60.0)
        if stroke % 8 == 7:
            lines += ["G0 Z5", f"G0 X{x:.3f} Y{y:.3f}", "G1 Z1 F600"]
        else:
            lines.append(f"G1 X{(x + 60.0) / 6.0:.3f} Y{(y + 60.0) / 6.0:.3f} F{feed}")
    return "\n".join([*lines, "M5", "M2", ""])


class Ear(Journal):
    """Keeps the events in memory."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: dict[int, str] = {}  # as received, by the controller's count
        self.ended: list[tuple[float, int]] = []  # moves that have ended: time, count of their line

    def write(self, mono_s: float, event: str, **values: object) -> None:
        """One event."""
        if event == "rx":
            self.lines[int(str(values["number"]))] = str(values["line"])
        elif event == "move":
            self.ended.append((mono_s, int(str(values["number"]))))


class Port:
    """Joins driver and controller; `spoil` changes what is written, `spoil_answers` what is said."""

    def __init__(self, firmware: GrblFirmware) -> None:
        self.firmware, self.now = firmware, 0.0
        self.wants_write = False
        self.spoil: Spoil = bytes
        self.spoil_answers: Spoil = bytes
        self.written: list[bytes] = []

    def read(self) -> bytes:
        """What the controller has said."""
        data = self.spoil_answers(bytes(self.firmware.output))
        self.firmware.output.clear()
        return data

    def write(self, data: bytes) -> None:
        """To the controller, at once."""
        self.written.append(data)
        self.firmware.receive(self.spoil(data), self.now * self.firmware.speed)

    def drop_pending(self) -> None:
        """Nothing waits."""


@dataclass(slots=True)
class Outcome:
    """How one job ended."""

    code: str = ""  # of the named stop; OK = completed, HELD = waits for the machine's cycle start,
    # RUNAWAY = the tool is on a way that does not end
    message: str = ""
    moves: int = 0  # moves that have ended
    after_first: int = 0  # those of them after the first that was wrong by more than NOTICEABLE_MM
    modes: list[str] = field(default_factory=list)  # spindle, coolant and dwell lines that were taken otherwise
    spoilt: int = 0  # lines to the controller
    altered: list[str] = field(default_factory=list)  # moves that were carried out otherwise than sent: "sent -> taken"


class Job:
    """One job at one mill that stands at the work zero."""

    def __init__(
        self, strokes: int, seed: int, witness: bool = True, numbered: bool = True, speed: float = 1.0
    ) -> None:
        self.ear = Ear()
        self.speed = speed
        self.firmware = GrblFirmware(PROFILE, speed, seed, self.ear, lambda t: t)
        self.firmware.eeprom.values[22] = 0
        self.firmware.power_on(0.0)
        self.firmware.motion.set_position(self.firmware.program.work_offset_m())
        self.port = Port(self.firmware)
        self.family = family_of(PROFILE)
        self.driver = GrblDriver(self.port, PROFILE, speed, 0.0)
        program = read_gcode(program_text(strokes, seed).encode(), "noisy.ngc", "rs274")
        self.streamer: Streamer = prepare(program, program.digest, PROFILE, speed, "noisy", lambda _: None).streamer
        if not witness:
            self.streamer.witness.judge = lambda *_: None  # type: ignore[method-assign]
        while not self.driver.ready:
            self._tick()
        self.streamer.planner_free_idle = self.driver.planner_free_idle
        self.driver._connection.numbered &= numbered  # as of a GRBL that was built without line numbers: no N, no Ln

    def _tick(self) -> list[object]:
        self.port.now += TICK_S
        self.firmware.step(self.port.now * self.speed)
        return list(self.driver.poll(self.port.now))

    def run(self) -> Outcome:
        """To its end or its named stop."""
        outcome = Outcome()
        try:
            outcome.code = self._stream()
        except MachineError as error:
            outcome.code, outcome.message = ErrorCode(error.code).name, error.message
            self._stop()
        self._compare(outcome)
        return outcome

    def _stream(self) -> str:
        finishing, held_s = False, 0.0
        while not (finishing and self.driver.settled):
            events, now = self._tick(), self.port.now
            for event in events:
                self.streamer.follow(event, False, now)
            if self.streamer.witness.doubts:
                self.driver.look_again()
            while (piece := self.streamer.peek(now)) is not None:
                if piece.text and not self.driver.can_send(piece.text):
                    break
                line = self.driver.send(piece.text, now) if piece.text else 0
                self.streamer.take(line, now, 1.0)
            if self.streamer.all_sent and not finishing:
                finishing = True
                self.driver.finish()
            held_s = held_s + TICK_S if self.driver.status.state == "Hold" else 0.0
            if held_s > HELD_S:  # a byte has become a feed hold: the job waits for the machine's cycle start
                return "HELD"
            if now > LIMIT_S:
                return "RUNAWAY"
        return "OK"

    def _stop(self) -> None:
        """The controlled stop, over a line that is good again."""
        self.port.spoil = self.port.spoil_answers = bytes
        procedure = self.family.begin_stop(self.driver, self.streamer, False, self.port.now)
        while procedure is not None and procedure.step(self.port.now) is Progress.RUNNING:
            try:
                self._tick()
            except MachineError:
                return

    def _compare(self, outcome: Outcome) -> None:
        """Moves that have ended, and those that were not what was sent next; lines that set a mode, the same."""
        sent = [line for data in self.port.written for line in data.decode("latin-1").split("\n") if is_move(line)]
        taken = [self.ear.lines[number] for _, number in self.ear.ended if is_move(self.ear.lines.get(number, ""))]
        wrong, at, first = [], 0, len(taken)
        for index, line in enumerate(taken):
            ahead = next((index for index in range(at, len(sent)) if words(sent[index]) == words(line)), None)
            if at < len(sent) and words(sent[at]) != words(line):
                wrong.append(f"{sent[at]} -> {line}")
                first = min(first, index) if wrong_by_mm(wrong[-1]) > NOTICEABLE_MM else first
                at = at + 1 if ahead is None else ahead + 1
            else:
                at += 1
        outcome.moves, outcome.altered, outcome.after_first = len(taken), wrong, max(0, len(taken) - first - 1)
        self._compare_modes(outcome)

    def _compare_modes(self, outcome: Outcome) -> None:
        """The lines that move nothing, of a job that was received to its end."""
        if outcome.code == "OK":
            sent = [line for data in self.port.written for line in data.decode("latin-1").split("\n") if is_mode(line)]
            taken = [line for line in self.ear.lines.values() if is_mode(line)]
            pairs = zip(map(bare, sent), map(bare, taken), strict=False)
            outcome.modes = [f"{one} -> {two}" for one, two in pairs if one != two]


def is_move(line: str) -> bool:
    """A motion line; those that are altered out of all recognition are none, and are missed in the sequence."""
    return re.search(r"[XYZ]", line, re.IGNORECASE) is not None and "$" not in line


def is_mode(line: str) -> bool:
    """Spindle, coolant, dwell: a line that moves nothing and sets something."""
    return not is_move(line) and re.search(r"[GMSTF]\d", line, re.IGNORECASE) is not None and "$" not in line


def bare(line: str) -> str:
    """A line without its number and blanks."""
    return re.sub(r"^N\d+|\s", "", line)


def words(line: str) -> dict[str, float]:
    """The words of a line but its number."""
    found = re.findall(r"([A-Z])([-+]?[\d.]*)", line.upper())
    return {letter: float(value) if value.strip("+-.") else 0.0 for letter, value in found if letter != "N"}


# --- exactly one spoilt line a job ---


class OneFault:
    """Spoils the line with this count after the job's beginning: one byte becomes another, or is lost."""

    def __init__(self, at: int, seed: int) -> None:
        self._left, self._draw = at, random.Random(seed)
        self.story = ""

    def __call__(self, data: bytes) -> bytes:
        """What arrives."""
        if not data.endswith(b"\n"):
            return data
        self._left -= 1
        if self._left != 0:
            return data
        out = bytearray(data)
        place = self._draw.randrange(len(out))
        if self._draw.random() < 0.5:
            out[place] ^= 1 << self._draw.randrange(8)
        else:
            del out[place]
        self.story = f"{data!r} -> {bytes(out)!r}"
        return bytes(out)


def fault(seed: int, witness: bool = True, numbered: bool = True, strokes: int = 6) -> tuple[str, str, Outcome]:
    """(what became of one spoilt line, its story, the job's outcome)."""
    job = Job(strokes, seed, witness, numbered)
    spoil = OneFault(random.Random(seed).randrange(6, 60), seed)
    job.port.spoil = spoil
    outcome = job.run()
    if not spoil.story:
        return "not reached", "", outcome
    ends = {"CONTROLLER_ERROR": "refused", "HELD": "held", "RUNAWAY": "runaway"}
    if outcome.code != "OK":
        return ends.get(outcome.code, "noticed"), spoil.story, outcome
    return ("silent" if outcome.altered else "harmless"), spoil.story, outcome


# --- a bad line ---


def campaign(seed: int, garble: float, lose: float, strokes: int = 40, speed: float = 1.0) -> Outcome:
    """One job over a bad line in both directions."""
    job = Job(strokes, seed, speed=speed)
    down, up = Noise(garble, lose, 2 * seed), Noise(garble, lose, 2 * seed + 1)
    spoilt: list[bytes] = []
    down.on_spoilt = lambda before, _: spoilt.append(before)
    job.port.spoil, job.port.spoil_answers = down.pass_through, up.pass_through
    outcome = job.run()
    outcome.spoilt = len(spoilt)
    return outcome


def wrong_by_mm(altered: str) -> float:
    """How far from its place an altered move ended; 0 = another feed, or a rapid for a feed."""
    sent, taken = (words(text) for text in altered.split(" -> "))
    return max((abs(sent[axis] - taken.get(axis, sent[axis])) for axis in "XYZ" if axis in sent), default=0.0)


def report(trials: int, first_seed: int) -> Iterator[dict]:
    """One object a table row."""
    for witness, numbered in ((True, True), (True, False), (False, True)):
        faults = [fault(seed, witness, numbered) for seed in range(first_seed, first_seed + trials)]
        off_mm = [max(map(wrong_by_mm, outcome.altered)) for what, _, outcome in faults if what == "silent"]
        yield {
            "one spoilt line a job": dict(Counter(what for what, _, _ in faults)), "witness": witness,
            "line numbers": numbered,
            "silent by more than 0.1 mm": sum(value > 0.1 for value in off_mm),
            "silent by more than 1 mm": sum(value > 1.0 for value in off_mm),
            "largest silent [mm]": round(max(off_mm, default=0.0), 3),
        }  # fmt: skip
    rates = ((1e-2, 1e-3, 1.0), (1e-2, 1e-3, 20.0), (1e-3, 1e-4, 1.0), (1e-4, 1e-5, 1.0), (1e-5, 1e-6, 1.0))
    for garble, lose, speed in rates:
        seeds = range(first_seed, first_seed + max(1, trials // 20))
        outcomes = [campaign(seed, garble, lose, speed=speed) for seed in seeds]
        complete = [outcome for outcome in outcomes if outcome.code == "OK"]
        off_mm = [wrong_by_mm(move) for outcome in outcomes for move in outcome.altered]
        yield {
            "garble": garble, "lose": lose, "speed": speed, "jobs": len(outcomes),
            "codes": dict(Counter(o.code for o in outcomes)),
            "moves": sum(o.moves for o in outcomes), "spoilt lines": sum(o.spoilt for o in outcomes),
            "altered moves": sum(len(o.altered) for o in outcomes),
            "completed with an altered move": sum(bool(o.altered) for o in complete),
            "jobs with a deviation": sum(bool(o.altered) for o in outcomes),
            "moves wrong by more than 0.1 mm": sum(off > NOTICEABLE_MM for off in off_mm),
            "most moves after the first of these": max(o.after_first for o in outcomes),
            "largest [mm]": max(off_mm, default=0.0),
            "completed with an altered mode": sum(bool(o.modes) for o in complete),
            "largest of those [mm]": max((wrong_by_mm(a) for o in complete for a in o.altered), default=0.0),
        }  # fmt: skip


def main() -> int:
    """Prints one JSON object a row; exit status 0."""
    parser = argparse.ArgumentParser(prog="noisy_mill", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="jobs with one spoilt line (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first job (%(default)s)")
    options = parser.parse_args()
    for row in report(options.trials, options.seed):
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
