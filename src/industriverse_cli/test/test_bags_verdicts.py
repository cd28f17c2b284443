"""Same bag in, same decisions out: the example's verdicts, in any process, and what shows when something differs."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("industriverse_msgs.msg")

from industriverse_cli.bags import inputs
from industriverse_cli.bags.comparison import TOLERANCE_S, Comparison
from industriverse_cli.bags.inputs import Decoder, Heartbeat, SafetySeen
from industriverse_cli.bags.model import BagMessage
from industriverse_cli.bags.reader import Bag
from industriverse_cli.bags.verdicts import decide
from industriverse_cli.bags.writer import BagWriter, Bounds
from industriverse_core.artefacts import Verdict
from industriverse_core.permit import KEY_BYTES, Permit
from industriverse_core.telemetry import TelemetrySample

EXAMPLE = Path(__file__).parents[3] / "examples" / "stopped_job"
GOLDEN = "eb3141b2ca13fcef9cbac9a836969f792a3547637c402af324da6238a4d0c7c1"
MACHINE = "/demo/prusa_mk3s"


@pytest.fixture(scope="module")
def example():
    return decide(Bag.open(EXAMPLE))


def rewritten(folder, change, attachments=True):
    """The example with every message changed or left out (None)."""
    bag = Bag.open(EXAMPLE)
    writer = BagWriter(folder, Bounds(0, 0), True, tuple(bag.attachments()) if attachments else ())
    for topic in bag.topics.values():
        writer.add_topic(topic)
    for message in bag.messages():
        changed = change(message)
        if changed is not None:
            writer.write(changed)
    writer.close()
    return Bag.open(folder)


def test_the_example_is_decided_as_it_was_live(example):
    assert example.agree
    (shield,), (guard,) = example.shields, example.guards
    assert shield.comparison.moments > 100
    assert shield.permits.moments == 30
    assert guard.accepted == 30
    assert guard.refused == {}
    (gate,) = example.gates
    assert (gate.recorded, gate.again) == ("ACCEPT", "ACCEPT")
    states = [(verdict["what"], verdict["state"]) for verdict in example.transitions if "state" in verdict]
    assert [state for what, state in states if what == "shield"] == ["IDLE", "PERMITTING", "IDLE", "LATCHED", "IDLE"]
    assert [state for what, state in states if what == "guard"] == ["WAITING", "LIVE", "LATCHED", "IDLE"]


def test_the_example_has_the_digest_that_it_had(example):
    """Another one means that the logic decides otherwise, or that FORMAT has to change."""
    assert example.digest.hex() == GOLDEN


def test_two_processes_give_the_same_bytes(tmp_path):
    found = []
    for seed in ("1", "4711"):
        lines = tmp_path / f"{seed}.jsonl"
        copy = tmp_path / seed / "elsewhere"
        shutil.copytree(EXAMPLE, copy)
        words = [sys.executable, "-m", "industriverse_cli.main", "verdicts", str(copy), "-o", str(lines), "--json"]
        environment = dict(os.environ, PYTHONHASHSEED=seed, TZ=f"UTC{seed[0]}")
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 0, done.stderr
        found.append((json.loads(done.stdout)["digest"], lines.read_bytes()))
    assert found[0] == found[1]
    assert found[0][0] == GOLDEN
    assert found[0][1].count(b"\n") > 100


def test_every_message_of_the_example_is_readable():
    bag = Bag.open(EXAMPLE)
    decoder = Decoder(bag)
    values = [item.value for item in decoder.inputs()]
    assert decoder.unreadable == 0
    assert {type(value) for value in values} == {
        TelemetrySample, inputs.ResidualSample, Heartbeat, inputs.StopAsked, SafetySeen, Permit,
    }  # fmt: skip
    named = {f"{MACHINE}/telemetry", f"{MACHINE}/permit"}
    assert sum(isinstance(value, (TelemetrySample, Permit)) for value in values) == sum(1 for _ in bag.messages(named))


def test_a_silent_source_is_found_again(tmp_path):
    """Without the twin's messages the logic permits nothing; live it did. The first difference is named."""
    bag = rewritten(tmp_path / "bag", lambda message: None if message.topic.endswith("residual") else message)
    found = decide(bag)
    assert not found.agree
    first = found.shields[0].comparison.first
    assert first.live.startswith("PERMITTING")
    assert first.again.startswith("ARMED")
    assert "twin nan" in first.evidence
    assert found.shields[0].permits.first is not None


def test_a_machine_that_ran_without_permits_is_found(tmp_path):
    bag = rewritten(tmp_path / "bag", lambda message: None if message.topic.endswith("permit") else message)
    found = decide(bag)
    assert found.guards[0].accepted == 0
    assert "LIVE" not in [verdict.get("state") for verdict in found.transitions]


