"""Where a power meter is, in one string:

    /dev/ttyUSB0                                     lines on a serial port
    modbus:///dev/ttyUSB1?unit=1&map=sdm120&baud=9600   Modbus RTU
    modbus://192.168.1.20:502?unit=1&map=sdm630         Modbus TCP
    mqtt://user:password@host:1883/shellyplug/status/switch:0?map=shelly
    mqtt://host/topic?power=apower&energy=aenergy.total&energy_unit=Wh
    mqtt://host/topic                                a plain number of watts

`map` of Modbus: a document in data/meters, or the path of one. `stale_s`, for both: the age at which a reading is no
longer one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Field

from industriverse_core.documents import Document, load_document, named_document
from industriverse_core.errors import ErrorCode, ProfileError
from industriverse_core.units import KWH

METER_FOLDER = Path(__file__).parent / "data" / "meters"
MODBUS_STALE_S = 1.0
MQTT_STALE_S = 15.0  # plugs report every few seconds
ENERGY_UNITS = {"J": 1.0, "Wh": KWH / 1000.0, "kWh": KWH}
QUANTITIES = ("voltage", "current", "power", "energy")
MQTT_MAPS: dict[str, dict[str, str]] = {
    "plain": {},
    # Shelly, Gen2 and later: "Switch" component, status
    "shelly": {
        "power": "apower", "voltage": "voltage", "current": "current", "energy": "aenergy.total", "energy_unit": "Wh",
    },
    # Tasmota: tele/%topic%/SENSOR
    "tasmota": {
        "power": "ENERGY.Power", "voltage": "ENERGY.Voltage", "current": "ENERGY.Current", "energy": "ENERGY.Total",
        "energy_unit": "kWh",
    },
}  # fmt: skip


class Register(Document):
    """One value of a meter: `address` of its first register as sent, `factor` to SI."""

    address: int = Field(ge=0, le=65535)
    type: Literal["float32", "int16", "uint16", "int32", "uint32"] = "float32"
    factor: float = 1.0


class RegisterMap(Document):
    """Registers of a Modbus meter; two-register values are big-endian, `word_order` says which word is first."""

    id: str
    title: str
    source: str = Field(description="where the addresses come from")
    function: Literal["input", "holding"] = "input"
    word_order: Literal["big", "little"] = "big"
    voltage: Register | None = None
    current: Register | None = None
    power: Register
    energy: Register | None = None


@dataclass(frozen=True, slots=True)
class SerialAddress:
    """`baud` 0 = not said."""

    port: str
    baud: int = 0
    stale_s: float = 1.0


@dataclass(frozen=True, slots=True)
class ModbusAddress:
    """RTU where `port` is a device path, else TCP at `host` and `tcp_port`."""

    port: str
    host: str
    tcp_port: int
    unit: int
    baud: int
    registers: RegisterMap
    stale_s: float


@dataclass(frozen=True, slots=True)
class MqttAddress:
    """`keys`: quantity -> path in the JSON object, parts joined by dots; empty = the payload is a number of watts."""

    host: str
    tcp_port: int
    topic: str
    user: str
    password: str
    keys: dict[str, str]
    energy_factor: float
    stale_s: float


Address = SerialAddress | ModbusAddress | MqttAddress


def parse_address(text: str) -> Address | None:
    """The address; None for "". Raises ProfileError (BAD_PARAMETER, or of the register map)."""
    if not text:
        return None
    scheme = text.partition("://")[0] if "://" in text else ""
    if not scheme:
        return SerialAddress(text)
    if scheme not in ("modbus", "mqtt"):
        raise _wrong(text, f"'{scheme[:20]}' is no kind of meter", "Known: a device path, modbus://, mqtt://.")
    try:
        url = urlsplit(text)
        tcp_port = url.port
        options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
    except ValueError as error:
        raise _wrong(text, str(error), "Write it as in machine_node/meter_address.py.") from error
    path = unquote(url.path)
    if scheme == "modbus":
        return _modbus(text, url.hostname or "", tcp_port, path, options)
    # a topic may hold what a URL calls a fragment
    return _mqtt(text, url.hostname or "", tcp_port, path.lstrip("/"), (url.username, url.password), options)


def _modbus(text: str, host: str, tcp_port: int | None, path: str, options: dict[str, str]) -> ModbusAddress:
    _only(text, options, ("unit", "map", "baud", "stale_s"))
    if bool(host) == bool(path.strip("/")):
        raise _wrong(text, "needs either a host or a device path", "Write modbus:///dev/ttyUSB1 or modbus://host:502.")
    unit = int(_number(text, options, "unit", 1.0, 1, 247))
    baud = int(_number(text, options, "baud", 9600.0, 1200, 4_000_000))
    name = options.get("map", "sdm120")
    registers = load_document(
        named_document(name, METER_FOLDER, "register map", ErrorCode.BAD_PARAMETER),
        RegisterMap,
        ErrorCode.BAD_PARAMETER,
    )
    stale_s = _number(text, options, "stale_s", MODBUS_STALE_S, 0.1, 3600.0)
    return ModbusAddress("" if host else path, host, tcp_port or 502, unit, baud, registers, stale_s)


def _mqtt(
    text: str,
    host: str,
    tcp_port: int | None,
    topic: str,
    login: tuple[str | None, str | None],
    options: dict[str, str],
) -> MqttAddress:
    _only(text, options, ("map", "energy_unit", "stale_s", *QUANTITIES))
    if not host or not topic or len(topic) > 1024 or "\0" in topic:
        raise _wrong(text, "needs a host and a topic", "Write mqtt://host/topic.")
    if "+" in topic or "#" in topic:
        raise _wrong(text, "the topic has a wildcard", "Name one topic: it is one meter.")
    name = options.pop("map", "plain")
    if name not in MQTT_MAPS:
        raise _wrong(text, f"unknown map '{name[:32]}'", f"Known: {', '.join(MQTT_MAPS)}.")
    said = MQTT_MAPS[name] | options
    unit = said.get("energy_unit", "J")
    if unit not in ENERGY_UNITS:
        raise _wrong(text, f"unknown energy_unit '{unit[:16]}'", f"Known: {', '.join(ENERGY_UNITS)}.")
    keys = {quantity: said[quantity] for quantity in QUANTITIES if said.get(quantity)}
    if keys and "power" not in keys:
        raise _wrong(text, "does not say where the power is", "Add power=KEY.")
    stale_s = _number(text, options, "stale_s", MQTT_STALE_S, 0.1, 3600.0)
    user, password = (unquote(part or "") for part in login)
    return MqttAddress(host, tcp_port or 1883, topic, user, password, keys, ENERGY_UNITS[unit], stale_s)


def _only(text: str, options: dict[str, str], known: tuple[str, ...]) -> None:
    if unknown := sorted(options.keys() - set(known)):
        raise _wrong(text, f"unknown option '{unknown[0][:32]}'", f"Known: {', '.join(known)}.")


def _number(text: str, options: dict[str, str], name: str, default: float, low: float, high: float) -> float:
    try:
        value = float(options.get(name, default))
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise _wrong(text, f"{name} is '{options[name][:32]}'", f"Allowed: {low:g} to {high:g}.")
    return value


def _wrong(text: str, seen: str, remedy: str) -> ProfileError:
    shown = text.partition("?")[0].rpartition("@")[2][:80]  # without a password
    return ProfileError(ErrorCode.BAD_PARAMETER, f"power meter '{shown}': {seen}.", remedy)
