"""What a bag is made of: topics, messages, attachments, and what was counted while it was written."""

from __future__ import annotations

from dataclasses import dataclass

from industriverse_core.errors import ErrorCode, InputError

ENDING = ".mcap"
METADATA_FILE = "metadata.yaml"
RESERVE_FILE = ".reserve"
PROGRAMS = "programs/"  # where attached programs lie in a bag, as <digest>.arrow
CELL = "cell.yaml"  # the cell description, where people are watched
MACHINES = "machines/"  # and machine profiles, as <id>.yaml


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it is recorded.

    Attributes:
        name: with its namespace, absolute.
        type_name: as in `industriverse_msgs/msg/JobState`.
        definition: text of the message and of every message in it, as rosbag2 concatenates them ("ros2msg").
        type_hash: REP-2011 hash (RIHS01_...); "" where nobody knows it.
        qos: policies of its publishers, see profiles.py.
    """

    name: str
    type_name: str
    definition: str
    type_hash: str = ""
    qos: tuple[OfferedQos, ...] = ()

    @property
    def latched(self) -> bool:
        """True when a late subscriber still gets the last message (transient local)."""
        return any(each.durability == "transient_local" for each in self.qos)


@dataclass(frozen=True, slots=True)
class OfferedQos:
    """Policies that a publisher offers, in the words of rosbag2. Durations are [ns]; FOREVER_NS = no limit."""

    history: str = "unknown"
    depth: int = 0
    reliability: str = "reliable"
    durability: str = "volatile"
    deadline_ns: int = 2**63 - 1
    lifespan_ns: int = 2**63 - 1
    liveliness: str = "automatic"
    liveliness_lease_duration_ns: int = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BagMessage:
    """One message as bytes.

    Attributes:
        topic: name of its topic.
        log_ns: when it was received [ns since 1970]; never goes back within a bag that was recorded here.
        publish_ns: when its publisher sent it, by the publisher's system clock [ns since 1970].
        data: CDR, with its encapsulation header.
    """

    topic: str
    log_ns: int
    publish_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a bag: what messages refer to by digest."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class FilePart:
    """One file of a bag and what is in it."""

    name: str
    start_ns: int
    end_ns: int
    size_bytes: int
    messages: int


def broken(place: object, seen: str, remedy: str = "") -> InputError:
    """The refusal of a bag that cannot be used (BAG_BROKEN)."""
    return InputError(ErrorCode.BAG_BROKEN, f"{place}: {seen}.", remedy)
