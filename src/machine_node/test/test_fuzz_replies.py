"""Whatever a controller says, in whatever order and at whatever time: a driver fails with MachineError or goes on."""

import random
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import MachineError
from industriverse_core.machine import load_machine
from machine_node.grbl.driver import GrblDriver
from machine_node.grbl.stopping import GrblStop
from machine_node.line_noise import Noise
from machine_node.marlin.driver import LONGEST_POLL_BYTES
from machine_node.streaming.events import Broken

sys.path.insert(0, str(Path(__file__).parent))
from boards import Script, Session

PLAIN = "Cap:AUTOREPORT_TEMP:1\nCap:EMERGENCY_PARSER:1\n"
REPLIES = [
    "ok", "ok N12 P15 B3", "ok N13 P0 B0", "ok N99999999", "ok P1", "Resend: 12", "Resend: 0", "Resend: 999999999",
    "rs 12", "Error:checksum mismatch, Last Line: 11", "Error:Line Number is not Last Line Number+1, Last Line: 12",
    "Error:No Checksum with line number, Last Line: 99", "echo:busy: processing", "echo:busy: paused for user",
    " T:200.0 /210.0 B:60.0 /60.0 @:64 B@:127", "X:1.00 Y:2.00 Z:3.00 E:0.00 Count X:80 Y:160 Z:1200", "wait",
    "echo:Unknown command: \"G5\"", "Cap:EEPROM:1", "FIRMWARE_NAME:Marlin", "//action:paused", "", "\x00\x00", "T:nan",
    "T:1e999 /1e999", "ok T:99999999999999", "start ", "!", "Error", "Resend:", "ok N", "\xff\xfe",
]  # fmt: skip
ENDS = ["start", "Error:Printer halted. kill() called!", "!! failed", "Error:MINTEMP triggered"]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(REPLIES)),
        st.tuples(st.just("bytes"), st.binary(max_size=40)),
        st.tuples(st.just("send"), st.sampled_from(["G1 X1", "G28", "M109 S200", "G4", "G1 X100.123 Y100.123"])),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.06, 0.5, 2.6, 31.0])),
        st.tuples(st.just("stop"), st.sampled_from(["", "M410", "M108"])),
        st.tuples(st.just("full"), st.booleans()),
        st.tuples(st.just("end"), st.sampled_from(ENDS)),
    ),
    max_size=60,
)


def play(session, kind, what):
    driver = session.driver
    if kind == "say":
        session.port.incoming += what.encode("latin-1") + b"\n"
    elif kind == "bytes":
        session.port.incoming += what
    elif kind == "send" and driver.can_send(what):
        driver.send(what, session.now)
    elif kind == "wait":
        session.now += what
    elif kind == "stop" and driver.ready:
        driver.stop("M104 S0", "G4", now=session.now, urgent=what)
    elif kind == "full":
        session.port.wants_write = what
    elif kind == "end":
        session.port.incoming += what.encode() + b"\n"
    session.now += 0.005
    driver.poll(session.now)


@given(steps, st.booleans(), st.integers(32, 4096))
def test_no_reply_crashes_a_marlin_driver(script, connected, buffer):
    session = Session(buffer)
    if connected:
        session.connect(PLAIN)
    failure = None
    for kind, what in script:
        try:
            play(session, kind, what)
        except MachineError as error:
            failure = error
            break
    if failure is not None:
        assert str(failure)
        assert "\n" not in str(failure)
        return
    connection = session.driver._connection
    lines = [line for line, _ in (*connection.unacknowledged, *connection.lost)]
    assert lines == sorted(set(lines))
    assert connection.unacknowledged_bytes == sum(len(data) for _, data in connection.unacknowledged)
    assert len(connection.lost) + len(connection.unacknowledged) < 600


