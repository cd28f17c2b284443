"""The example programs are what their README says: readable, inside the envelope, of the parts that they name."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from industriverse_core.gcode import load_program
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.motion import plan_motion
from industriverse_core.program import Heater, Op
from industriverse_core.units import RPM, duration_text

EXAMPLES = Path(__file__).parent.parent / "examples"
SLICED = {
    "cable_clip_pla.gcode": ("cable_clip", "PLA", 215.0, 60.0),
    "cable_clip_petg.gcode": ("cable_clip", "PETG", 240.0, 85.0),
    "washer_pla.gcode": ("washer", "PLA", 215.0, 60.0),
    "washer_petg.gcode": ("washer", "PETG", 240.0, 85.0),
}
MACHINES = {
    **dict.fromkeys(SLICED, "prusa_mk3s"),
    "motion_square.gcode": "prusa_mk3s",
    "outside_envelope.gcode": "prusa_mk3s",
    "bracket_mill.ngc": "grbl_mill",
}
INSIDE = sorted(set(MACHINES) - {"outside_envelope.gcode"})
EXTRUSION_WIDTH_M = 0.45e-3


@pytest.fixture
def models(monkeypatch):
    """The script that makes the parts, as a module."""
    spec = importlib.util.spec_from_file_location("make_models", EXAMPLES / "models" / "make_models.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "make_models", module)
    spec.loader.exec_module(module)
    return module


def reach_m(program):
    """Lowest and highest position of all moves, shape (2, 3) [m]; an arc counts as its whole circle."""
    motion = program.is_motion()
    low, high = program.positions_m()[motion], program.positions_m()[motion]
    arc = program.op[motion] == Op.ARC_FEED
    centre = np.column_stack([program.center_1_m[motion][arc], program.center_2_m[motion][arc]])
    radius = np.linalg.norm(high[arc, :2] - centre, axis=1, keepdims=True)
    low[arc, :2], high[arc, :2] = centre - radius, centre + radius
    return np.array([low.min(axis=0), high.max(axis=0)])


def envelope_m(machine_name):
    kinematics = load_machine(machine_name).kinematics
    axes = (kinematics.x, kinematics.y, kinematics.z)
    return np.array([[axis.minimum for axis in axes], [axis.maximum for axis in axes]])


def read_stl(path):
    """Corners of the triangles of a binary STL file, shape (n, 3, 3) [mm]."""
    data = path.read_bytes()
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    records = np.frombuffer(data, record, offset=84)
    assert len(records) == int.from_bytes(data[80:84], "little")
    return records["corners"].astype(float), records["normal"].astype(float)


def test_every_program_is_listed():
    found = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".gcode", ".ngc"}}
    assert found == set(MACHINES)
    readme = (EXAMPLES / "README.md").read_text()
    assert [name for name in MACHINES if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("name", MACHINES)
def test_reads_without_a_doubt(name):
    program = load_program(EXAMPLES / name)
    assert program.is_motion().sum() > 1
    assert [note for note in program.notes if note.kind in {"unknown", "forbidden", "malformed"}] == []


@pytest.mark.parametrize("name", INSIDE)
def test_stays_inside_the_envelope(name):
    reach, envelope = reach_m(load_program(EXAMPLES / name)), envelope_m(MACHINES[name])
    assert (reach[0] >= envelope[0] - 1e-9).all()
    assert (reach[1] <= envelope[1] + 1e-9).all()


def test_outside_envelope_leaves_in_x_alone():
    reach, envelope = reach_m(load_program(EXAMPLES / "outside_envelope.gcode")), envelope_m("prusa_mk3s")
    assert reach[1, 0] == pytest.approx(0.4)
    assert (reach[0] >= envelope[0]).all()
    assert (reach[1, 1:] <= envelope[1, 1:]).all()


@pytest.mark.parametrize("name", SLICED)
def test_sliced_program_names_its_material_machine_and_time(name):
    _, material, _, _ = SLICED[name]
    metadata = load_program(EXAMPLES / name).metadata
    assert (metadata.material, metadata.machine) == (material, "MK3S")
    assert "PrusaSlicer 2.5.0" in metadata.generator
    assert 180.0 <= metadata.slicer_time_s <= 240.0
    assert metadata.filament_diameter_m == pytest.approx(1.75e-3)
    line = next(line for line in (EXAMPLES / "README.md").read_text().splitlines() if line.startswith(f"| `{name}`"))
    assert f"| {duration_text(metadata.slicer_time_s)} |" in line


@pytest.mark.parametrize("name", SLICED)
def test_sliced_program_heats_as_the_material_allows_and_switches_off(name):
    _, material_name, nozzle_c, bed_c = SLICED[name]
    program, material = load_program(EXAMPLES / name), load_material(material_name)
    last = {}
    for heater, wanted in ((Heater.HOTEND, nozzle_c), (Heater.BED, bed_c)):
        heating = np.isin(program.op, [Op.SET_HEATER, Op.WAIT_HEATER]) & (program.target == heater)
        assert set(program.value[heating]) == {wanted, 0.0}
        last[heater] = program.value[heating][-1]
    assert last == {Heater.HOTEND: 0.0, Heater.BED: 0.0}
    assert material.nozzle_min <= nozzle_c <= material.nozzle_max
    assert bed_c <= material.bed_max
    assert program.op[-1] == Op.MOTORS_OFF


@pytest.mark.parametrize("name", SLICED)
def test_sliced_program_prints_the_part_of_the_model(name, models):
    """Above the first layer (no intro line, no skirt) the printed lines span the part less one line width."""
    program, part = load_program(EXAMPLES / name), models.PARTS[SLICED[name][0]]
    printing = program.is_motion() & (program.extrude_m3 > 0) & (program.z_m > 0.25e-3)
    printing &= np.linalg.norm(program.positions_m() - program.starts_m(), axis=1) > 0
    ends = np.vstack([program.positions_m()[printing], program.starts_m()[printing]])
    plan = np.vstack([part.band().outer_m, part.band().inner_m])
    assert np.ptp(ends[:, :2], axis=0) == pytest.approx(np.ptp(plan, axis=0) - EXTRUSION_WIDTH_M, abs=0.06e-3)
    assert ends[:, 2].max() == pytest.approx(part.height_m, abs=1e-6)


@pytest.mark.parametrize("name", sorted(set(MACHINES) - set(SLICED)))
def test_written_program_uses_no_heater_and_no_filament(name):
    program = load_program(EXAMPLES / name)
    assert not np.isin(program.op, [Op.SET_HEATER, Op.WAIT_HEATER, Op.SET_FAN]).any()
    assert not program.extrude_m3.any()


def test_motion_square_moves_for_forty_seconds_with_long_and_short_moves():
    program = load_program(EXAMPLES / "motion_square.gcode")
    plan = plan_motion(program, load_machine("prusa_mk3s"))
    assert 35.0 <= plan.end_s[-1] <= 45.0
    assert np.isclose(plan.length_m, 0.1).sum() >= 12
    assert np.isclose(plan.length_m, 0.002, atol=1e-5).sum() >= 200
    feed = program.feed_m_s[program.is_motion() & (program.z_m == 0.01)][1:]
    assert (feed.min(), feed.max()) == (pytest.approx(0.06), pytest.approx(0.1))


def test_bracket_is_cut_in_passes_of_one_millimetre_within_its_stock():
    program = load_program(EXAMPLES / "bracket_mill.ngc")
    reach = reach_m(program)
    assert (reach[0, :2] >= 0).all()
    assert (reach[1, :2] <= [0.06, 0.04]).all()
    assert reach[0, 2] == pytest.approx(-2e-3)
    down = program.starts_m()[:, 2] - program.positions_m()[:, 2]
    into_metal = np.minimum(down, -program.z_m)
    assert into_metal.max() == pytest.approx(1e-3)
    assert not (program.is_motion() & (program.op == Op.STRAIGHT_TRAVERSE) & (program.z_m < 0)).any()
    starts = program.value[program.op == Op.START_SPINDLE_CLOCKWISE]
    assert list(starts) == [pytest.approx(10000 * RPM)]
    assert (program.op == Op.STOP_SPINDLE_TURNING).sum() == 1


def test_model_script_writes_closed_parts_of_the_right_volume(models, tmp_path):
    assert models.main([str(tmp_path / "stl")]) == 0
    smooth_mm3 = {
        "washer": math.pi * (7.0**2 - 3.0**2) * 2.0,
        "cable_clip": (0.5 * math.pi * (5.0**2 - 3.0**2) + 2 * 11.0 * 2.0 + 2 * 0.5 * 3.0 * 1.0) * 3.8,
    }
    assert {path.stem for path in (tmp_path / "stl").iterdir()} == set(smooth_mm3)
    for name, wanted in smooth_mm3.items():
        corners, normals = read_stl(tmp_path / "stl" / f"{name}.stl")
        found = np.linalg.det(corners).sum() / 6.0
        assert found == pytest.approx(models.PARTS[name].volume_m3() * 1e9, rel=1e-6)
        assert found == pytest.approx(wanted, rel=2e-3)  # circles are polygons: a little less
        area_vectors = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert (np.einsum("ij,ij->i", area_vectors, normals) > 0).all()


def test_model_check_finds_a_missing_a_turned_and_a_wrong_face(models):
    mesh = models.make_mesh(models.Washer())
    assert models.is_watertight(mesh)
    assert not models.is_watertight(replace(mesh, faces=mesh.faces[1:]))
    turned = mesh.faces.copy()
    turned[0] = turned[0, ::-1]
    assert not models.is_watertight(replace(mesh, faces=turned))
    assert models.volume_m3(replace(mesh, faces=mesh.faces[:, ::-1])) == pytest.approx(-models.volume_m3(mesh))


def test_model_script_says_where_it_cannot_write(models, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert models.main([str(tmp_path / "file")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err
