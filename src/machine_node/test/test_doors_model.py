"""What the doors show: the last thing heard, honest about silence, bounded in size."""

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import load_machine
from industriverse_core.states import Safety
from industriverse_core.telemetry import MachineState
from machine_node.doors.address import address_of, cannot_listen
from machine_node.doors.model import MAX_STOPS, MAX_TEXT, CellModel, JointView, SafetyView, clipped
from machine_node.doors.quantities import Unit, quantities

sys.path.insert(0, str(Path(__file__).parent))
from door_cells import MILL, PRINTER, feed, make_model, sample


def values(view):
    return {item.key: item.of(view) for item in quantities(view.profile)}


def test_what_was_heard_is_shown():
    model = feed(make_model())
    printer, mill = model.view(100.5).machines
    assert (printer.online, printer.state) == (True, MachineState.EXECUTING)
    shown = values(printer)
    assert shown["x_commanded"] == 0.1
    assert shown["x_reported"] == 0.099
    assert (shown["hotend_temperature"], shown["hotend_target"]) == (214.96, 215.0)
    assert (shown["power"], shown["energy"], shown["progress"]) == (123.4, 45678.0, 0.25)
    assert mill.state is MachineState.DISCONNECTED
    assert all(math.isnan(value) for value in values(mill).values())


def test_a_silent_machine_is_not_shown_as_if_it_spoke():
    model = feed(make_model())
    assert model.machine(PRINTER, 101.0).online
    later = model.machine(PRINTER, 101.1)
    assert (later.online, later.state) == (False, MachineState.DISCONNECTED)
    assert all(math.isnan(value) for value in values(later).values())
    assert later.job.job_id == "job-7"
    assert not any((later.trace, later.safety, later.residual, later.power, later.joints))
    model.observe_telemetry(sample(), 101.1)
    back = model.machine(PRINTER, 101.1)
    assert back.online
    assert back.trace is not None
    assert back.safety is None, "the shield is silent still"


def test_a_mill_has_no_heaters_and_a_printer_has_both():
    keys = {name: {item.key for item in quantities(load_machine(name))} for name in (PRINTER, MILL)}
    assert {"hotend_temperature", "bed_target", "fan"} <= keys[PRINTER]
    assert not {key for key in keys[MILL] if key.startswith(("hotend", "bed", "fan"))}


@pytest.mark.parametrize("name", [PRINTER, MILL, "ender3", "voron_24"])
def test_every_range_is_a_range_and_every_key_is_there_once(name):
    items = quantities(load_machine(name))
    assert len({item.key for item in items}) == len(items)
    assert all(item.key.isidentifier() and item.unit in Unit for item in items)
    assert all(item.low < item.high or math.isnan(item.low) for item in items)


def test_the_cause_of_a_stop_is_kept_after_it_was_cleared():
    model = feed(make_model())
    latched = sample(MachineState.LATCHED, latch_id=9, error_code=408, error_msg="operator's stop")
    model.observe_telemetry(latched, 100.1)
    model.observe_safety(PRINTER, SafetyView(12.6, Safety.LATCHED, 2, 9, 408, "operator's stop", 99), 100.1)
    assert model.machine(PRINTER, 100.2).alarm.cause == "operator's stop"
    assert len(model.machine(PRINTER, 100.2).stops) == 1
    model.observe_telemetry(sample(MachineState.IDLE), 100.3)
    after = model.machine(PRINTER, 100.4)
    assert after.alarm is None
    assert (after.last_stop.latch_id, after.last_stop.code) == (9, 408)


def test_what_comes_over_the_network_does_not_grow():
    model = feed(make_model())
    for number in range(10 * MAX_STOPS):
        model.observe_telemetry(sample(MachineState.LATCHED, latch_id=number, error_msg="x" * 10**5), 100.0)
    model.observe_telemetry(sample(machine="nobody_knows_it"), 100.0)
    model.observe_joints(PRINTER, JointView(1.0, tuple("abcdefghijklmnopqrstuvw"), (0.0,) * 23, ()), 100.0)
    model.observe_joints(PRINTER, JointView(1.0, ("a",), (0.0, 1.0), ()), 100.0)
    view = model.machine(PRINTER, 100.0)
    assert len(view.stops) == MAX_STOPS
    assert len(view.sample.error_msg) == MAX_TEXT
    assert view.joints.names == ("x", "y", "z")
    assert len(model.view(100.0).machines) == 2


@given(st.text(max_size=2000))
def test_texts_are_short_and_printable(text):
    assert len(clipped(text)) <= MAX_TEXT
    assert clipped(text).isprintable()


def test_one_machine_twice_is_refused():
    with pytest.raises(ValueError, match="different ids"):
        CellModel("demo", [load_machine(PRINTER), load_machine(PRINTER)])
    with pytest.raises(ValueError, match="1 to"):
        CellModel("demo", [])


@pytest.mark.parametrize(
    ("host", "port"),
    [("no.such.host.invalid", 1), ("127.0.0.1", 65536), ("127.0.0.1", -1), ("a" * 300, 1), ("\x00", 1)],
)
def test_a_wrong_address_is_refused_in_one_line(host, port):
    with pytest.raises(CoreError) as refused:
        address_of("test", host, port)
    assert refused.value.code is ErrorCode.BAD_PARAMETER
    assert refused.value.remedy
    assert "\n" not in str(refused.value)


def test_addresses_know_who_can_reach_them():
    assert address_of("test", "localhost", 1).is_loopback
    everywhere = address_of("test", "0.0.0.0", 1)
    assert (everywhere.is_loopback, everywhere.is_everywhere, everywhere.reachable_host) == (False, True, "127.0.0.1")
    assert address_of("test", "::1", 1).reachable_host == "[::1]"
    assert "cannot be opened" in str(cannot_listen("test", everywhere, OSError(5, "strange")))
