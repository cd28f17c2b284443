"""The MTConnect agent: its documents by the schemas of version 2.0, its buffer, and HTTP against rude clients."""

import contextlib
import http.client
import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.telemetry import MachineState
from machine_node.doors import http_door
from machine_node.doors.address import Address, address_of
from machine_node.doors.http_door import MtconnectDoor
from machine_node.doors.mtconnect import MAX_COUNT, Agent
from machine_node.doors.mtconnect_buffer import Buffer
from machine_node.doors.mtconnect_items import Value

sys.path.insert(0, str(Path(__file__).parent))
from door_cells import MILL, PRINTER, feed, make_model, sample

NOW = 1_800_000_000.0
# required attributes of Header, by the schemas MTConnect{Devices,Streams,Error}_2.0.xsd
COMMON = {"version", "creationTime", "instanceId", "sender", "bufferSize"}
HEADERS = {
    "Devices": COMMON | {"deviceModelChangeTime", "assetBufferSize", "assetCount"},
    "Streams": COMMON | {"deviceModelChangeTime", "nextSequence", "lastSequence", "firstSequence"},
    "Error": COMMON,
}
# values of ErrorCodeType, by MTConnectError_2.0.xsd
ERROR_CODES = {
    "UNAUTHORIZED", "NO_DEVICE", "OUT_OF_RANGE", "TOO_MANY", "INVALID_URI", "INVALID_REQUEST", "INTERNAL_ERROR",
    "INVALID_PATH", "UNSUPPORTED", "ASSET_NOT_FOUND",
}  # fmt: skip
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def parsed(body):
    """Kind of the document and its root, without namespaces, after the checks that every document has to pass."""
    text = body.decode()
    kind = re.search(r"<MTConnect(\w+) ", text)[1]
    root = ET.fromstring(text.replace(f' xmlns="urn:mtconnect.org:MTConnect{kind}:2.0"', "", 1))
    header = root[0]
    assert header.tag == "Header"
    assert set(header.attrib) == HEADERS[kind]
    assert DATE_TIME.fullmatch(header.get("creationTime"))
    assert int(header.get("instanceId")) >= 1
    return kind, root


def ask(agent, target, status=200):
    answer = agent.answer(target, NOW)
    assert answer.status == status, answer.body
    return parsed(answer.body)[1]


def error_of(agent, target):
    answer = agent.answer(target, NOW)
    kind, root = parsed(answer.body)
    assert kind == "Error"
    (error,) = root.findall("Errors/Error")
    assert answer.status >= 400
    assert error.get("errorCode") in ERROR_CODES
    assert error.text
    return error.get("errorCode")


def seen(root, item):
    return [each.text or "" for each in root.iter() if each.get("dataItemId") == item]


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def agent(model):
    agent = Agent(model, NOW)
    feed(model)
    agent.update(model.view(100.0), NOW + 1.0)
    return agent


def test_probe_describes_every_machine(agent):
    root = ask(agent, "/probe")
    devices = root.findall("Devices/Device")
    assert [device.get("id") for device in devices] == [PRINTER, MILL]
    assert all({"id", "name", "uuid"} <= set(device.attrib) for device in devices)
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", each) for each in ids), "xs:ID"
    for item in root.iter("DataItem"):
        assert {"category", "id", "type"} <= set(item.attrib)
        assert (item.get("category") == "SAMPLE") == ("units" in item.attrib)
    for device in devices:
        own = {item.get("type") for item in device.findall("DataItems/DataItem")}
        assert own == {"AVAILABILITY", "ASSET_CHANGED", "ASSET_REMOVED"}
    assert len(root.findall(".//Heating")) == 2
    assert ask(agent, "/").findall("Devices/Device")[0].get("id") == PRINTER
    assert len(ask(agent, f"/{MILL}").findall("Devices/Device")) == 1
    assert len(ask(agent, f"/demo.{MILL}/probe").findall("Devices/Device")) == 1


def test_the_words_are_those_of_a_published_device(agent, reference_data):
    """Elements, types and units that a published device description has as well; the others by the schema."""
    text = (reference_data / "sensors" / "logs_mtconnect" / "Devices.xml").read_text()
    published = {
        "element": set(re.findall(r"<([A-Z]\w+)[ >/]", text)),
        "type": set(re.findall(r'type="([A-Z_]+)"', text)),
        "units": set(re.findall(r' units="([A-Z_/]+)"', text)),
    }
    by_schema = {
        "element": {"Heating"},
        "type": {
            "ASSET_CHANGED", "ASSET_REMOVED", "BLOCK_COUNT", "ELECTRICAL_ENERGY", "MESSAGE",
            "PROCESS_OCCURRENCE_ID", "WATTAGE",
        },
        "units": {"WATT", "WATT_SECOND"},
    }  # fmt: skip
    root = ask(agent, "/probe")
    used = {
        "element": {each.tag for each in root.iter()},
        "type": {each.get("type") for each in root.iter("DataItem")},
        "units": {each.get("units") for each in root.iter("DataItem")} - {None},
    }
    assert {kind: used[kind] - published[kind] for kind in used} == by_schema


