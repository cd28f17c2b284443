"""The virtual mill's controller, without a process: bytes in, time on, bytes out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_rigs import Mill

# --- start, states, alarms ---


def test_it_starts_locked_and_asks_for_homing():
    mill = Mill(homed=False)
    assert mill.said == ["Grbl 1.1h ['$' for help]", "[MSG:'$H'|'$X' to unlock]"]
    assert mill.status()[""] == "Alarm"
    assert mill.ask("G0 X1") == ["error:9"]
    assert mill.ask("$X") == ["[MSG:Caution: Unlocked]", "ok"]
    assert mill.status()[""] == "Idle"


def test_homing_finds_the_switches_and_the_programs_frame():
    mill = Mill()
    assert mill.place() == [-1.0, -1.0, -1.0]
    tool = mill.firmware.plant.axes.tool_m(mill.firmware.motion.position_m(mill.now))
    assert tool == pytest.approx((-1e-3, -1e-3, -1e-3), abs=1e-5)
    mill.ask("G0 X10 Y20 Z5")
    mill.idle()
    assert mill.place() == [-290.0, -160.0, -35.0]


def test_homing_says_nothing_to_questions_until_it_has_ended():
    mill = Mill(homed=False)
    mill.send("$H\n")
    mill.wait(2.0)
    mill.send("?")
    assert mill.wait(1.0) == []
    assert next(line for line in mill.wait(60.0) if line[0] == "<").startswith("<Idle|")


def test_reset_in_motion_loses_the_position():
    mill = Mill()
    mill.ask("G1 X0 F1000")
    mill.wait(1.0)
    mill.send("\x18")
    assert mill.wait(1.0) == ["ALARM:3", "Grbl 1.1h ['$' for help]", "[MSG:'$H'|'$X' to unlock]"]
    assert mill.status()[""] == "Alarm"


def test_reset_at_rest_and_after_a_complete_hold_keeps_it():
    mill = Mill()
    mill.send("\x18")
    assert mill.wait(0.1) == ["Grbl 1.1h ['$' for help]"]
    mill.ask("G1 X0 F1000")
    mill.wait(1.0)
    mill.send("!")
    mill.wait(1.0)
    before = mill.place()
    mill.send("\x18")
    assert mill.wait(1.0) == ["Grbl 1.1h ['$' for help]"]
    assert mill.status()[""] == "Idle"
    assert mill.place() == before


def test_the_line_that_a_reset_interrupts_is_answered():
    mill = Mill()
    mill.send("G1 X0 F100\n" + "".join(f"G1 X{step}\n" for step in range(1, 30)))
    assert mill.wait(1.0) == ["ok"] * 15  # fifteen blocks fit; the sixteenth waits
    mill.send("\x18")
    assert mill.wait(1.0)[:3] == ["ALARM:3", "ok", "Grbl 1.1h ['$' for help]"]


def test_soft_limits_lock_everything_until_a_reset():
    mill = Mill()
    assert mill.ask("$20=1") == ["ok"]
    assert mill.ask("G0 X301", 1.0) == ["ALARM:2", "[MSG:Reset to continue]"]
    mill.send("?$X\n!~")
    assert mill.wait(1.0) == []
    mill.send("\x18")
    assert mill.wait(1.0) == ["ok", "Grbl 1.1h ['$' for help]", "[MSG:'$H'|'$X' to unlock]"]


def test_hard_limits_stop_a_machine_that_knows_its_place_wrongly():
    mill = Mill()
    mill.ask("$21=1")
    mill.firmware.plant.axes.slip(0, 5e-3)
    assert "ALARM:1" in mill.ask("G53 G0 X0", 3.0)


def test_hard_limits_are_silent_where_the_place_is_right():
    mill = Mill()
    mill.ask("$21=1")
    assert mill.ask("G53 G0 X0", 3.0) == ["ok"]


# --- hold, overrides, jog ---


def test_a_hold_brakes_along_the_path_and_goes_on_from_there():
    mill = Mill()
    mill.ask("G53 G1 X-100 F1800")
    mill.wait(1.0)
    mill.send("!")
    assert mill.status()[""] == "Hold:1"
    mill.send("~")  # ignored while it brakes
    assert mill.status()[""] == "Hold:1"
    before = mill.place()[0]
    mill.wait(1.0)
    assert mill.status()[""] == "Hold:0"
    # v^2 / 2a
    assert before - mill.place()[0] == pytest.approx(30.0**2 / (2 * 100.0), abs=0.4)
    assert mill.ask("G4 P0") == []  # no line is taken in a hold
    mill.send("~")
    assert mill.status()[""] == "Run"
    mill.idle()
    assert mill.place()[0] == -100.0


def test_overrides_change_the_speed_of_what_moves():
    mill = Mill()
    mill.ask("G53 G1 X-200 F600")
    mill.wait(1.0)
    assert mill.status()["FS"] == "600,0"
    mill.send(b"\x92\x92\x94")  # -10 -10 -1
    mill.wait(0.5)
    status = mill.status()
    assert status["FS"] == "474,0"
    mill.send(b"\x90\x91")
    mill.wait(0.5)
    assert mill.status()["FS"] == "660,0"
    mill.send(b"\x92" * 30)
    mill.wait(1.0)
    assert mill.status()["FS"] == "60,0"  # not below 10 %


def test_rapid_overrides_are_rapids_only():
    mill = Mill()
    mill.send(b"\x97")
    mill.ask("G53 G0 X-100")
    mill.wait(1.0)
    assert float(mill.status()["FS"].split(",")[0]) == pytest.approx(1998.0 / 4, abs=1)


def test_jogging_is_cancelled_and_takes_no_gcode():
    mill = Mill()
    assert mill.ask("$J=G91 X-50 F1000", 0.5) == ["ok"]
    assert mill.status()[""] == "Jog"
    assert mill.ask("G1 X1 F100") == ["error:9"]
    mill.send(b"\x85")
    mill.wait(0.5)
    assert mill.status()[""] == "Idle"
    assert -50.0 < mill.place()[0] < -5.0
    assert mill.ask("$J=G91 X1") == ["error:22"]
    assert mill.ask("$J=G91 X1 F10 S5") == ["error:16"]
    assert mill.ask("$J=X1 F10 G2") == ["error:16"]
    mill.ask("$20=1")
    assert mill.ask("$J=G91 X100 F100") == ["error:15"]


def test_the_door_stops_the_spindle_and_restores_it():
    mill = Mill()
    mill.ask("M3 S5000")
    mill.ask("G53 G1 X-100 F600", 1.0)
    mill.send(b"\x84")
    assert mill.take() == ["[MSG:Check Door]"]
    assert mill.status()[""] == "Door:2"
    mill.wait(1.0)
    assert (mill.status()[""], mill.status()["FS"]) == ("Door:0", "0,0")
    mill.send("~")
    assert mill.status()[""] == "Door:3"
    mill.wait(3.0)
    assert mill.status()[""] == "Door:3"
    mill.wait(1.5)
    assert (mill.status()[""], mill.status()["FS"]) == ("Run", "600,5000")


def test_spindle_stop_works_in_a_hold_only():
    mill = Mill()
    mill.ask("M3 S5000")
    mill.send(b"\x9e")
    assert mill.status()["FS"] == "0,5000"
    mill.send("!")
    mill.send(b"\x9e")
    assert mill.status()["FS"] == "0,0"
    mill.send("~")
    assert mill.take()[-1] == "[MSG:Restoring spindle]"
    assert mill.status()["FS"] == "0,5000"


def test_a_program_pause_waits_for_cycle_start():
    mill = Mill()
    assert mill.ask("M0\nG4 P0") == []
    assert mill.status()[""] == "Hold:0"
    mill.send("~")
    assert mill.wait(0.1) == ["ok", "ok"]


def test_sleep_ends_with_a_reset_into_alarm():
    mill = Mill()
    assert mill.ask("$SLP") == ["ok", "[MSG:Sleeping]"]
    assert mill.status()[""] == "Sleep"
    assert mill.ask("$X") == []
    mill.send("\x18")
    assert mill.wait(0.1)[-1] == "[MSG:'$H'|'$X' to unlock]"


def test_check_mode_moves_nothing_and_ends_with_a_reset():
    mill = Mill()
    assert mill.ask("$C") == ["[MSG:Enabled]", "ok"]
    before = mill.place()
    assert mill.ask("G0 X10\nG1 X20\nM3 S100\nG9", 1.0) == ["ok", "error:22", "ok", "error:20"]
    assert mill.place() == before
    assert mill.ask("$C") == ["[MSG:Disabled]", "ok", "Grbl 1.1h ['$' for help]"]


# --- lines, errors, settings ---


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("X", 2), ("G1X", 2), ("1", 1), ("G1 X1.2.3 F1", 1), ("$", 0), ("$5", 3), ("$999=1", 3), ("$110=-1", 4),
        ("$0=2", 6), ("$20=1", 0), ("$110=x", 2), ("G5", 20), ("M6", 20), ("G1 A1 F1", 20), ("G90 G91", 21),
        ("M3 M5", 21), ("G1 X1", 22), ("G1.5 X1 F1", 23), ("M3.1", 23), ("G0 G92 X1", 24), ("G1 X1 X2 F1", 25),
        ("G92", 26), ("G2 F1", 26), ("N99999999", 27), ("G4", 28), ("G10 L2 X1", 28), ("G10 L2 P9 X1", 29),
        ("G53 G2 X1 R1 F1", 30), ("G80 X1", 31), ("G2 Z1 I1 F1", 32), ("G3 X1 I5 F1", 33),
        ("G2 X100 R1 F1", 34), ("G2 X1 F1", 35), ("G0 X1 I2", 36), ("G43.1 X1", 37), ("T256", 38), ("T-1", 4),
        ("$Q", 2), ("$J", 3), ("G90.1", 20), ("G91.1", 0), ("G38.7 X1 F1", 20), ("G1 X1 F-1", 4),
        ("(comment) ; other", 0), ("", 0), ("g4p0", 0), ("G4 P0 (x) N7", 0), ("x" * 100, 11),
    ],
)  # fmt: skip
def test_each_error_has_its_published_number(line, error):
    answer = Mill().ask(line, 0.1)[-1]
    assert answer == (f"error:{error}" if error else "ok")


def test_a_line_with_an_error_has_no_effect():
    mill = Mill()
    before = mill.ask("$G")
    assert mill.ask("G91 G20 M3 S99 X1 Q3") == ["error:20"]
    assert mill.ask("$G") == before
    assert mill.status()[""] == "Idle"


def test_settings_survive_a_power_cycle_and_change_the_machine():
    mill = Mill()
    assert mill.ask("$110=600") == ["ok"]
    mill.firmware.power_on(mill.now)
    mill.wait(0.2)
    assert "$110=600.000" in mill.ask("$$")
    mill.ask("$X")
    mill.ask("G91 G0 X-100", 1.0)
    assert mill.status()["FS"] == "600,0"


def test_bytes_that_arrive_while_the_eeprom_is_written_are_lost():
    mill = Mill()
    mill.send("$110=700\n")
    mill.send("$111=700\n")
    assert mill.wait(0.1) == ["ok"]
    assert mill.ask("$111=700") == ["ok"]


def test_modes_and_parameters_are_reported_as_documented():
    mill = Mill()
    assert mill.ask("$G") == ["[GC:G0 G54 G17 G21 G90 G94 M5 M9 T0 F0 S0]", "ok"]
    mill.ask("G91 G20 G18 G55 M4 S300 M8 F10 T2")
    assert mill.ask("$G") == ["[GC:G0 G55 G18 G20 G91 G94 M4 M8 T2 F254 S300]", "ok"]
    mill.ask("M2")
    assert mill.ask("$G") == ["[GC:G1 G54 G17 G20 G90 G94 M5 M9 T2 F254 S300]", "ok"]
    mill.ask("G10 L2 P2 X-10 G21")
    assert "[G55:-10.000,0.000,0.000]" in mill.ask("$#")
    assert mill.ask("$I") == ["[VER:1.1h.20190825:Industriverse virtual mill]", "[OPT:VNM,15,128]", "ok"]
    assert mill.ask("$N0=G21") == ["ok"]
    mill.send("\x18")
    assert mill.wait(0.1) == ["Grbl 1.1h ['$' for help]", ">G21:ok"]


def test_status_fields_follow_the_mask_and_come_in_turn():
    mill = Mill()
    reports = [mill.status() for _ in range(40)]
    assert sum("WCO" in report for report in reports) == 4
    assert sum("Ov" in report for report in reports) == 4
    assert not any("WCO" in report and "Ov" in report for report in reports)
    mill.ask("$10=2")
    status = mill.status()
    assert (status["Bf"], "MPos" in status, "WPos" in status) == ("15,128", False, True)
    mill.ask("G92 X7", 0.1)
    assert mill.status()["WCO"].split(",")[0] == "-8.000"
    mill.ask("N5 G1 X-20 F100")
    assert mill.status()["Ln"] == "5"


# --- anything ---


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from(
            [b"$H\n", b"G0X1\n", b"G1X5F900\n", b"$J=G91X1F99\n", b"!", b"~", b"\x18", b"\x84", b"\x85", b"$X\n",
             b"G38.2Z-9F9\n", b"G2X1R5F99\n", b"M0\n", b"M2\n", b"$C\n", b"$RST=*\n", b"$SLP\n", b"G93G1X9F2\n",
             b"$N0=G1X1F1\n", b"\x9e", b"$20=1\n", b"$21=1\n", b"G4P1\n", b"?"]
        ),
        max_size=25,
    )
)  # fmt: skip
def test_it_survives_any_bytes(chunks):
    mill = Mill(homed=False)
    mill.ask("$X")
    for chunk in chunks:
        mill.send(chunk)
        mill.wait(0.2, dt=0.05)
        assert len(mill.firmware._ring) <= 128
    mill.wait(2.0, dt=0.1)
