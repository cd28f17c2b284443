"""Bags on the disk: what rosbag2 has to find in them, their bounds, and what is left of them after a kill."""

import contextlib
import errno
import shutil
from functools import cache
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_cli.bags import definitions, profiles, recovery
from industriverse_cli.bags.model import Attachment, BagMessage, OfferedQos, Topic
from industriverse_cli.bags.reader import Bag
from industriverse_cli.bags.sealing import MAX_CHUNK_BYTES, chunk_records, scan
from industriverse_cli.bags.writer import BagFullError, BagWriter, Bounds, DiskFile
from industriverse_core.errors import ErrorCode, InputError

im = pytest.importorskip("industriverse_msgs.msg")
SECOND = 10**9
LATCHED = OfferedQos(durability="transient_local", depth=1, history="keep_last")
ENDLESS = Bounds(0, 0)


def topic_of(name, kind, qos=OfferedQos()):  # noqa: B008 - frozen
    full = f"industriverse_msgs/msg/{kind}"
    return Topic(name, full, definitions.full_definition(full), definitions.type_hash(full), (qos,))


STATE = topic_of("/c/m/safety_state", "SafetyState", LATCHED)
STOP = topic_of("/c/stop_request", "StopRequest")


@cache  # padding in CDR is whatever lay there: the same message need not give the same bytes twice
def stop_data(number):
    from rclpy.serialization import serialize_message

    return serialize_message(im.StopRequest(machine_id="m", source=f"s{number}", level=2, reason="x" * (number % 50)))


def stop_message(number, log_ns=None):
    return BagMessage(STOP.name, SECOND + number * 10**7 if log_ns is None else log_ns, 5, stop_data(number))


def write_bag(folder, count=100, bounds=ENDLESS, **options):
    writer = BagWriter(folder, bounds, **options)
    writer.add_topic(STATE)
    writer.add_topic(STOP)
    for number in range(count):
        writer.write(stop_message(number))
        if number % 10 == 9:
            writer.flush()
    return writer


def read_all(folder):
    return list(Bag.open(folder).messages())


def test_what_is_written_is_read_again(tmp_path):
    writer = write_bag(tmp_path / "bag")
    writer.attach(Attachment("programs/a.arrow", "x/y", b"abc" * 1000), SECOND)
    information = writer.close({"lost": "3"})
    bag = Bag.open(tmp_path / "bag")
    assert [message.data for message in bag.messages()] == [stop_message(n).data for n in range(100)]
    assert [message.log_ns for message in bag.messages()] == [SECOND + n * 10**7 for n in range(100)]
    assert {message.publish_ns for message in bag.messages()} == {5}
    assert [item.data for item in bag.attachments()] == [b"abc" * 1000]
    assert bag.information.parts == information.parts
    assert bag.information.counts == {STATE.name: 0, STOP.name: 100}
    assert bag.information.notes["lost"] == "3"
    assert bag.topics[STOP.name] == STOP
    assert recovery.verify(tmp_path / "bag")[1] == []


def test_a_receipt_never_goes_back(tmp_path):
    writer = BagWriter(tmp_path / "bag", ENDLESS)
    writer.add_topic(STOP)
    for log_ns in (50, 40, 60):
        writer.write(stop_message(0, log_ns))
    writer.close()
    assert [message.log_ns for message in read_all(tmp_path / "bag")] == [50, 50, 60]


def test_another_reader_of_rosbag2_reads_every_message_of_ours(tmp_path):
    """Every message type, with the definition from the bag alone, and the hash that ROS computed."""
    highlevel = pytest.importorskip("rosbags.highlevel")
    from rclpy.serialization import serialize_message

    kinds = [name for name in dir(im) if hasattr(getattr(im, name), "get_fields_and_field_types")]
    assert len(kinds) >= 15
    writer = BagWriter(tmp_path / "bag", ENDLESS)
    for kind in kinds:
        writer.add_topic(topic_of(f"/c/{kind}", kind))
        writer.write(BagMessage(f"/c/{kind}", SECOND, SECOND, serialize_message(getattr(im, kind)())))
    writer.close()
    with highlevel.AnyReader([tmp_path / "bag"]) as reader:
        read = {connection.msgtype: reader.deserialize(data, connection.msgtype)
                for connection, _, data in reader.messages()}  # fmt: skip
        assert set(read) == {f"industriverse_msgs/msg/{kind}" for kind in kinds}
        for kind in kinds:
            full = f"industriverse_msgs/msg/{kind}"
            assert reader.typestore.hash_rihs01(full) == definitions.type_hash(full)
        assert {connection.ext.serialization_format for connection in reader.connections} == {"cdr"}


