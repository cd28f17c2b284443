"""Reads a bag: messages in the order of receipt, attachments, topics. A file that is not whole is refused."""

from __future__ import annotations

import heapq
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.records import Chunk, Message
from zstandard import ZstdError

from industriverse_cli.bags import metadata, profiles
from industriverse_cli.bags.metadata import BagInformation
from industriverse_cli.bags.model import ENDING, METADATA_FILE, Attachment, BagMessage, Topic, broken
from industriverse_cli.bags.sealing import RECORD_HEAD, chunk_records
from industriverse_core.errors import ErrorCode, InputError

MAX_RECORD_BYTES = 1 << 30
# what the libraries raise on damage
DAMAGE = (McapError, ValueError, KeyError, EOFError, MemoryError, OverflowError, RuntimeError, struct.error, ZstdError)


def bag_files(folder: Path) -> list[Path]:
    """The MCAP files of a bag's folder in the order in which they were written. Raises InputError."""
    if not folder.exists():
        raise InputError(ErrorCode.FILE_NOT_FOUND, f"{folder}: no such folder.", "Check the path.")
    if not folder.is_dir():
        raise InputError(ErrorCode.USAGE, f"{folder}: not a folder.", "Name the bag's folder.")
    files = sorted(folder.glob(f"*{ENDING}"), key=_file_number)
    if not files:
        raise broken(folder, f"no {ENDING} file in it", "Name a folder that was recorded.")
    return files


def _file_number(path: Path) -> tuple[int, str]:
    number = path.stem.rpartition("_")[2]
    return (int(number) if number.isascii() and number.isdigit() else -1, path.name)


@dataclass(frozen=True, slots=True)
class Bag:
    """A bag that is whole.

    Attributes:
        topics: with definitions and QoS, by name.
    """

    folder: Path
    information: BagInformation
    files: tuple[Path, ...]
    topics: dict[str, Topic]

    @staticmethod
    def open(folder: Path) -> Bag:
        """Look at a bag's metadata and summaries. Raises InputError; a torn bag is named with its remedy."""
        found = bag_files(folder)
        if not (folder / METADATA_FILE).exists():
            raise _torn(folder, f"{METADATA_FILE} is missing")
        information = metadata.read(folder)
        listed = {part.name for part in information.parts}
        extra = sorted({path.name for path in found} - listed)
        missing = sorted(listed - {path.name for path in found})
        if extra or missing:
            seen = f"{extra[0]} was not finished" if extra else f"{missing[0]} is missing"
            raise _torn(folder, seen)
        files = tuple(folder / part.name for part in information.parts)
        topics: dict[str, Topic] = {}
        for path in files:
            for topic in _topics(path):
                topics.setdefault(topic.name, topic)
        return Bag(folder, information, files, topics)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """Messages of some topics (None: of all) by time of receipt. Raises InputError (BAG_BROKEN) on damage."""
        for path in self.files:
            with path.open("rb") as file:
                try:
                    yield from _messages(file, topics)
                except (*DAMAGE, OSError) as error:
                    raise _damaged(path, error) from error

    def attachments(self) -> Iterator[Attachment]:
        """Attached files, each name once. Raises InputError (BAG_BROKEN) on damage."""
        seen: set[str] = set()
        for path in self.files:
            with path.open("rb") as file:
                try:
                    reader = _library_reader(file)
                    summary = reader.get_summary()
                    if summary is None or not summary.attachment_indexes:
                        continue
                    for item in reader.iter_attachments():
                        if item.name not in seen:
                            seen.add(item.name)
                            yield Attachment(item.name, item.media_type, item.data)
                except (*DAMAGE, OSError) as error:
                    raise _damaged(path, error) from error


def _messages(file: BinaryIO, topics: Collection[str] | None) -> Iterator[BagMessage]:
    """Messages of one file by time of receipt, then by place. Chunks may overlap; only those that do are in memory."""
    reader = _library_reader(file)
    summary = reader.get_summary()
    if not summary.chunk_indexes:  # written without chunks
        for _, channel, message in reader.iter_messages(topics):
            yield BagMessage(channel.topic, message.log_time, message.publish_time, message.data)
        return
    names = {number: channel.topic for number, channel in summary.channels.items()}
    waiting: list[tuple[int, int, int, BagMessage]] = []
    for index in sorted(summary.chunk_indexes, key=lambda each: (each.message_start_time, each.chunk_start_offset)):
        while waiting and waiting[0][0] < index.message_start_time:
            yield heapq.heappop(waiting)[3]
        file.seek(index.chunk_start_offset)
        body = file.read(index.chunk_length)[RECORD_HEAD.size :]
        for place, record in chunk_records(Chunk.read(ReadDataStream(BytesIO(body)))):
            if isinstance(record, Message) and (topics is None or names[record.channel_id] in topics):
                message = BagMessage(names[record.channel_id], record.log_time, record.publish_time, record.data)
                heapq.heappush(waiting, (record.log_time, index.chunk_start_offset, place, message))
    while waiting:
        yield heapq.heappop(waiting)[3]


def _library_reader(file: Any) -> Any:
    from mcap.reader import SeekingReader

    return SeekingReader(file, validate_crcs=True, record_size_limit=MAX_RECORD_BYTES)


def _topics(path: Path) -> list[Topic]:
    try:
        with path.open("rb") as file:
            summary = _library_reader(file).get_summary()
        if summary is None or (summary.statistics is None and not summary.channels):
            raise _torn(path.parent, f"{path.name} has no summary")
        found = []
        for channel in summary.channels.values():
            schema = summary.schemas.get(channel.schema_id)
            name, text = (schema.name, schema.data.decode()) if schema else ("", "")
            qos = profiles.from_plain(channel.metadata.get("offered_qos_profiles"), f"{path}: {channel.topic}")
            found.append(Topic(channel.topic, name, text, channel.metadata.get("topic_type_hash", ""), qos))
        return found
    except (*DAMAGE, OSError) as error:
        raise _torn(path.parent, f"{path.name} has no readable summary") from error


def _torn(folder: Path, seen: str) -> InputError:
    return broken(folder, f"the recording did not end ({seen})", f"industriverse bag recover '{folder}'")


def _damaged(path: Path, error: Exception) -> InputError:
    seen = f"damaged ({type(error).__name__}: {error})" if str(error) else f"damaged ({type(error).__name__})"
    return broken(path, seen, f"See what is lost: industriverse bag verify '{path.parent}'")