MILL_REPLIES = [
    "ok", "error:2", "error:99999", "error:", "error: Bad number format", "Grbl 1.1h ['$' for help]", "$10=3", "$13=1",
    "$22=0", "$110=1e9", "$=", "[VER:1.1h.20190825:]", "[OPT:VN,15,128]", "[OPT:V,0,0]", "[OPT:,999999,9999999]",
    "[GC:G0 G54]", "[G54:-1.0,-2.0,-3.0]", "[G54:,,]", "[PRB:0,0,0:1]", "[PRB:::]", "[MSG:Check Door]",
    "[echo: G1X7F500]",
    "<Idle|MPos:0.000,0.000,0.000|Bf:15,128|FS:0,0|WCO:0.000,0.000,0.000>", "<Idle|WPos:1.0,2.0,3.0|FS:0,0>",
    "<Run|MPos:1.000,0.000,0.000|Bf:3,20|Ln:5|FS:500,8000|Ov:100,100,100>", "<Hold:0|MPos:0.5,0.0,0.0|Ov:10,25,10>",
    "<Hold:1|MPos:0.5,0.0,0.0>", "<Door:3|MPos:0.5,0.0,0.0>", "<Sleep|MPos:0.5,0.0,0.0>", "<Alarm|MPos:0.5,0.0,0.0>",
    "<Home|MPos:0.5,0.0,0.0|Ln:999999>", "<Jog|MPos:999999999,0,0>", "<Idle|Bf:|FS:|Ov:1,2>", "<Idle", ">G54:ok",
    "<>", "<|>", "", "\x00", "\xff\xfe", "start", "Error:MINTEMP triggered",
]  # fmt: skip
MILL_ENDS = ["ALARM:1", "ALARM:9", "ALARM:99", "Grbl 1.1h ['$' for help]"]
mill_steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(MILL_REPLIES)),
        st.tuples(st.just("bytes"), st.binary(max_size=40)),
        st.tuples(st.just("send"), st.sampled_from(["G1X1F500", "$H", "M0", "G4P1", "G1X100.123Y100.123F1500"])),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.11, 0.5, 1.1, 31.0])),
        st.tuples(st.just("ask"), st.sampled_from(["hold", "go_on", "kill", "finish", "power_off", "look_again"])),
        st.tuples(st.just("speed"), st.sampled_from([1.0, 0.5, 0.01])),
        st.tuples(st.just("stop"), st.none()),
        st.tuples(st.just("full"), st.booleans()),
        st.tuples(st.just("end"), st.sampled_from(MILL_ENDS)),
    ),
    max_size=60,
)


class MillSession:
    """A GRBL driver, its script, a clock, and a stop when there is one."""

    def __init__(self, connected):
        self.port, self.now, self.stop = Script(), 0.0, None
        self.driver = GrblDriver(self.port, load_machine("grbl_mill"), 1.0, self.now)
        if connected:
            self.poll(MILL_REPLIES[5])
            for answer in ("[OPT:VN,15,128]", "$10=3", MILL_REPLIES[16], "[GC:G0 G54]"):
                self.poll(answer + "\nok")
            self.poll(MILL_REPLIES[22])
            assert self.driver.ready

    def poll(self, text=""):
        self.now += 0.005
        self.port.incoming += text.encode("latin-1") + b"\n" * bool(text)
        self.driver.poll(self.now)

    def play(self, kind, what):
        driver = self.driver
        if kind == "send" and driver.can_send(what):
            driver.send(what, self.now)
        elif kind == "bytes":
            self.port.incoming += what
        elif kind == "wait":
            self.now += what
        elif kind == "ask":
            getattr(driver, what)(*([self.now] if what in ("hold", "go_on") else []))
        elif kind == "speed":
            driver.set_speed(what, self.now)
        elif kind == "stop" and driver.ready:
            self.stop = self.stop or GrblStop(driver, Dropped(), self.now)
        elif kind == "full":
            self.port.wants_write = what
        self.poll(what if kind in ("say", "end") else "")
        if self.stop is not None:
            self.stop.step(self.now)


class Dropped:
    """What a stop needs of a streamer."""

    def drop(self):
        """Nothing is held here."""


@given(mill_steps, st.booleans())
def test_no_reply_crashes_a_grbl_driver(script, connected):
    session, failure = MillSession(connected), None
    for kind, what in script:
        try:
            session.play(kind, what)
        except MachineError as error:
            failure = error
            break
    if failure is not None:
        assert str(failure)
        assert "\n" not in str(failure)
        return
    connection = session.driver._connection
    assert connection.unanswered_bytes == sum(len(data) for _, data in connection.unanswered)
    assert len(session.driver._events) == 0