def test_metadata_is_what_rosbag2_of_jazzy_writes(tmp_path):
    writer = BagWriter(tmp_path / "bag", ENDLESS)
    writer.add_topic(STATE)
    writer.write(BagMessage(STATE.name, 7 * SECOND, 1, b"\0\1\0\0"))
    writer.write(BagMessage(STATE.name, 9 * SECOND, 1, b"\0\1\0\0"))
    writer.close()
    content = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert content["version"] == 9
    assert content["storage_identifier"] == "mcap"
    assert content["relative_file_paths"] == ["bag_0.mcap"]
    assert content["duration"] == {"nanoseconds": 2 * SECOND}
    assert content["starting_time"] == {"nanoseconds_since_epoch": 7 * SECOND}
    assert content["message_count"] == 2
    (about,) = content["topics_with_message_count"]
    assert about["message_count"] == 2
    (qos,) = about["topic_metadata"].pop("offered_qos_profiles")
    assert about["topic_metadata"] == {
        "name": STATE.name, "type": STATE.type_name, "serialization_format": "cdr",
        "type_description_hash": STATE.type_hash,
    }  # fmt: skip
    assert qos == {
        "history": "keep_last", "depth": 1, "reliability": "reliable", "durability": "transient_local",
        "deadline": {"sec": 9223372036, "nsec": 854775807}, "lifespan": {"sec": 9223372036, "nsec": 854775807},
        "liveliness": "automatic", "liveliness_lease_duration": {"sec": 9223372036, "nsec": 854775807},
        "avoid_ros_namespace_conventions": False,
    }  # fmt: skip
    assert content["files"][0]["message_count"] == 2


def test_each_file_says_what_rosbag2_asks_it(tmp_path):
    from mcap.reader import make_reader

    write_bag(tmp_path / "bag").close()
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as file:
        reader = make_reader(file)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        (channel,) = summary.channels.values()
        assert channel.message_encoding == "cdr"
        assert summary.schemas[channel.schema_id].encoding == "ros2msg"
        assert yaml.safe_load(channel.metadata["offered_qos_profiles"])[0]["reliability"] == "reliable"
        assert channel.metadata["topic_type_hash"] == STOP.type_hash
        (record,) = reader.iter_metadata()
        assert record.name == "rosbag2"
        assert yaml.safe_load(record.metadata["serialized_metadata"])["version"] == 9
        assert all(index.message_index_length for index in summary.chunk_indexes)


def test_numbers_of_older_bags_are_understood():
    text = (
        "- {history: 1, depth: 5, reliability: 2, durability: 1, liveliness: 1, deadline: {sec: 0, nsec: 0}, "
        "lifespan: {sec: 1, nsec: 5}, liveliness_lease_duration: {sec: 9223372036, nsec: 854775807}}"
    )
    (qos,) = profiles.from_plain(text, "here")
    assert (qos.history, qos.reliability, qos.durability) == ("keep_last", "best_effort", "transient_local")
    assert (qos.deadline_ns, qos.lifespan_ns) == (profiles.FOREVER_NS, SECOND + 5)
    assert profiles.from_plain(profiles.to_text((qos,)), "here") == (qos,)


# --- bounds ---


def test_a_bag_is_split_and_every_file_stands_alone(tmp_path):
    program = Attachment("machines/m.yaml", "application/yaml", b"id: m")
    bounds = Bounds(0, 20_000)
    writer = BagWriter(tmp_path / "bag", bounds, False, (program,))
    writer.add_topic(STATE)
    writer.add_topic(STOP)
    writer.write(BagMessage(STATE.name, SECOND, 77, b"\0\1\0\0state"))
    for number in range(1000):
        writer.write(stop_message(number))
    information = writer.close()
    assert len(information.parts) > 3
    assert all(part.size_bytes < 2 * bounds.split_bytes for part in information.parts)
    for earlier, later in pairwise(information.parts):
        assert earlier.end_ns <= later.start_ns
    for part in information.parts:
        alone = tmp_path / part.name.removesuffix(".mcap")
        alone.mkdir()
        shutil.copy(tmp_path / "bag" / part.name, alone)
        recovery.recover(alone)  # writes the metadata of this file alone
        bag = Bag.open(alone)
        first = next(iter(bag.messages([STATE.name])))
        assert first.data == b"\0\1\0\0state"
        assert [item.name for item in bag.attachments()] == [program.name]
    stops = [message for message in read_all(tmp_path / "bag") if message.topic == STOP.name]
    assert [message.data for message in stops] == [stop_message(n).data for n in range(1000)]


