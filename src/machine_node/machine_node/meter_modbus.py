"""A power meter at Modbus, RTU or TCP: registers as a document names them, read in a thread of their own."""

from __future__ import annotations

import logging
import math
import struct
import time

from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ModbusException

from machine_node.meter import RETRY_S, MeterReading, ThreadedMeter, finite
from machine_node.meter_address import QUANTITIES, ModbusAddress, Register, RegisterMap

PERIOD_S = 0.1
ENERGY_PERIOD_S = 1.0  # the counter changes slowly, and lies elsewhere
TIMEOUT_S = 0.5
LONGEST_REQUEST = 60  # registers that one request spans; Eastron's meters answer at most 80
_FORMATS = {"float32": ">f", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I"}


class ModbusMeter(ThreadedMeter):
    """Reads at most every PERIOD_S, as fast as the line allows.

    Args:
        address: where, and which registers.
    """

    def __init__(self, address: ModbusAddress) -> None:
        super().__init__(address.stale_s)
        self._address = address
        self._map = address.registers
        quick = {name: getattr(self._map, name) for name in QUANTITIES if name != "energy"}
        self._quick = requests({name: register for name, register in quick.items() if register is not None})
        self._slow = requests({"energy": self._map.energy}) if self._map.energy is not None else []
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a lost meter is no news every two seconds

    def run_client(self) -> None:
        """See ThreadedMeter."""
        while not self.stopping.is_set():
            client = self._client()
            try:
                if client.connect():
                    self._read_until_lost(client)
            except (ModbusException, OSError, ValueError, struct.error):
                pass  # tried again below; until then the power is unmeasured
            finally:
                client.close()
            self.stopping.wait(RETRY_S)

    def _client(self) -> ModbusSerialClient | ModbusTcpClient:
        a = self._address
        if a.port:
            return ModbusSerialClient(a.port, baudrate=a.baud, timeout=TIMEOUT_S, retries=1)
        return ModbusTcpClient(a.host, port=a.tcp_port, timeout=TIMEOUT_S, retries=1)

    def _read_until_lost(self, client: ModbusSerialClient | ModbusTcpClient) -> None:
        values = dict.fromkeys(QUANTITIES, math.nan)
        energy_at = due = time.monotonic()
        while not self.stopping.wait(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            due = max(due + PERIOD_S, now)
            blocks = self._quick
            if now >= energy_at:
                energy_at, blocks = now + ENERGY_PERIOD_S, [*blocks, *self._slow]
            for block in blocks:
                values |= self._ask(client, block)
            if finite(values["power"]):
                self.arrived(
                    MeterReading(math.nan, values["voltage"], values["current"], values["power"], values["energy"])
                )

    def _ask(self, client: ModbusSerialClient | ModbusTcpClient, block: dict[str, Register]) -> dict[str, float]:
        first = min(register.address for register in block.values())
        count = max(register.address + _words(register) for register in block.values()) - first
        read = client.read_input_registers if self._map.function == "input" else client.read_holding_registers
        answer = read(first, count=count, device_id=self._address.unit)
        if answer.isError() or len(answer.registers) < count:
            raise ModbusException("no such registers")
        return {name: decode(answer.registers, register, first, self._map) for name, register in block.items()}


def requests(registers: dict[str, Register]) -> list[dict[str, Register]]:
    """Registers that are read together: neighbours, as far as one request reaches."""
    blocks: list[dict[str, Register]] = []
    for name, register in sorted(registers.items(), key=lambda item: item[1].address):
        first = min((each.address for each in blocks[-1].values()), default=0) if blocks else 0
        if blocks and register.address + _words(register) - first <= LONGEST_REQUEST:
            blocks[-1][name] = register
        else:
            blocks.append({name: register})
    return blocks


def decode(words: list[int], register: Register, first: int, registers: RegisterMap) -> float:
    """A value in SI; NaN where the meter says none."""
    own = words[register.address - first : register.address - first + _words(register)]
    if registers.word_order == "little":
        own = own[::-1]
    value = struct.unpack(_FORMATS[register.type], b"".join(word.to_bytes(2, "big") for word in own))[0]
    return value * register.factor if finite(value) else math.nan


def _words(register: Register) -> int:
    return struct.calcsize(_FORMATS[register.type]) // 2
