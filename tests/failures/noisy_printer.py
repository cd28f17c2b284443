"""Jobs over a bad line to a Marlin printer, in simulated time: is each move carried out once and in order?

    ./cell exec -- python -m tests.failures.noisy_printer --jobs 200

The virtual printer's controller and the real driver, stream and stop are joined here without a process, a port or a
wall clock, so that millions of lines can be judged (`noisy_line` is the same over a pseudo-terminal). Bytes pass at the
baud rate: a line arrives in parts, and what follows a refused one may arrive after the controller has emptied its
buffer. Each job is one seed of program and noise.

What the controller has carried out is read from its journal of ended moves and compared with what the stream gave the
driver, so that also a move that was taken and then dropped (M410) is seen.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from machine_node.families import family_of
from machine_node.line_noise import BITS_PER_BYTE, Noise
from machine_node.preparation import prepare
from machine_node.stopping import Progress
from machine_node.streaming.events import Broken
from machine_node.virtual.firmware import Firmware
from machine_node.virtual.journal import Journal

TICK_S = 0.005
LIMIT_S = 600.0  # ten times the longest of these jobs
STOP_LIMIT_S = 60.0
WARM = load_machine("prusa_mk3s")
assert WARM.extruder is not None
COLD = WARM.extruder.model_copy(update={"min_temperature": 0.0})  # filament moves without heating up first
PROFILE = WARM.model_copy(update={"extruder": COLD})
SHOWN = 5  # deviations that an outcome keeps


def program_text(moves: int, seed: int) -> str:
    """Short printing moves of 10 to 60 ms, of which no two ends are alike; retractions, waits, fan and a hot bed."""
    draw = random.Random(seed)
    lines = ["M140 S30", "M83", "G1 Z0.3 F720"]
    for move in range(moves):
        x, y = 60.0 + draw.uniform(0.0, 2.0) + (move % 2) * 2.0, 60.0 + draw.uniform(0.0, 2.0)
        lines.append(f"G1 X{x:.3f} Y{y:.3f} E{draw.uniform(0.03, 0.3):.5f} F{draw.choice((3600, 4800))}")
        if move % 60 == 59:
            lines += ["G1 E-0.8 F2100", "G1 E0.8 F2100", f"M106 S{draw.randrange(256)}", "G4 P20"]
    return "\n".join([*lines, "M84", ""])


class Ear(Journal):
    """Keeps in memory which moves have ended and which were dropped."""

    def __init__(self) -> None:
        super().__init__(None)
        self.moves: list[str] = []
        self.dropped = 0

    def write(self, mono_s: float, event: str, **values: object) -> None:
        """One event."""
        if event == "move":
            self.moves.append(str(values["text"]))
        elif event == "dropped":
            self.dropped += 1


class Wire:
    """One direction of the line: bytes are spoilt as they enter, and leave at the baud rate."""

    def __init__(self, noise: Noise, baud: int) -> None:
        self.noise = noise
        self._waiting = bytearray()
        self._bytes_per_tick = baud / BITS_PER_BYTE * TICK_S
        self._share = 0.0

    def enter(self, data: bytes) -> None:
        """At one end."""
        self._waiting += self.noise.pass_through(data)

    def leave(self) -> bytes:
        """What arrives in one tick: no more than a line, so that its receiver can answer before the next byte."""
        self._share = min(self._share + self._bytes_per_tick, self._bytes_per_tick + 1.0)
        count = min(len(self._waiting), int(self._share), (self._waiting.find(b"\n") + 1) or sys.maxsize)
        self._share -= count
        data = bytes(self._waiting[:count])
        del self._waiting[:count]
        return data


class Port:
    """The driver's end of the line."""

    def __init__(self, down: Wire) -> None:
        self._down, self.incoming = down, b""
        self.wants_write = False

    def read(self) -> bytes:
        """What has arrived."""
        data, self.incoming = self.incoming, b""
        return data

    def write(self, data: bytes) -> None:
        """Onto the line."""
        self._down.enter(data)

    def drop_pending(self) -> None:
        """Nothing waits in the port."""


