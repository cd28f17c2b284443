"""The part on a printer's bed: collisions, room, bridges, homing; filament that only refills."""

import math
from dataclasses import replace

import numpy as np
import pytest

from industriverse_core.artefacts import Severity
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.program import Heater, Op, Plane, build_program
from shield_node.gates import check, deposit

PRINTER = load_machine("prusa_mk3s")
PLA, ABS = load_material("PLA"), load_material("ABS")
AREA = math.pi / 4 * 1.75e-3**2
ERROR, WARNING = Severity.ERROR, Severity.WARNING
FAN_ON, FAN_OFF = {"op": Op.SET_FAN, "value": 1.0}, {"op": Op.SET_FAN, "value": 0.0}
BEAD_M2 = 0.09e-6  # 0.45 mm wide, 0.2 mm high
HEAT = [
    {"op": Op.HOME, "target": 7},
    {"op": Op.WAIT_HEATER, "target": Heater.BED, "value": 60},
    {"op": Op.WAIT_HEATER, "target": Heater.HOTEND, "value": 215},
]
COOL = [
    {"op": Op.SET_HEATER, "target": Heater.HOTEND, "value": 0},
    {"op": Op.SET_HEATER, "target": Heater.BED, "value": 0},
]


class Path:
    """Rows of a print, with beads of the right volume."""

    def __init__(self):
        self.rows = list(HEAT)
        self.at = (0.0, 0.0, 0.0)

    def go(self, x=None, y=None, z=None, bead_m2=0.0, volume_m3=None, speed=20e-3, **more):
        target = tuple(old if new is None else new for old, new in zip(self.at, (x, y, z), strict=True))
        volume = math.dist(target, self.at) * bead_m2 if volume_m3 is None else volume_m3
        row = {"op": Op.STRAIGHT_FEED, "feed_m_s": speed, "extrude_m3": volume, **more}
        self.rows.append({**row, **dict(zip(("x_m", "y_m", "z_m"), target, strict=True))})
        self.at = target
        return self

    def do(self, *rows):
        self.rows += rows
        return self

    def wall(self, layers, bead_m2=BEAD_M2, side=0.02, first_z=0.2e-3, height=0.2e-3):
        """A square tube at (0.1, 0.1)."""
        for layer in range(layers):
            z = first_z + layer * height
            self.go(0.1, 0.1, z)
            for x, y in ((0.1 + side, 0.1), (0.1 + side, 0.1 + side), (0.1, 0.1 + side), (0.1, 0.1)):
                self.go(x, y, z, bead_m2)
        return self

    def found(self, material=PLA):
        report = check(build_program([*self.rows, *COOL]), PRINTER, material)
        return {item.rule: item.severity for item in report.findings if item.severity > Severity.INFO}


def test_a_tube_is_sound():
    assert Path().do(FAN_ON).wall(50).found() == {}


@pytest.mark.parametrize(
    ("z", "expected"),
    [
        (2.0e-3, {}),
        (1.7e-3, {}),
        (1.5e-3, {"part.collision": WARNING}),
        (0.2e-3, {"part.collision": ERROR}),
    ],
)
def test_travel_through_the_part(z, expected):
    assert Path().wall(10).go(z=5e-3).go(0.09, 0.11).go(z=z).go(0.13, 0.11).found() == expected


def test_travel_beside_and_over_the_part():
    assert Path().wall(10).go(z=5e-3).go(0.09, 0.09).go(z=0.2e-3).go(0.13, 0.09).found() == {}
    assert Path().wall(10).go(z=2.2e-3).go(0.11, 0.09).go(0.11, 0.13).found() == {}


def test_an_arc_through_the_part():
    arc = {"op": Op.ARC_FEED, "center_1_m": 0.1, "center_2_m": 0.09, "turns": 1, "target": Plane.XY}
    path = Path().wall(10).go(z=5e-3).go(0.085, 0.09).go(z=0.2e-3)
    assert path.go(0.115, 0.09, **arc).found() == {}  # counter-clockwise: below the part
    arc["turns"] = -1
    path = Path().wall(10).go(z=5e-3).go(0.085, 0.09).go(z=0.2e-3)
    assert path.go(0.115, 0.09, **arc).found() == {"part.collision": ERROR}


def test_a_second_part_beside_the_first():
    path = Path().wall(10).go(z=5e-3).go(0.05, 0.05).go(z=0.2e-3)
    assert path.go(0.07, 0.05, bead_m2=BEAD_M2).go(0.07, 0.07, bead_m2=BEAD_M2).found() == {}


@pytest.mark.parametrize(("times", "expected"), [(1.0, {}), (1.7, {}), (3.0, {"part.overfill": ERROR})])
@pytest.mark.parametrize("height", [0.1e-3, 0.2e-3, 0.3e-3])
def test_flow_times_three(times, expected, height):
    bead = 0.45e-3 * height * times
    assert Path().wall(60, bead, first_z=height, height=height).found() == expected


def test_a_purge_line_has_no_room_and_passes():
    path = Path().go(0.0, -3e-3, 0.2e-3, speed=10e-3)
    path.go(0.06, volume_m3=9e-3 * AREA, speed=16e-3).go(0.1, volume_m3=12.5e-3 * AREA, speed=16e-3)
    assert path.found() == {}


