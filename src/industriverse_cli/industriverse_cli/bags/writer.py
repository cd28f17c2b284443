"""Writes a bag: MCAP files of bounded size in a folder of bounded size, whole again after any end.

Chunks are closed and flushed to the disk at least once a second, so a kill loses at most that second. A program that
a message refers to is attached to every file that refers to it, and the last message of a latched topic is repeated
at the start of a file: each file can be read on its own, also when older ones have been deleted.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from industriverse_cli.bags import metadata, profiles
from industriverse_cli.bags.model import ENDING, RESERVE_FILE, Attachment, BagMessage, FilePart, Topic
from industriverse_cli.bags.sealing import scan, seal
from industriverse_core.errors import ErrorCode, InputError

CHUNK_BYTES = 1 << 18
RESERVE_BYTES = 1 << 20  # kept free for the summary and metadata.yaml of a bag that has filled the disk
FILES_KEPT = 4  # a bag of bounded size is at least so many files, so that deleting the oldest leaves the others
MIN_SIZE_BYTES = 1 << 16
LIBRARY = "industriverse"
NOTHING_YET = metadata.BagInformation((), (), {})


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a bag may become [bytes]; 0 = no limit.

    Attributes:
        total_bytes: all files together.
        split_bytes: one file. At most a quarter of the total.
        stop_when_full: end at the total instead of deleting the oldest file.
    """

    total_bytes: int = 10**9
    split_bytes: int = 256 * 10**6
    stop_when_full: bool = False

    @property
    def file_bytes(self) -> int:
        """Where a file is closed and the next begins; 0 = never."""
        limits = [self.split_bytes, 0 if self.stop_when_full else self.total_bytes // FILES_KEPT]
        return min((limit for limit in limits if limit), default=0)


class BagFullError(InputError):
    """The bag may not, or cannot, grow any further; everything before is whole."""


class DiskFile:
    """An unbuffered new file whose writes are whole or undone; what the MCAP library writes to.

    Attributes:
        position: bytes written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self.position = 0

    def write(self, data: Any) -> int:
        """Write all of it. Raises OSError, and then nothing of it is in the file."""
        view = memoryview(data)
        done = 0
        try:
            while done < len(view):
                done += self._file.write(view[done:]) or 0
        except OSError:
            self._file.truncate(self.position)
            self._file.seek(self.position)
            raise
        self.position += done
        return done

    def tell(self) -> int:
        """Where the next write goes."""
        return self.position

    def flush(self) -> None:
        """Nothing is kept back here."""

    def sync(self) -> None:
        """Onto the disk."""
        os.fdatasync(self._file.fileno())

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._file.closed

    def close(self) -> None:
        """Close it; may be called again."""
        self._file.close()


@dataclass(slots=True)
class _Part:
    """The file that is being written."""

    path: Path
    disk: DiskFile
    mcap: Any
    counts: Counter[str] = field(default_factory=Counter)
    channels: dict[str, int] = field(default_factory=dict)
    schemas: dict[str, int] = field(default_factory=dict)
    attached: set[str] = field(default_factory=set)
    start_ns: int = 0
    end_ns: int = 0
    pending_bytes: int = 0  # since the last flush

    def finished(self) -> FilePart:
        """What metadata.yaml says of it."""
        return FilePart(self.path.name, self.start_ns, self.end_ns, self.disk.position, self.counts.total())


class BagWriter:
    """A bag that is being written. Not for several threads at once.

    Attributes:
        deleted_files: how many of the oldest were deleted to keep the bounds.
    """

    def __init__(
        self,
        folder: Path,
        bounds: Bounds,
        compress: bool = True,
        permanent: tuple[Attachment, ...] = (),
        open_disk: Callable[[Path], DiskFile] = DiskFile,
    ) -> None:
        """Make the folder and the first file. Raises InputError when it exists or cannot be written.

        `permanent`: files that are attached to every part.
        """
        self.folder = folder
        self.deleted_files = 0
        self._bounds, self._compress, self._open_disk = bounds, compress, open_disk
        self._permanent = permanent
        self._topics: dict[str, Topic] = {}
        self._latched: dict[str, BagMessage] = {}
        self._finished: list[tuple[FilePart, Counter[str]]] = []
        self._next_file = 0
        self._last_ns = 0
        try:
            folder.mkdir(parents=True)
            (folder / RESERVE_FILE).write_bytes(bytes(RESERVE_BYTES))
            self._part = self._open_part()
        except FileExistsError as error:
            raise InputError(ErrorCode.USAGE, f"{folder}: exists already.", "Name a new folder.") from error
        except OSError as error:
            raise InputError(
                ErrorCode.FILE_UNREADABLE,
                f"{folder}: cannot be written ({error.strerror}).",
                "Check the place, its permissions and the space left.",
            ) from error

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, without the chunk that is still in memory."""
        current = 0 if self._part.disk.closed else self._part.disk.position
        return sum(part.size_bytes for part, _ in self._finished) + current

    @property
    def messages(self) -> int:
        """Messages in all files that still exist."""
        current = 0 if self._part.disk.closed else self._part.counts.total()
        return sum(counts.total() for _, counts in self._finished) + current

    def add_topic(self, topic: Topic) -> None:
        """Announce a topic, before its first message. A topic that is known already gets the new QoS."""
        self._topics[topic.name] = topic

    def write(self, message: BagMessage) -> None:
        """Add a message of a known topic; its receipt is moved to the last one's where it is earlier.

        Raises BagFullError; the bag is then finished and whole.
        """
        self._last_ns = log_ns = max(message.log_ns, self._last_ns)
        topic = self._topics[message.topic]
        try:
            self._split_if_needed(log_ns)
            self._put(topic, message, log_ns)
        except OSError as error:
            raise self._give_up(error) from error
        if topic.latched:
            self._latched[topic.name] = message

    def attach(self, attachment: Attachment, log_ns: int) -> None:
        """Add a file to the current part; once a part. Raises BagFullError."""
        part = self._part
        if attachment.name in part.attached:
            return
        part.attached.add(attachment.name)
        try:
            self._flush_part()
            part.mcap.add_attachment(log_ns, log_ns, attachment.name, attachment.media_type, attachment.data)
        except OSError as error:
            raise self._give_up(error) from error

    def has_attached(self, name: str) -> bool:
        """True when the current part has the file already."""
        return name in self._part.attached

    def flush(self) -> None:
        """Close the chunk and bring it onto the disk. Raises BagFullError."""
        if not self._part.pending_bytes:
            return
        try:
            self._flush_part()
            self._part.disk.sync()
        except OSError as error:
            raise self._give_up(error) from error

    def close(self, notes: Mapping[str, str] | None = None) -> metadata.BagInformation:
        """Finish the last file and write metadata.yaml; what it says. Raises BagFullError when there is no space."""
        try:
            if not self._part.disk.closed:
                self._finish_part()
            (self.folder / RESERVE_FILE).unlink(missing_ok=True)
            return self._write_metadata(notes or {})
        except OSError as error:
            raise self._give_up(error) from error

    # --- parts ---

    def _open_part(self) -> _Part:
        from mcap.writer import CompressionType, Writer

        path = self.folder / f"{self.folder.name}_{self._next_file}{ENDING}"
        disk = self._open_disk(path)
        compression = CompressionType.ZSTD if self._compress else CompressionType.NONE
        # chunks are closed by `_put`, which then knows what the file's size is
        mcap = Writer(disk, chunk_size=1 << 40, compression=compression)
        mcap.start("ros2", LIBRARY)
        mcap.add_metadata("rosbag2", {"serialized_metadata": metadata.record_text(NOTHING_YET)})
        for item in self._permanent:
            mcap.add_attachment(time.time_ns(), 0, item.name, item.media_type, item.data)
        self._next_file += 1
        return _Part(path, disk, mcap)

    def _put(self, topic: Topic, message: BagMessage, log_ns: int) -> None:
        part = self._part
        channel = part.channels.get(topic.name)
        if channel is None:
            channel = self._channel(part, topic)
        part.mcap.add_message(channel, log_ns, message.data, message.publish_ns)
        part.start_ns = part.start_ns or log_ns
        part.end_ns = log_ns
        part.counts[topic.name] += 1
        part.pending_bytes += len(message.data) + 40
        if part.pending_bytes > CHUNK_BYTES:
            self._flush_part()

    def _channel(self, part: _Part, topic: Topic) -> int:
        schema = part.schemas.get(topic.type_name)
        if schema is None:
            schema = part.mcap.register_schema(topic.type_name, "ros2msg", topic.definition.encode())
            part.schemas[topic.type_name] = schema
        about = {"offered_qos_profiles": profiles.to_text(topic.qos), "topic_type_hash": topic.type_hash}
        channel: int = part.mcap.register_channel(topic.name, "cdr", schema, about)
        part.channels[topic.name] = channel
        return channel

    def _flush_part(self) -> None:
        self._part.mcap.flush()
        self._part.pending_bytes = 0

    def _split_if_needed(self, log_ns: int) -> None:
        size = self._part.disk.position + self._part.pending_bytes
        limit = self._bounds.file_bytes
        total = self._bounds.total_bytes
        if total and self._bounds.stop_when_full and self.size_bytes + self._part.pending_bytes > total:
            self.close()
            raise BagFullError(
                ErrorCode.FILE_TOO_LARGE,
                f"{self.folder}: the bag has reached {total / 1e6:.0f} MB, its limit.",
                "Record with a larger --max-size, or without --stop-when-full.",
            )
        if limit and size > limit:
            self._finish_part()
            self._delete_oldest()
            self._write_metadata({})
            self._part = self._open_part()
            for message in list(self._latched.values()):
                self._put(self._topics[message.topic], message, log_ns)

    def _finish_part(self) -> None:
        part = self._part
        part.mcap.finish()
        part.disk.sync()
        part.disk.close()
        self._finished.append((part.finished(), part.counts))

    def _delete_oldest(self) -> None:
        """Make room for one more file."""
        bounds = self._bounds
        while bounds.total_bytes and len(self._finished) > 1:
            used = sum(part.size_bytes for part, _ in self._finished)
            if bounds.stop_when_full or used + bounds.file_bytes <= bounds.total_bytes:
                return
            oldest, _ = self._finished.pop(0)
            (self.folder / oldest.name).unlink(missing_ok=True)
            self.deleted_files += 1

    def _write_metadata(self, notes: Mapping[str, str]) -> metadata.BagInformation:
        counts: Counter[str] = Counter()
        for _, each in self._finished:
            counts.update(each)
        parts = tuple(part for part, _ in self._finished)
        told = {"recorder": LIBRARY, "deleted_files": str(self.deleted_files), **notes}
        information = metadata.BagInformation(tuple(self._topics.values()), parts, counts, told)
        metadata.write(self.folder, information)
        return information

    def _give_up(self, error: OSError) -> BagFullError:
        """The disk takes no more: make the last file whole with what it has, in the space that was kept for it."""
        part = self._part
        (self.folder / RESERVE_FILE).unlink(missing_ok=True)
        whole = "What was recorded before is whole."
        try:
            part.disk.close()
            found = scan(part.path)
            seal(part.path, found)
            if all(done.name != part.path.name for done, _ in self._finished):
                size = part.path.stat().st_size
                done = FilePart(part.path.name, found.start_ns, found.end_ns, size, found.messages)
                self._finished.append((done, found.by_topic()))
            self._write_metadata({"ended": f"cannot be written ({error.strerror})"})
        except OSError:
            whole = f"Free some space, then: industriverse bag recover '{self.folder}'"
        return BagFullError(ErrorCode.FILE_UNREADABLE, f"{self.folder}: cannot be written ({error.strerror}).", whole)


__all__ = ["BagFullError", "BagWriter", "Bounds", "DiskFile"]
