"""Controllers whose behaviour a test chooses line by line: without a port, and on a pseudo-terminal."""

import os
import pty
import re
import select
import threading
import time
import tty
from dataclasses import replace

from industriverse_core.permit import Permit, sign
from machine_node.marlin.driver import QUIET_S, MarlinDriver

KEY = b"k" * 32


class Shield:
    """Sends permits to a machine at 20 Hz from a thread, until told to stop."""

    def __init__(self, machine, digest, machine_id="prusa_mk3s", **changes):
        self.machine, self.digest, self.changes = machine, digest, changes
        self.machine_id = machine_id
        self.last_s = 0.0
        self.sending = True
        self._sequence = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def permit(self):
        self._sequence += 1
        challenge = self.machine.snapshot().challenge
        return replace(Permit(self.machine_id, 1, self._sequence, challenge, self.digest), **self.changes)

    def _run(self):
        while not self._end.wait(0.05):
            if self.sending:
                self.machine.on_permit(sign(self.permit(), KEY))
                self.last_s = time.monotonic()

    def close(self):
        self._end.set()
        self._thread.join()


class Script:
    """A transport whose other side is written by the test."""

    def __init__(self):
        self.incoming, self.written, self.dropped = b"", b"", 0
        self.wants_write = False

    def drop_pending(self):
        self.dropped += 1
        self.wants_write = False

    def read(self):
        data, self.incoming = self.incoming, b""
        return data

    def write(self, data):
        self.written += data

    def taken(self):
        """The commands written since the last call, without numbers and checksums."""
        lines, self.written = self.written.decode().splitlines(), b""
        return [line.split("*")[0].split(" ", 1)[1] if line.startswith("N") else line for line in lines if line]


class Session:
    """A driver, its script, and a clock."""

    def __init__(self, receive_buffer=128):
        self.port, self.now = Script(), 0.0
        self.driver = MarlinDriver(self.port, receive_buffer, self.now)

    def poll(self, text="", after_s=0.01):
        self.now += after_s
        self.port.incoming += text.encode()
        return self.driver.poll(self.now)

    def connect(self, capabilities="Cap:AUTOREPORT_TEMP:1\nCap:EMERGENCY_PARSER:1\n"):
        self.poll()
        self.poll("ok\n")
        self.poll(after_s=QUIET_S + 0.01)
        self.poll()
        self.poll(capabilities + "ok P15 B3\n")
        while not self.driver.ready:
            self.poll("ok P15 B3\n")
        return self


class Board(threading.Thread):
    """Answers each line with ok, except those whose command begins with one of `stuck`.

    `answers` are what M115 says before its ok.
    """

    def __init__(self, answers=("FIRMWARE_NAME:Marlin 2.1", "Cap:EMERGENCY_PARSER:1"), stuck=()):
        super().__init__(daemon=True)
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.answers, self.stuck = answers, stuck
        self.lines = []  # (time, command)
        self._busy = False
        self._end = False
        self.start()

    def commands(self):
        return [command for _, command in self.lines]

    def say(self, text):
        os.write(self.master, text.encode() + b"\n")

    def run(self):
        partial = b""
        while not self._end:
            if not select.select([self.master], [], [], 0.02)[0]:
                continue
            *lines, partial = (partial + os.read(self.master, 4096)).split(b"\n")
            for line in lines:
                if line:
                    self._take(line.decode())

    def _take(self, line):
        command = re.sub(r"^N\d+ ", "", line.split("*")[0])
        self.lines.append((time.monotonic(), command))
        self._busy = self._busy or command.startswith(tuple(self.stuck))
        if command == "M115":
            for answer in self.answers:
                self.say(answer)
        if command == "M112":
            self.say("Error:Printer halted. kill() called!")
        elif not self._busy:
            self.say("ok")

    def close(self):
        if self._end:
            return
        self._end = True
        self.join()
        os.close(self.master)
        os.close(self._slave)
