"""Each fault of the virtual machines has the effect that its description states."""

import json

import pytest
from virtual_rigs import PROFILES, Rig, homed_mill, homed_printer

from machine_node.marlin.protocol import numbered
from machine_node.virtual.accelerometer import Accelerometer
from machine_node.virtual.faults import FAULTS, faults_of
from machine_node.virtual.line import SerialLine
from machine_node.virtual.plant import HOTEND_PROTECTION, HeaterPlant


@pytest.fixture
def printer():
    return homed_printer()


@pytest.fixture
def mill():
    return homed_mill()


# --- heat ---


@pytest.mark.parametrize("target", ["hotend", "bed"])
def test_a_heater_that_sticks_on_ends_in_maxtemp_and_stays_on(printer, target):
    printer.fault("heater_stuck_on", target=target)
    said = printer.wait(1500.0, 1.0)
    name = "E0" if target == "hotend" else "bed"
    assert f"Error:MAXTEMP triggered, system stopped! Heater_ID: {name}\n" in said
    assert "Error:Printer halted. kill() called!" in said
    heater = getattr(printer.plant, target)
    assert heater.target_c == 0.0
    assert heater.electric_w() > 0.9 * heater.power_w  # the switch conducts: the controller cannot help it
    printer.fault("heater_stuck_on", target=target, on=False)
    hot = heater.block_c
    printer.wait(60.0, 1.0)
    assert heater.block_c < hot


def test_a_heater_that_sticks_off_is_noticed(printer):
    printer.send("M104 S215")
    printer.wait(150.0, 0.5)
    printer.fault("heater_stuck_off")
    assert "Error:Thermal Runaway, system stopped! Heater_ID: E0" in printer.wait(100.0, 0.5)


@pytest.mark.parametrize(
    ("fault", "error"), [("thermistor_short", "MAXTEMP triggered"), ("thermistor_open", "MINTEMP triggered")]
)
def test_a_sensor_without_a_circuit_is_noticed_at_once(printer, fault, error):
    printer.send("M140 S60")
    printer.wait(5.0)
    printer.fault(fault, target="bed")
    assert f"Error:{error}, system stopped! Heater_ID: bed" in printer.wait(1.0)


def test_a_sensor_that_drifts_heats_more_than_it_says(printer):
    printer.send("M104 S200")
    printer.wait(200.0, 0.5)
    printer.fault("thermistor_drift", value=-0.05)
    printer.wait(200.0, 0.5)
    hotend = printer.plant.hotend
    assert hotend.measured_c == pytest.approx(200.0, abs=1.0)
    assert hotend.block_c == pytest.approx(210.0, abs=1.5)
    printer.fault("thermistor_drift", on=False)
    printer.wait(1.0)
    assert hotend.measured_c == pytest.approx(hotend.block_c, abs=1.0)


def test_a_heaters_energy_is_conserved():
    """Electric energy in = stored + lost, with its own true parameters."""
    heater = HeaterPlant(PROFILES["printer"].hotend, 25.0, lambda v: v, lambda: 0.0, 0.8, 0.12, 20.0, HOTEND_PROTECTION)
    profile = PROFILES["printer"].hotend
    heater.set_target(220.0)
    electric = lost = 0.0
    for _ in range(6000):
        electric += heater.electric_w() * 0.1
        lost += profile.loss * (heater.block_c - 25.0) * 0.1
        heater.step(0.1, 0.0, 0.0)
    assert electric == pytest.approx(profile.heat_capacity * (heater.block_c - 25.0) + lost, rel=1e-9)


def test_part_cooling_takes_heat_from_the_hotend(printer):
    printer.send("M104 S215")
    printer.wait(200.0, 0.5)
    before = printer.plant.hotend.duty
    printer.send("M106 S255")
    printer.wait(60.0, 0.5)
    assert printer.plant.hotend.duty > 1.2 * before


# --- filament and bed ---


@pytest.mark.parametrize(("fault", "changes", "share"), [("clog", {"value": 0.25}, 0.25), ("runout", {}, 0.0)])
def test_filament_that_does_not_come_is_not_extruded(printer, fault, changes, share):
    printer.send("M104 S215")
    printer.wait(150.0, 0.5)
    printer.fault(fault, **changes)
    printer.send("G1 E20 F120")
    printer.wait(20.0)
    filament = printer.plant.filament
    assert filament.asked_m3 == pytest.approx(20e-3 * 2.405e-6, rel=1e-3)
    assert filament.extruded_m3 == pytest.approx(share * filament.asked_m3, rel=1e-6, abs=1e-15)