@dataclass(slots=True)
class Outcome:
    """How one job ended.

    Attributes:
        code: of the named stop; OK = completed.
        stopped: how the stop ended: the Progress, or the name of the failure that ended it; "" = none.
        heating: a heater had a target after a stop that says that it was carried out.
        moves: moves that have ended.
        deviations: moves that were carried out otherwise than they were written.
        after_first: moves that ended after the first deviation.
        altered: lines that reached the controller as other lines with a good checksum.
    """

    code: str = ""
    message: str = ""
    stopped: str = ""
    heating: bool = False
    moves: int = 0
    deviations: list[str] = field(default_factory=list)
    after_first: int = 0
    altered: int = 0
    resends: int = 0
    echoes_missed: int = 0

    @property
    def silent(self) -> bool:
        """A deviation in a job that says that it is complete."""
        return self.code == "OK" and bool(self.deviations)


class Job:
    """One job at one printer.

    Args:
        moves: of the program.
        seed: of program, machine and noise.
        garble, lose: see Noise; both directions, from the first move on.
        stop_at: after so many moves the operator stops the job; 0 = never.
    """

    def __init__(self, moves: int, seed: int, garble: float, lose: float, stop_at: int = 0, baud: int = 115200) -> None:
        self.ear = Ear()
        self.firmware = Firmware(PROFILE, 1.0, seed, self.ear, lambda t: t)
        self.firmware.power_on(0.0)
        self.now, self._stop_at = 0.0, stop_at
        self._noises = Noise(garble, lose, 2 * seed), Noise(garble, lose, 2 * seed + 1)
        self._noises[0].on_spoilt = self._on_spoilt
        self._wires = Wire(Noise(0.0, 0.0, 0), baud), Wire(Noise(0.0, 0.0, 0), baud)
        self._altered = 0
        self.port = Port(self._wires[0])
        self.family = family_of(PROFILE)
        self.driver = self.family.connect(self.port, PROFILE, 1.0, 0.0)
        program = read_gcode(program_text(moves, seed).encode(), "noisy.gcode", "marlin")
        self.streamer = prepare(program, program.digest, PROFILE, 1.0, "noisy", lambda _: None).streamer
        while not self.driver.ready:
            self._tick()
        self.streamer.planner_free_idle = self.driver.planner_free_idle
        self.sent: list[str] = []

    def _on_spoilt(self, before: bytes, after: bytes) -> None:
        body, star, check = after.strip().rpartition(b"*")
        whole = bool(star) and check.isdigit() and int(check) == _xor(body)
        self._altered += whole and after.replace(b" ", b"").strip() != before.replace(b" ", b"").strip()

    def _tick(self) -> list[object]:
        self.now += TICK_S
        down, up = self._wires
        self.firmware.receive(down.leave(), self.now)
        self.firmware.step(self.now)
        up.enter(bytes(self.firmware.output))
        self.firmware.output.clear()
        self.port.incoming += up.leave()
        return list(self.driver.poll(self.now))

    def run(self) -> Outcome:
        """To its end or its named stop."""
        for wire, noise in zip(self._wires, self._noises, strict=True):
            wire.noise = noise
        outcome = Outcome()
        try:
            outcome.code = self._stream()
        except MachineError as error:
            outcome.code, outcome.message = ErrorCode(error.code).name, error.message
        if outcome.code != "OK":
            outcome.stopped = self._stop()
            outcome.heating = outcome.stopped == "DONE" and self.firmware.plant.bed.target_c > 0.0
        outcome.moves, outcome.altered = len(self.ear.moves), self._altered
        outcome.resends, outcome.echoes_missed = self.driver.resends, self.driver.echoes.missed
        self._compare(outcome)
        return outcome

    def _stream(self) -> str:
        finishing = False
        while not (finishing and self.driver.settled):
            for event in self._tick():
                self.streamer.follow(event, False, self.now)
            self.streamer.advance(self.now)
            while (piece := self.streamer.peek(self.now)) is not None:
                if piece.text and not self.driver.can_send(piece.text):
                    break
                line = self.driver.send(piece.text, self.now) if piece.text else 0
                self.streamer.take(line, self.now, 1.0)
                if piece.text.startswith(("G0", "G1")):
                    self.sent.append(piece.text)
            if self.streamer.all_sent and not finishing:
                finishing = True
                self.driver.finish()
            if self._stop_at and len(self.ear.moves) >= self._stop_at:
                return "CANCELLED"
            if self.now > LIMIT_S:
                return "ENDLESS"
        return "OK"

    def _stop(self) -> str:
        """The controlled stop, over the same line; where it fails, the controller is halted (not part of this)."""
        try:
            procedure = self.family.begin_stop(self.driver, self.streamer, False, self.now)
            assert procedure is not None
            end = self.now + STOP_LIMIT_S
            while (progress := procedure.step(self.now)) is Progress.RUNNING and self.now < end:
                for event in self._tick():
                    if not isinstance(event, Broken):
                        self.streamer.follow(event, True, self.now)
            return progress.name
        except MachineError as error:
            return ErrorCode(error.code).name

    def _compare(self, outcome: Outcome) -> None:
        """Each sent move in order; a stop may leave out the last ones."""
        sent, at = [_bare(text) for text in self.sent], 0
        for text in map(_bare, self.ear.moves):
            if at < len(sent) and sent[at] == text:
                at += 1
                outcome.after_first += bool(outcome.deviations)
                continue
            if len(outcome.deviations) < SHOWN:
                outcome.deviations.append(f"move {at}: {sent[at] if at < len(sent) else 'none'} -> {text}")
            # a doubled move is one of the last ones; else it stands for the next one or some were skipped
            if text not in sent[max(0, at - 30) : at]:
                ahead = sent[at : at + 60].index(text) if text in sent[at : at + 60] else 0
                at += ahead + 1
        if outcome.code == "OK" and at < len(sent):
            outcome.deviations.append(f"the last {len(sent) - at} moves are missing")