def test_another_key_refuses_every_permit():
    found = decide(Bag.open(EXAMPLE), bytes(range(KEY_BYTES)))
    assert found.guards[0].refused == {"PERMIT_FORGED": 30}
    assert found.guards[0].accepted == 0
    assert found.digest.hex() != GOLDEN


def test_a_permit_that_is_sent_twice_is_refused_the_second_time(tmp_path):
    bag = Bag.open(EXAMPLE)
    writer = BagWriter(tmp_path / "bag", Bounds(0, 0), True, tuple(bag.attachments()))
    for topic in bag.topics.values():
        writer.add_topic(topic)
    for message in bag.messages():
        writer.write(message)
        if message.topic.endswith("permit"):
            writer.write(message)
    writer.close()
    found = decide(Bag.open(tmp_path / "bag"))
    assert found.guards[0].refused == {"PERMIT_REPLAYED": 30}
    assert found.guards[0].accepted == 30


def test_without_the_program_the_recorded_verdict_stands(tmp_path):
    found = decide(rewritten(tmp_path / "bag", lambda message: message, attachments=False))
    (gate,) = found.gates
    assert (gate.recorded, gate.again) == ("ACCEPT", "")
    assert "not in the bag" in gate.why
    assert found.agree


def test_a_program_that_was_changed_in_the_bag_is_not_checked(tmp_path):
    bag = Bag.open(EXAMPLE)
    spoilt = tuple(
        replace(item, data=item.data[:-100] + b"x" * 100) if item.name.endswith(".arrow") else item
        for item in bag.attachments()
    )
    writer = BagWriter(tmp_path / "bag", Bounds(0, 0), True, spoilt)
    for topic in bag.topics.values():
        writer.add_topic(topic)
    for message in bag.messages():
        writer.write(message)
    writer.close()
    (gate,) = decide(Bag.open(tmp_path / "bag")).gates
    assert gate.again == ""
    assert gate.why in ("BYTECODE_BROKEN", "DIGEST_MISMATCH")
    assert gate.recorded == Verdict.ACCEPT.name


def test_messages_of_nonsense_are_counted_and_passed_over(tmp_path):
    def spoil(message):
        if message.topic.endswith("telemetry") and message.log_ns % 7 == 0:
            return BagMessage(message.topic, message.log_ns, message.publish_ns, message.data[:40])
        return message

    found = decide(rewritten(tmp_path / "bag", spoil))
    assert found.unreadable > 0


def test_an_old_bag_has_the_defaults_of_fields_that_came_later(tmp_path):
    """The example as if its MachineTelemetry had not had the field `realtime` yet."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    bag = Bag.open(EXAMPLE)
    topic = bag.topics[f"{MACHINE}/telemetry"]
    old_text = "".join(line for line in topic.definition.splitlines(True) if not line.startswith("bool realtime"))
    stores = [get_typestore(Stores.EMPTY) for _ in range(2)]
    for store, text in zip(stores, (topic.definition, old_text), strict=True):
        store.register(get_types_from_msg(text, topic.type_name))
    writer = BagWriter(tmp_path / "bag", Bounds(0, 0), True, tuple(bag.attachments()))
    for each in bag.topics.values():
        writer.add_topic(replace(each, definition=old_text) if each is topic else each)
    for message in bag.messages():
        if message.topic == topic.name:
            decoded = stores[0].deserialize_cdr(message.data, topic.type_name)
            data = bytes(stores[1].serialize_cdr(decoded, topic.type_name))
            message = replace(message, data=data)
        writer.write(message)
    writer.close()
    old = Bag.open(tmp_path / "bag")
    samples = [item.value for item in Decoder(old).inputs() if isinstance(item.value, TelemetrySample)]
    assert {sample.realtime for sample in samples} == {False}
    assert decide(old).digest.hex() == GOLDEN


def test_a_difference_counts_when_it_lasts():
    comparison = Comparison()
    comparison.see(0.0, "A", "A", "")
    comparison.see(0.1, "B", "A", "late")
    comparison.see(0.2, "B", "B", "")
    assert comparison.agree
    assert (comparison.moments, comparison.brief) == (3, 1)
    comparison.see(1.0, "C", "B", "why")
    comparison.see(1.0 + 2 * TOLERANCE_S, "C", "B", "still")
    comparison.see(2.0, "C", "C", "")
    assert (comparison.first.now_s, comparison.first.evidence) == (1.0, "why")


def test_the_command_says_so_by_its_exit_status(tmp_path, run):
    assert run("verdicts", EXAMPLE)[0] == 0
    assert GOLDEN in run("replay", EXAMPLE, "--into-logic")[1]
    rewritten(tmp_path / "bag", lambda message: None if message.topic.endswith("residual") else message)
    status, out, _ = run("verdicts", tmp_path / "bag")
    assert status == 1
    assert "differs from" in out
