"""The OPC UA server with a real client: machines by their building blocks, and nothing that can be changed."""

import asyncio
import contextlib
import os
import socket
import stat
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("asyncua", reason="the optional library asyncua is not installed")

from asyncua import Client, ua

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.telemetry import MachineState
from machine_node.doors.address import Address
from machine_node.doors.opcua import Access, OpcuaDoor, access_of

sys.path.insert(0, str(Path(__file__).parent))
from door_cells import MILL, PRINTER, feed, make_model, sample

LOOPBACK = Address("127.0.0.1", 0)
UTC = 1_800_000_000.0
TYPES = "urn:industriverse:machinery"


@pytest.fixture(scope="module")
def served():
    """(door, model); the door is expensive to open, and no client can change it."""
    model = feed(make_model())
    door = OpcuaDoor(model, LOOPBACK)
    door.update(model.view(100.0), UTC)
    yield door, model
    door.close()


def with_client(door, work, **options):
    """What `work(client)` gives."""

    async def run():
        client = Client(door.url, timeout=20)
        if "user" in options:
            client.set_user(options["user"])
            client.set_password(options.get("password", ""))
        async with client:
            return await work(client)

    return asyncio.run(run())


def path_of(client, machine, *names, types=TYPES, cell="urn:industriverse:cell:demo"):
    async def find():
        spaces = await client.get_namespace_array()
        own, words = spaces.index(cell), spaces.index(types)
        steps = [f"{words}:Machines", f"{own}:{machine}"]
        for name in names:
            index = 0 if name in ("CurrentState", "Id", "Number", "EngineeringUnits", "EURange") else words
            steps.append(f"{own if name[0].islower() or name in OWN_NAMES else index}:{name}")
        return await client.nodes.objects.get_child(steps)

    return find()


OWN_NAMES = {"State", "SafetyState", "AlarmCode", "AlarmText", "LastStopCause", "LastStopCode", "Job", "Program",
             "InstructionsExecuted"}  # fmt: skip


def values_of(door, machine, *paths):
    """Values at these paths, once the last view has been shown."""

    async def work(client):
        nodes = [await path_of(client, machine, *path) for path in paths]
        return [await node.read_value() for node in nodes]

    return with_client(door, work)