class TrueBoard:
    """Takes lines by Marlin's rule and remembers what it has taken; its answers go through a bad line."""

    def __init__(self, numbered_oks):
        self.last, self.taken, self.out, self.partial, self.numbered = 0, [], b"", b"", numbered_oks

    def say(self, text):
        self.out += text.encode() + b"\n"

    def receive(self, data):
        *lines, self.partial = (self.partial + data).split(b"\n")
        for line in lines:
            if line.strip():
                self.take(line)

    def take(self, line):
        body, star, tail = line.rpartition(b"*")
        checksum = 0
        for byte in body:
            checksum ^= byte
        words = body.split(b" ", 1)
        if not star and not line.startswith(b"N"):
            self.say("ok")
        elif not star:
            self.complain("No Checksum with line number")
        elif not line.startswith(b"N") or not words[0][1:].isdigit() or len(words) < 2:
            self.complain("No Line Number with checksum")
        elif int(words[0][1:]) != self.last + 1 and b"M110" not in body:
            self.complain("Line Number is not Last Line Number+1")
        elif tail.strip() != str(checksum).encode():
            self.complain("checksum mismatch")
        else:
            self.last = int(words[0][1:])
            self.taken.append(words[1].decode("latin-1"))
            self.say(f"ok N{self.last} P15 B3" if self.numbered else "ok")

    def complain(self, what):
        self.say(f"Error:{what}, Last Line: {self.last}")
        self.say(f"Resend: {self.last + 1}")
        self.say("ok")


@pytest.mark.parametrize("numbered_oks", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_every_line_arrives_once_and_in_order_over_a_bad_line(numbered_oks, seed):
    """Single wrong bytes and no others, so that every harm can be detected: 4 % of the lines, in both directions."""
    session, board = Session(), TrueBoard(numbered_oks)
    down, up = Noise(0.04, 0.0, seed), Noise(0.04, 0.0, seed + 1000)
    wanted = [f"G1 X{n}.25" for n in range(400)]
    todo, draw = list(wanted), random.Random(seed)
    for _ in range(60_000):
        session.now += draw.choice((0.002, 0.02))
        session.driver.poll(session.now)
        if todo and session.driver.can_send(todo[0]):
            session.driver.send(todo.pop(0), session.now)
        board.receive(down.pass_through(session.port.written))
        session.port.written = b""
        session.port.incoming += up.pass_through(board.out)
        board.out = b""
        if not todo and session.driver.settled:
            break
    moves = [command for command in board.taken if command.startswith("G1 X")]
    assert session.driver.settled
    assert moves == wanted
    assert session.driver.resends > 5


class EchoBoard(TrueBoard):
    """Says each line before it carries it out, while M111 S1 is on."""

    def __init__(self):
        super().__init__(True)
        self.echo = False

    def take(self, line):
        before, said = len(self.taken), len(self.out)
        super().take(line)
        if len(self.taken) == before:
            return
        if self.echo:
            self.out = self.out[:said] + b"echo:" + line.strip() + b"\n" + self.out[said:]
        self.echo = {"M111 S1": True, "M111 S0": False}.get(self.taken[-1], self.echo)


def over_a_bad_line(seed, moves=1500):
    """(what stopped the job or None, the moves as taken, as wanted): 1 % garbled lines, 0.1 % lost bytes, both ways."""
    session, board, draw = Session(256), EchoBoard(), random.Random(seed)
    down, up = Noise(0.01, 0.001, seed), Noise(0.01, 0.001, seed + 9999)
    wanted = [f"G1 {'XY'[n % 2]}{draw.uniform(10, 99):.3f} E{draw.uniform(0.03, 0.5):.5f}" for n in range(moves)]
    todo, stop = list(wanted), None
    for _ in range(60_000):
        session.now += draw.choice((0.002, 0.02))
        stop = next((event.error for event in session.driver.poll(session.now) if isinstance(event, Broken)), None)
        if stop is not None or (not todo and session.driver.settled):
            break
        if todo and session.driver.can_send(todo[0]):
            session.driver.send(todo.pop(0), session.now)
        board.receive(down.pass_through(session.port.written))
        session.port.written = b""
        session.port.incoming += up.pass_through(board.out)
        board.out = b""
    return stop, [command for command in board.taken if command.startswith("G1")], wanted


@pytest.mark.parametrize("seed", [72, 198])  # in each of them one line is altered and keeps its checksum
def test_a_line_that_is_altered_behind_its_checksum_is_noticed(seed):
    stop, taken, wanted = over_a_bad_line(seed)
    assert taken != wanted[: len(taken)]
    assert stop is not None
    assert "instead of" in str(stop)


def test_the_same_job_without_an_altered_line_is_whole():
    stop, taken, wanted = over_a_bad_line(0)
    assert stop is None
    assert [command.replace(" ", "") for command in taken] == [command.replace(" ", "") for command in wanted]


def test_a_device_that_never_stops_talking_costs_no_memory():
    session = Session().connect(PLAIN)
    tracemalloc.start()
    for _ in range(200):
        session.port.incoming += b"x" * (LONGEST_POLL_BYTES // 4)
        session.driver.poll(session.now)
        session.now += 0.01
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
