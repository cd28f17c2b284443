"""check, predict, price, show, machines, materials: what they print and how they end."""

import json
import re
import sys

import pytest

from industriverse_core.gcode import load_program
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.program import write_program
from shield_node.gates import check

GOOD = """\
;FILAMENT
G21
G90
M83
G28
M140 S60
M104 S215
M190 S60
M109 S215
G1 Z0.2 F600
G1 X50 Y50 F3000
G1 X60 E0.4 F1200
G1 X60 Y60 E0.4
M104 S0
M140 S0
"""
FINDING_KEYS = {"rule", "severity", "line", "instruction", "value", "limit", "unit", "message", "remedy"}


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.gcode"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.gcode"
    path.write_text(GOOD.replace("X50 Y50", "X400 Y50"))
    return path


def strict(text):
    """JSON that refuses NaN and Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def test_check_accepts(run, good):
    status, out, err = run("check", good)
    assert (status, err) == (0, "")
    assert "accepted" in out
    assert "prusa_mk3s with PLA" in out


def test_check_refuses(run, bad):
    status, out, err = run("check", bad)
    assert (status, err) == (3, "")
    assert out.startswith("refused")
    assert "X = 400.000 mm" in out
    assert "[envelope.axis]" in out


def test_check_json_says_what_the_gates_say(run, bad):
    status, out, _ = run("check", bad, "--json")
    answer = strict(out)
    report = check(load_program(bad), load_machine("prusa_mk3s"), load_material("PLA"))
    assert status == 3
    assert answer["verdict"] == "refuse"
    assert answer["program_digest"] == report.program_digest.hex()
    assert (answer["machine"], answer["material"]) == ("prusa_mk3s", "PLA")
    assert (answer["errors"], answer["warnings"]) == (report.error_count, report.warning_count)
    assert all(set(finding) == FINDING_KEYS for finding in answer["findings"])
    first = answer["findings"][0]
    assert (first["rule"], first["severity"], first["line"]) == ("envelope.axis", "error", 11)
    assert (first["value"], first["limit"], first["unit"]) == (400.0, 255.0, "mm")


def test_json_has_null_for_what_has_no_number(run, tmp_path):
    path = tmp_path / "forbidden.gcode"
    path.write_text(GOOD + "M502\n")
    _, out, _ = run("check", path, "--json")
    assert strict(out)["findings"][0]["value"] is None


def test_bytecode_is_checked_like_its_gcode(run, good, tmp_path):
    write_program(load_program(good), tmp_path / "good.arrow")
    answers = [strict(run("check", path, "--json")[1]) for path in (good, tmp_path / "good.arrow")]
    assert answers[0] == answers[1]


def test_the_chosen_material_is_compared_with_the_files(run, tmp_path):
    path = tmp_path / "petg.gcode"
    path.write_text(GOOD.replace("215", "240") + "; filament_type = PETG\n")
    assert strict(run("check", path, "--json")[1])["verdict"] == "accept"
    status, out, _ = run("check", path, "--material", "pla", "--json")
    assert status == 0
    assert {item["rule"] for item in strict(out)["findings"]} == {"program.material", "thermal.material_window"}


def test_an_unknown_material_in_the_file(run, tmp_path):
    path = tmp_path / "flex.gcode"
    path.write_text(GOOD + "; filament_type = FLEX\n")
    for command in ("check", "predict"):
        status, _, err = run(command, path)
        assert status == 2
        assert "[UNKNOWN_MATERIAL] unknown material 'FLEX'" in err
    assert strict(run("check", path, "--material", "PLA", "--json")[1])["verdict"] == "warn"


@pytest.mark.parametrize(("written", "status"), [("PLA;PLA", 0), ("pla, PLA;", 0), ("PLA;PETG", 2)])
def test_a_material_for_each_extruder(run, tmp_path, written, status):
    path = tmp_path / "two_extruders.gcode"
    path.write_text(GOOD + f"; filament_type = {written}\n")
    found, out, err = run("check", path, "--json")
    assert found == status
    assert "names several materials" in err if status else strict(out)["material"] == "PLA"


def test_a_mill_works_aluminium_unless_told(run, tmp_path):
    path = tmp_path / "cut.ngc"
    path.write_text("G21 G90\nM3 S10000\nG1 Z-1 F100\nG1 X20 F300\nG0 Z5\nM5\nM2\n")
    answer = strict(run("check", path, "--machine", "grbl_mill", "--json")[1])
    assert (answer["verdict"], answer["material"]) == ("accept", "Al6061")


@pytest.mark.parametrize("command", ["predict", "price"])
def test_what_the_gates_refuse_is_predicted_and_marked(run, bad, good, command):
    status, out, err = run(command, bad, "--json")
    answer = strict(out)
    assert status == 3
    assert answer["refusal"].startswith("envelope.axis: Line 11:")
    assert answer["energy_j" if command == "predict" else "total"] > 0
    assert strict(run(command, good, "--json")[1])["refusal"] is None
    assert err.startswith("industriverse: [GATE_REFUSED] envelope.axis: Line 11:")
    assert err.count("\n") == 1


def test_predict_json(run, good):
    status, out, _ = run("predict", good, "--json")
    answer = strict(out)
    assert status == 0
    for name in ("time_s", "motion_time_s", "energy_j", "filament_m", "filament_g", "peak_power_w"):
        low, high = answer[f"{name}_90"]
        assert low <= answer[name] <= high
        assert answer[name] > 0
    assert answer["time_s"] > answer["motion_time_s"]
    assert answer["filament_m"] == pytest.approx(0.8e-3, rel=0.02)
    parts = answer["energy_by_subsystem_j"]
    assert sum(parts.values()) == pytest.approx(answer["energy_j"], rel=1e-6)
    assert set(parts) == set(answer["energy_by_subsystem_j_90"])
    assert {"hotend", "bed", "motion", "electronics"} <= set(parts)


def test_predict_for_people(run, good):
    status, out, _ = run("predict", good)
    assert status == 0
    assert "time, with heating and homing" in out
    assert "90 % interval" in out


def test_predict_says_what_a_mill_takes_to_home(run, tmp_path):
    path = tmp_path / "face.ngc"
    path.write_text("G21 G90 G17 G94\nG0 Z5\nG0 X10 Y10\nG0 Z5\nM2\n")
    status, out, _ = run("predict", path, "--machine", "grbl_mill")
    assert status == 0
    assert "before it, where it has to home" in out
    assert "20 s" in out


def test_show(run, good):
    status, out, _ = run("show", good, "--first", "5")
    assert status == 0
    assert load_program(good).digest.hex() in out
    assert "bed 60 degC" in out
    status, out, _ = run("show", good, "--first", "5", "--json")
    answer = strict(out)
    assert len(answer["instructions"]) == 5
    assert answer["instructions"][0]["op"] == "HOME"
    assert answer["box_m"]["x"] == pytest.approx([0.0, 0.06])
    assert answer["filament_m"] == pytest.approx(0.8e-3, rel=1e-3)


def test_lists(run):
    assert "Original Prusa i3 MK3S" in run("machines")[1]
    assert {each["id"]: each["planner"] for each in strict(run("machines", "--json")[1])["machines"]} == {
        "ender3": "classic_jerk", "grbl_mill": "junction_deviation", "prusa_mk3s": "classic_jerk",
        "voron_24": "square_corner",
    }  # fmt: skip
    assert "nozzle [degC]" in run("materials")[1]
    assert "price [EUR/kg]" in run("materials")[1]
    assert {"PLA", "Al6061"} <= {each["id"] for each in strict(run("materials", "--json")[1])["materials"]}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_keep_to_the_terminal(run, good, bad, monkeypatch, width):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    for words in (("check", bad), ("predict", good), ("price", good), ("show", bad)):
        lines = re.sub(r"\x1b\[[0-9;]*m", "", run(*words)[1]).splitlines()
        assert max(map(len, lines)) <= width


def test_every_command_explains_itself_with_an_example(run):
    commands = ("check", "predict", "price", "show", "machines", "materials", "submit", "jobs", "stop", "clear")
    for command in commands:
        status, out, _ = run(command, "--help")
        assert status == 0
        assert f"Example: industriverse {command}" in out
