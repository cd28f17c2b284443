"""A GRBL controller as small as the published interface allows: for tests of the driver and the worker.

It moves at constant speed without ramps. What it does not know is an error, as in GRBL.
"""

import math
import os
import pty
import re
import select
import threading
import time
import tty

WELCOME = "Grbl 1.1h ['$' for help]"
RAPID_MM_S = 33.3
WORD = re.compile(r"([A-Z])(-?[\d.]+)")
OFFSET = (-300.0, -180.0, -40.0)  # WCO: machine position of the work zero
SETTINGS = {10: 3, 11: 0.01, 13: 0, 22: 1, 32: 0, 110: 1998, 111: 1998, 112: 996, 120: 100, 121: 100, 122: 50}


class Mill:
    """The controller: `receive` bytes, `run` to a time, take `output`."""

    def __init__(self, settings=(), options="V,15,128", start=(0.0, 0.0, 0.0), homed=True, offset=OFFSET):
        self.settings = SETTINGS | dict(settings)
        self.options = options
        self.output = b""
        self.lines, self.real_time = [], []  # (time, what)
        self.position = list(start)  # work
        self.offset = list(offset)
        self.tool = 0.0  # G43.1
        self.spoil = lambda line: line  # what arrives of a line
        self.mute = False
        self.state = "Idle" if homed else "Alarm"
        self.overrides = [100, 100, 100]
        self.blocks = []  # (target, mm/s)
        self.planned = list(start)
        self.now = 0.0
        self.modes = {"system": "G54", "spindle": "M5", "coolant": "M9", "F": 0.0, "S": 0.0}
        self._line = b""
        self._dwell_until = 0.0
        self._waiting = None  # a line that waits for the motion before it
        self.pending = []  # lines that were received and not carried out
        self.reports = 0

    def say(self, text):
        self.output += text.encode() + b"\r\n"

    def power_on(self):
        self.reset(False)

    def reset(self, moving):
        if moving:
            self.say("ALARM:3")
            self.state = "Alarm"
        elif self.state != "Alarm":
            self.state = "Idle"
        self.blocks, self.pending, self._line, self._waiting = [], [], b"", None
        self.planned = list(self.position)
        self.overrides = [100, 100, 100]
        self.reports = 0
        self.say("")
        self.say(WELCOME)

    def receive(self, data, now):
        for byte in data:
            if byte in b"?!~\x18" or byte >= 0x80:
                self._real_time(byte, now)
            elif byte == 10:
                line, self._line = self.spoil(self._line.decode()), b""
                if line is not None:
                    self.lines.append((now, line))
                    self.pending.append(line)
            else:
                self._line += bytes((byte,))

    def _real_time(self, byte, now):
        self.real_time.append((now, byte))
        if byte == 0x18:
            self.reset(self.state == "Run")
        elif byte == ord("!") and self.state in ("Idle", "Run"):
            self.state = "Hold"
        elif byte == ord("~") and self.state == "Hold":
            self.state = "Idle"
        elif byte == ord("?") and not self.mute:
            self._report()
        elif byte in (0x91, 0x92, 0x93, 0x94):
            self.overrides[0] += {0x91: 10, 0x92: -10, 0x93: 1, 0x94: -1}[byte]
        elif byte in (0x95, 0x96, 0x97):
            self.overrides[1] = {0x95: 100, 0x96: 50, 0x97: 25}[byte]

    def _report(self):
        machine = ",".join(f"{a + b:.3f}" for a, b in zip(self.position, self._frame(), strict=True))
        state = "Hold:0" if self.state == "Hold" else self.state
        fields = [state, f"MPos:{machine}", f"Bf:{15 - len(self.blocks)},128", "FS:0,0"]
        if self.reports % 5 == 0:
            fields.append("WCO:" + ",".join(f"{value:.3f}" for value in self._frame()))
        fields.append("Ov:" + ",".join(map(str, self.overrides)))
        self.reports += 1
        self.say("<" + "|".join(fields) + ">")

    def _frame(self):
        return (*self.offset[:2], self.offset[2] + self.tool)

    def run(self, now):
        left, self.now = now - self.now, now
        while left > 0.0 and self.blocks and self.state in ("Idle", "Run"):
            self.state = "Run"
            target, speed = self.blocks[0]
            speed *= self.overrides[0 if speed < RAPID_MM_S else 1] / 100.0
            way = math.dist(self.position, target)
            share = 1.0 if way == 0.0 else min(1.0, speed * left / way)
            left -= way * share / speed
            self.position = [a + share * (b - a) for a, b in zip(self.position, target, strict=True)]
            if share < 1.0:
                break
            self.blocks.pop(0)
        if self.state == "Run" and not self.blocks:
            self.state = "Idle"
        while self.pending and self.state != "Hold" and self._carry_out(self.pending[0]):
            for letter, value in WORD.findall(self.pending.pop(0)):
                group = {"3": "spindle", "5": "spindle", "8": "coolant", "9": "coolant"}.get(value)
                self.modes |= {letter: float(value)} if letter in "FS" else {}
                self.modes |= {"system": letter + value} if letter == "G" and 54 <= float(value) <= 59 else {}
                self.modes |= {group: letter + value} if letter == "M" and group else {}

    def _carry_out(self, line):
        """False when it has to wait."""
        if line.startswith("$"):
            return self._system(line)
        if self.state == "Alarm":
            return self._answer("error:9")
        line = re.sub(r"^N\d+", "", line)
        words = WORD.findall(line)
        if "".join(letter + value for letter, value in words) != line:
            return self._answer("error:2")
        codes = [float(value) for letter, value in words if letter == "G"]
        values = {letter: float(value) for letter, value in words if letter != "G"}
        if len([letter for letter, _ in words if letter not in "GM"]) != len([k for k in values if k != "M"]):
            return self._answer("error:25")
        motions = [code for code in codes if code in (0.0, 1.0, 2.0, 3.0)]
        if len(motions) > 1:
            return self._answer("error:21")
        if motions:
            return self._move(motions[0], values)
        if 43.1 in codes or 49.0 in codes:
            return self._length(values.get("Z", 0.0))
        if 4.0 in codes:
            return self._dwell(values["P"])
        if "M" in values or "T" in values:
            return not self.blocks and self._answer("ok")
        return self._answer("ok" if codes else "error:20")

    def _move(self, code, values):
        if len(self.blocks) >= 15:
            return False
        if code == 1.0 and not values.get("F"):
            return self._answer("error:22")
        target = [values.get(letter, old) for letter, old in zip("XYZ", self.planned, strict=True)]
        self.planned = target
        self.blocks.append((target, RAPID_MM_S if code == 0.0 else values["F"] / 60.0))
        return self._answer("ok")

    def _length(self, tool):
        if self.blocks:
            return False
        self.position[2] += self.tool - tool
        self.tool, self.planned, self.reports = tool, list(self.position), 0
        return self._answer("ok")

    def _dwell(self, seconds):
        if self.blocks:
            return False
        if not self._waiting:
            self._waiting, self._dwell_until = True, self.now + seconds
        if self.now < self._dwell_until:
            return False
        self._waiting = None
        return self._answer("ok")

    def _system(self, line):
        if line == "$H":
            if self._waiting is None:
                self._waiting, self._dwell_until = True, self.now + 0.3
            if self.now < self._dwell_until:
                return False
            self._waiting, self.state = None, "Idle"
            self.position, self.planned = [40.0, 30.0, 20.0], [40.0, 30.0, 20.0]
        elif line == "$I":
            self.say("[VER:1.1h.20190825:]")
            self.say(f"[OPT:{self.options}]")
        elif line == "$$":
            for number, value in self.settings.items():
                self.say(f"${number}={value}")
        elif line == "$#":
            self.say("[G54:" + ",".join(f"{value:.3f}" for value in self.offset) + "]")
            self.say("[PRB:0.000,0.000,0.000:0]")
        elif line == "$G":
            m = self.modes
            self.say(
                f"[GC:G0 {m['system']} G17 G21 G90 G94 {m['spindle']} {m['coolant']} T0 F{m['F']:.0f} S{m['S']:.0f}]"
            )
        elif line.startswith("$10="):
            self.settings[10] = int(line[4:])
        else:
            return self._answer("error:3")
        return self._answer("ok")

    def _answer(self, text):
        self.say(text)
        return True

    def sent(self):
        """Lines without N words."""
        return [re.sub(r"^N\d+", "", line) for _, line in self.lines]


class MillThread(threading.Thread):
    """A mill on a pseudo-terminal."""

    def __init__(self, **options):
        super().__init__(daemon=True)
        self.mill = Mill(**options)
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._end = False
        self.mill.now = time.monotonic()
        self.mill.power_on()
        self.start()

    def run(self):
        mill = self.mill
        while not self._end:
            if select.select([self.master], [], [], 0.002)[0]:
                mill.receive(os.read(self.master, 4096), time.monotonic())
            mill.run(time.monotonic())
            out, mill.output = mill.output, b""
            os.write(self.master, out)

    def close(self):
        self._end = True
        self.join()
        os.close(self.master)
        os.close(self._slave)
