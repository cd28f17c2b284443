"""The parts of record and replay that speak ROS: raw bytes in, raw bytes out, nothing is decoded on the way."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock

from industriverse_cli.bags import definitions, playing, profiles, selection
from industriverse_cli.bags.model import BagMessage, OfferedQos, Topic
from industriverse_cli.bags.recording import Recording
from industriverse_ros import names, qos

DISCOVERY_PERIOD_S = 0.2
POLL_S = 0.02
DEPTH = 1000  # messages of one topic between two polls; the receipt's time is DDS's, so polling does not delay it
MAX_DELAY_NS = 10**9
CLOCK_PERIOD_S = 0.02
MATCHING_S = 1.0


class Participant:
    """A node of its own in one ROS domain, on this machine; a context manager."""

    def __init__(self, domain_id: int, name: str) -> None:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        self._context = rclpy.Context()  # a context of its own: Ctrl-C stays the caller's
        rclpy.init(args=[], context=self._context, domain_id=domain_id)
        options = {"context": self._context, "enable_rosout": False, "start_parameter_services": False}
        self.node = rclpy.create_node(f"{name}_{os.getpid()}", **options)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        self.node.destroy_node()
        self._context.try_shutdown()

    def published_topics(self) -> dict[str, str]:
        """Type by topic, of all topics that some other node publishes."""
        own = self.node.get_fully_qualified_name()
        found = {}
        for topic, types in self.node.get_topic_names_and_types():
            nodes = {_full_name(info) for info in self.node.get_publishers_info_by_topic(topic)}
            if nodes - {own} and len(types) == 1:
                found[topic] = types[0]
        return found


def _full_name(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


@dataclass(slots=True)
class _Listening:
    """A subscription and the last number of each message, where there is one publisher."""

    subscription: Any
    publishers: frozenset[bytes]
    number: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is recorded; see selection.is_recorded."""

    namespace: str
    everything: bool = False
    topics: tuple[str, ...] = ()


