"""Makes a torn bag whole, and says what is in a bag, what is damaged and what was lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from industriverse_cli.bags import metadata, profiles
from industriverse_cli.bags.model import METADATA_FILE, RESERVE_FILE, FilePart, Topic
from industriverse_cli.bags.reader import bag_files
from industriverse_cli.bags.sealing import Scan, scan, seal
from industriverse_core.errors import ErrorCode, InputError


@dataclass(frozen=True, slots=True)
class FileState:
    """One file of a bag after a walk through all its records.

    Attributes:
        whole: it has a summary that says what was found.
        torn_bytes: behind the last whole record; a message of which a part is there.
        damaged_chunks: chunks with a wrong checksum; their messages are lost.
        lost_messages: whole messages whose topic stood in a damaged chunk.
    """

    name: str
    whole: bool
    messages: int
    size_bytes: int
    torn_bytes: int
    damaged_chunks: int
    lost_messages: int

    @property
    def sound(self) -> bool:
        """Nothing is torn, damaged or missing."""
        return self.whole and not (self.torn_bytes or self.damaged_chunks or self.lost_messages)


def verify(folder: Path) -> tuple[tuple[FileState, ...], list[str]]:
    """Every file's state, and what is wrong with the bag as a whole, in sentences. Raises InputError."""
    files = bag_files(folder)
    scans = [_scan(path) for path in files]
    problems = []
    try:
        information = metadata.read(folder)
    except InputError as error:
        problems.append(error.message)
    else:
        listed = {part.name: part.messages for part in information.parts}
        found = {path.name: each.messages for path, each in zip(files, scans, strict=True)}
        problems += [f"{name} is not in {METADATA_FILE}." for name in sorted(found.keys() - listed.keys())]
        problems += [f"{name} is missing." for name in sorted(listed.keys() - found.keys())]
        problems += [
            f"{name}: {found[name]} messages, {METADATA_FILE} says {listed[name]}."
            for name in sorted(found.keys() & listed.keys())
            if found[name] != listed[name]
        ]
    return tuple(_state(path, each) for path, each in zip(files, scans, strict=True)), problems


def recover(folder: Path) -> tuple[FileState, ...]:
    """Make every file of a bag whole, in place, and write metadata.yaml anew; the states before.

    Raises InputError when the folder is no bag or cannot be written. A bag that is whole stays as it is.
    """
    states, problems = verify(folder)
    if not problems and all(state.whole for state in states):
        return states
    try:
        files = bag_files(folder)
        for path in files:
            found = _scan(path)
            seal(path, found)
        (folder / RESERVE_FILE).unlink(missing_ok=True)
        metadata.write(folder, _information(folder, files, states))
    except OSError as error:
        raise InputError(
            ErrorCode.FILE_UNREADABLE,
            f"{folder}: cannot be written ({error.strerror}).",
            "Check its permissions and the space left.",
        ) from error
    return states


def _information(folder: Path, files: list[Path], states: tuple[FileState, ...]) -> metadata.BagInformation:
    """What metadata.yaml has to say of files that are whole now."""
    topics: dict[str, Topic] = {}
    counts: Counter[str] = Counter()
    parts = []
    for path in files:
        found = _scan(path)
        start_ns = found.start_ns if found.messages else 0
        parts.append(FilePart(path.name, start_ns, found.end_ns, path.stat().st_size, found.messages))
        counts.update(found.by_topic())
        for channel in found.channels.values():
            schema = found.schemas.get(channel.schema_id)
            qos = profiles.from_plain(channel.metadata.get("offered_qos_profiles"), f"{path}: {channel.topic}")
            type_hash = channel.metadata.get("topic_type_hash", "")
            topics.setdefault(channel.topic, Topic(channel.topic, schema.name if schema else "", "", type_hash, qos))
    torn = sum(state.torn_bytes for state in states)
    damaged = sum(state.damaged_chunks for state in states)
    notes = {"recovered": f"{torn} torn bytes cut, {damaged} damaged chunks left out"}
    try:
        notes = {**metadata.read(folder).notes, **notes}
    except InputError:
        pass  # it was not written before the end
    return metadata.BagInformation(tuple(topics.values()), tuple(parts), counts, notes)


def _scan(path: Path) -> Scan:
    try:
        return scan(path)
    except OSError as error:
        raise InputError(
            ErrorCode.FILE_UNREADABLE, f"{path}: cannot be read ({error.strerror}).", "Check its permissions."
        ) from error


def _state(path: Path, found: Scan) -> FileState:
    return FileState(
        path.name,
        found.sealed,
        found.messages,
        found.size_bytes,
        found.torn_bytes,
        found.damaged_chunks,
        found.lost_messages,
    )
