"""The tolerant reading of one MCAP file, and the summary that makes a torn one whole again.

A recording that was killed has no summary, and a last record that may be cut. Everything before that record is good:
it is found by walking the records, and a summary is written behind it. Nothing that was recorded is moved or copied.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Attachment,
    AttachmentIndex,
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    McapRecord,
    Message,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)
from mcap.writer import MCAP0_MAGIC

from industriverse_cli.bags.model import broken

MAX_CHUNK_BYTES = 1 << 28  # uncompressed; a chunk that claims more is damage
RECORD_HEAD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
DATA_RECORDS = frozenset(
    (Opcode.HEADER, Opcode.SCHEMA, Opcode.CHANNEL, Opcode.CHUNK, Opcode.MESSAGE_INDEX, Opcode.ATTACHMENT)
) | {Opcode.METADATA, Opcode.MESSAGE}


@dataclass(slots=True)
class Scan:
    """What a walk through the records of one file found.

    Attributes:
        size_bytes: of the file.
        good_end: offset behind the last whole record of the data section.
        sealed: the file ends with a data end, a summary, a footer and the magic.
        damaged_chunks: whole records whose content is not what its checksum says; their messages are lost.
        lost_messages: messages whose topic stood in a damaged chunk.
    """

    size_bytes: int
    good_end: int = 0
    sealed: bool = False
    damaged_chunks: int = 0
    lost_messages: int = 0
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[ChunkIndex] = field(default_factory=list)
    attachments: list[AttachmentIndex] = field(default_factory=list)
    metadata: list[MetadataIndex] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    start_ns: int = 2**63 - 1
    end_ns: int = 0
    unindexed: list[MessageIndex] = field(default_factory=list)  # of the last chunk, while its indexes have not come

    @property
    def messages(self) -> int:
        """Messages that can be read."""
        return self.counts.total()

    @property
    def torn_bytes(self) -> int:
        """Bytes behind the last whole record of a file that is not sealed."""
        return 0 if self.sealed else self.size_bytes - self.good_end

    def by_topic(self) -> Counter[str]:
        """Messages by topic."""
        total: Counter[str] = Counter()
        for channel_id, count in self.counts.items():
            total[self.channels[channel_id].topic] += count
        return total


def scan(path: Path) -> Scan:
    """Walk through the records of a file, to its end or to the first one that is not whole.

    Raises InputError (BAG_BROKEN) for a file that is no MCAP file at all, OSError when it cannot be read.
    """
    with path.open("rb") as file:
        size_bytes = path.stat().st_size
        found = Scan(size_bytes)
        if not MCAP0_MAGIC.startswith(file.read(len(MCAP0_MAGIC))):
            raise broken(path, "not an MCAP file", "Name a folder that was recorded.")
        found.good_end = min(size_bytes, len(MCAP0_MAGIC))
        for opcode, start, body in _records(file, found.good_end, size_bytes):
            if opcode == Opcode.DATA_END:
                found.sealed = _is_sealed(file, size_bytes)
                break
            if not _take(found, opcode, start, body):
                break
            found.good_end = start + RECORD_HEAD.size + len(body)
    return found


def _records(file: BinaryIO, start: int, size_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """(opcode, offset, body) of every whole record from an offset on."""
    while True:
        file.seek(start)
        head = file.read(RECORD_HEAD.size)
        if len(head) < RECORD_HEAD.size:
            return
        opcode, length = RECORD_HEAD.unpack(head)
        if length > size_bytes - start - RECORD_HEAD.size:
            return
        yield opcode, start, file.read(length)
        start += RECORD_HEAD.size + length


def _is_sealed(file: BinaryIO, size_bytes: int) -> bool:
    """A footer and the magic stand at the end of the file."""
    tail = RECORD_HEAD.size + 20 + len(MCAP0_MAGIC)
    file.seek(max(0, size_bytes - tail))
    end = file.read(tail)
    return end[:9] == RECORD_HEAD.pack(Opcode.FOOTER, 20) and end.endswith(MCAP0_MAGIC)


def _take(found: Scan, opcode: int, start: int, body: bytes) -> bool:
    """Add one record of the data section; False when it cannot be one (the file is damaged from here on)."""
    stream = ReadDataStream(BytesIO(body))
    length = RECORD_HEAD.size + len(body)
    try:
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            found.schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(stream)
            found.channels[channel.id] = channel
        elif opcode == Opcode.CHUNK:
            _take_chunk(found, Chunk.read(stream), start, length)
        elif opcode == Opcode.MESSAGE_INDEX:
            _take_index(found, MessageIndex.read(stream), start, length)
        elif opcode == Opcode.MESSAGE:
            _count(found, Message.read(stream, len(body)))
        elif opcode == Opcode.ATTACHMENT:
            _take_attachment(found, body, start, length)
        elif opcode == Opcode.METADATA:
            found.metadata.append(MetadataIndex(start, length, Metadata.read(stream).name))
        return opcode in DATA_RECORDS or opcode >= 0x80  # above are private records, which readers pass over
    except Exception:  # noqa: BLE001 - the library meets damage with whatever its parsing runs into
        return False


def _take_attachment(found: Scan, body: bytes, start: int, length: int) -> None:
    stored_crc = int.from_bytes(body[-4:], "little")
    if stored_crc and zlib.crc32(body[:-4]) != stored_crc:
        raise ValueError("attachment checksum")
    item = Attachment.read(ReadDataStream(BytesIO(body)))
    size = len(item.data)
    index = AttachmentIndex(start, length, item.log_time, item.create_time, size, item.name, item.media_type)
    found.attachments.append(index)


def _take_chunk(found: Scan, chunk: Chunk, start: int, length: int) -> None:
    """Read what is in a chunk; a damaged one is counted and left out of the summary."""
    try:
        records = list(chunk_records(chunk))
    except Exception:  # noqa: BLE001 - see _take
        found.damaged_chunks += 1
        found.unindexed = []
        return
    offsets: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for offset, record in records:
        if isinstance(record, Schema):
            found.schemas.setdefault(record.id, record)
        elif isinstance(record, Channel):
            found.channels.setdefault(record.id, record)
        elif isinstance(record, Message) and _count(found, record):
            offsets[record.channel_id].append((record.log_time, offset))
    found.chunks.append(
        ChunkIndex(
            chunk_length=length,
            chunk_start_offset=start,
            compression=chunk.compression,
            compressed_size=len(chunk.data),
            message_end_time=chunk.message_end_time,
            message_index_length=0,
            message_index_offsets={},
            message_start_time=chunk.message_start_time,
            uncompressed_size=chunk.uncompressed_size,
        )
    )
    found.unindexed = [MessageIndex(channel, entries) for channel, entries in offsets.items()]


def chunk_records(chunk: Chunk) -> Iterator[tuple[int, McapRecord]]:
    """(offset, record) of the schemas, channels and messages in a chunk.

    Raises whatever the library raises for damage; ValueError for a wrong checksum or size.
    """
    if chunk.uncompressed_size > MAX_CHUNK_BYTES:
        raise ValueError("chunk size")
    data = _uncompressed(chunk)
    if len(data) != chunk.uncompressed_size or (chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc):
        raise ValueError("chunk checksum")
    position = 0
    while position < len(data):
        opcode, length = RECORD_HEAD.unpack_from(data, position)
        start, end = position + RECORD_HEAD.size, position + RECORD_HEAD.size + length
        if end > len(data):
            raise ValueError("record length")
        if opcode == Opcode.MESSAGE:
            channel, sequence, log_ns, publish_ns = MESSAGE_HEAD.unpack_from(data, start)
            yield position, Message(channel, log_ns, data[start + MESSAGE_HEAD.size : end], publish_ns, sequence)
        elif opcode == Opcode.SCHEMA:
            yield position, Schema.read(ReadDataStream(BytesIO(data[start:end])))
        elif opcode == Opcode.CHANNEL:
            yield position, Channel.read(ReadDataStream(BytesIO(data[start:end])))
        position = end


def _uncompressed(chunk: Chunk) -> bytes:
    if chunk.compression == "zstd":
        import zstandard

        claimed = zstandard.frame_content_size(chunk.data)
        if claimed > MAX_CHUNK_BYTES:
            raise ValueError("chunk size")
        return bytes(zstandard.decompress(chunk.data, chunk.uncompressed_size))
    if chunk.compression == "lz4":
        from lz4.frame import LZ4FrameDecompressor

        return bytes(LZ4FrameDecompressor().decompress(chunk.data, chunk.uncompressed_size + 1))
    if chunk.compression:
        raise ValueError("compression")
    return chunk.data


def _take_index(found: Scan, index: MessageIndex, start: int, length: int) -> None:
    waiting = [each for each in found.unindexed if each.channel_id == index.channel_id]
    if waiting and index.records == waiting[0].records:
        found.unindexed.remove(waiting[0])
        found.chunks[-1].message_index_offsets[index.channel_id] = start
        found.chunks[-1].message_index_length += length


def _count(found: Scan, message: Message) -> bool:
    """Count a message; False when its topic is not known."""
    if message.channel_id not in found.channels:
        found.lost_messages += 1
        return False
    found.counts[message.channel_id] += 1
    found.start_ns = min(found.start_ns, message.log_time)
    found.end_ns = max(found.end_ns, message.log_time)
    return True


def seal(path: Path, found: Scan) -> None:
    """Cut what is torn and write the summary, the footer and the magic behind it. Raises OSError.

    A scan that is sealed has nothing to cut and nothing is done.
    """
    if found.sealed:
        return
    with path.open("r+b") as file:
        file.truncate(found.good_end)
        file.seek(found.good_end)
        if found.good_end <= len(MCAP0_MAGIC):
            _write_head(file)
        file.write(_missing_indexes(found, file.tell()))
        file.write(_summary(found, file.tell()))
        file.flush()


def _write_head(file: BinaryIO) -> None:
    """A file that was cut within its first record becomes an empty one."""
    from mcap.records import Header

    file.seek(0)
    builder = RecordBuilder()
    Header("ros2", "industriverse").write(builder)
    file.write(MCAP0_MAGIC + builder.end())


def _missing_indexes(found: Scan, offset: int) -> bytes:
    """Message indexes of the last chunk that were torn off."""
    builder = RecordBuilder()
    for index in found.unindexed:
        before = builder.count
        index.write(builder)
        found.chunks[-1].message_index_offsets[index.channel_id] = offset + before
        found.chunks[-1].message_index_length += builder.count - before
    return bytes(builder.end())


def _summary(found: Scan, offset: int) -> bytes:
    """Data end, summary, footer and magic for a data section that ends at an offset."""
    head = RecordBuilder()
    DataEnd(0).write(head)
    data_end = bytes(head.end())
    start = offset + len(data_end)
    builder = RecordBuilder()
    offsets: list[SummaryOffset] = []
    groups: list[tuple[Opcode, list[McapRecord]]] = [
        (Opcode.SCHEMA, list(found.schemas.values())),
        (Opcode.CHANNEL, list(found.channels.values())),
        (Opcode.STATISTICS, [_statistics(found)]),
        (Opcode.CHUNK_INDEX, list(found.chunks)),
        (Opcode.ATTACHMENT_INDEX, list(found.attachments)),
        (Opcode.METADATA_INDEX, list(found.metadata)),
    ]
    for opcode, records in groups:
        before = builder.count
        for record in records:
            record.write(builder)
        if records:
            offsets.append(SummaryOffset(opcode, start + before, builder.count - before))
    offset_start = start + builder.count
    for each in offsets:
        each.write(builder)
    summary = bytes(builder.end())
    crc = zlib.crc32(struct.pack("<BQQQ", Opcode.FOOTER, 20, start, offset_start), zlib.crc32(summary))
    Footer(start, offset_start, crc).write(builder)
    return data_end + summary + bytes(builder.end()) + MCAP0_MAGIC


def _statistics(found: Scan) -> Statistics:
    return Statistics(
        attachment_count=len(found.attachments),
        channel_count=len(found.channels),
        channel_message_counts=dict(found.counts),
        chunk_count=len(found.chunks),
        message_count=found.messages,
        metadata_count=len(found.metadata),
        message_start_time=found.start_ns if found.messages else 0,
        message_end_time=found.end_ns,
        schema_count=len(found.schemas),
    )
