"""Which machine and which blank a program is judged for."""

import json

import pytest

from industriverse_cli.choosing import machine_for
from industriverse_core.gcode import load_program
from industriverse_core.program import Metadata, write_program

PRINT = """\
; printer_model = {}
G21
G90
M83
G28
M190 S60
M109 S215
G1 Z0.2 F600
G1 X50 Y50 F3000
G1 X60 E0.4 F1200
M104 S0
M140 S0
"""
MILL = "G21 G90 G94\nT1 M6\nS10000 M3\nG0 X-10 Y10 Z5\nG0 Z-1\nG1 X50 F200\nG53 G0 Z0\nM5\nM30\n"
BLANK = "0,0,-10,80,60,0"


@pytest.fixture
def mill(tmp_path):
    path = tmp_path / "part.ngc"
    path.write_text(MILL)
    return path


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        (Metadata(machine="MK3S"), ("prusa_mk3s", "file")),
        (Metadata(machine="Original Prusa i3 MK3S"), ("prusa_mk3s", "file")),
        (Metadata(machine="Prusa_MK3S"), ("prusa_mk3s", "file")),
        (Metadata(machine="s"), ("prusa_mk3s", "default")),
        (Metadata(machine="Voyager 9"), ("prusa_mk3s", "default")),
        (Metadata(), ("prusa_mk3s", "default")),
        (Metadata(dialect="rs274"), ("grbl_mill", "default")),
    ],
)
def test_the_machine_that_a_file_is_for(metadata, found):
    profile, how = machine_for(metadata)
    assert (profile.id, how) == found


@pytest.mark.parametrize("command", ["check", "predict", "price", "autocorrect", "voxels", "report"])
def test_auto_takes_the_machine_that_the_file_names_and_says_so(run, tmp_path, command):
    path = tmp_path / "part.gcode"
    path.write_text(PRINT.format("Ender-3"))
    output = {"voxels": ["-o", tmp_path / "part.h5"], "report": ["-o", tmp_path / "part.html"]}.get(command, [])
    status, out, err = run(command, path, "--machine", "auto", *output, "--json")
    assert status in (0, 3)
    assert err.splitlines()[0] == "industriverse: machine ender3: the file names Ender-3."
    if command in ("check", "predict"):
        assert json.loads(out)["machine"] == "ender3"


def test_auto_says_when_the_file_names_no_machine(run, tmp_path, mill):
    path = tmp_path / "part.gcode"
    for model, said in (("Voyager", "no profile is called Voyager, as the file says"), ("", "the file names none")):
        path.write_text(PRINT.format(model))
        status, _, err = run("check", path, "--machine", "auto")
        assert status == 0
        assert err.startswith(f"industriverse: machine prusa_mk3s: {said}")
    assert "machine grbl_mill" in run("check", mill, "--machine", "auto", "--json")[2]


def test_auto_works_on_bytecode(run, tmp_path):
    path, arrow = tmp_path / "part.gcode", tmp_path / "part.arrow"
    path.write_text(PRINT.format("Ender-3"))
    write_program(load_program(path), arrow)
    _, out, err = run("check", arrow, "--machine", "auto", "--json")
    assert "ender3" in err
    assert json.loads(out)["machine"] == "ender3"


# --- stock ----------------------------------------------------------------------------------------------


def cutting_j(run, path, *options):
    status, out, _ = run("predict", path, "--machine", "grbl_mill", "--json", *options)
    assert status == 0
    return json.loads(out)["energy_by_subsystem_j"]["spindle"]


def test_a_cut_through_the_named_stock_takes_power(run, tmp_path, mill):
    document = tmp_path / "stock.yaml"
    low = "x_minimum: 0 mm\ny_minimum: 0 mm\nz_minimum: -10 mm\n"
    document.write_text(low + "x_maximum: 80 mm\ny_maximum: 60 mm\nz_maximum: 0 mm\n")
    mill.write_text(MILL.replace("X-10", "X0").replace("G0 Z-1", "G1 Z-1 F60"))
    idle = cutting_j(run, mill)
    cutting = cutting_j(run, mill, "--stock", BLANK)
    assert cutting > idle
    assert cutting_j(run, mill, "--stock", document) == cutting
    assert cutting_j(run, mill, "--stock", "0,100,-10,80,120,0") == idle


def test_the_gates_look_at_the_named_stock(run, mill):
    mill.write_text(MILL.replace("X-10", "X0"))

    def rules(*options):
        findings = json.loads(run("check", mill, "--machine", "grbl_mill", "--json", *options)[1])["findings"]
        return {(finding["rule"], finding["severity"]) for finding in findings}

    assert ("stock.rapid", "error") in rules("--stock", BLANK)
    assert not {rule for rule, _ in rules("--stock", "0,100,-10,80,120,0")} & {"stock.rapid"}


def test_the_report_takes_a_stock(run, tmp_path, mill):
    status, out, _ = run("report", mill, "--machine", "grbl_mill", "--stock", BLANK, "--json")
    assert status in (0, 3)
    assert "nothing says what the moves cut" not in out


@pytest.mark.parametrize("box", ["1,2,3", "0,0,0,0,1,1", "0,0,0,1,1,nan", "a", "0,0,0,1e9,1,1", "1,1,1,0,0,0"])
def test_a_stock_that_is_no_box_is_refused(run, mill, box):
    status, _, err = run("check", mill, "--machine", "grbl_mill", "--stock", box)
    assert status == 2
    assert "[USAGE] --stock" in err


def test_a_printer_has_no_stock(run, tmp_path):
    path = tmp_path / "part.gcode"
    path.write_text(PRINT.format("MK3S"))
    status, _, err = run("check", path, "--stock", BLANK)
    assert status == 2
    assert "which cuts nothing" in err