def _bridge(length, *before):
    """Two walls 5 mm high, and a bead over the gap between them."""
    path = Path()
    for layer in range(25):
        for x in (0.1, 0.1 + length):
            path.go(x, 0.1, (layer + 1) * 0.2e-3).go(x, 0.12, bead_m2=BEAD_M2)
    return path.do(*before).go(0.1, 0.11, 5.2e-3).go(0.1 + length, 0.11, bead_m2=BEAD_M2)


@pytest.mark.parametrize(
    ("length", "before", "material", "expected"),
    [
        (0.02, [], PLA, {"part.bridge_fan": WARNING}),
        (0.02, [FAN_ON, FAN_OFF], PLA, {"part.bridge_fan": WARNING}),
        (0.02, [FAN_ON], PLA, {}),
        (0.02, [], ABS, {"thermal.material_window": WARNING}),
        (0.02, [], None, {}),
        (0.005, [], PLA, {}),
    ],
)
def test_bridges_need_the_fan(length, before, material, expected):
    assert _bridge(length, *before).found(material) == expected


def test_solid_layers_are_no_bridges():
    path = Path()
    for layer in range(5):
        for line in range(20):
            y = 0.1 + line * 0.45e-3
            path.go(0.1, y, (layer + 1) * 0.2e-3).go(0.12, y, bead_m2=BEAD_M2)
    assert path.found() == {}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"op": Op.HOME, "target": 7, "x_m": 0.0, "y_m": 0.0, "z_m": 0.0}, {"part.homing": ERROR}),
        ({"op": Op.HOME, "target": 3, "x_m": 0.0, "y_m": 0.0}, {}),
        ({"op": Op.LEVEL_BED}, {"part.homing": ERROR}),
    ],
)
def test_homing_with_a_part_on_the_bed(row, expected):
    assert Path().wall(50).do(row).found() == expected


def test_homing_upwards_with_a_part_on_the_bed():
    z = PRINTER.kinematics.z.model_copy(update={"home": 0.21})
    profile = PRINTER.model_copy(update={"kinematics": PRINTER.kinematics.model_copy(update={"z": z})})
    rows = Path().wall(50).do({"op": Op.HOME, "target": 7, "x_m": 0.0, "y_m": 0.0, "z_m": 0.0}).rows
    assert "part.homing" not in {item.rule for item in check(build_program(rows), profile, PLA).findings}


def test_levelling_after_a_prime_line():
    path = Path().go(z=0.2e-3, speed=10e-3).go(0.1, bead_m2=0.2e-6)
    assert path.do({"op": Op.LEVEL_BED}).found() == {}


def test_printing_with_the_filament_drawn_back():
    path = Path().wall(3)
    assert path.do(FAN_ON).go(volume_m3=-0.05 * AREA).wall(30, first_z=0.8e-3).found() == {"extrusion.dry": ERROR}


def test_filament_drawn_out_at_the_end_passes():
    assert Path().wall(3).go(volume_m3=-0.08 * AREA).go(z=0.05, speed=10e-3).found() == {}


def test_retractions_are_refilled():
    path = Path().wall(3)
    for layer in range(3, 33):
        path.go(volume_m3=-5e-3 * AREA).go(volume_m3=5e-3 * AREA).wall(1, first_z=(layer + 1) * 0.2e-3)
    assert path.found() == {}


def test_relative_filament_read_as_absolute():
    """Small steps that go to and fro: each bead's E is taken for a position."""
    path, position = Path().go(0.1, 0.1, 0.2e-3), 0.0
    for index in range(3000):
        wanted = (0.3e-3, 0.7e-3)[index % 2] * AREA
        path.go(0.1 + 0.01 * (index % 2), volume_m3=wanted - position)
        position = wanted
    assert path.found() == {"extrusion.dry": ERROR}


def test_nothing_is_laid_down_outside_or_without_numbers():
    path = Path().wall(2).go(5.0, 5.0, 1.0, bead_m2=BEAD_M2).go(math.nan, bead_m2=0.0, volume_m3=1e-9)
    assert path.found()["envelope.axis"] is ERROR


def test_a_path_that_is_too_long_is_refused(monkeypatch):
    follow = deposit.follow
    monkeypatch.setattr(deposit, "follow", lambda context: replace(follow(context), is_whole=False))
    assert Path().wall(2).found() == {"part.collision": ERROR}


@pytest.mark.parametrize(("most", "whole"), [(10, True), (9, False)])
def test_laying_ends_at_its_limit(most, whole):
    ends = (np.array([0.0, 1e-3, 2.5e-3]), np.zeros(3), np.full(3, 2e-4))
    length, frame, top = np.array([0.0, 1e-3, 1.5e-3]), np.array([0.0, 0.0, 0.5e-3]), np.zeros((9, 9))
    results = (np.zeros(3), np.zeros(3), np.zeros(3))
    nothing = (np.zeros((0, 5)), np.zeros(0, int))
    assert (
        deposit.lay(ends, length, length * 1e-7, *nothing, frame, top, top.copy(), top.copy(), 4e-4, most, results)
        is whole
    )


@pytest.mark.parametrize(("rise", "expected"), [(0.2e-3, {}), (0.05e-3, {}), (0.0, {"part.overfill": ERROR})])
def test_layers_without_a_change_of_z_pile_up(rise, expected):
    bead_m2 = BEAD_M2 * (rise or 0.2e-3) / 0.2e-3
    assert Path().do(FAN_ON).wall(30, bead_m2=bead_m2, side=0.05, height=rise).found() == expected


def test_a_few_passes_in_one_layer_have_room():
    assert Path().do(FAN_ON).wall(3, side=0.08, height=0.0).found() == {}
