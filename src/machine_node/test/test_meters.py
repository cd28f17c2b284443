"""Meters of all kinds behind one interface: real clients against pymodbus's server and a small MQTT broker."""

import asyncio
import contextlib
import json
import math
import os
import select
import socket
import struct
import threading
import time
import tty

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from industriverse_core.errors import CoreError, ErrorCode
from machine_node.meter import MOST_WAITING, MeterReading, NoMeter, Readings, ReceivedReading, open_meter
from machine_node.meter_address import ModbusAddress, MqttAddress, SerialAddress, parse_address
from machine_node.meter_modbus import decode, requests
from machine_node.meter_mqtt import parse_payload
from machine_node.power import PowerSamples
from machine_node.virtual.port import Port

SDM120 = {0x0000: 231.5, 0x0006: 0.75, 0x000C: 150.25, 0x0156: 12.5}
SDM630 = {0x002A: 229.5, 0x0030: 3.5, 0x0034: 700.5, 0x0156: 2.0}


def wait(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def now_reading(meter):
    return meter.reading(time.monotonic())


class Server:
    """pymodbus's own server, in a thread with its own loop."""

    def __init__(self, make):
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(make,), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _main(self, make):
        asyncio.set_event_loop(self._loop)

        async def serve():
            self.server = make()
            await self.server.serve_forever(background=True)
            self._ready.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()

    def close(self):
        async def end():
            await self.server.shutdown()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def device(floats, unit):
    registers = [0] * 400
    for address, value in floats.items():
        registers[address : address + 2] = struct.unpack(">HH", struct.pack(">f", value))
    return SimDevice(id=unit, simdata=[SimData(0, values=registers, datatype=DataType.REGISTERS)])


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(("name", "floats"), [("sdm120", SDM120), ("sdm630", SDM630)])
def test_modbus_tcp_is_read_lost_and_found_again(name, floats):
    port = free_port()
    make = lambda: ModbusTcpServer(device(floats, 3), address=("127.0.0.1", port))  # noqa: E731
    meter = open_meter(f"modbus://127.0.0.1:{port}?unit=3&map={name}", 115200)
    try:
        assert now_reading(meter) is None  # nobody is there yet
        server = Server(make)
        reading = wait(lambda: now_reading(meter))
        volt, ampere, watt, kilowatt_hours = floats.values()
        assert (reading.voltage_v, reading.current_a, reading.power_w) == (volt, ampere, watt)
        assert reading.energy_j == kilowatt_hours * 3.6e6
        assert math.isnan(reading.uptime_s)
        for _ in range(2):
            wait(meter.take)
        server.close()
        wait(lambda: now_reading(meter) is None)
        server = Server(make)
        wait(lambda: now_reading(meter))
        server.close()
    finally:
        meter.close()


def test_modbus_rtu_over_a_serial_line(tmp_path):
    ends = [os.openpty() for _ in range(2)]
    for end in ends:
        tty.setraw(end[1])
    masters = [end[0] for end in ends]
    stopping = threading.Event()

    def cable():
        while not stopping.is_set():
            for readable in select.select(masters, [], [], 0.05)[0]:
                os.write(masters[1 - masters.index(readable)], os.read(readable, 4096))

    thread = threading.Thread(target=cable, daemon=True)
    thread.start()
    server = Server(lambda: ModbusSerialServer(device(SDM120, 1), port=os.ttyname(ends[0][1]), baudrate=9600))
    meter = open_meter(f"modbus://{os.ttyname(ends[1][1])}?unit=1&map=sdm120", 115200)
    try:
        assert wait(lambda: now_reading(meter)).power_w == 150.25
    finally:
        meter.close()
        server.close()
        stopping.set()
        thread.join()
        for end in ends:
            os.close(end[0])
            os.close(end[1])


def test_a_meter_without_such_registers_is_unmeasured():
    port = free_port()
    server = Server(lambda: ModbusTcpServer(device({}, 9), address=("127.0.0.1", port)))
    meter = open_meter(f"modbus://127.0.0.1:{port}?unit=5", 115200)
    time.sleep(1.0)
    assert now_reading(meter) is None
    meter.close()
    server.close()


class Broker:
    """As much of MQTT 3.1.1 as one client needs: CONNECT, SUBSCRIBE, PINGREQ; it publishes what the test says."""

    def __init__(self, port):
        self._listener = socket.create_server(("127.0.0.1", port))
        self.clients, self.topics, self.logins = [], [], []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        stream = client.makefile("rb")
        try:
            while head := stream.read(1):
                length, shift = 0, 0
                while True:
                    byte = stream.read(1)[0]
                    length |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                body = stream.read(length)
                kind = head[0] >> 4
                if kind == 1:
                    self.logins.append(body)
                    client.sendall(b"\x20\x02\x00\x00")
                elif kind == 8:
                    size = int.from_bytes(body[2:4], "big")
                    client.sendall(b"\x90\x03" + body[:2] + b"\x00")
                    self.clients.append(client)
                    self.topics.append(body[4 : 4 + size].decode())
                elif kind == 12:
                    client.sendall(b"\xd0\x00")
        except (OSError, IndexError):
            pass

    def publish(self, topic, payload, retain=False):
        body = len(topic).to_bytes(2, "big") + topic.encode() + payload
        size = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])
        for client in self.clients:
            client.sendall(bytes([0x30 | retain]) + size + body)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self.clients:
            client.shutdown(socket.SHUT_RDWR)
            client.close()