def test_a_full_bag_loses_its_oldest_file(tmp_path):
    bounds = Bounds(100_000, 0)
    writer = BagWriter(tmp_path / "bag", bounds, False)
    writer.add_topic(STOP)
    for number in range(5000):
        writer.write(stop_message(number))
        if number % 200 == 0:
            on_disk = sum(path.stat().st_size for path in (tmp_path / "bag").glob("*.mcap"))
            assert on_disk <= bounds.total_bytes * 1.3  # a file may end a chunk's length late
    information = writer.close()
    assert writer.deleted_files > 0
    kept = [message.data for message in read_all(tmp_path / "bag")]
    assert kept == [stop_message(n).data for n in range(5000 - len(kept), 5000)]
    assert information.notes["deleted_files"] == str(writer.deleted_files)
    assert recovery.verify(tmp_path / "bag")[1] == []


def test_a_full_bag_can_end_instead(tmp_path):
    with pytest.raises(BagFullError) as ended:
        write_bag(tmp_path / "bag", 5000, Bounds(60_000, 0, stop_when_full=True), compress=False)
    assert ended.value.code is ErrorCode.FILE_TOO_LARGE
    kept = [message.data for message in read_all(tmp_path / "bag")]
    assert kept == [stop_message(n).data for n in range(len(kept))]
    assert len(kept) > 100


