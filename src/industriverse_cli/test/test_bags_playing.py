"""What of a bag is played when, and what is recorded at all."""

import pytest

from industriverse_cli.bags import playing, selection
from industriverse_cli.bags.model import BagMessage, OfferedQos, Topic
from industriverse_cli.bags.reader import Bag
from industriverse_cli.bags.writer import BagWriter, Bounds

SECOND = 10**9
LATCHED = OfferedQos(durability="transient_local")


@pytest.fixture
def bag(tmp_path):
    """Latched a at 0, 2, 8 s and latched b at 1 s; plain c every second to 9 s."""
    writer = BagWriter(tmp_path / "bag", Bounds(0, 0))
    for name, qos in (("/a", LATCHED), ("/b", LATCHED), ("/c", OfferedQos())):
        writer.add_topic(Topic(name, "std_msgs/msg/String", "string data\n", "", (qos,)))
    messages = [("/a", 0), ("/a", 2), ("/a", 8), ("/b", 1)] + [("/c", second) for second in range(10)]
    for topic, second in sorted(messages, key=lambda item: item[1]):
        writer.write(BagMessage(topic, (100 + second) * SECOND, 0, f"{topic}{second}".encode()))
    writer.close()
    return Bag.open(tmp_path / "bag")


def due(bag, topics=("/a", "/b", "/c"), rate=1.0, start_s=0.0):
    return [
        (each.due_s, each.message.data.decode()) for each in playing.schedule(bag, frozenset(topics), rate, start_s)
    ]


def test_all_of_it_in_order(bag):
    assert due(bag)[:3] == [(0.0, "/a0"), (0.0, "/c0"), (1.0, "/b1")]
    assert len(due(bag)) == 14


def test_faster_and_slower(bag):
    assert [time for time, _ in due(bag, ("/c",), 4.0)] == [number / 4 for number in range(10)]
    assert [time for time, _ in due(bag, ("/c",), 0.5)] == [number * 2.0 for number in range(10)]


def test_a_later_start_keeps_what_was_latched(bag):
    assert due(bag, start_s=5.0)[:3] == [(0.0, "/a2"), (0.0, "/b1"), (0.0, "/c5")]
    assert due(bag, start_s=8.5) == [(0.0, "/a8"), (0.0, "/b1"), (0.5, "/c9")]
    assert due(bag, start_s=100.0) == [(0.0, "/a8"), (0.0, "/b1")]
    assert due(bag, ("/c",), start_s=9.0) == [(0.0, "/c9")]


def test_permits_stops_and_the_clock_are_played_only_when_asked_for():
    permit, stop = selection.CONTROL_TYPES
    for kind in (permit, stop):
        assert not selection.is_played("/x/permit", kind, (), control=False, clock=True)
        assert not selection.is_played("/x/permit", kind, ("/x/permit",), control=False, clock=True)
        assert selection.is_played("/x/permit", kind, (), control=True, clock=False)
    assert not selection.is_played("/clock", selection.CLOCK_TYPE, (), control=True, clock=False)
    assert selection.is_played("/clock", selection.CLOCK_TYPE, (), control=False, clock=True)
    assert selection.is_played("/x/m/telemetry", "t", ("telemetry",), control=False, clock=False)
    assert not selection.is_played("/x/m/residual", "t", ("telemetry", "/y/*"), control=False, clock=False)


@pytest.mark.parametrize("namespace", ["demo", "/demo", "/demo/"])
@pytest.mark.parametrize(
    ("topic", "kind", "everything", "wanted", "expected"),
    [
        ("/demo/m/telemetry", "t", False, (), True),
        ("/clock", "t", False, (), True),
        ("/diagnostics", "t", False, (), True),
        ("/demonic/m/telemetry", "t", False, (), False),
        ("/other/m/telemetry", "t", True, (), True),
        ("/demo/camera/image", "sensor_msgs/msg/Image", False, (), False),
        ("/demo/camera/image", "sensor_msgs/msg/Image", True, (), True),
        ("/demo/camera/image", "sensor_msgs/msg/Image", False, ("camera/*",), True),
        ("/demo/m/telemetry", "t", False, ("camera/*",), False),
        ("/demo/m/run/_action/status", "t", True, (), False),
    ],
)
def test_what_is_recorded(namespace, topic, kind, everything, wanted, expected):
    assert selection.is_recorded(topic, kind, namespace, everything, wanted) == expected


def test_one_publisher_offers_what_all_did():
    best_effort = OfferedQos(reliability="best_effort")
    assert playing.offer_of((OfferedQos(), best_effort), 1.0).reliable is False
    assert playing.offer_of((OfferedQos(),), 1.0).reliable is True
    assert playing.offer_of((LATCHED,), 1.0).latched is True
    assert playing.offer_of((LATCHED, OfferedQos()), 1.0).latched is False
    assert playing.offer_of((), 1.0).depth == 10
    permit = OfferedQos(deadline_ns=10**8, lifespan_ns=15 * 10**7, liveliness_lease_duration_ns=SECOND)
    slow = playing.offer_of((permit,), 0.5)
    assert (slow.deadline_ns, slow.lifespan_ns, slow.liveliness_lease_ns) == (2 * 10**8, 3 * 10**8, 2 * SECOND)
    assert playing.offer_of((permit,), 10.0).deadline_ns == 10**8
