"""Golden transcripts: conversations with controllers, expected failures included (transcripts/README.md)."""

import inspect
import re
import sys
from pathlib import Path

import pytest

from industriverse_core.errors import MachineError
from industriverse_core.machine import load_machine
from machine_node.grbl.driver import GrblDriver
from machine_node.marlin.driver import MarlinDriver
from machine_node.marlin.protocol import numbered
from machine_node.streaming.events import Broken

sys.path.insert(0, str(Path(__file__).parent))
from boards import Script

FOLDER = Path(__file__).parent / "transcripts"
FILES = sorted(f"{path.parent.name}/{path.name}" for path in FOLDER.glob("*/*.txt"))
REAL_TIME = re.compile(rb"[!~\x18\x84\x85\x90-\x9f]")  # GRBL's; its report requests are no part of a transcript


class Player:
    """Plays one transcript against a driver of the family whose folder it lies in."""

    def __init__(self, family):
        self.family, self.now, self.port = family, 0.0, Script()
        if family == "marlin":
            self.driver = MarlinDriver(self.port, 128, self.now)
        else:
            self.driver = GrblDriver(self.port, load_machine("grbl_mill"), 1.0, self.now)
        self.incoming = ""
        self.sent = []
        self.failure = None
        self.broken = []  # what the driver told the stream that cannot go on
        self.place = ""

    def poll(self, after_s=0.0):
        """Let the driver see what has come, and collect what it sends."""
        try:
            for text, wait_s in ((self.incoming, after_s), ("", 0.0)):
                self.now += wait_s
                self.port.incoming += text.encode("latin-1")
                told = self.driver.poll(self.now)
                self.broken += [event.error for event in told if isinstance(event, Broken)]
        except MachineError as error:
            self.failure = error
        self.incoming = ""
        data, self.port.written = self.port.written, b""
        if self.family == "grbl":
            data = REAL_TIME.sub(lambda found: b"\n" + real_time_name(found[0]) + b"\n", data.replace(b"?", b""))
        self.sent += [line for line in data.split(b"\n") if line]

    def play(self, name):
        for number, line in enumerate((FOLDER / self.family / name).read_text().splitlines(), 1):
            self.place = f"{name}:{number}: {line}"
            kind, _, rest = line.partition(" ")
            if line and kind != "#":
                self.step(kind, rest)

    def step(self, kind, rest):
        if kind != "<" and self.incoming:
            self.poll()
        assert self.failure is None or kind in "!>", f"{self.place}: {self.failure}"
        if kind == "include":
            self.play(rest)
        elif kind == "<":
            self.incoming += re.sub(r"\\x(..)", lambda found: chr(int(found[1], 16)), rest) + "\n"
        elif kind == "@":
            self.poll(float(rest))
        elif kind == "=":
            assert self.driver.can_send(rest), self.place
            self.driver.send(rest, self.now)
            self.poll()
        elif kind == "do":
            self.do(rest)
        elif kind == "/":
            assert not self.driver.can_send(rest), self.place
        elif kind == ">":
            self.expect(rest)
        elif kind == "?":
            self.check(*rest.split(" ", 1))
        elif kind in ("!", "%"):
            self.fail(kind, *rest.split(" ", 1))
        else:
            pytest.fail(f"{self.place}: no such word")

    def do(self, name):
        """A verb of the driver; those that need the time get it."""
        verb = getattr(self.driver, name)
        verb(*([self.now] if "now" in inspect.signature(verb).parameters else []))
        self.poll()

    def expect(self, text):
        if not self.sent:
            self.poll()
        wanted = text.encode()
        if self.family == "marlin" and text.startswith("N"):
            number, _, command = text[1:].partition(" ")
            wanted = numbered(int(number), command).strip()
        assert self.sent, f"{self.place}: nothing was sent"
        assert self.sent.pop(0) == wanted, self.place

    def fail(self, kind, code, words=""):
        if kind == "%":
            assert self.broken, f"{self.place}: nothing is broken"
        error = self.failure if kind == "!" else self.broken.pop(0)
        assert error is not None, self.place
        assert error.code.name == code, f"{self.place}: {error.code.name} {error}"
        assert words in str(error), f"{self.place}: {error}"

    def check(self, name, value):
        found = self.driver
        for part in name.split("."):
            found = getattr(found, part)
        seen = f"{found:g}" if isinstance(found, float) else str(found)
        wanted = f"{float(value):g}" if isinstance(found, float) else value
        assert seen == wanted, f"{self.place}: it is {seen}"


def real_time_name(byte):
    """As it is written in transcripts."""
    return byte if byte in b"!~" else b"0x%02x" % byte[0]


@pytest.mark.parametrize("name", FILES)
def test_transcript(name):
    family, file = name.split("/")
    player = Player(family)
    player.play(file)
    if player.failure is None:
        player.step("?", "ready True")
    assert not player.sent, f"{name}: sent in the end: {player.sent}"
    assert not player.broken, f"{name}: not expected: {player.broken}"


@pytest.mark.parametrize(("family", "files", "failures"), [("marlin", 30, 8), ("grbl", 25, 8)])
def test_there_are_failures_among_them(family, files, failures):
    texts = [(FOLDER / name).read_text() for name in FILES if name.startswith(family)]
    assert len(texts) >= files
    assert sum("\n! " in text or "\n% " in text for text in texts) >= failures


@pytest.mark.parametrize(
    ("name", "included", "changes"),
    [
        (
            "marlin/ok_lost_plain.txt",
            "connect_2_0_plain.txt",
            [("> N12 G4\n", ""), ("N12 G4", "N12 G5"), ("settled True", "settled False"), ("@ 2.6", "@ 2.4")],
        ),
        (
            "grbl/refused_line.txt",
            "connect_1_1.txt",
            [("% CONTROLLER_ERROR", "% PROTOCOL"), ("> G1X1F500\n", ""), ("error:2", "ok"), ("% CON", "! CON")],
        ),
    ],
)
def test_the_player_sees_what_is_wrong(tmp_path, monkeypatch, name, included, changes):
    """Each kind of deviation of the driver from a transcript is a failed test."""
    family = name.split("/")[0]
    good, connect = (FOLDER / name).read_text(), (FOLDER / family / included).read_text()
    monkeypatch.setattr(sys.modules[__name__], "FOLDER", tmp_path)
    (tmp_path / family).mkdir()
    (tmp_path / family / included).write_text(connect)
    for old, new in changes:
        assert old in good
        (tmp_path / family / "changed.txt").write_text(good.replace(old, new))
        with pytest.raises(AssertionError):
            test_transcript(f"{family}/changed.txt")
