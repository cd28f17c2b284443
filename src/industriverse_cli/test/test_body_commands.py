"""model and simulate: the machine's body on the command line."""

import json

import mujoco
import pytest

from industriverse_core.machine import MACHINE_FOLDER

PART = "G21\nG90\nG28\nG1 Z5 F600\nG1 X50 Y50 F6000\nG1 X100 F3000\n"
CLIP = "keep_out: [{name: clip, x_minimum: 70 mm, x_maximum: 80 mm, z_maximum: 10 mm}]\n"


@pytest.fixture
def part(tmp_path):
    path = tmp_path / "part.gcode"
    path.write_text(PART)
    return path


@pytest.fixture
def clamped(tmp_path):
    path = tmp_path / "clamped.yaml"
    path.write_text((MACHINE_FOLDER / "prusa_mk3s.yaml").read_text() + CLIP)
    return path


def test_the_model_is_written_in_both_forms(run, tmp_path):
    xml, urdf = tmp_path / "m.xml", tmp_path / "m.urdf"
    status, text, err = run("model", "voron_24", "--mjcf", xml, "--urdf", urdf, "--json")
    answer = json.loads(text)
    assert (status, err) == (0, "")
    assert answer["structure"] == "flying_corexy"
    assert answer["joints"] == ["voron_24_x", "voron_24_y", "voron_24_z"]
    for path in (xml, urdf):
        assert mujoco.MjModel.from_xml_path(str(path)).njnt == 3
    assert run("model", "voron_24", "--urdf", urdf)[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to write"),
        (("--mjcf", "m.gcode"), "what shall it be"),
        (("--urdf", "/nowhere/at/all.urdf"), "cannot be written"),
    ],
)
def test_a_model_that_cannot_be_written_is_refused(run, words, said):
    status, text, err = run("model", "ender3", *words)
    assert (status, text) == (2, "")
    assert said in err


def test_a_good_program_is_simulated(run, part):
    status, text, err = run("simulate", part, "--json")
    answer = json.loads(text)
    assert (status, err) == (0, "")
    assert answer["collisions"] == []
    assert answer["simulated_s"] == pytest.approx(answer["motion_time_s"], abs=1e-3)
    assert answer["tracking_error_m"]["worst"] < 3e-4
    status, text, _ = run("simulate", part)
    assert status == 0
    assert "collisions   none" in text


def test_a_drive_through_a_clamp_is_told_with_its_line(run, part, clamped):
    status, text, _ = run("simulate", part, "--machine", clamped, "--json")
    (hit,) = json.loads(text)["collisions"]
    assert status == 3
    assert (hit["obstacle"], hit["line"]) == ("clip", 6)
    assert hit["position_m"][0] == pytest.approx(0.0695, abs=5e-4)
    status, text, _ = run("simulate", part, "--machine", clamped)
    assert status == 3
    assert "clip" in text


def test_what_cannot_be_simulated_is_refused(run, tmp_path):
    empty = tmp_path / "empty.gcode"
    empty.write_text("; nothing\n")
    status, _, err = run("simulate", empty)
    assert status == 2
    assert err.count("\n") == 1