def test_current_says_what_the_machine_does(agent):
    root = ask(agent, "/current")
    shown = {item: seen(root, f"{PRINTER}_{item}") for item in (
        "avail", "x_actual", "x_commanded", "hotend_actual", "hotend_target", "power", "energy", "execution", "mode",
        "program", "blocks", "process", "system", "stop",
    )}  # fmt: skip
    assert shown == {
        "avail": ["AVAILABLE"],
        "x_actual": ["99.000"],
        "x_commanded": ["100.000"],
        "hotend_actual": ["214.96"],
        "hotend_target": ["215.00"],
        "power": ["123.4"],
        "energy": ["45678"],
        "execution": ["ACTIVE"],
        "mode": ["AUTOMATIC"],
        "program": ["washer_pla"],
        "blocks": ["42"],
        "process": ["job-7"],
        "system": [""],
        "stop": ["UNAVAILABLE"],
    }
    mill = root.findall("Streams/DeviceStream")[1]
    assert {each.text for group in ("Samples", "Events") for each in mill.findall(f".//{group}/*")} == {"UNAVAILABLE"}
    assert [each.tag for each in mill.findall(".//Condition/*")] == ["Unavailable"]


def test_every_observation_has_what_the_schema_requires_and_an_item_of_the_probe(agent):
    items = {each.get("id"): each for each in ask(agent, "/probe").iter("DataItem")}
    components = {each.get("id") for each in ask(agent, "/probe").iter() if each.tag != "DataItem"}
    root = ask(agent, "/current")
    found = [each for stream in root.iter("ComponentStream") for group in stream for each in group]
    assert len(found) == len(items)
    for stream in root.iter("ComponentStream"):
        assert {"component", "componentId"} <= set(stream.attrib)
        assert stream.get("componentId") in components
        assert {group.tag for group in stream} <= {"Samples", "Events", "Condition"}
    for each in found:
        item = items[each.get("dataItemId")]
        assert DATE_TIME.fullmatch(each.get("timestamp"))
        assert int(each.get("sequence")) >= 1
        assert each.get("subType") == item.get("subType")
        if item.get("category") == "CONDITION":
            assert each.get("type") == item.get("type")
        else:
            assert each.tag.lower() == item.get("type").replace("_", "").lower()


def test_a_stop_is_a_fault_and_its_cause_stays(model, agent):
    model.observe_telemetry(sample(MachineState.LATCHED, latch_id=9, error_code=408, error_msg="smoke <&> \x07"), 100.1)
    agent.update(model.view(100.1), NOW + 2.0)
    root = ask(agent, "/current")
    (fault,) = root.iter("Fault")
    assert (fault.get("dataItemId"), fault.get("nativeCode")) == (f"{PRINTER}_system", "408")
    assert fault.text.strip() == "smoke <&>"
    assert seen(root, f"{PRINTER}_execution") == ["STOPPED"]
    model.observe_telemetry(sample(MachineState.IDLE), 100.2)
    agent.update(model.view(100.2), NOW + 3.0)
    root = ask(agent, "/current")
    assert not list(root.iter("Fault"))
    assert seen(root, f"{PRINTER}_stop")[0].startswith("smoke")


def test_a_machine_that_falls_silent_becomes_unavailable(model, agent):
    agent.update(model.view(110.0), NOW + 10.0)
    root = ask(agent, f"/{PRINTER}/current")
    assert seen(root, f"{PRINTER}_avail") == ["UNAVAILABLE"]
    assert seen(root, f"{PRINTER}_hotend_actual") == ["UNAVAILABLE"]
    assert len(root.findall("Streams/DeviceStream")) == 1


def test_a_client_reads_everything_once_with_sample(model, agent):
    for step in range(50):
        model.observe_telemetry(sample(position_m=(0.001 * step, 0.0, 0.0)), 100.0)
        agent.update(model.view(100.0), NOW + step)
    position, texts, sequences = 1, [], []
    while True:
        root = ask(agent, f"/sample?from={position}&count=7")
        sequences += sorted(int(each.get("sequence")) for each in root.iter() if each.get("sequence"))
        texts += seen(root, f"{PRINTER}_x_commanded")
        header = root.find("Header")
        position = int(header.get("nextSequence"))
        if position > int(header.get("lastSequence")):
            break
    assert sequences == list(range(1, position))
    assert texts == ["UNAVAILABLE", "100.000", *(f"{step}.000" for step in range(50))]
    assert not list(ask(agent, f"/sample?from={position}").iter("ComponentStream"))
    backward = ask(agent, "/sample?count=-3")
    found = sorted(int(each.get("sequence")) for each in backward.iter() if each.get("sequence"))
    assert found == [position - 3, position - 2, position - 1]


