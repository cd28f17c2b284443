"""Record and replay over the real network, each test in a ROS domain of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("rclpy")

from rclpy.qos import QoSPresetProfiles
from std_msgs.msg import String

from industriverse_cli.bags import recovery
from industriverse_cli.bags.model import Attachment, BagMessage
from industriverse_cli.bags.node import Recorder, Wanted, message_class
from industriverse_cli.bags.reader import Bag
from industriverse_cli.bags.recording import Recording
from industriverse_cli.bags.writer import BagWriter, Bounds
from industriverse_core.store import CellPaths, RunningCell, cell_directory
from industriverse_msgs.msg import JobState, ProgramRef, SafetyState
from industriverse_ros import names, qos

ENDLESS = Bounds(0, 0)


def until(condition, timeout_s=20.0):
    """Wait for it; True when it came."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def talker(ros):
    """A node with a latched state, said before anybody listens, and a heartbeat."""
    node = ros.create_node("talker", namespace="/c")
    node.states = node.create_publisher(SafetyState, names.safety_state("m"), qos.STATE)
    node.states.publish(SafetyState(machine_id="m", error_msg="said before"))
    node.jobs = node.create_publisher(JobState, names.JOB_STATE, qos.EVENT)
    node.elsewhere = node.create_publisher(String, "/elsewhere", qos.EVENT)
    yield node
    node.destroy_node()


def test_what_is_said_is_recorded_with_its_qos(talker, ros_domain, tmp_path):
    recording = Recording(BagWriter(tmp_path / "bag", ENDLESS))
    with Recorder(ros_domain, Wanted("c"), recording) as recorder:
        assert until(lambda: recorder.step() or {"/c/job_state", "/c/m/safety_state"} <= set(recorder.topics))
        assert until(lambda: talker.jobs.get_subscription_count())
        for number in range(50):
            talker.jobs.publish(JobState(job_id=f"J{number}"))
            talker.elsewhere.publish(String(data="not ours"))
            recorder.step()
            time.sleep(0.002)
        assert until(lambda: recorder.step() or recording.progress().written >= 51)
    recording.close()
    bag = Bag.open(tmp_path / "bag")
    counts = bag.information.counts
    assert (counts["/c/job_state"], counts["/c/m/safety_state"]) == (50, 1)
    assert "/elsewhere" not in counts
    assert bag.topics["/c/m/safety_state"].latched
    assert not bag.topics["/c/job_state"].latched
    from rclpy.serialization import deserialize_message

    jobs = [deserialize_message(message.data, JobState).job_id for message in bag.messages(["/c/job_state"])]
    assert jobs == [f"J{number}" for number in range(50)]
    (state,) = bag.messages(["/c/m/safety_state"])
    assert deserialize_message(state.data, SafetyState).error_msg == "said before"
    receipts = [message.log_ns for message in bag.messages()]
    assert receipts == sorted(receipts)
    assert abs(receipts[-1] - time.time_ns()) < 120 * 10**9
    assert bag.information.notes["dropped"] == "0"


def test_a_program_that_is_referred_to_is_attached_if_it_is_what_it_claims_to_be(tmp_path):
    import hashlib

    from rclpy.serialization import serialize_message

    from industriverse_cli.bags import definitions
    from industriverse_cli.bags.model import Topic

    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "good.arrow").write_bytes(b"a program")
    (programs / "changed.arrow").write_bytes(b"another one")
    (tmp_path / "outside.arrow").write_bytes(b"a secret")
    claimed = {
        programs / "good.arrow": b"a program",
        programs / "changed.arrow": b"what it was",
        programs / "absent.arrow": b"gone",
        tmp_path / "outside.arrow": b"a secret",
    }
    kind = "industriverse_msgs/msg/JobState"
    recording = Recording(BagWriter(tmp_path / "bag", ENDLESS), programs)
    recording.add_topic(Topic("/c/job_state", kind, definitions.full_definition(kind)))
    for path, content in claimed.items():
        uri = f"{path.as_uri()}#sha256={hashlib.sha256(content).hexdigest()}"
        data = serialize_message(JobState(program=ProgramRef(uri=uri)))
        recording.put([BagMessage("/c/job_state", 10**9, 0, data)] * 2)
    recording.close()
    assert [(item.name, item.data) for item in Bag.open(tmp_path / "bag").attachments()] == [
        ("programs/good.arrow", b"a program")
    ]


def test_a_queue_that_is_full_drops_and_counts(tmp_path):
    recording = Recording(BagWriter(tmp_path / "bag", ENDLESS), queue_bytes=10_000)
    from industriverse_cli.bags.model import Topic

    recording.add_topic(Topic("/t", "std_msgs/msg/String", "string data\n"))
    recording.put([BagMessage("/t", number, 0, bytes(900)) for number in range(100)])
    information = recording.close()
    progress = recording.progress()
    assert progress.received == 100
    assert progress.dropped > 50
    assert progress.written + progress.dropped == 100
    assert information.notes["dropped"] == information.notes["dropped /t"] == str(progress.dropped)
    assert information.messages == progress.written