def test_a_detached_part_shakes_the_machine(printer):
    sensor = Accelerometer(printer.plant.axes, printer.plant, 1)
    still = sensor.samples_m_s2(printer.now, []).std(axis=0)
    printer.fault("part_detached")
    printer.wait(0.1)
    assert (sensor.samples_m_s2(printer.now, []).std(axis=0) > 5 * still).all()
    assert printer.firmware.true_state(printer.now)["part_attached"] is False


# --- axes ---


@pytest.mark.parametrize(("kind", "move"), [("printer", "G1 X50 Y50 F3000"), ("mill", "G1 X50 Y50 F1000")])
def test_a_belt_that_slips_moves_the_tool_and_nobody_knows(kind, move, request):
    rig = request.getfixturevalue(kind)
    rig.send(move)
    rig.wait(30.0)
    before, believed = rig.tool(), rig.firmware.motion.position_m(rig.now)
    rig.fault("belt_slip", value=4.0, target="y")
    rig.wait(0.1)
    assert rig.tool() - before == pytest.approx([0.0, 4e-3, 0.0], abs=1e-9)
    assert rig.firmware.motion.position_m(rig.now) == believed
    rig.send("G28" if kind == "printer" else "$H")
    rig.wait(60.0, 0.2)
    assert rig.plant.axes.offset_m == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["printer", "mill"])
def test_weak_motors_lose_steps_and_strong_ones_do_not(kind, request):
    rig = request.getfixturevalue(kind)
    lines = [f"G1 X{20 + 40 * (step % 2)} Y30 F{6000 if kind == 'printer' else 1900}" for step in range(4)]
    rig.send(*lines)
    rig.wait(30.0)
    assert rig.plant.axes.lost_steps_m == 0.0
    rig.fault("lost_steps", value=0.05)
    rig.wait(0.1)
    rig.send(*lines)
    rig.wait(30.0)
    assert rig.plant.axes.lost_steps_m > 5e-3


def test_too_much_acceleration_loses_steps_without_a_fault(printer):
    printer.send("M201 X30000 Y30000", "M204 P30000 T30000", "G1 X100 F12000", "G1 X20", "G1 X100")
    printer.wait(10.0)
    assert printer.plant.axes.lost_steps_m > 1e-3


# --- supply, board, line ---


def test_a_sag_weakens_heaters_and_shows_at_the_meter(printer):
    printer.send("M104 S215")
    printer.wait(5.0)
    before = printer.plant.hotend.electric_w(printer.plant.supply)
    printer.fault("power_sag", value=0.5, for_s=2.0)
    printer.wait(1.0)
    assert printer.plant.hotend.electric_w(printer.plant.supply) == pytest.approx(0.25 * before)
    assert printer.plant.supply_v == 12.0
    printer.wait(2.0)
    assert printer.plant.supply_v == 24.0


@pytest.mark.parametrize(("kind", "greeting"), [("printer", "start\n"), ("mill", "Grbl 1.1h")])
def test_a_deep_sag_stops_the_board_until_it_is_over(kind, greeting):
    rig = Rig(kind)
    rig.fault("power_sag", value=0.2, for_s=3.0)
    rig.wait(1.0)
    rig.send("M105", "?")
    assert rig.wait(1.0) == ""
    assert greeting in rig.wait(2.0)


@pytest.mark.parametrize(("kind", "greeting"), [("printer", "start\n"), ("mill", "Grbl 1.1h")])
def test_a_reset_of_the_board_greets_again_and_drops_motion(kind, greeting, request):
    rig = request.getfixturevalue(kind)
    rig.send("G1 X100 F600")
    rig.wait(1.0)
    rig.fault("controller_reset")
    assert greeting in rig.wait(1.0)
    before = rig.tool()
    rig.wait(1.0)
    assert rig.tool() == pytest.approx(before)


@pytest.mark.parametrize("kind", ["printer", "mill"])
def test_a_frozen_board_says_nothing_and_finishes_what_is_planned(kind, request):
    rig = request.getfixturevalue(kind)
    rig.send("G91", "G1 X20 F600", "G1 X-20")
    rig.wait(0.5)
    rig.fault("frozen", for_s=10.0)
    rig.send("M105" if kind == "printer" else "?")
    rig.wait(0.1)
    rig.send("M105", "?")
    assert rig.wait(8.0) == ""
    assert rig.firmware.motion.position_m(rig.now)[0] == pytest.approx(rig.firmware.motion.target_m[0])
    assert rig.wait(3.0) != ""