def test_mqtt_is_read_lost_and_found_again():
    port = free_port()
    topic = "shellyplug/status/switch:0"
    meter = open_meter(f"mqtt://me:secret@127.0.0.1:{port}/{topic}?map=shelly&stale_s=1", 115200)
    try:
        broker = Broker(port)
        wait(lambda: broker.topics == [topic])
        assert b"secret" in broker.logins[-1]
        status = {
            "id": 0,
            "apower": 55.5,
            "voltage": 230.25,
            "current": 0.25,
            "aenergy": {"total": 1.5, "minute_ts": 1},
        }
        broker.publish(topic, json.dumps(status | {"apower": 1.0}).encode(), retain=True)  # of unknown age
        broker.publish(topic, b"\xff not JSON")
        broker.publish(topic, json.dumps(status).encode())
        reading = wait(lambda: now_reading(meter))
        assert (reading.power_w, reading.voltage_v, reading.energy_j) == (55.5, 230.25, 1.5 * 3600.0)
        assert len(meter.take()) == 1
        broker.close()
        wait(lambda: now_reading(meter) is None)
        broker = Broker(port)
        wait(lambda: broker.topics == [topic])
        broker.publish(topic, json.dumps(status).encode())
        wait(lambda: now_reading(meter))
        broker.close()
    finally:
        meter.close()


def test_the_serial_meter_is_the_same_to_its_user(tmp_path):
    port = Port(tmp_path / "meter.tty")
    meter = open_meter(str(tmp_path / "meter.tty"), 115200)

    def arrived():
        meter.poll(time.monotonic())
        port.check_connection()
        port.write(b"1500,24.0,2.0,48.0,99.5\n")
        return meter.take()

    taken = wait(arrived)
    assert taken[0].reading == MeterReading(1.5, 24.0, 2.0, 48.0, 99.5)
    assert len(meter.readers()) == 1
    meter.close()
    port.close()


def test_no_meter_measures_nothing():
    meter = open_meter("", 115200)
    assert isinstance(meter, NoMeter)
    assert meter.reading(0.0) is None
    assert (meter.take(), meter.readers()) == ([], [])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("/dev/ttyUSB0", SerialAddress),
        ("modbus:///dev/ttyUSB1?unit=2&map=sdm630&baud=19200", ModbusAddress),
        ("modbus://10.0.0.5", ModbusAddress),
        ("mqtt://broker/a/b?power=x.y", MqttAddress),
        ("mqtt://broker/tele/plug/SENSOR?map=tasmota", MqttAddress),
    ],
)
def test_addresses(text, kind):
    assert isinstance(parse_address(text), kind)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://x", "no kind of meter"),
        ("modbus://", "either a host or a device"),
        ("modbus://host/dev/ttyUSB1", "either a host or a device"),
        ("modbus://host:99999", "0-65535"),
        ("modbus://host?unit=0", "unit is '0'"),
        ("modbus://host?unit=x", "unit is 'x'"),
        ("modbus://host?map=sdm999", "unknown register map"),
        ("modbus://host?speed=1", "unknown option 'speed'"),
        ("modbus://host?stale_s=nan", "stale_s"),
        ("mqtt://host", "a host and a topic"),
        ("mqtt://host/a/+?map=shelly", "wildcard"),
        ("mqtt://host/a?map=other", "unknown map"),
        ("mqtt://host/a?voltage=v", "where the power is"),
        ("mqtt://host/a?power=p&energy_unit=cal", "energy_unit"),
    ],
)
def test_a_wrong_address_is_one_sentence(text, words):
    with pytest.raises(CoreError, match=words) as error:
        parse_address(text)
    assert error.value.code is ErrorCode.BAD_PARAMETER