def test_current_at_is_what_current_was(model, agent):
    before = ask(agent, "/current")
    last = before.find("Header").get("lastSequence")
    feed(model, position_m=(0.2, 0.2, 0.2))
    agent.update(model.view(100.0), NOW + 5.0)
    assert [ET.tostring(each) for each in ask(agent, f"/current?at={last}").find("Streams")] == [
        ET.tostring(each) for each in before.find("Streams")
    ]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/sample?from=0", "OUT_OF_RANGE"),
        ("/sample?from=999999", "OUT_OF_RANGE"),
        ("/sample?from=2&to=1", "OUT_OF_RANGE"),
        ("/current?at=0", "OUT_OF_RANGE"),
        ("/current?at=99999999999", "OUT_OF_RANGE"),
        ("/sample?from=x", "INVALID_REQUEST"),
        ("/sample?from=1.5", "INVALID_REQUEST"),
        ("/sample?from=٣", "INVALID_REQUEST"),
        ("/sample?from=" + "9" * 30, "INVALID_REQUEST"),
        ("/sample?from=1&from=2", "INVALID_REQUEST"),
        ("/sample?count=0", "INVALID_REQUEST"),
        (f"/sample?count={MAX_COUNT + 1}", "TOO_MANY"),
        ("/sample?colour=red", "INVALID_REQUEST"),
        ("/current?interval=100", "UNSUPPORTED"),
        ("/current?path=//Axes", "UNSUPPORTED"),
        ("/assets", "UNSUPPORTED"),
        ("/nobody/current", "NO_DEVICE"),
        (f"/{PRINTER}/stop", "INVALID_URI"),
        (f"/{PRINTER}/current/x", "INVALID_URI"),
        ("/" + "x" * 2000, "INVALID_URI"),
        ("/%ff/current", "INVALID_URI"),
        ("//[/current", "INVALID_URI"),
        ("/current?" + "&".join(f"a{n}=1" for n in range(99)), "INVALID_URI"),
    ],
)
def test_what_cannot_be_answered_is_an_mtconnect_error(agent, target, code):
    assert error_of(agent, target) == code


@settings(max_examples=300)
@given(st.text(max_size=60), st.sampled_from(["/", "/sample?", "/current?", f"/{PRINTER}/sample?from="]))
def test_no_target_breaks_the_agent(text, start):
    parsed(SHARED_AGENT.answer(start + text, NOW).body)


SHARED_AGENT = Agent(make_model(), NOW)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=60), st.integers(3, 20))
def test_the_buffer_keeps_the_newest_and_can_go_back(changes, size):
    buffer = Buffer([Value("start")] * 3, size, 0.0)
    state, history = ["start"] * 3, {3: ["start"] * 3}
    for moment, (item, number) in enumerate(changes):
        changed = state[item] != str(number)
        assert buffer.add(item, float(moment), Value(str(number))) == changed
        state[item] = str(number)
        history[buffer.last_sequence] = list(state)
    everything = frozenset(range(3))
    for sequence in range(max(3, buffer.first_sequence), buffer.next_sequence):
        assert [each.value.text for each in buffer.current_at(sequence)] == history[sequence]
    kept, go_on = buffer.since(buffer.first_sequence, everything, 10**6)
    assert [each.sequence for each in kept] == list(range(buffer.first_sequence, buffer.next_sequence))
    assert len(kept) <= size
    assert go_on == buffer.next_sequence
    assert buffer.until(buffer.last_sequence, everything, 10**6) == kept
    with pytest.raises(IndexError):
        buffer.since(buffer.first_sequence - 1, everything, 1)


# --- over HTTP ---


@pytest.fixture
def door(agent):
    door = MtconnectDoor(agent, Address("127.0.0.1", 0))
    yield door
    door.close()


def get(door, target):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{door.address.port}{target}", timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def raw(door, data, timeout_s=20.0):
    """What comes back for these bytes until the door closes; b"" when it closes without a word."""
    with socket.create_connection(("127.0.0.1", door.address.port), timeout=timeout_s) as line:
        answer = b""
        with contextlib.suppress(ConnectionError):
            line.sendall(data)
            while part := line.recv(65536):
                answer += part
    return answer