def test_a_frozen_board_leaves_the_heater_as_it_is(printer):
    printer.send("M104 S100")
    printer.wait(5.0)
    printer.fault("frozen")
    printer.wait(200.0, 0.5)
    assert printer.plant.hotend.block_c > 150.0
    assert not printer.firmware.halted


def test_the_printer_accounts_for_every_motion(tmp_path):
    rig = Rig("printer", tmp_path / "journal")
    rig.send("G28", "G90")
    rig.wait(60.0, 0.2)
    rig.send("G2 X40 Y0 I20 J0 F3000", *[f"G1 X{number} F600" for number in range(3)])
    rig.wait(1.0)
    rig.firmware.receive(b"M410\n", rig.now)
    rig.wait(1.0)
    rig.send("G1 X5", "M410")
    rig.wait(1.0)
    rig.send("G1 X50 F600", "G1 X60", "G28 X", "G1 X70")
    rig.wait(1.0)
    rig.fault("controller_reset")
    rig.wait(1.0)
    rig.journal.flush(0.0, force=True)
    events = [json.loads(line) for line in rig.journal_path.read_text().splitlines()]
    moved = [event["number"] for event in events if event["event"] == "move"]
    dropped = [number for event in events if event["event"] == "dropped" for number in event["numbers"]]
    received = [event["line"] for event in events if event["event"] == "rx"]
    commanded = [at for at, line in enumerate(received, 1) if line[:3] in ("G1 ", "G2 ")]
    assert set(moved + dropped) == set(commanded)
    assert len(moved + dropped) == len(set(moved + dropped))
    assert moved == sorted(moved)


def test_pulling_the_cable_is_for_the_port_to_do(printer):
    printer.fault("cable_pull", value=3.0)
    printer.wait(0.1)
    assert printer.pulled == [3.0]


def test_a_bad_line_is_repaired_by_resends(tmp_path):
    """A host that does no more than answer Resend gets every motion executed once and in order."""
    rig = Rig("printer", tmp_path / "journal")
    rig.send("G28")
    rig.wait(60.0, 0.2)
    rig.fault("garbled_bytes", value=4e-4)
    lines = [f"G1 X{number % 40} F12000" for number in range(1, 301)]
    rig.firmware.receive(numbered(0, "M110 N0"), rig.now)
    rig.wait(0.1)
    sent, resends, steps = 1, 0, 0
    while sent <= len(lines) and steps < 20_000:
        steps += 1
        rig.firmware.receive(rig.line.carry(numbered(sent, lines[sent - 1])), rig.now)
        rig.wait(0.3)
        following = rig.firmware._last_line + 1  # what Resend says, on a line that does not garble it
        resends += following == sent
        sent = following
    rig.wait(60.0, 0.5)
    assert [move["line"] for move in rig.moves()] == list(range(1, len(lines) + 1))
    assert [move["text"] for move in rig.moves()] == lines
    assert resends > 0
    assert rig.line.garbled_bytes >= resends


def test_damage_is_as_frequent_as_asked_and_of_the_seed():
    lines = [SerialLine(seed) for seed in (1, 1, 2)]
    data = bytes(range(32, 127)) * 1000
    for line in lines:
        line.garbled_share, line.lost_share = 0.01, 0.002
    arrived = [line.carry(data) for line in lines]
    assert arrived[0] == arrived[1] != arrived[2]
    assert lines[0].lost_bytes == pytest.approx(0.002 * len(data), rel=0.3)
    assert lines[0].garbled_bytes == pytest.approx(0.01 * len(data), rel=0.15)
    assert len(arrived[0]) == len(data) - lines[0].lost_bytes
    assert SerialLine(1).carry(data) == data


def test_every_fault_has_an_effect_that_is_told_apart():
    for kind in ("printer", "mill"):
        for fault in faults_of(kind):
            for target in fault.targets or ("",):
                rig = Rig(kind)
                rig.fault(fault.name, target=target, for_s=0.0)
                rig.wait(0.2)
                rig.fault(fault.name, target=target, on=False)
                rig.wait(0.2)
                assert not rig.faults.active
    assert set(FAULTS) == {fault.name for kind in ("printer", "mill") for fault in faults_of(kind)}
