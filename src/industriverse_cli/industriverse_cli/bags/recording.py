"""What stands between the network and the disk: a bounded queue, one writer thread, and a count of what was lost."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from industriverse_cli.bags.metadata import BagInformation
from industriverse_cli.bags.model import CELL, MACHINES, PROGRAMS, Attachment, BagMessage, Topic
from industriverse_cli.bags.writer import BagWriter
from industriverse_core.errors import CoreError, InputError
from industriverse_core.files import read_bytes

QUEUE_BYTES = 64 << 20
FLUSH_S = 1.0
MAX_ARTEFACT_BYTES = 1 << 28
ARROW = "application/vnd.apache.arrow.file"
# a program's address stands as plain text in every message that refers to it (ProgramRef.uri)
_ADDRESS = re.compile(rb"file://(?:localhost)?(/[^#?\0]{1,4096})#sha256=([0-9a-f]{64})")
REFERENCE = "MSG: industriverse_msgs/ProgramRef"


@dataclass(frozen=True, slots=True)
class Progress:
    """A recording at one moment.

    Attributes:
        dropped: messages that came while the queue was full.
        lost: messages that the network did not deliver, as gaps in the publishers' numbers.
        ended: why nothing is written any more.
    """

    received: int
    written: int
    dropped: int
    lost: int
    size_bytes: int
    queued_bytes: int
    deleted_files: int
    ended: CoreError | None


class Recording:
    """A bag that is fed from one thread and written by another.

    `put` never waits for the disk: when the queue is full the message is dropped and counted.
    """

    def __init__(self, writer: BagWriter, programs: Path | None = None, queue_bytes: int = QUEUE_BYTES) -> None:
        self._writer, self._programs, self._queue_bytes = writer, programs, queue_bytes
        self._condition = threading.Condition()
        self._queue: deque[BagMessage | Topic] = deque()
        self._queued_bytes = self._received = self._written = self._lost = 0
        self._dropped: Counter[str] = Counter()
        self._closing = False
        self._referring: set[str] = set()
        self._absent: set[str] = set()
        self.ended: CoreError | None = None
        self._bug: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="bag writer", daemon=True)
        self._thread.start()

    def add_topic(self, topic: Topic) -> None:
        """Announce a topic before its messages."""
        with self._condition:
            self._queue.append(topic)

    def put(self, messages: list[BagMessage], lost: int = 0) -> None:
        """Hand over what was received, in order, and how many are known to be lost on the way."""
        with self._condition:
            self._lost += lost
            self._received += len(messages)
            for message in messages:
                size = len(message.data) + 100
                if self._queued_bytes + size > self._queue_bytes or self.ended is not None:
                    self._dropped[message.topic] += 1
                else:
                    self._queued_bytes += size
                    self._queue.append(message)
            self._condition.notify()

    def progress(self) -> Progress:
        """Counts so far. Raises what the writer thread raised, if it was a bug."""
        if self._bug is not None:
            raise self._bug
        with self._condition:
            return Progress(
                self._received, self._written, self._dropped.total(), self._lost, self._writer.size_bytes,
                self._queued_bytes, self._writer.deleted_files, self.ended,
            )  # fmt: skip

    def close(self) -> BagInformation | None:
        """Write what is queued and finish the bag; None when it had ended by itself."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()
        if self._bug is not None:
            raise self._bug
        if self.ended is not None:
            return None
        dropped = {f"dropped {topic}": str(count) for topic, count in sorted(self._dropped.items())}
        return self._writer.close({"lost": str(self._lost), "dropped": str(self._dropped.total()), **dropped})

    # --- the writer's thread ---

    def _run(self) -> None:
        flushed_s = time.monotonic()
        try:
            while not (self._take() and self._closing):
                if time.monotonic() - flushed_s >= FLUSH_S:
                    self._writer.flush()
                    flushed_s = time.monotonic()
        except CoreError as error:  # the disk is full, or the bag may not grow
            self.ended = error
        except Exception as error:  # noqa: BLE001 - a bug in a thread must end the command, see `progress`
            self._bug = error

    def _take(self) -> bool:
        """Write everything that is queued; True when there was nothing."""
        with self._condition:
            if not self._queue and not self._closing:
                self._condition.wait(FLUSH_S)
            items, self._queue = self._queue, deque()
        for item in items:
            if isinstance(item, Topic):
                self._writer.add_topic(item)
                if REFERENCE in item.definition:
                    self._referring.add(item.name)
                continue
            self._writer.write(item)
            if item.topic in self._referring:
                self._attach_programs(item)
            with self._condition:
                self._written += 1
                self._queued_bytes -= len(item.data) + 100
        return not items

    def _attach_programs(self, message: BagMessage) -> None:
        """Attach each program of the cell's store that a message refers to, as far as it is what it claims to be."""
        for path, sha256 in _ADDRESS.findall(message.data):
            file = Path(unquote(path.decode("utf-8", "replace")))
            name = f"{PROGRAMS}{file.name}"
            if self._programs is None or file.name in self._absent or self._writer.has_attached(name):
                continue
            data = b""
            if file.parent.resolve() == self._programs.resolve():
                try:
                    data = read_bytes(file, MAX_ARTEFACT_BYTES)
                except InputError:
                    pass
            if hashlib.sha256(data).hexdigest() == sha256.decode():
                self._writer.attach(Attachment(name, ARROW, data), message.log_ns)
            else:
                self._absent.add(file.name)


def profile_attachments(machine_id: str, description: Path) -> tuple[Attachment, ...]:
    """What decisions go by: the machine's profile as it ships, and the cell description; each if there is one."""
    from industriverse_core.machine import MACHINE_FOLDER

    path = MACHINE_FOLDER / f"{machine_id}.yaml"
    files = ((f"{MACHINES}{path.name}", path), (CELL, description))
    return tuple(Attachment(name, "application/yaml", file.read_bytes()) for name, file in files if file.is_file())