def test_a_http_client_reads_the_cell(door):
    status, headers, body = get(door, "/current")
    assert (status, headers.get_content_type()) == (200, "text/xml")
    assert seen(parsed(body)[1], f"{PRINTER}_execution") == ["ACTIVE"]
    assert get(door, "/nobody/current")[0] == 404
    assert parsed(get(door, "/probe")[2])[0] == "Devices"
    assert door.url == f"http://127.0.0.1:{door.address.port}/current"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "STOP"])
def test_nothing_but_reading_is_answered(door, method):
    head, _, body = raw(door, f"{method} /current HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 501 ")
    assert parsed(body)[0] == "Error"


def test_a_body_is_refused(door):
    answer = raw(door, b"GET /current HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_head_has_no_body(door):
    connection = http.client.HTTPConnection("127.0.0.1", door.address.port, timeout=20)
    connection.request("HEAD", "/probe")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    connection.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:5000", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("evil.example", 403), ("10.0.0.1", 403),
     ("127.0.0.1.evil.example", 403), ("", 403)],
)  # fmt: skip
def test_a_page_in_a_browser_cannot_read_the_cell_under_another_name(door, host, status):
    answer = raw(door, f"GET /current HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /current\r\n\r\n",
        b"GET /current HTTP/9.9\r\n\r\n",
        b"\x00\xff" * 100 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /current HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET /current HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /current HTTP/1.1\r\n" + b"A" * 9000,
    ],
)
def test_rude_requests_end_and_the_door_lives_on(door, data, monkeypatch):
    monkeypatch.setattr(http_door, "REQUEST_S", 0.5)
    raw(door, data)
    assert get(door, "/current")[0] == 200


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_door(data):
    answer = raw(SHARED_DOOR.door, b"GET " + data + b"\r\n\r\n")
    assert answer == b"" or b"MTConnect" in answer


class SHARED_DOOR:  # noqa: N801 - one door for all examples of a property
    door: MtconnectDoor


@pytest.fixture(autouse=True, scope="module")
def shared_door():
    SHARED_DOOR.door = MtconnectDoor(Agent(make_model(), NOW), Address("127.0.0.1", 0))
    yield
    SHARED_DOOR.door.close()


def test_who_says_nothing_or_drips_is_dropped(door, monkeypatch):
    monkeypatch.setattr(http_door, "REQUEST_S", 0.3)
    with socket.create_connection(("127.0.0.1", door.address.port), timeout=20) as line:
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                line.sendall(b"G")
                time.sleep(0.01)
                line.settimeout(0.001)
                with contextlib.suppress(TimeoutError):
                    if line.recv(1) == b"":
                        break
        line.settimeout(20)
        with contextlib.suppress(ConnectionError):
            assert line.recv(1) == b""


def refuses(door):
    try:
        get(door, "/current")
    except (urllib.error.URLError, ConnectionError):
        return True
    time.sleep(0.02)
    return False


def test_only_so_many_are_served_at_once(door, monkeypatch):
    monkeypatch.setattr(http_door, "REQUEST_S", 2.0)
    address = ("127.0.0.1", door.address.port)
    held = [socket.create_connection(address, timeout=20) for _ in range(http_door.MAX_CONNECTIONS)]
    try:
        assert any(refuses(door) for _ in range(50)), "until the door has taken all of them"
    finally:
        for line in held:
            line.close()
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            assert get(door, "/current")[0] == 200
            return
        time.sleep(0.05)
    pytest.fail("the places did not come back")


def test_a_port_in_use_is_said_in_one_line(door, agent):
    with pytest.raises(CoreError) as refused:
        MtconnectDoor(agent, address_of("MTConnect", "127.0.0.1", door.address.port))
    assert refused.value.code is ErrorCode.PORT_UNAVAILABLE
    assert f"port {door.address.port} is in use" in str(refused.value)
    assert refused.value.remedy


def test_a_foreign_address_is_said_in_one_line(agent):
    with pytest.raises(CoreError) as refused:
        MtconnectDoor(agent, address_of("MTConnect", "192.0.2.1", 0))
    assert refused.value.code is ErrorCode.BAD_PARAMETER
    assert "no address of this machine" in str(refused.value)


def test_nothing_is_left_when_the_door_is_closed(agent):
    before = set(threading.enumerate())
    door = MtconnectDoor(agent, Address("127.0.0.1", 0))
    assert get(door, "/probe")[0] == 200
    door.close()
    with pytest.raises(urllib.error.URLError):
        get(door, "/probe")
    deadline = time.monotonic() + 10.0
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert set(threading.enumerate()) - before == set()
