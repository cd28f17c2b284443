"""What recording costs: messages/s and MB/s of CPU time, size of one machine-hour, reading, deciding again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from industriverse_cli.bags.reader import Bag
from industriverse_cli.bags.recording import Recording
from industriverse_cli.bags.verdicts import decide
from industriverse_cli.bags.writer import BagWriter, Bounds

EXAMPLE = Path(__file__).parents[1] / "examples" / "stopped_job"
COPIES = 40
BATCH = 20
ROUNDS = 3


def run() -> Iterator[dict]:
    bag = Bag.open(EXAMPLE)
    messages = list(bag.messages())
    length_s = (bag.information.end_ns - bag.information.start_ns) * 1e-9
    payload = sum(len(message.data) for message in messages) * COPIES
    for name, compress in (("zstd", True), ("no compression", False)):
        with tempfile.TemporaryDirectory() as folder:
            cpu_s = min(_record(Path(folder) / str(n), bag, messages, compress) for n in range(ROUNDS))
            size_bytes = _size_bytes(Path(folder) / "size", bag, messages, compress)
        yield {"metric": f"recording, {name}", "value": round(len(messages) * COPIES / cpu_s), "unit": "messages/s CPU"}
        yield {"metric": f"recording, {name}", "value": round(payload / cpu_s / 1e6, 1), "unit": "MB/s CPU"}
        hour_mb = size_bytes / length_s * 3600 / 1e6
        yield {"metric": f"one machine-hour, {name}", "value": round(hour_mb, 1), "unit": "MB"}
    read_s = _best(lambda: sum(1 for _ in bag.messages()))
    yield {"metric": "reading", "value": round(len(messages) / read_s), "unit": "messages/s CPU"}
    decide_s = _best(lambda: decide(bag))
    yield {"metric": "deciding again, gates included", "value": round(length_s / decide_s), "unit": "times real time"}


def _record(folder: Path, bag: Bag, messages: list, compress: bool) -> float:
    """CPU seconds of both threads; batches as a recorder hands them over."""
    started = time.process_time()
    recording = Recording(BagWriter(folder, Bounds(0, 0), compress), queue_bytes=1 << 40)
    for topic in bag.topics.values():
        recording.add_topic(topic)
    for _ in range(COPIES):
        for first in range(0, len(messages), BATCH):
            recording.put(messages[first : first + BATCH])
    recording.close()
    return time.process_time() - started


def _size_bytes(folder: Path, bag: Bag, messages: list, compress: bool) -> int:
    """Bytes of the example's messages with a chunk a second, as a live recording has them."""
    writer = BagWriter(folder, Bounds(0, 0), compress)
    for topic in bag.topics.values():
        writer.add_topic(topic)
    second = 0
    for message in messages:
        writer.write(message)
        if message.log_ns // 10**9 != second:
            second = message.log_ns // 10**9
            writer.flush()
    writer.close()
    return writer.size_bytes


def _best(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best
