"""Recorded Decisions are made again from the messages that they name; what differs is named."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("industriverse_msgs.msg")

from rclpy.serialization import serialize_message

import industriverse_msgs.msg as im
from industriverse_cli.bags import definitions
from industriverse_cli.bags.model import Attachment, BagMessage, OfferedQos, Topic
from industriverse_cli.bags.reader import Bag
from industriverse_cli.bags.verdicts import decide
from industriverse_cli.bags.writer import BagWriter, Bounds
from industriverse_core.machine import load_machine
from industriverse_core.program import Heater
from industriverse_core.safety import Safety
from industriverse_core.telemetry import (
    HeaterReading,
    MachineState,
    Quantity,
    ResidualChannel,
    ResidualSample,
    TelemetrySample,
)  # fmt: skip
from industriverse_core.threats import Cause, Level
from industriverse_ros import convert, convert_decision
from shield_node.people import people_of
from shield_node.shield import CONDUCTOR, Shield
from shield_node.threats.identifier import ThreatIdentifier

PROFILE = load_machine("prusa_mk3s")
START_S, STEADY_S = 1_700_000_000.0, 5_000.0
DESCRIPTION = """
safety:
  place: [0 m, 0 m]
  reach: 0.4 m
  sensors: [{name: floor_camera}]
