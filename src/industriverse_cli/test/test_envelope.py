"""envelope: learn from programs, check a program, refuse what does not fit, each in one line."""

import json

import numpy as np
import pytest

from industriverse_core.machine import load_machine
from shield_node.envelope import learn_envelope
from shield_node.envelope_file import load_envelope, save_envelope
from shield_node.machine_states import channels_of


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Programs of a machine that does two things, and the map's place."""
    return tmp_path_factory.mktemp("envelope")


def program(path, hotend_c, minutes):
    moves = "".join(f"G1 X{20 + 60 * (n % 2)} Y{20 + n % 50} E{0.05:.2f} F1800\n" for n in range(30 * minutes))
    path.write_text(
        f"M140 S60\nM104 S{hotend_c}\nM190 S60\nM109 S{hotend_c}\nG28\nM83\nG1 Z0.2 F600\nM106 S255\n"
        + moves + "M104 S0\nM140 S0\nM107\nM84\n"
    )  # fmt: skip
    return path


def test_a_program_like_the_learned_ones_is_accepted_and_another_is_refused(run, printed):
    good = [program(printed / f"good{n}.gcode", 210 + 2 * n, 10) for n in range(4)]
    status, out, error = run("envelope", "learn", *map(str, good), "-o", str(printed / "map.npz"))
    assert status == 0, error
    assert "windows of 10 s" in out
    assert "good0.gcode" in load_envelope(printed / "map.npz").provenance
    like = program(printed / "like.gcode", 213, 8)
    other = program(printed / "other.gcode", 250, 8)
    assert run("envelope", "check", str(like), "--map", str(printed / "map.npz"))[0] == 0
    status, out, _ = run("envelope", "check", str(other), "--map", str(printed / "map.npz"))
    assert status == 3
    assert "hotend" in out
    status, out, _ = run("envelope", "check", str(other), "--map", str(printed / "map.npz"), "--json")
    found = json.loads(out)
    assert found["verdict"] == "refuse"
    assert found["unlike"] > 0
    assert found["first"][0]["line"] > 0


def test_a_map_of_another_machine_and_too_few_states_are_one_line(run, printed, tmp_path):
    mill = channels_of(load_machine("grbl_mill"))
    random = np.random.default_rng(1)
    save_envelope(learn_envelope(random.normal(100.0, 5.0, (300, len(mill))), mill), tmp_path / "mill.npz")
    short = program(tmp_path / "short.gcode", 210, 1)
    status, _, error = run("envelope", "check", str(short), "--map", str(tmp_path / "mill.npz"))
    assert status == 2
    assert "Learn a map for this machine" in error
    tiny = tmp_path / "tiny.gcode"
    tiny.write_text("G4 P1\n")
    save_envelope(learn_envelope(random.normal(100.0, 5.0, (300, 6)), channels_of(load_machine("prusa_mk3s"))),
                  tmp_path / "printer.npz")  # fmt: skip
    status, _, error = run("envelope", "check", str(tiny), "--map", str(tmp_path / "printer.npz"))
    assert status == 2
    assert "ends before one window" in error
    status, _, error = run("envelope", "learn", str(short), "-o", str(tmp_path / "map.npz"))
    assert status == 2
    assert "at least 100 states" in error
    status, _, error = run("envelope", "learn", str(tmp_path / "nowhere"), "-o", str(tmp_path / "map.npz"))
    assert status == 2
    assert "nowhere" in error
