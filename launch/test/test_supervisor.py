"""The supervisor ends a cell in order and leaves nothing behind."""

import json
import os
import sys
import time

import pytest

from industriverse_bringup import supervisor as module
from industriverse_bringup.description import Process
from industriverse_bringup.supervisor import Supervisor

CHILD = """
import json, signal, sys, time
name, path = sys.argv[1], sys.argv[2]
def end(*_):
    time.sleep(0.2)
    open(path, "a").write(json.dumps([name, time.monotonic()]) + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Three children that write down when they ended; the machine's node is started last, as in a cell."""
    ends = tmp_path / "ends"
    monkeypatch.setattr(
        module, "command_line", lambda item, namespace: [sys.executable, "-c", CHILD, item.name, str(ends)]
    )
    made = Supervisor("demo", tmp_path / "log", os.environ)
    made.start(
        (
            Process("virtual_machine", "p", "e", "m", is_node=False),
            Process("shield", "p", "e", "m"),
            Process("machine", "p", "e", "m"),
        )
    )
    deadline = time.monotonic() + 20
    while not all("ready" in log.read_text() for log in (tmp_path / "log").glob("*.log")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield made, ends
    made.stop()


def test_the_machines_node_ends_first_and_the_virtual_machine_last(started):
    made, ends = started
    made.stop()
    assert [json.loads(line)[0] for line in ends.read_text().splitlines()] == ["machine", "shield", "virtual_machine"]
    assert made.pids() == {}


def test_what_ends_is_started_again_and_said(started):
    made, _ = started
    said = []
    made.on_event = said.append
    before = made.pids()["shield"]
    os.kill(before, 9)
    deadline = time.monotonic() + 20
    while made.pids().get("shield", before) == before and time.monotonic() < deadline:
        made.poll()
        time.sleep(0.05)
    assert made.pids()["shield"] != before
    assert "SIGKILL" in said[0]
    assert said[1] == "shield was started again"


def test_only_what_the_cell_cannot_do_without_is_hopeless(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "command_line", lambda item, namespace: [sys.executable, "-c", "exit(2)"])
    for essential in (False, True):
        made = Supervisor("demo", tmp_path / str(essential), os.environ)
        made.start((Process("hub", "p", "e", "m", essential=essential),))
        deadline = time.monotonic() + 20
        while made.pids() and time.monotonic() < deadline:
            made.poll()
            time.sleep(0.02)
        assert (made.hopeless() is not None) == essential