"""
LIMITS_S = {"machine": 0.3, "twin": 0.5, "conductor": 0.5}
RUNAWAY_FROM = 60  # a step at which the hot end heats by itself


class Live:
    """A shield that hears an idle machine, decides, and is recorded."""

    def __init__(self):
        self.bag = []
        safety = Safety.model_validate(
            {"place": ["0 m", "0 m"], "reach": "0.4 m", "sensors": [{"name": "floor_camera"}]}
        )
        people = people_of(safety, PROFILE)
        self.shield = Shield(PROFILE.id, b"k" * 32, 5, LIMITS_S, None, ThreatIdentifier(PROFILE), people)

    def write(self, name, msg, at_s):
        self.bag.append((name, round((START_S + at_s) * 1e9), msg))

    def run(self, steps):
        for step in range(steps):
            self.step(step)
        return self.bag

    def step(self, step):
        at_s, now_s, stamp_s = step * 0.05, STEADY_S + step * 0.05, 1000.0 + step * 0.25
        shield = self.shield
        hot_c = 25.0 + max(0, step - RUNAWAY_FROM) * 0.9
        sample = TelemetrySample(
            stamp_s, PROFILE.id, 1, 7, MachineState.IDLE, power_w=20.0 + step % 3,
            heaters=(HeaterReading(Heater.HOTEND, hot_c, 0.0, 0.0), HeaterReading(Heater.BED, 25.0, 0.0, 0.0)),
        )  # fmt: skip
        residual = ResidualSample(
            stamp_s - 0.1, PROFILE.id, 2, "", bytes(32), 0,
            (ResidualChannel(Quantity.HOTEND_TEMPERATURE, 25.0, hot_c, 2.0),), 0.0,
        )  # fmt: skip
        seen = im.PersonsSeen(sensor="floor_camera", incarnation=3, uncertainty_m=0.05)
        seen.header.frame_id = "cell"
        # the recorder hears the telemetry after the decision that it led to, and everything a little late
        self.write("residual", convert.residual_to_msg(residual), at_s - 0.004)
        self.write("persons", seen, at_s - 0.003)
        self.write("telemetry", convert.telemetry_to_msg(sample), at_s + 0.004)
        heard = convert.telemetry_from_msg(convert.telemetry_to_msg(sample))
        shield.observe_persons("floor_camera", 3, [], 0.05, now_s - 0.003)
        shield.observe_residual(convert.residual_from_msg(convert.residual_to_msg(residual)), now_s - 0.004)
        shield.observe_source(CONDUCTOR, 4, now_s - 0.01)
        self.write("job_state", im.JobState(incarnation=4), at_s - 0.01)
        shield.observe_telemetry(heard, now_s)
        shield.tick(now_s)
        decision = shield.decision(now_s, now_s + 0.001, stamp_s)
        if step % 2 == 0:
            self.write("safety_state", self.safety(now_s), at_s + 0.001)
        self.write("decision", convert_decision.decision_to_msg(decision), at_s + 0.002)

    def safety(self, now_s):
        now = self.shield.snapshot(now_s)
        latch = now.latch
        return im.SafetyState(
            machine_id=PROFILE.id, incarnation=5, state=int(now.state), level=int(latch.level) if latch else 0,
            latch_id=latch.latch_id if latch else 0, error_code=int(now.code), error_msg=now.cause,
            sources=[im.SourceHealth(source=each.name, age_s=each.age_s, limit_s=each.limit_s, fresh=each.fresh)
                     for each in now.sources],
        )  # fmt: skip


def write_bag(folder, messages, attachments=True):
    files = (Attachment("cell.yaml", "application/yaml", DESCRIPTION.encode()),) if attachments else ()
    writer = BagWriter(folder, Bounds(0, 0), True, files)
    names = {}
    for name, _, msg in messages:
        if name not in names:
            kind = f"industriverse_msgs/msg/{type(msg).__name__}"
            topic = f"/c/{name}" if name in ("persons", "job_state") else f"/c/{PROFILE.id}/{name}"
            names[name] = topic
            writer.add_topic(
                Topic(topic, kind, definitions.full_definition(kind), definitions.type_hash(kind), (OfferedQos(),))
            )
    for name, at_ns, msg in sorted(messages, key=lambda each: each[1]):
        writer.write(BagMessage(names[name], at_ns, at_ns, serialize_message(msg)))
    writer.close()
    return Bag.open(folder)


@pytest.fixture(scope="module")
def recorded():
    return Live().run(150)


def test_every_decision_is_made_again_bit_for_bit(recorded, tmp_path):
    found = decide(write_bag(tmp_path / "bag", recorded))
    (shield,) = found.shields
    assert found.agree
    assert shield.decisions.moments > 140
    assert shield.decisions.brief == 0
    assert (shield.exact, shield.widest) == (shield.decisions.moments, 0.0)
    assert shield.unknown_sources == set()
    decided = [each for each in found.transitions if each["what"] == "decision"]
    assert (decided[0]["cause"], decided[0]["level"]) == ("NONE", "RUN")
    assert (decided[-1]["cause"], decided[-1]["level"], decided[-1]["state"]) == ("THERMAL_RUNAWAY", "STOP1", "LATCHED")


def test_two_processes_decide_byte_for_byte_alike(recorded, tmp_path):
    write_bag(tmp_path / "bag", recorded)
    lines = []
    for seed in ("1", "4711"):
        output = tmp_path / f"{seed}.jsonl"
        words = [sys.executable, "-m", "industriverse_cli.main", "verdicts", str(tmp_path / "bag"), "-o", str(output)]
        done = subprocess.run(
            [*words, "--json"], capture_output=True, text=True, env=dict(os.environ, PYTHONHASHSEED=seed), timeout=120
        )
        assert done.returncode == 0, done.stderr
        lines.append((json.loads(done.stdout)["digest"], output.read_bytes()))
    assert lines[0] == lines[1]


def test_a_decision_that_the_logic_does_not_make_is_named(recorded, tmp_path):
    """As if the live shield had gone on permitting while the hot end ran away."""

    def tampered(name, at_ns, msg):
        if name == "decision" and msg.level != Level.RUN:
            decision = convert_decision.decision_from_msg(msg)
            calm = replace(decision.threat, cause=Cause.NONE)
            decision = replace(decision, level=Level.RUN, speed_scale=1.0, state=1, threat=calm)
            msg = convert_decision.decision_to_msg(decision)
        return name, at_ns, msg

    found = decide(write_bag(tmp_path / "bag", [tampered(*each) for each in recorded]))
    assert not found.agree
    first = found.shields[0].decisions.first
    assert "RUN" in first.live
    assert "THERMAL_RUNAWAY" in first.again


def test_without_the_description_the_sensor_is_said_to_be_missing(recorded, tmp_path):
    found = decide(write_bag(tmp_path / "bag", recorded, attachments=False))
    assert found.shields[0].unknown_sources == {"floor_camera"}