class FullDisk(DiskFile):
    """A disk that takes so many bytes and then half of a write."""

    room = 30_000

    def write(self, data):
        view = memoryview(data)
        if self.position + len(view) > self.room:
            self._file.write(view[: len(view) // 2])
            self._file.truncate(self.position)
            self._file.seek(self.position)
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_ends_the_bag_and_leaves_it_whole(tmp_path):
    with pytest.raises(BagFullError) as ended:
        write_bag(tmp_path / "bag", 5000, compress=False, open_disk=FullDisk)
    assert "No space left" in ended.value.message
    states, problems = recovery.verify(tmp_path / "bag")
    assert problems == []
    assert all(state.sound for state in states)
    kept = [message.data for message in read_all(tmp_path / "bag")]
    assert kept == [stop_message(n).data for n in range(len(kept))]
    assert len(kept) > 50


# --- torn and damaged ---


@pytest.fixture(scope="module")
def torn_source(tmp_path_factory):
    """A recorded file as it lies on the disk when the recorder is killed: no summary, several chunks, an attachment."""
    folder = tmp_path_factory.mktemp("torn") / "bag"
    writer = write_bag(folder, 60)
    writer.attach(Attachment("programs/a.arrow", "x/y", bytes(range(256)) * 4), SECOND)
    for number in range(60, 90):
        writer.write(stop_message(number))
    writer.flush()
    return (folder / "bag_0.mcap").read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_is_cut_off_the_rest_is_a_prefix(torn_source, tmp_path_factory, data):
    length = data.draw(st.integers(0, len(torn_source)))
    folder = tmp_path_factory.mktemp("cut")
    (folder / "cut_0.mcap").write_bytes(torn_source[:length])
    with pytest.raises(InputError) as refused:
        Bag.open(folder)
    assert "recover" in refused.value.remedy
    before = scan(folder / "cut_0.mcap")
    recovery.recover(folder)
    kept = [message.data for message in read_all(folder)]
    assert kept == [stop_message(n).data for n in range(len(kept))]
    assert len(kept) == before.messages
    states, problems = recovery.verify(folder)
    assert problems == []
    assert all(state.sound for state in states)
    if length == len(torn_source):
        assert len(kept) == 90
    shutil.rmtree(folder)


def test_recovered_bags_are_read_by_the_other_reader_too(torn_source, tmp_path):
    highlevel = pytest.importorskip("rosbags.highlevel")
    (tmp_path / "cut_0.mcap").write_bytes(torn_source[:-40])  # within the last chunk's indexes
    recovery.recover(tmp_path)
    with highlevel.AnyReader([tmp_path]) as reader:
        assert sum(1 for _ in reader.messages()) == 90


@settings(max_examples=100)
@given(data=st.data())
def test_a_changed_byte_is_refused_or_found_or_means_nothing(torn_source, tmp_path_factory, data):
    """No byte of a message changes unnoticed, and nothing crashes."""
    content = bytearray(torn_source)
    place = data.draw(st.integers(8, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("bit")
    (folder / "bit_0.mcap").write_bytes(bytes(content))
    recovery.recover(folder)
    sent = {stop_message(n).data for n in range(90)}
    with contextlib.suppress(InputError):  # refused
        assert all(message.data in sent for message in read_all(folder))
    shutil.rmtree(folder)


def test_a_damaged_chunk_is_named_and_left_out(tmp_path):
    write_bag(tmp_path / "bag").close()
    path = tmp_path / "bag" / "bag_0.mcap"
    chunk = scan(path).chunks[4]
    content = bytearray(path.read_bytes())
    content[chunk.chunk_start_offset + 80] ^= 255
    path.write_bytes(bytes(content))
    states, problems = recovery.verify(tmp_path / "bag")
    assert states[0].damaged_chunks == 1
    assert problems == ["bag_0.mcap: 90 messages, metadata.yaml says 100."]
    with pytest.raises(InputError) as refused:
        read_all(tmp_path / "bag")
    assert refused.value.code is ErrorCode.BAG_BROKEN


@pytest.mark.parametrize("claimed_bytes", [100, 1 << 29])
def test_a_chunk_that_would_fill_the_memory_is_damage(claimed_bytes):
    import zstandard
    from mcap.records import Chunk

    packed = zstandard.ZstdCompressor().compress(bytes(MAX_CHUNK_BYTES + 1))
    with pytest.raises(ValueError, match="chunk size"):
        list(chunk_records(Chunk("zstd", packed, 0, 0, 0, claimed_bytes)))


def test_a_whole_bag_is_not_touched_by_recover(tmp_path):
    write_bag(tmp_path / "bag").close()
    before = {path.name: path.read_bytes() for path in (tmp_path / "bag").iterdir()}
    recovery.recover(tmp_path / "bag")
    assert {path.name: path.read_bytes() for path in (tmp_path / "bag").iterdir()} == before


# --- the commands ---


def test_a_killed_recording_is_refused_recovered_and_then_read(tmp_path, torn_source, run):
    folder = tmp_path / "bag"
    folder.mkdir()
    (folder / "bag_0.mcap").write_bytes(torn_source[:-500])
    (folder / ".reserve").write_bytes(b"x")
    status, _, err = run("bag", "info", folder)
    assert status == 2
    assert "bag recover" in err
    assert run("bag", "verify", folder)[0] == 1
    status, out, _ = run("bag", "recover", folder)
    assert status == 0
    assert "torn" in out
    status, out, _ = run("bag", "info", folder)
    assert status == 0
    assert STOP.name in out
    assert run("bag", "verify", folder)[0] == 0
    assert not (folder / ".reserve").exists()


NO_BAGS = {
    "absent": lambda folder: None,
    "file": lambda folder: folder.write_text("x"),
    "empty": lambda folder: folder.mkdir(),
    "nonsense": lambda folder: (folder.mkdir(), (folder / "a_0.mcap").write_bytes(b"nonsense" * 50)),
}


@pytest.mark.parametrize("kind", NO_BAGS)
@pytest.mark.parametrize("words", [("bag", "verify"), ("bag", "info"), ("bag", "recover"), ("verdicts",), ("replay",)])
def test_what_is_no_bag_is_one_line(tmp_path, run, words, kind):
    NO_BAGS[kind](tmp_path / "bag")
    status, out, err = run(*words, tmp_path / "bag")
    assert (status, out, err.count("\n")) == (2, "", 1), err


def test_metadata_that_cannot_be_read_is_made_anew(tmp_path, run):
    write_bag(tmp_path / "bag").close()
    for content in ("{", "- 1", "rosbag2_bagfile_information: {version: 9}", "a: &a [*a]", "\0"):
        (tmp_path / "bag" / "metadata.yaml").write_text(content)
        status, _, err = run("bag", "info", tmp_path / "bag")
        assert (status, err.count("\n")) == (2, 1)
        assert run("bag", "recover", tmp_path / "bag")[0] == 0
        assert len(read_all(tmp_path / "bag")) == 100


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--max-size", "much"), "is no size"),
        (("--max-size", "100kB"), "too small"),
        (("--compress", "rar"), "is no compression"),
        (("--cell", "x"), "No such option"),
    ],
)
def test_wrong_options_of_record_are_one_line(tmp_path, run, words, expected):
    status, _, err = run("record", "demo", "-o", tmp_path / "bag", *words)
    assert status == 2
    assert expected in err
    assert not (tmp_path / "bag").exists()
