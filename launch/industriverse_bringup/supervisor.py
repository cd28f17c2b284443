"""Starts the processes of a cell, restarts what ends, and leaves nothing running."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from industriverse_bringup.description import Process, Value

RESPAWN_DELAY_S = 1.0
TERMINATE_S = 4.0
EXIT_BAD_INPUT = 2
_PR_SET_PDEATHSIG = 1


def command_line(item: Process, namespace: str) -> list[str]:
    """The command of a process. Strings are quoted as YAML, so that a path never becomes a number."""
    command = [sys.executable, "-m", item.module, *item.arguments]
    if item.is_node:
        command += ["--ros-args", "-r", f"__ns:=/{namespace}", "-r", f"__node:={item.name}"]
        for name, value in item.parameters.items():
            command += ["-p", f"{name}:={_yaml(value)}"]
    return command


def _yaml(value: Value) -> str:
    return json.dumps(value)


@dataclass(slots=True)
class _Child:
    item: Process
    process: subprocess.Popen[bytes] | None = None
    start_at_s: float = 0.0
    starts: int = 0
    ended_with: int | None = None


@dataclass(slots=True)
class Supervisor:
    """Children of one cell.

    Attributes:
        namespace: ROS namespace of the cell.
        log_dir: one log file a process.
        environment: of the children.
        on_event: told, as a sentence, when a child ends or is started again.
    """

    namespace: str
    log_dir: Path
    environment: Mapping[str, str]
    on_event: Callable[[str], None] = lambda text: None
    _children: list[_Child] = field(default_factory=list)

    def start(self, items: tuple[Process, ...]) -> None:
        """Start every process."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        for item in items:
            child = _Child(item)
            self._children.append(child)
            self._launch(child)

    def _launch(self, child: _Child) -> None:
        path = self.log_dir / f"{child.item.name}.log"
        if child.starts == 0 and path.exists():
            path.replace(path.with_suffix(".log.1"))  # the last run's, for whoever asks why it ended
        with path.open("ab") as log:
            child.process = subprocess.Popen(
                command_line(child.item, self.namespace),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others in order
                preexec_fn=_die_with(os.getpid()),
            )
        child.starts += 1

    def poll(self) -> None:
        """Notice what has ended; start it again after a second. Bad input (exit 2) is not tried again."""
        now_s = time.monotonic()
        for child in self._children:
            if child.process is not None:
                code = child.process.poll()
                if code is None:
                    continue
                child.process, child.ended_with, child.start_at_s = None, code, now_s + RESPAWN_DELAY_S
                self.on_event(f"{child.item.name} ended ({_how(code)}); {self._last_line(child)}")
            elif child.ended_with != EXIT_BAD_INPUT and now_s >= child.start_at_s:
                self._launch(child)
                self.on_event(f"{child.item.name} was started again")

    def hopeless(self) -> str | None:
        """The last words of an essential process that cannot be started because of bad input, or None."""
        for child in self._children:
            if child.item.essential and child.process is None and child.ended_with == EXIT_BAD_INPUT:
                return self._last_line(child)
        return None

    def pids(self) -> dict[str, int]:
        """Process ids of what runs now."""
        return {child.item.name: child.process.pid for child in self._children if child.process is not None}

    def stop(self) -> None:
        """End the machine's node, then the other nodes, then the rest; whatever does not end in time is killed."""
        nodes = [child for child in self._children if child.item.is_node]
        machine = [child for child in nodes if child.item.name == "machine"]
        others = [child for child in nodes if child not in machine]
        # the machine's node switches heaters off while its controller still answers
        for group in (machine, others, [child for child in self._children if child not in nodes]):
            for child in group:
                if child.process is not None:
                    child.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + TERMINATE_S
            for child in group:
                if child.process is not None:
                    try:
                        child.process.wait(max(0.0, deadline - time.monotonic()))
                    except subprocess.TimeoutExpired:
                        child.process.kill()
                        child.process.wait()
                    child.process = None

    def _last_line(self, child: _Child) -> str:
        text = (self.log_dir / f"{child.item.name}.log").read_text(errors="replace").strip()
        return text.splitlines()[-1][:300] if text else "it said nothing"


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"


def _die_with(parent: int) -> Callable[[], None]:
    """For the child between fork and exec: even SIGKILL of the supervisor leaves nothing running."""

    def prepare() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return prepare