def eventually(question, wanted, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while (answer := question()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer == wanted


def test_a_machine_is_shown_by_its_building_blocks(served):
    door, _ = served
    blocks = ("MachineryBuildingBlocks",)
    paths = [
        (*blocks, "Identification", "Manufacturer"),
        (*blocks, "Identification", "ProductInstanceUri"),
        ("Identification", "SerialNumber"),
        (*blocks, "MachineryItemState", "CurrentState"),
        (*blocks, "MachineryItemState", "CurrentState", "Number"),
        (*blocks, "MachineryOperationMode", "CurrentState"),
        ("Monitoring", "Status", "State"),
        ("Monitoring", "Status", "Program"),
        ("Monitoring", "Process", "x_commanded"),
        ("Monitoring", "Process", "hotend_temperature"),
        ("Monitoring", "Consumption", "power"),
    ]
    plain = [value.Text if isinstance(value, ua.LocalizedText) else value for value in values_of(door, PRINTER, *paths)]
    assert plain == [
        "Prusa Research", f"urn:industriverse:demo:{PRINTER}", "unknown", "Executing", 3, "Processing", "EXECUTING",
        "washer_pla", 0.1, 214.96, 123.4,
    ]  # fmt: skip


def test_numbers_have_units_and_ranges(served):
    door, _ = served
    place = ("Monitoring", "Process", "hotend_temperature")
    unit, bounds = values_of(door, PRINTER, (*place, "EngineeringUnits"), (*place, "EURange"))
    assert (unit.UnitId, unit.DisplayName.Text) == (4408652, "°C")  # UNECE code CEL, by OPC 10000-8
    assert (bounds.Low, bounds.High) == (-40.0, 360.0)


def test_what_is_not_known_has_a_bad_quality(served):
    door, _ = served

    async def work(client):
        node = await path_of(client, MILL, "Monitoring", "Process", "x_commanded")
        state = await path_of(client, MILL, "MachineryBuildingBlocks", "MachineryItemState", "CurrentState")
        quality = (await node.read_data_value(raise_on_bad_status=False)).StatusCode.name
        return quality, (await state.read_value()).Text

    eventually(lambda: with_client(door, work), ("BadNoCommunication", "NotAvailable"))


def test_a_client_that_subscribes_is_told_of_a_stop(served):
    door, model = served
    heard = []

    class Handler:
        def datachange_notification(self, node, value, data):
            heard.append(value)

    async def work(client):
        subscription = await client.create_subscription(50, Handler())
        await subscription.subscribe_data_change(await path_of(client, PRINTER, "Monitoring", "Status", "AlarmText"))
        model.observe_telemetry(sample(MachineState.LATCHED, latch_id=9, error_code=408, error_msg="smoke"), 100.1)
        deadline = time.monotonic() + 20.0
        while "smoke" not in heard and time.monotonic() < deadline:
            door.update(model.view(100.1), UTC + 1.0)
            await asyncio.sleep(0.05)

    with_client(door, work)
    assert heard[-1] == "smoke"
    state = [("MachineryBuildingBlocks", "MachineryItemState", "CurrentState")]
    assert values_of(door, PRINTER, *state)[0].Text == "OutOfService"
    model.observe_telemetry(sample(), 100.0)
    door.update(model.view(100.0), UTC)
    eventually(lambda: values_of(door, PRINTER, *state)[0].Text, "Executing")


async def _write(client, node):
    await node.write_value(ua.Variant(0.5, ua.VariantType.Double))


async def _write_access(client, node):
    await node.write_attribute(ua.AttributeIds.AccessLevel, ua.DataValue(ua.Variant(3, ua.VariantType.Byte)))


async def _add(client, node):
    await client.nodes.objects.add_variable(1, "mine", 1.0)


async def _delete(client, node):
    await client.delete_nodes([node])


async def _call(client, node):
    await client.nodes.server.call_method("0:GetMonitoredItems", ua.Variant(1, ua.VariantType.UInt32))


@pytest.mark.parametrize("attempt", [_write, _write_access, _add, _delete, _call])
def test_nothing_can_be_changed(served, attempt):
    door, _ = served

    async def work(client):
        node = await path_of(client, PRINTER, "Monitoring", "Process", "hotend_target")
        before = await node.read_value()
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await attempt(client, node)
        assert await node.read_value() == before
        return refused.value.code

    assert with_client(door, work) == ua.StatusCodes.BadUserAccessDenied


def test_nobody_becomes_an_administrator_by_saying_so(served):
    door, _ = served
    with pytest.raises(ua.UaStatusCodeError):
        with_client(door, lambda client: client.get_namespace_array(), user="admin", password="admin")


def test_nobody_adds_other_servers(served):
    door, _ = served

    async def work(client):
        request = ua.RegisteredServer(ServerUri="urn:evil", ServerNames=[ua.LocalizedText("evil")], IsOnline=True)
        with pytest.raises(ua.UaStatusCodeError):
            await client.uaclient.register_server(request)
        return [server.ApplicationUri for server in await client.find_servers()]

    assert with_client(door, work) == ["urn:industriverse:demo:opcua"]


def is_dropped(line, meanwhile):
    try:
        for _ in range(4000):
            line.sendall(bytes(65536))
            meanwhile()
    except ConnectionError:
        return True
    return False


def test_who_sends_without_end_is_dropped(served):
    door, model = served
    with socket.create_connection(("127.0.0.1", door.address.port), timeout=20) as line:
        line.sendall(b"HELF" + struct.pack("<I", 0x7FFFFFF0))
        assert is_dropped(line, lambda: door.update(model.view(100.0), UTC))
    assert values_of(door, PRINTER, ("Monitoring", "Consumption", "power")) == [123.4]


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64, b"HELF\x08\x00\x00\x00", b"OPNF" + bytes(200), bytes(range(256))]
)
def test_rude_bytes_leave_the_door_open(served, data):
    door, _ = served
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", door.address.port), timeout=20) as line,
    ):
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        while line.recv(65536):
            pass
    assert values_of(door, PRINTER, ("Monitoring", "Consumption", "power")) == [123.4]


def test_a_port_in_use_is_said_in_one_line(served):
    door, model = served
    with pytest.raises(CoreError) as refused:
        OpcuaDoor(model, Address("127.0.0.1", door.address.port))
    assert refused.value.code is ErrorCode.PORT_UNAVAILABLE
    assert f"port {door.address.port} is in use" in str(refused.value)