class Recorder(Participant):
    """Subscribes to what is wanted, as it appears, and hands the bytes to a recording.

    Attributes:
        skipped: topics that are wanted and cannot be recorded, with the reason.
        topics: topics that are recorded.
    """

    def __init__(self, domain_id: int, wanted: Wanted, recording: Recording) -> None:
        super().__init__(domain_id, "recorder")
        self._wanted, self._recording = wanted, recording
        self._listening: dict[str, _Listening] = {}
        self.skipped: dict[str, str] = {}
        self._next_discovery_s = 0.0
        # receipts are steady time from here on: the system clock may be set while a bag is recorded
        self._epoch_ns = time.time_ns() - time.monotonic_ns()

    @property
    def topics(self) -> list[str]:
        """Topics that are recorded."""
        return sorted(self._listening)

    def run(self, go_on: Callable[[], bool]) -> None:
        """Record until `go_on` says no; it is asked about fifty times a second."""
        while go_on():
            self.step()
            time.sleep(POLL_S)
        self._poll()

    def step(self) -> None:
        """Look for new topics when it is time, and take everything that has arrived."""
        if time.monotonic() >= self._next_discovery_s:
            self._discover()
            self._next_discovery_s = time.monotonic() + DISCOVERY_PERIOD_S
        self._poll()

    def _discover(self) -> None:
        for topic, type_name in self.published_topics().items():
            wanted = self._wanted
            if not selection.is_recorded(topic, type_name, wanted.namespace, wanted.everything, wanted.topics):
                if type_name in selection.BULKY_TYPES and selection.is_in(topic, wanted.namespace):
                    self.skipped.setdefault(topic, "pictures are recorded with --all or --topic")
                continue
            offers = self.node.get_publishers_info_by_topic(topic)
            publishers = frozenset(bytes(info.endpoint_gid) for info in offers)
            known = self._listening.get(topic)
            if known is None:
                if topic not in self.skipped:
                    self._listen(topic, type_name, offers, publishers)
            elif known.publishers != publishers:
                known.publishers, known.number = publishers, 0
                self._announce(topic, type_name, offers)

    def _listen(self, topic: str, type_name: str, offers: list[Any], publishers: frozenset[bytes]) -> None:
        try:
            kind = message_class(type_name)
            self._announce(topic, type_name, offers)
        except definitions.UnknownTypeError:
            self.skipped[topic] = f"the type {type_name} is not installed here"
            return
        profile = qos.listening([info.qos_profile for info in offers], DEPTH)
        subscription = self.node.create_subscription(kind, topic, _ignore, profile, raw=True)
        self._listening[topic] = _Listening(subscription, publishers)

    def _announce(self, topic: str, type_name: str, offers: list[Any]) -> None:
        known = str(offers[0].topic_type_hash) if offers else ""
        type_hash = known if known.startswith("RIHS01_") else definitions.type_hash(type_name)
        offered = tuple(dict.fromkeys(_offered(info.qos_profile) for info in offers))
        self._recording.add_topic(Topic(topic, type_name, definitions.full_definition(type_name), type_hash, offered))

    def _poll(self) -> None:
        """Take everything that has arrived and hand it over in the order of receipt."""
        batch: list[BagMessage] = []
        lost = 0
        for topic, listening in self._listening.items():
            subscription = listening.subscription
            with subscription.handle:
                while (taken := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                    data, info = taken
                    batch.append(BagMessage(topic, self._receipt_ns(info), info["source_timestamp"], data))
                    number = info["publication_sequence_number"]
                    if number and len(listening.publishers) == 1:
                        if listening.number and number > listening.number + 1:
                            lost += number - listening.number - 1
                        listening.number = number
        if batch:
            batch.sort(key=_by_receipt)
            self._recording.put(batch, lost)

    def _receipt_ns(self, info: dict[str, Any]) -> int:
        """When DDS received a message, on the steady clock that began as the system clock."""
        waited_ns = min(max(0, time.time_ns() - info["received_timestamp"]), MAX_DELAY_NS)
        return self._epoch_ns + time.monotonic_ns() - waited_ns


def _ignore(data: bytes) -> None:
    """Messages are taken by `_poll`; no executor calls this."""


def _by_receipt(message: BagMessage) -> int:
    return message.log_ns


def message_class(type_name: str) -> Any:
    """The installed class of a message type. Raises definitions.UnknownTypeError."""
    package, _, name = type_name.partition("/msg/")
    if not (package.isidentifier() and name.isidentifier()):
        raise definitions.UnknownTypeError(type_name)
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise definitions.UnknownTypeError(type_name) from error


def _offered(profile: Any) -> OfferedQos:
    words = {policy: profiles.WORDS[policy].get(int(getattr(profile, policy)), "unknown") for policy in profiles.WORDS}
    return OfferedQos(
        depth=profile.depth,
        deadline_ns=profile.deadline.nanoseconds,
        lifespan_ns=profile.lifespan.nanoseconds,
        liveliness_lease_duration_ns=profile.liveliness_lease_duration.nanoseconds,
        **words,
    )


@dataclass(slots=True)
class Played:
    """What a replay has done."""

    published: int = 0
    latest_s: float = 0.0  # how late the latest message was
    skipped: dict[str, str] = field(default_factory=dict)


class Player(Participant):
    """Publishes a bag's bytes again, each topic with what its publishers offered."""

    def __init__(self, domain_id: int) -> None:
        super().__init__(domain_id, "player")
        self._publishers: dict[str, Any] = {}
        self._clock: Any = None
        self.played = Played()

    def others_publish(self, topics: Iterable[str]) -> list[str]:
        """Which of these topics somebody else publishes in this domain, after a moment to find out."""
        time.sleep(MATCHING_S)
        return sorted(set(topics) & self.published_topics().keys())

    def open(self, topics: Iterable[Topic], rate: float, clock: bool) -> None:
        """Make the publishers; types that are not installed are skipped. `clock`: make one from the receipts."""
        for topic in topics:
            try:
                kind = message_class(topic.type_name)
                if topic.type_hash and topic.type_hash != definitions.type_hash(topic.type_name):
                    self.played.skipped[topic.name] = f"{topic.type_name} has another definition here than in the bag"
                    continue
            except definitions.UnknownTypeError:
                self.played.skipped[topic.name] = f"the type {topic.type_name} is not installed here"
                continue
            offer = playing.offer_of(topic.qos, rate)
            profile = qos.repeating(
                offer.reliable, offer.latched, offer.depth, offer.deadline_ns, offer.lifespan_ns,
                offer.liveliness_lease_ns,
            )  # fmt: skip
            self._publishers[topic.name] = self.node.create_publisher(kind, topic.name, profile)
        if clock:
            self._clock = self.node.create_publisher(Clock, names.CLOCK, qos.SENSOR)
        time.sleep(MATCHING_S)  # so that those who listen already hear the first message

    def play(self, due: Iterable[playing.Due], rate: float, start_ns: int, go_on: Callable[[], bool]) -> None:
        """Publish each message when it is due, until all are or `go_on` says no."""
        begun_s = time.monotonic()
        for each in due:
            while (left_s := begun_s + each.due_s - time.monotonic()) > 0:
                if not go_on():
                    return
                time.sleep(min(left_s, CLOCK_PERIOD_S))
                self._tick(start_ns, (time.monotonic() - begun_s) * rate)
            if not go_on():
                return
            publisher = self._publishers.get(each.message.topic)
            if publisher is not None:
                publisher.publish(each.message.data)
                self.played.published += 1
                self.played.latest_s = max(self.played.latest_s, -left_s)

    def _tick(self, start_ns: int, elapsed_s: float) -> None:
        if self._clock is not None:
            now_ns = start_ns + round(elapsed_s * 1e9)
            self._clock.publish(Clock(clock=Time(sec=now_ns // 10**9, nanosec=now_ns % 10**9)))

    def wait_until_sent(self, timeout_s: float = 2.0) -> None:
        """Let reliable listeners confirm what was published."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=timeout_s))
