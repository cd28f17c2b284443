"""A power meter that publishes at an MQTT broker: JSON as smart plugs send it, or a plain number of watts."""

from __future__ import annotations

import json
import math
from typing import Any

import paho.mqtt.client as mqtt

from machine_node.meter import RETRY_S, MeterReading, ThreadedMeter, finite
from machine_node.meter_address import QUANTITIES, MqttAddress

MAX_PAYLOAD_BYTES = 16384
KEEPALIVE_S = 15
CONNECT_TIMEOUT_S = 3.0
LOOP_S = 0.2


class MqttMeter(ThreadedMeter):
    """Subscribes to one topic. What the broker has retained is of unknown age, and is not taken for a reading.

    Args:
        address: where, and which keys.
    """

    def __init__(self, address: MqttAddress) -> None:
        super().__init__(address.stale_s)
        self._address = address

    def run_client(self) -> None:
        """See ThreadedMeter."""
        while not self.stopping.is_set():
            client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
            client.connect_timeout = CONNECT_TIMEOUT_S
            client.on_connect = self._on_connect
            client.on_message = self._on_message
            if self._address.user:
                client.username_pw_set(self._address.user, self._address.password)
            try:
                client.connect(self._address.host, self._address.tcp_port, KEEPALIVE_S)
                while not self.stopping.is_set() and client.loop(LOOP_S) == mqtt.MQTT_ERR_SUCCESS:
                    pass
                client.disconnect()
            except (OSError, ValueError):
                pass  # tried again below; until then the power is unmeasured
            self.stopping.wait(RETRY_S)

    def _on_connect(self, client: mqtt.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not reason.is_failure:
            client.subscribe(self._address.topic)

    def _on_message(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        if message.retain:
            return
        reading = parse_payload(message.payload, self._address)
        if reading is not None:
            self.arrived(reading)


def parse_payload(payload: bytes, address: MqttAddress) -> MeterReading | None:
    """The reading in one message, or None for anything else."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return None
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if address.keys:
        values = {name: _value(content, address.keys.get(name, "")) for name in QUANTITIES}
    else:
        values = dict.fromkeys(QUANTITIES, math.nan) | {"power": _number(content)}
    if not finite(values["power"]):
        return None
    energy_j = values["energy"] * address.energy_factor
    return MeterReading(math.nan, values["voltage"], values["current"], values["power"], energy_j)


def _value(content: Any, path: str) -> float:
    for part in path.split(".") if path else ():
        if not isinstance(content, dict) or part not in content:
            return math.nan
        content = content[part]
    return _number(content) if path else math.nan


def _number(value: Any) -> float:
    """A number, also one written as text; anything else is NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if finite(number) else math.nan