def _bare(text: str) -> str:
    return text.replace(" ", "")


def _xor(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
    return value


def report(jobs: int, first_seed: int, moves: int, garble: float, lose: float, stops: bool) -> Iterator[dict]:
    """Every job with a deviation or an unexpected end, and at last the sums."""
    codes: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + jobs):
        stop_at = random.Random(seed).randrange(5, moves) if stops else 0
        outcome = Job(moves, seed, garble, lose, stop_at).run()
        codes[outcome.code] += 1
        ends[outcome.stopped] += 1
        sums["moves"] += outcome.moves
        sums["altered lines"] += outcome.altered
        sums["lines sent again"] += outcome.resends
        sums["echoes missed"] += outcome.echoes_missed
        sums["jobs with a deviation"] += bool(outcome.deviations)
        sums["silent"] += outcome.silent
        sums["stopped though in order"] += outcome.code == "PROTOCOL" and not outcome.altered
        sums["heating after the stop"] += outcome.heating
        if outcome.deviations or outcome.heating or outcome.code == "ENDLESS":
            yield {
                "seed": seed, "code": outcome.code, "message": outcome.message, "deviations": outcome.deviations,
                "after_first": outcome.after_first, "altered": outcome.altered, "stopped": outcome.stopped,
                "heating": outcome.heating,
            }  # fmt: skip
    yield {"jobs": jobs, "codes": dict(codes), "stops": dict(ends), **sums}


def main() -> int:
    """Prints one JSON object a remarkable job, and the sums; exit status 0."""
    parser = argparse.ArgumentParser(prog="noisy_printer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--moves", type=int, default=1500, help="of each job (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first job (%(default)s)")
    parser.add_argument("--garble", type=float, default=0.01, help="share of garbled lines (%(default)s)")
    parser.add_argument("--lose", type=float, default=0.001, help="share of lost bytes (%(default)s)")
    parser.add_argument("--stops", action="store_true", help="stop each job at a moment drawn from its seed")
    options = parser.parse_args()
    rows = report(options.jobs, options.seed, options.moves, options.garble, options.lose, options.stops)
    for row in rows:
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
