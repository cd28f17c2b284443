"""The picture of what rviz shows: an SVG that any reader takes, within its frame."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from industriverse_cli.scene_svg import HEIGHT, SLICES, WIDTH, svg_of
from industriverse_core.frames import CELL, Pose
from industriverse_core.scene import Lines, Removed, Shape, Solids, Text, one_colour

EXAMPLES = Path(__file__).parents[3] / "examples"
SVG = "{http://www.w3.org/2000/svg}"
HERE = {CELL: Pose()}
WHITE = (1.0, 1.0, 1.0, 1.0)


def drawn(*scene, poses=HERE):
    return ElementTree.fromstring(svg_of(scene, poses))


def box(x=0.0, size=(1.0, 1.0, 1.0)):
    return Solids("box", 0, CELL, Shape.BOX, np.array([[x, 0.0, 0.0]]), size, one_colour(WHITE))


@pytest.mark.parametrize(("file", "machine"), [("washer_pla.gcode", "prusa_mk3s"), ("bracket_mill.ngc", "grbl_mill")])
def test_an_example_becomes_a_picture(run, tmp_path, file, machine):
    output = tmp_path / "scene.svg"
    status, out, err = run("show", EXAMPLES / file, "--machine", machine, "--scene", output, "--first", 0)
    assert (status, err) == (0, "")
    assert file in out
    root = ElementTree.parse(output).getroot()
    texts = " ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))
    assert file in texts
    assert "J/mm" in texts
    assert len(list(root.iter(f"{SVG}path"))) > 50
    assert output.stat().st_size < 5_000_000


def test_more_done_is_less_to_do(run, tmp_path):
    sizes = []
    for share in (0.1, 0.9):
        output = tmp_path / f"{share}.svg"
        assert run("show", EXAMPLES / "washer_pla.gcode", "--scene", output, "--done", share)[0] == 0
        sizes.append(output.read_text().count('stroke-opacity="0.25"'))
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("words", [("--scene", "scene.png"), ("--scene", "out.svg", "--done", "1.5")])
def test_what_cannot_be_meant_is_refused(run, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("show", EXAMPLES / "washer_pla.gcode", *words)
    assert status == 2
    assert err
    assert list(tmp_path.iterdir()) == []


def test_everything_lies_within_the_frame():
    line = Lines("l", 0, CELL, np.array([[-9.0, 0.0, 0.0], [9.0, 5.0, 2.0]]), one_colour(WHITE), 0.01)
    text = Text("t", 0, CELL, (0.0, 0.0, 3.0), "a < b\nand & more", 0.2, WHITE)
    root = drawn(line, box(), text, Removed("x", 0))
    for path in root.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d", path.get("d"))]
        assert all(0.0 <= x <= WIDTH for x in numbers[::2])
        assert all(0.0 <= y <= HEIGHT for y in numbers[1::2])
    assert "".join(next(root.iter(f"{SVG}text")).itertext()) == "a < band & more"


def test_three_faces_of_a_box_are_seen():
    assert len(list(drawn(box()).iter(f"{SVG}path"))) == 3


def test_what_is_nearer_is_drawn_later():
    front, back = (
        Solids(name, 0, CELL, Shape.BALL, np.array([[0.0, y, 0.0]]), (1.0, 1.0, 1.0), one_colour(colour))
        for name, y, colour in (("front", -3.0, (1.0, 0.0, 0.0, 1.0)), ("back", 3.0, (0.0, 0.0, 1.0, 1.0)))
    )
    for scene in ((front, back), (back, front)):
        fills = [path.get("fill") for path in drawn(*scene).iter(f"{SVG}path")]
        assert fills == ["#0000ff", "#ff0000"]
    assert SLICES > 2


def test_frames_are_placed_by_their_poses():
    moved = [
        drawn(box(), Lines("l", 0, "m", np.zeros((2, 3)), one_colour(WHITE), 0.1), poses={CELL: Pose(), "m": pose})
        for pose in (Pose(), Pose((4.0, 0.0, 0.0)))
    ]
    assert ElementTree.tostring(moved[0]) != ElementTree.tostring(moved[1])


def test_an_empty_scene_is_an_empty_picture():
    assert list(drawn().iter(f"{SVG}path")) == []
