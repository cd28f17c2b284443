"""Live topics over the Foxglove WebSocket with a real client, and nothing that a client may send."""

import asyncio
import json
import math
import struct
import sys
import threading
from pathlib import Path

import pytest

from industriverse_core.errors import CoreError, ErrorCode
from machine_node.doors.address import Address
from machine_node.doors.foxglove_topics import TOPICS, finite

sys.path.insert(0, str(Path(__file__).parent))
from door_cells import MILL, PRINTER, feed, make_model, sample

UTC = 1_800_000_000.0
STATUS_ERROR = 2
MESSAGE = 1  # opcode of a binary message with data: opcode, subscription, log time, payload


def test_every_message_has_the_fields_of_its_schema():
    view = feed(make_model()).machine(PRINTER, 100.0)
    for topic in TOPICS:
        said = topic.of(view)
        assert said is not None, topic.name
        message = json.loads(json.dumps(finite(topic.content(said)), allow_nan=False))
        assert set(message) == set(topic.schema()["properties"]), topic.name


def test_what_is_not_known_is_null():
    assert finite({"a": math.nan, "b": [math.inf, 1.0], "c": ("x", {"d": -math.inf})}) == {
        "a": None, "b": [None, 1.0], "c": ["x", {"d": None}],
    }  # fmt: skip


def test_a_silent_machine_says_nothing_new():
    view = feed(make_model()).machine(PRINTER, 110.0)
    assert [topic.name for topic in TOPICS if topic.of(view) is not None] == ["job"]


@pytest.fixture
def served():
    pytest.importorskip("foxglove", reason="the optional library foxglove-sdk is not installed")
    pytest.importorskip("websockets", reason="no websocket client is installed")
    from machine_node.doors.foxglove_door import FoxgloveDoor

    model = feed(make_model())
    door = FoxgloveDoor(model, Address("127.0.0.1", 0))
    yield door, model
    door.close()


def with_client(door, work):
    import websockets

    async def run():
        async with websockets.connect(door.url, subprotocols=["foxglove.sdk.v1"]) as line:
            info = json.loads(await asyncio.wait_for(line.recv(), 20))
            channels = {}
            while len(channels) < 2 * len(TOPICS):
                told = json.loads(await asyncio.wait_for(line.recv(), 20))
                channels |= {each["topic"]: each for each in told["channels"]}
            return await work(line, info, channels)

    return asyncio.run(run())


async def receive(door, model, line, wanted, steady_s=100.0):
    """The first binary message with this subscription's id, while the door is fed."""
    for number in range(400):
        door.update(model.view(steady_s), UTC + number)
        try:
            data = await asyncio.wait_for(line.recv(), 0.05)
        except TimeoutError:
            continue
        if isinstance(data, bytes) and struct.unpack_from("<BI", data) == (MESSAGE, wanted):
            return json.loads(data[13:])
    pytest.fail("no message came")


async def told(line):
    while isinstance(data := await asyncio.wait_for(line.recv(), 20), bytes):
        pass
    return json.loads(data)


def subscribe(channel, number):
    return json.dumps({"op": "subscribe", "subscriptions": [{"id": number, "channelId": channel["id"]}]})


def test_a_client_sees_the_cell_live(served):
    door, model = served

    async def work(line, info, channels):
        assert info["name"] == "industriverse demo"
        assert set(channels) == {f"/demo/{name}/{topic.name}" for name in (PRINTER, MILL) for topic in TOPICS}
        for number, topic in enumerate(TOPICS):
            channel = channels[f"/demo/{PRINTER}/{topic.name}"]
            assert json.loads(channel["schema"]) == topic.schema()
            await line.send(subscribe(channel, number))
            message = await receive(door, model, line, number)
            assert message == json.loads(json.dumps(finite(topic.content(topic.of(model.machine(PRINTER, 100.0))))))
        model.observe_telemetry(sample(power_w=math.nan), 100.0)
        changed = {"power_w": 1.0}
        while changed["power_w"] is not None:
            changed = await receive(door, model, line, 0)

    with_client(door, work)


def test_a_client_can_send_nothing(served):
    door, model = served

    async def work(line, info, channels):
        assert info["capabilities"] == []
        attempts = (
            {"op": "advertise", "channels": [{"id": 1, "topic": "/demo/stop", "encoding": "json", "schemaName": "x"}]},
            {"op": "setParameters", "parameters": [{"name": "a", "value": 1}], "id": "1"},
            {"op": "getParameters", "parameterNames": [], "id": "1"},
            {"op": "subscribeConnectionGraph"},
            {"op": "nonsense"},
        )
        for attempt in attempts:
            await line.send(json.dumps(attempt))
            assert (await told(line))["level"] == STATUS_ERROR, attempt
        for data in (b"\x01\x01\x00\x00\x00{}", b"\x02\x01\x00\x00\x00\x01\x00\x00\x00", b"", b"\xff" * 50, "{", "[]"):
            await line.send(data)
        await line.send(subscribe(channels[f"/demo/{PRINTER}/telemetry"], 7))
        assert (await receive(door, model, line, 7))["state"] == "EXECUTING"

    with_client(door, work)


def test_a_port_in_use_is_said_in_one_line(served):
    from machine_node.doors.foxglove_door import FoxgloveDoor

    door, model = served
    with pytest.raises(CoreError) as refused:
        FoxgloveDoor(model, Address("127.0.0.1", door.address.port))
    assert refused.value.code is ErrorCode.PORT_UNAVAILABLE
    assert "is in use" in str(refused.value)
    with pytest.raises(CoreError, match="no address of this machine"):
        FoxgloveDoor(model, Address("192.0.2.1", 0))


def test_nothing_is_left_when_the_door_is_closed(served):
    import socket

    door, _ = served
    before = threading.active_count()
    door.close()
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", door.address.port), timeout=5)
    assert threading.active_count() <= before
