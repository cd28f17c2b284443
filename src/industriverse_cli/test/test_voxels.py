"""voxels: the command that writes energy voxels."""

import json
import math

import pytest

from industriverse_core.gcode import load_program
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from twin_node.timeline import build_timeline
from twin_node.voxel_file import load_voxels

GOOD = """\
;Layer height: 0.3
G21
G90
M83
G28
M190 S60
M109 S215
G1 Z0.3 F600
G1 X50 Y50 F3000
G1 X60 E0.4 F1200
G3 X60 Y60 I0 J5 E0.4
M104 S0
M140 S0
; filament_type = PLA
; layer_height = 0.3
"""


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.gcode"
    path.write_text(GOOD)
    return path


def test_the_file_holds_every_joule_that_predict_tells(run, good, tmp_path):
    out = tmp_path / "good.h5"
    status, text, err = run("voxels", good, "-o", out, "--json", "--subsystems")
    answer = json.loads(text)
    voxels = load_voxels(out)
    timeline = build_timeline(load_program(good), load_machine("prusa_mk3s"), load_material("PLA"))
    assert (status, err) == (0, "")
    assert answer["voxels"] == len(voxels)
    assert answer["voxel_size_m"] == [1e-3, 1e-3, 0.3e-3]
    assert answer["total_j"] == timeline.electric_j
    assert math.fsum(voxels.energy_j) == pytest.approx(timeline.electric_j, rel=1e-9)
    assert sum(answer["energy_by_subsystem_j"].values()) == pytest.approx(timeline.electric_j, rel=1e-9)


def test_people_read_a_table(run, good, tmp_path):
    status, text, _ = run("voxels", good, "-o", tmp_path / "good.h5", "--voxel", "2", "--voxel-height", "1")
    assert status == 0
    assert "of 2 x 2 x 1 mm" in text


@pytest.mark.parametrize("size", ["nan", "0", "-1", "0.001", "1e9"])
def test_voxels_of_no_size_are_refused(run, good, tmp_path, size):
    status, out, err = run("voxels", good, "-o", tmp_path / "out.h5", "--voxel", size)
    assert (status, out) == (2, "")
    assert err.startswith("industriverse: [TOO_MANY_VOXELS]")
    assert not (tmp_path / "out.h5").exists()


def test_an_output_that_cannot_be_written(run, good, tmp_path):
    status, _, err = run("voxels", good, "-o", good / "out.h5")
    assert status == 2
    assert err.startswith("industriverse: [FILE_UNREADABLE]")
    assert run("voxels", good, "-o", tmp_path)[0] == 2


def test_no_program_is_overwritten_by_its_voxels(run, good):
    for output in (good, good.with_name("other.gcode")):
        status, out, err = run("voxels", good, "-o", output)
        assert (status, out) == (2, "")
        assert "ends in .h5" in err
        assert "Traceback" not in err
    assert good.read_text() == GOOD
    assert not good.with_name("other.gcode").exists()