def test_others_need_a_password_and_it_must_be_kept(tmp_path):
    model = make_model(PRINTER)
    with pytest.raises(CoreError, match="only loopback"):
        OpcuaDoor(model, Address("0.0.0.0", 0))
    secret = tmp_path / "password"
    for content, mode, words in (("short", 0o600, "characters"), ("long enough", 0o644, "others can read")):
        secret.write_text(content)
        secret.chmod(mode)
        with pytest.raises(CoreError, match=words):
            access_of(str(secret), str(tmp_path))
    for file, folder in (("", str(tmp_path)), (str(secret), ""), (str(tmp_path / "none"), str(tmp_path))):
        with pytest.raises(CoreError):
            access_of(file, folder)
    secret.chmod(0o600)
    assert access_of(str(secret), str(tmp_path)) == Access("long enough", tmp_path / "opcua")


def test_off_loopback_everything_is_encrypted_and_the_password_counts(tmp_path):
    from asyncua.crypto.cert_gen import setup_self_signed_certificate
    from cryptography.x509.oid import ExtendedKeyUsageOID

    model = feed(make_model(PRINTER))
    folder = tmp_path / "cell" / "opcua"
    door = OpcuaDoor(model, Address("0.0.0.0", 0), access=Access("correct horse", folder))
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.der"

    async def ask(password, secure):
        client = Client(door.url, timeout=20)
        client.application_uri = "urn:test:client"
        if secure:
            await client.set_security_string(
                f"Basic256Sha256,SignAndEncrypt,{certificate},{key},{folder / 'certificate.der'}"
            )
        if password:
            client.set_user("guest")
            client.set_password(password)
        async with client:
            return await client.get_namespace_array()

    async def make_keys():
        await setup_self_signed_certificate(
            key, certificate, "urn:test:client", "localhost", [ExtendedKeyUsageOID.CLIENT_AUTH], {"commonName": "test"}
        )

    try:
        asyncio.run(make_keys())
        assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
        assert "urn:industriverse:cell:demo" in asyncio.run(ask("correct horse", True))
        for password, secure in (("wrong horse", True), ("", True), ("correct horse", False), ("", False)):
            with pytest.raises((ua.UaError, ConnectionError, TimeoutError, asyncio.TimeoutError)):
                asyncio.run(ask(password, secure))
    finally:
        door.close()


def test_nothing_is_left_when_the_door_is_closed():
    before = set(threading.enumerate())
    door = OpcuaDoor(make_model(PRINTER), LOOPBACK)
    port = door.address.port
    door.close()
    door._thread.join(60.0)  # a busy computer takes its time
    left = set(threading.enumerate()) - before
    assert not left, left
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_client_that_stays_does_not_hold_the_door_open(capfd):
    door = OpcuaDoor(make_model(PRINTER), LOOPBACK)

    async def stay(client):
        subscription = await client.create_subscription(100, Silent())
        await subscription.subscribe_data_change(await path_of(client, PRINTER, "Monitoring", "Status", "State"))
        await asyncio.get_running_loop().run_in_executor(None, door.close)

    with contextlib.suppress(ua.UaError, ConnectionError, TimeoutError):
        with_client(door, stay)
    door._thread.join(60.0)
    assert not door._thread.is_alive()
    assert door.failure is None
    assert "Task was destroyed" not in capfd.readouterr().err


class Silent:
    def datachange_notification(self, node, value, data):
        pass


def test_folders_without_nodesets_are_refused(tmp_path):
    model = make_model(PRINTER)
    with pytest.raises(CoreError, match="node-opcua-nodesets"):
        OpcuaDoor(model, LOOPBACK, str(tmp_path))
    for name in ("Di", "IA", "Machinery"):
        (tmp_path / f"Opc.Ua.{name}.NodeSet2.xml").write_text("<not>")
    with pytest.raises(CoreError, match="is no nodeset"):
        OpcuaDoor(model, LOOPBACK, str(tmp_path))


def test_the_official_types_are_used_where_they_are_at_hand():
    folder = os.environ.get("OPCUA_NODESETS", "")
    if not folder:
        pytest.skip("set OPCUA_NODESETS to a folder with OPC Foundation's nodesets DI, IA and Machinery")
    model = feed(make_model(PRINTER))
    door = OpcuaDoor(model, LOOPBACK, folder)
    official = "http://opcfoundation.org/UA/Machinery/"

    async def work(client):
        spaces = await client.get_namespace_array()
        state = await path_of(
            client, PRINTER, "MachineryBuildingBlocks", "MachineryItemState", "CurrentState", "Id", types=official
        )
        return spaces.index(official), await state.read_value()

    try:
        door.update(model.view(100.0), UTC)
        assert door.official_types
        index, _ = with_client(door, work)
        eventually(lambda: with_client(door, work)[1], ua.NodeId(5006, index))  # Executing, by the nodeset
    finally:
        door.close()