def test_a_password_is_not_said():
    with pytest.raises(CoreError) as error:
        parse_address("mqtt://me:secret@host/a?map=other")
    assert "secret" not in str(error.value)


@given(st.text(max_size=60))
def test_any_address_is_one_or_a_refusal(text):
    for scheme in ("", "modbus://", "mqtt://"):
        with contextlib.suppress(CoreError):
            parse_address(scheme + text)


@given(st.one_of(st.binary(max_size=200), st.recursive(st.none() | st.floats() | st.text(), lambda x: st.dictionaries(
    st.sampled_from(["ENERGY", "Power", "Total"]), x)).map(lambda x: json.dumps(x).encode())))  # fmt: skip
def test_any_payload_is_a_finite_power_or_nothing(payload):
    for text in ("mqtt://h/t", "mqtt://h/t?map=tasmota"):
        reading = parse_payload(payload, parse_address(text))
        assert reading is None or math.isfinite(reading.power_w)


def test_a_plain_number_is_a_power():
    reading = parse_payload(b" 41.5\n", parse_address("mqtt://h/t"))
    assert reading.power_w == 41.5
    assert math.isnan(reading.energy_j)


def test_registers_are_decoded_by_type_and_word_order():
    registers = parse_address("modbus://h").registers
    whole = registers.power.model_copy(update={"type": "int32", "factor": 0.1, "address": 7})
    assert decode([0xFFFF, 0xFFFE], whole, 7, registers) == pytest.approx(-0.2)
    swapped = registers.model_copy(update={"word_order": "little"})
    assert decode([0xFFFE, 0xFFFF], whole, 7, swapped) == pytest.approx(-0.2)
    assert math.isnan(decode([0x7FC0, 0], whole.model_copy(update={"type": "float32"}), 7, registers))
    quick = {name: getattr(registers, name) for name in ("voltage", "current", "power", "energy")}
    assert [sorted(block) for block in requests(quick)] == [["current", "power", "voltage"], ["energy"]]


def test_what_nobody_takes_is_bounded():
    readings = Readings()
    for n in range(2 * MOST_WAITING):
        readings.put(MeterReading(n, 1.0, 1.0, 1.0, 1.0), float(n))
    taken = readings.take()
    assert len(taken) == MOST_WAITING
    assert taken[-1].reading.uptime_s == 2 * MOST_WAITING - 1
    assert readings.reading(2 * MOST_WAITING + 5.0) is None


def test_samples_are_stamped_by_the_meters_clock_or_else_by_receipt():
    samples, made = PowerSamples("m", 2.0), []
    for n in range(300):  # steady receipt; physics twice as fast; the meter's clock is physics since its start
        steady_s = 10.0 + 0.05 * n
        delay_s = 0.004 * (n % 7)
        reading = ReceivedReading(MeterReading(0.1 * n, 24.0, 1.0, 24.0, 5.0), steady_s + delay_s)
        made += samples.of([reading], ros_s=500.0 + 0.1 * n + 0.2, steady_s=steady_s + 0.1)
    last = made[-1]
    assert last.source_s == pytest.approx(29.9)
    assert last.clock_offset_s == pytest.approx(500.0, abs=0.01)
    assert last.stamp_s == pytest.approx(529.9, abs=0.01)
    assert last.received_s - last.stamp_s == pytest.approx(2 * 0.004 * (299 % 7), abs=0.01)
    without = PowerSamples("m", 1.0).of(
        [ReceivedReading(MeterReading(math.nan, 24.0, 1.0, 24.0, 5.0), 10.0)], ros_s=600.0, steady_s=10.5
    )
    assert without[0].stamp_s == without[0].received_s == 599.5
    assert math.isnan(without[0].clock_offset_s)