@pytest.fixture
def cell(ros_domain, tmp_path, monkeypatch):
    """The note of a running cell in this test's domain; this process stands for the one that started it."""
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path / "home"))
    running = RunningCell("t", "c", ros_domain, os.getpid(), "prusa_mk3s")
    running.write()
    CellPaths(cell_directory("t")).programs.mkdir(parents=True)
    return running


def recorder_process(folder, *words):
    return command_line("record", "t", "-o", str(folder), "--json", *words)


def command_line(*words):
    command = [sys.executable, "-m", "industriverse_cli.main", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_recording_that_is_ended_is_whole_and_one_that_is_killed_is_recovered(talker, cell, tmp_path, end):
    folder = tmp_path / "bag"
    process = recorder_process(folder)
    try:
        assert until(lambda: talker.jobs.get_subscription_count(), 60.0)
        sent = 0
        end_s = time.monotonic() + 3.0  # the disk has what is older than a second
        while time.monotonic() < end_s:
            talker.jobs.publish(JobState(job_id=f"J{sent}"))
            sent += 1
            time.sleep(0.01)
        process.send_signal(end)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    if end is signal.SIGKILL:
        (state,) = recovery.recover(folder)
        assert not state.whole
    else:
        assert process.returncode == 0, err
        said = json.loads(out)
        assert said["dropped"] == 0
        assert "/c/job_state" in said["topics"]
    bag = Bag.open(folder)
    jobs = bag.information.counts["/c/job_state"]
    assert 0 < jobs <= sent
    if end is not signal.SIGKILL:
        assert jobs == sent - said["lost"]
    assert [item.name for item in bag.attachments()] == ["machines/prusa_mk3s.yaml"]


def test_a_replay_is_heard_as_it_was_said(ros, ros_domain, tmp_path, run, monkeypatch):
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path / "home"))
    folder = small_bag(tmp_path)
    node = ros.create_node("listener")
    heard = []
    node.create_subscription(String, "/c/words", lambda msg: heard.append(("words", msg.data)), qos.EVENT)
    node.create_subscription(String, "/c/latched", lambda msg: heard.append(("latched", msg.data)), qos.STATE)
    process = command_line("replay", str(folder), "--rate", "20", "--start", "2", "--json")
    end_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end_s:
        ros.spin_once(node, timeout_sec=0.05)
    for _ in range(50):
        ros.spin_once(node, timeout_sec=0.0)
    said = json.loads(process.communicate(timeout=30)[0])
    assert said["published"] == 9
    assert said["domain_id"] == ros_domain
    expected = [("latched", "always")] + [("words", f"word {number}") for number in range(2, 10)]
    assert sorted(heard) == expected
    node.destroy_node()


def small_bag(tmp_path):
    """A latched word at 0 s and ten words, one a second."""
    from rclpy.serialization import serialize_message

    from industriverse_cli.bags import definitions
    from industriverse_cli.bags.model import OfferedQos, Topic

    kind = "std_msgs/msg/String"
    text, type_hash = definitions.full_definition(kind), definitions.type_hash(kind)
    writer = BagWriter(tmp_path / "bag", ENDLESS, True, (Attachment("a", "b", b"c"),))
    writer.add_topic(Topic("/c/latched", kind, text, type_hash, (OfferedQos(durability="transient_local"),)))
    writer.add_topic(Topic("/c/words", kind, text, type_hash, (OfferedQos(),)))
    writer.write(BagMessage("/c/latched", 10**12, 0, serialize_message(String(data="always"))))
    for number in range(10):
        data = serialize_message(String(data=f"word {number}"))
        writer.write(BagMessage("/c/words", 10**12 + number * 10**9, 0, data))
    writer.close()
    return tmp_path / "bag"


def test_nothing_is_replayed_where_a_cell_runs_or_somebody_says_the_same(ros, ros_domain, cell, tmp_path, run):
    folder = small_bag(tmp_path)
    status, _, err = run("replay", folder)
    assert status == 2
    assert "the cell 't' runs in ROS domain" in err
    cell.remove()
    node = ros.create_node("other")
    node.create_publisher(String, "/c/words", QoSPresetProfiles.SYSTEM_DEFAULT.value)
    status, _, err = run("replay", folder)
    assert status == 2
    assert "somebody publishes /c/words" in err
    node.destroy_node()


def test_a_type_that_is_not_installed_is_no_crash():
    from industriverse_cli.bags.definitions import UnknownTypeError

    for name in ("nowhere/msg/Nothing", "std_msgs/msg/Nothing", "std_msgs/srv/String", "", "..//msg/x"):
        with pytest.raises(UnknownTypeError):
            message_class(name)
