"""The body's thread without a network: the newest sample counts, what it makes is handed over, and bugs are told."""

import logging
import sys
import threading
import types

import pytest

from industriverse_core.machine import Box
from industriverse_core.program import Op, build_program
from twin_node.body.follower import Follower
from twin_node.body.node import ExpectedJoints
from twin_node.timeline import build_timeline

LATE_S = 60.0  # a busy computer may be


class Node:
    """What the body wants of its node: published messages, posted calls, why it has to end."""

    def __init__(self):
        self.failure, self.messages, self.warnings = None, [], []
        self.arrived = threading.Semaphore(0)

    def create_publisher(self, *_):
        return types.SimpleNamespace(publish=self.messages.append)

    def get_logger(self):
        return types.SimpleNamespace(info=logging.info, warning=self.warnings.append)

    def post(self, call, *arguments):
        call(*arguments)
        self.arrived.release()


@pytest.fixture
def timeline(printer, pla):
    places = ((0.05, 0.05, 0.01), (0.1, 0.05, 0.01), (0.05, 0.05, 0.01))
    rows = [{"op": Op.STRAIGHT_FEED, "line": 5, "x_m": x, "y_m": y, "z_m": z, "feed_m_s": 0.05} for x, y, z in places]
    return build_timeline(build_program(rows), printer, pla)


def sample(stamp_s):
    return types.SimpleNamespace(stamp_s=stamp_s)


def test_every_sample_gives_a_message_and_a_collision_is_told(printer, timeline):
    clip = Box.model_validate({"name": "clip", "x_minimum": "70 mm", "x_maximum": "80 mm", "z_maximum": "15 mm"})
    node = Node()
    body = ExpectedJoints(node, printer.model_copy(update={"keep_out": (clip,)}))
    clocks_s = [0.5 * number for number in range(1, 9)]
    for clock_s in clocks_s:
        body.observe(sample(100.0 + clock_s), (timeline, clock_s))
        assert node.arrived.acquire(timeout=LATE_S)
    body.close()
    stamps_s = [message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec for message in node.messages]
    assert stamps_s == pytest.approx([100.0 + clock_s for clock_s in clocks_s])
    assert all(list(message.name) == [f"prusa_mk3s_{axis}" for axis in "xyz"] for message in node.messages)
    assert node.messages[0].effort[2] > 13.0, "the weight of the axis"
    assert [text.rpartition("touches ")[2] for text in node.warnings] == ["clip", "clip"]
    assert "(line 5)" in node.warnings[0]
    assert body.values()["planned_collisions"] == 2
    assert node.failure is None


def test_while_it_steps_the_newest_sample_counts(printer, timeline, monkeypatch):
    node, begun, go = Node(), threading.Event(), threading.Event()
    seen, step = [], Follower.observe

    def slow(follower, motion):
        begun.set()
        assert go.wait(LATE_S)
        seen.append(motion[1])
        return step(follower, motion)

    monkeypatch.setattr(Follower, "observe", slow)
    body = ExpectedJoints(node, printer)
    body.observe(sample(1.0), (timeline, 0.1))
    assert begun.wait(LATE_S)
    for clock_s in (0.2, 0.3, 0.4):
        body.observe(sample(1.0 + clock_s), (timeline, clock_s))
    go.set()
    for _ in range(2):
        assert node.arrived.acquire(timeout=LATE_S)
    body.close()
    assert seen == [0.1, 0.4]


def test_a_bug_in_the_thread_ends_the_process(printer, timeline, monkeypatch):
    node = Node()
    body = ExpectedJoints(node, printer)
    monkeypatch.setattr(Follower, "observe", lambda *_: 1 / 0)
    body.observe(sample(1.0), (timeline, 0.1))
    body._thread.join(LATE_S)
    assert isinstance(node.failure, ZeroDivisionError)


def test_without_mujoco_or_with_a_profile_that_cannot_be_modelled_there_is_a_notice(printer, timeline, monkeypatch):
    x = printer.kinematics.x.model_copy(update={"moving_mass": 5.0})
    heavy = printer.model_copy(update={"kinematics": printer.kinematics.model_copy(update={"x": x})})
    assert "moving_mass" in ExpectedJoints(Node(), heavy).values()["body"]
    monkeypatch.setitem(sys.modules, "mujoco", None)
    node = Node()
    body = ExpectedJoints(node, printer)
    body.observe(sample(1.0), (timeline, 0.1))
    body.close()
    assert "MuJoCo" in body.values()["body"]
    assert node.messages == []
