"""metadata.yaml of a bag: rosbag2's bag information, version 9 (ROS 2 Jazzy)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from industriverse_cli.bags import profiles
from industriverse_cli.bags.model import METADATA_FILE, FilePart, Topic, broken
from industriverse_core.files import read_bytes, replace_file

VERSION = 9
MAX_METADATA_BYTES = 1 << 24
ROOT = "rosbag2_bagfile_information"


@dataclass(frozen=True, slots=True)
class BagInformation:
    """What metadata.yaml says.

    Attributes:
        topics: with their QoS; definitions are in the files.
        parts: files in the order of time.
        counts: messages by topic.
        notes: rosbag2's custom_data: who recorded, what was lost.
    """

    topics: tuple[Topic, ...]
    parts: tuple[FilePart, ...]
    counts: Mapping[str, int]
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> int:
        """All messages."""
        return sum(part.messages for part in self.parts)

    @property
    def start_ns(self) -> int:
        """First receipt [ns since 1970]; 0 when nothing was recorded."""
        return min((part.start_ns for part in self.parts if part.messages), default=0)

    @property
    def end_ns(self) -> int:
        """Last receipt [ns since 1970]."""
        return max((part.end_ns for part in self.parts if part.messages), default=0)


def _content(information: BagInformation) -> dict[str, Any]:
    counts, parts = information.counts, information.parts
    return {
        "version": VERSION,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": information.end_ns - information.start_ns},
        "starting_time": {"nanoseconds_since_epoch": information.start_ns},
        "message_count": information.messages,
        "topics_with_message_count": [_topic(each, counts.get(each.name, 0)) for each in information.topics],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [part.name for part in parts],
        "files": [_part(part) for part in parts],
        "custom_data": dict(information.notes) or None,
        "ros_distro": "jazzy",
    }


def record_text(information: BagInformation) -> str:
    """What a file's own `rosbag2` metadata record says; from it rosbag2 knows how the QoS profiles are written."""
    return _dump(_content(information))


def _dump(content: Any) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=200))


def write(folder: Path, information: BagInformation) -> None:
    """Write metadata.yaml whole."""
    replace_file(folder / METADATA_FILE, _dump({ROOT: _content(information)}).encode())


def read(folder: Path) -> BagInformation:
    """Read metadata.yaml. Raises InputError: FILE_NOT_FOUND and its kin, or BAG_BROKEN."""
    path = folder / METADATA_FILE
    data = read_bytes(path, MAX_METADATA_BYTES)
    try:
        content = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))[ROOT]
        storage = content["storage_identifier"]
        if storage != "mcap" or content.get("compression_mode"):
            raise broken(path, f"a bag of another kind (storage '{storage}')", "Only MCAP bags are read here.")
        parts = tuple(_read_part(folder, item) for item in content["files"] or ())
        listed = content["topics_with_message_count"] or ()
        topics = tuple(_read_topic(item["topic_metadata"], path) for item in listed)
        counts = {str(item["topic_metadata"]["name"]): int(item["message_count"]) for item in listed}
        notes = {str(key): str(value) for key, value in (content.get("custom_data") or {}).items()}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise broken(path, "not valid YAML", "Make it anew: industriverse bag recover FOLDER") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        seen = f"not a rosbag2 metadata file ({type(error).__name__} {error})"
        raise broken(path, seen, "Make it anew: industriverse bag recover FOLDER") from error
    return BagInformation(topics, parts, counts, notes)


def _topic(topic: Topic, count: int) -> dict[str, Any]:
    about = {
        "name": topic.name,
        "type": topic.type_name,
        "serialization_format": "cdr",
        "offered_qos_profiles": [profiles.as_plain(each) for each in topic.qos],
        "type_description_hash": topic.type_hash,
    }
    return {"topic_metadata": about, "message_count": count}


def _part(part: FilePart) -> dict[str, Any]:
    return {
        "path": part.name,
        "starting_time": {"nanoseconds_since_epoch": part.start_ns},
        "duration": {"nanoseconds": part.end_ns - part.start_ns},
        "message_count": part.messages,
    }


def _read_topic(item: Mapping[str, Any], path: Path) -> Topic:
    qos = profiles.from_plain(item.get("offered_qos_profiles"), f"{path}: {item['name']}")
    return Topic(str(item["name"]), str(item["type"]), "", str(item.get("type_description_hash") or ""), qos)


def _read_part(folder: Path, item: Mapping[str, Any]) -> FilePart:
    name = Path(str(item["path"])).name  # only beside metadata.yaml
    start_ns = int(item["starting_time"]["nanoseconds_since_epoch"])
    end_ns = start_ns + int(item["duration"]["nanoseconds"])
    path = folder / name
    size_bytes = path.stat().st_size if path.is_file() else 0
    return FilePart(name, start_ns, end_ns, size_bytes, int(item["message_count"]))
