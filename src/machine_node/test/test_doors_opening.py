"""Opening doors: all or none, and what is missing is said."""

import builtins
import socket
import sys
from pathlib import Path

import pytest

from industriverse_core.errors import CoreError, ErrorCode
from machine_node.doors.opening import Wanted, open_doors

sys.path.insert(0, str(Path(__file__).parent))
from door_cells import PRINTER, make_model

UTC = 1_800_000_000.0


def free_ports(count):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def is_open(port):
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def without(monkeypatch):
    """Makes a library look as if it were not installed."""

    def hide(library, module):
        real = builtins.__import__

        def load(name, *rest, **options):
            if name.partition(".")[0] == library:
                raise ModuleNotFoundError(f"No module named '{name}'")
            return real(name, *rest, **options)

        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setattr(builtins, "__import__", load)

    return hide


@pytest.mark.parametrize(
    ("library", "module", "door"),
    [
        ("asyncua", "machine_node.doors.opcua", "opcua_port"),
        ("foxglove", "machine_node.doors.foxglove_door", "foxglove_port"),
    ],
)
def test_a_library_that_is_missing_is_named_and_no_door_is_left_open(without, library, module, door):
    without(library, module)
    mtconnect, other = free_ports(2)
    with pytest.raises(CoreError) as refused:
        open_doors(Wanted(mtconnect_port=mtconnect, **{door: other}), make_model(PRINTER), UTC)
    assert refused.value.code is ErrorCode.TOOL_MISSING
    assert "pip install" in refused.value.remedy
    assert library in refused.value.remedy
    assert not is_open(mtconnect)


def test_all_doors_open_together_and_close():
    pytest.importorskip("asyncua", reason="the optional library asyncua is not installed")
    pytest.importorskip("foxglove", reason="the optional library foxglove-sdk is not installed")
    ports = free_ports(3)
    doors = open_doors(Wanted("127.0.0.1", *ports), make_model(PRINTER), UTC)
    try:
        assert {door.name for door in doors} == {"OPC UA", "MTConnect", "Foxglove"}
        assert all(is_open(port) for port in ports)
        assert sorted(str(port) for port in ports) == sorted(
            next(port for port in map(str, ports) if port in door.url) for door in doors
        )
    finally:
        for door in doors:
            door.close()
    assert not any(is_open(port) for port in ports)


def test_opc_ua_off_loopback_needs_a_password_and_the_others_stay_shut():
    pytest.importorskip("asyncua", reason="the optional library asyncua is not installed")
    mtconnect, opcua = free_ports(2)
    with pytest.raises(CoreError, match="clients need a password"):
        open_doors(Wanted("0.0.0.0", opcua, mtconnect), make_model(PRINTER), UTC)
    assert not is_open(mtconnect)


def test_no_port_is_no_door():
    with pytest.raises(CoreError, match="no side door"):
        open_doors(Wanted(), make_model(PRINTER), UTC)
