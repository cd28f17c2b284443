"""Energy voxels: every joule is in one voxel, the right one, and comes back from the file."""

import dataclasses
import io
import math
from collections import Counter

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.artefacts import Subsystem
from industriverse_core.errors import ErrorCode, InputError, PredictionError
from industriverse_core.gcode import load_program
from industriverse_core.machine import Box, Tool, load_machine
from industriverse_core.material import load_material
from industriverse_core.program import Heater, Metadata, Op, Plane, Program, build_program
from twin_node.timeline import build_timeline
from twin_node.voxel_file import load_voxels, write_voxels
from twin_node.voxels import EnergyVoxels, energy_voxels, voxel_edges_m

MM = 1e-3
PRINTER, MILL = load_machine("prusa_mk3s"), load_machine("grbl_mill")
PLA, ALUMINIUM = load_material("PLA"), load_material("Al6061")
HEAT = [
    {"op": Op.WAIT_HEATER, "target": Heater.BED, "value": 60.0},
    {"op": Op.WAIT_HEATER, "target": Heater.HOTEND, "value": 200.0},
    {"op": Op.HOME, "target": 7, "x_m": 0.0, "y_m": 0.0, "z_m": 0.0},
]


def line(x, y, z, extrude_mm3=0.0, **more):
    """A feed to a point in millimetres."""
    place = {"x_m": x * MM, "y_m": y * MM, "z_m": z * MM}
    return {"op": Op.STRAIGHT_FEED, **place, "feed_m_s": 0.03, "extrude_m3": extrude_mm3 * 1e-9, **more}


def travel(x, y, z):
    return {**line(x, y, z), "op": Op.STRAIGHT_TRAVERSE}


def arc(x, y, z, centre, turns, plane=Plane.XY, extrude_mm3=0.0):
    c1, c2 = (value * MM for value in centre)
    return {
        **line(x, y, z, extrude_mm3), "op": Op.ARC_FEED, "center_1_m": c1, "center_2_m": c2, "turns": turns,
        "target": plane,
    }  # fmt: skip


def voxels_of(rows, edges_mm=(1.0, 1.0, 1.0), profile=PRINTER, **options):
    material = PLA if profile.kind == "printer" else ALUMINIUM
    if profile.kind == "mill":
        rows = [{**row, "extrude_m3": 0.0} for row in rows]
    timeline = build_timeline(build_program(rows), profile, material)
    return timeline, energy_voxels(timeline, profile, material, tuple(edge * MM for edge in edges_mm), **options)


def motion_shares(voxels):
    """{index: share of all joules of moves}."""
    shares = voxels.motion_energy_j / voxels.motion_j
    return {tuple(index): share for index, share in zip(voxels.index.tolist(), shares.tolist(), strict=True)}


# --- by hand -------------------------------------------------------------------------------------------


def test_a_line_gives_to_each_voxel_what_its_length_in_it_is():
    _, voxels = voxels_of([travel(0.25, 0.5, 0.5), line(2.75, 0.5, 0.5, 1.0)])
    of_line = {tuple(i): v for i, v in zip(voxels.index.tolist(), voxels.volume_m3.tolist(), strict=True) if v > 0.0}
    assert of_line == pytest.approx({(0, 0, 0): 0.3e-9, (1, 0, 0): 0.4e-9, (2, 0, 0): 0.3e-9}, rel=1e-12)


def test_a_diagonal_crosses_edges_without_touching_the_neighbours():
    _, voxels = voxels_of([line(3, 3, 3)], profile=MILL)
    assert motion_shares(voxels) == pytest.approx({(i, i, i): 1 / 3 for i in range(3)}, rel=1e-12)


def test_on_a_printer_the_material_lies_below_the_nozzle():
    """0.6 / 0.2 is 2.9999999999999996 in binary: layers on faces are where rounding would show."""
    for layer in range(1, 200):
        _, voxels = voxels_of([travel(1.5, 1.5, 0.2 * layer), line(1.6, 1.5, 0.2 * layer, 0.1)], (1.0, 1.0, 0.2))
        assert voxels.index[voxels.volume_m3 > 0.0].tolist() == [[1, 1, layer - 1]]


def test_on_a_mill_the_material_lies_above_the_tip():
    _, voxels = voxels_of([travel(0, 0, -1), line(0.9, 0, -1)], profile=MILL)
    assert [0, 0, -1] in voxels.index.tolist()
    assert [0, 0, -2] not in voxels.index.tolist()


def test_a_circle_is_followed():
    rows = [travel(1.5, 0.0, 0.5), arc(1.5, 0.0, 0.5, (0.0, 0.0), 1, extrude_mm3=1.0)]
    _, voxels = voxels_of(rows)
    volume = {tuple(i): v * 1e9 for i, v in zip(voxels.index.tolist(), voxels.volume_m3.tolist(), strict=True) if v > 0}
    first, second = math.asin(1 / 1.5) / (2 * math.pi), math.acos(1 / 1.5) / (2 * math.pi)
    assert volume[1, 0, 0] == pytest.approx(first, abs=1e-3)
    assert volume[1, 1, 0] == pytest.approx(second - first, abs=1e-3)
    assert volume[0, 1, 0] == pytest.approx(0.25 - second, abs=1e-3)
    assert volume[-2, -1, 0] == pytest.approx(first, abs=1e-3)
    assert len(volume) == 12


@pytest.mark.parametrize("plane", list(Plane))
def test_a_helix_climbs_along_its_plane_s_normal(plane):
    first, second, normal = ((0, 1, 2), (2, 0, 1), (1, 2, 0))[plane]
    start, end = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    start[first] = end[first] = 5.0
    end[normal] = 4.0
    _, voxels = voxels_of([line(*start), arc(*end, (0.0, 0.0), 2, plane)], profile=MILL)
    assert voxels.index[:, normal].max() in (3, 4)
    assert voxels.index[:, second].min() == -5
    assert voxels.index[:, first].min() == -5


def test_filament_alone_goes_where_the_tool_stands():
    _, voxels = voxels_of([travel(10.5, 0.5, 0.5), line(10.5, 0.5, 0.5, 2.0), travel(0.5, 0.5, 0.5)])
    assert voxels.index[voxels.volume_m3 > 0.0].tolist() == [[10, 0, 0]]


def test_what_happens_nowhere_is_shared_out_by_deposited_volume():
    timeline, voxels = voxels_of([*HEAT, travel(0.5, 0.5, 0.5), line(1.0, 0.5, 0.5, 3.0), line(1.5, 0.5, 0.5, 1.0)])
    shared = voxels.energy_j - voxels.motion_energy_j
    moves = timeline.program.is_motion()
    spent = sum(column[~moves].sum() for column in timeline.energy_j.values())
    assert spent > 10e3
    assert shared.sum() == pytest.approx(spent, rel=1e-12)
    assert shared == pytest.approx(spent * voxels.volume_m3 / voxels.volume_m3.sum(), rel=1e-9, abs=1e-9)


def test_on_a_mill_it_is_shared_out_by_removed_volume():
    rows = [
        {"op": Op.START_SPINDLE_CLOCKWISE, "value": 900.0}, {"op": Op.DWELL, "value": 100.0}, travel(10, 10, 5),
        line(10, 10, 0.5), line(20, 10, 0.5), line(20, 10, -0.5), line(30, 10, -0.5),
    ]  # fmt: skip
    sides = {"x": ("0 mm", "100 mm"), "y": ("0 mm", "100 mm"), "z": ("-10 mm", "0 mm")}
    blank = Box(
        name="blank",
        **{f"{a}_{end}": v for a, ends in sides.items() for end, v in zip(("minimum", "maximum"), ends, strict=True)},
    )
    tool = Tool(number=1, diameter="6 mm", cutting_length="20 mm", max_depth="3 mm", max_plunge="5 mm/s")
    mill = MILL.model_copy(update={"tools": (tool,)})
    program = build_program([{"op": Op.CHANGE_TOOL, "target": 1}, *rows])
    timeline = build_timeline(program, mill, ALUMINIUM, stock=blank)
    voxels = energy_voxels(timeline, mill, ALUMINIUM, (1e-3, 1e-3, 1e-3))
    assert timeline.steps.removed_m3.sum() > 10e-9
    assert math.fsum(voxels.volume_m3) == pytest.approx(timeline.steps.removed_m3.sum(), rel=1e-9)
    assert set(voxels.index[voxels.volume_m3 > 0.0][:, 2].tolist()) <= {-1, 0}
    shared = voxels.energy_j - voxels.motion_energy_j
    assert shared.sum() == pytest.approx(shared[voxels.volume_m3 > 0.0].sum(), rel=1e-12)
    assert math.fsum(voxels.energy_j) == pytest.approx(timeline.electric_j, rel=1e-9)


def test_without_deposited_volume_it_is_shared_out_by_the_time_of_feeds():
    rows = [{"op": Op.DWELL, "value": 100.0}, travel(5.5, 0.5, 0.5), line(6.5, 0.5, 0.5), travel(9.5, 0.5, 0.5)]
    _, voxels = voxels_of(rows, profile=MILL)
    shared = voxels.energy_j - voxels.motion_energy_j
    assert {index[0] for index, energy in zip(voxels.index.tolist(), shared, strict=True) if energy > 1.0} == {5, 6}


def test_a_job_that_never_moves_is_one_voxel():
    timeline, voxels = voxels_of(HEAT)
    assert len(voxels) == 1
    assert voxels.energy_j[0] == pytest.approx(timeline.electric_j, rel=1e-12)


def test_nothing_is_nothing():
    _, voxels = voxels_of([])
    assert (len(voxels), voxels.total_j) == (0, 0.0)


def test_subsystems_add_up():
    timeline, voxels = voxels_of([*HEAT, line(3.3, 4.4, 0.2, 1.0)], by_subsystem=True)
    parts = voxels.energy_by_subsystem_j
    assert set(parts) == set(timeline.energy_j)
    assert sum(parts.values()) == pytest.approx(voxels.energy_j, rel=1e-12)
    for subsystem, energy in timeline.energy_j.items():
        assert math.fsum(parts[subsystem]) == pytest.approx(energy.sum(), rel=1e-9)


def test_edges_come_from_the_program():
    layered = build_program([], Metadata(layer_height_m=0.15e-3))
    assert voxel_edges_m(layered) == (1e-3, 1e-3, 0.15e-3)
    assert voxel_edges_m(build_program([])) == (1e-3, 1e-3, 1e-3)
    assert voxel_edges_m(layered, 0.5e-3, 2e-3) == (0.5e-3, 0.5e-3, 2e-3)


# --- for all programs ----------------------------------------------------------------------------------

coordinate = st.integers(0, 30_000).map(lambda um: um / 1e3)  # [mm]
point = st.tuples(coordinate, coordinate, coordinate)
amount = st.sampled_from([0.0, 0.0, 0.5, -0.3])
straight = st.builds(lambda p, e: line(*p, e), point, amount) | st.builds(lambda p: travel(*p), point)
lines = st.lists(straight, min_size=1, max_size=12)


@st.composite
def paths(draw):
    """Lines, travels and whole or half circles in every plane."""
    rows = draw(lines)
    for _ in range(draw(st.integers(0, 3))):
        plane, radius = draw(st.sampled_from(list(Plane))), draw(st.integers(1, 10))
        a, b = (("x_m", "y_m"), ("z_m", "x_m"), ("y_m", "z_m"))[plane]
        here = {name: rows[-1][name] / MM for name in ("x_m", "y_m", "z_m")}
        there, whole = dict(here), draw(st.booleans())
        there[a] += 0 if whole else 2 * radius
        rows.append(
            arc(
                *there.values(), (here[a] + radius, here[b]), draw(st.sampled_from([-2, -1, 1, 3])), plane, draw(amount)
            )
        )
    return rows


def box_of(program):
    """Lower and upper corner round all end points, and round the whole circles of arcs."""
    points = [np.zeros(3), *program.positions_m()]
    for index in np.flatnonzero(program.op == Op.ARC_FEED):
        a, b = ((0, 1), (2, 0), (1, 2))[int(program.target[index])]
        centre = points[index].copy()
        centre[[a, b]] = program.center_1_m[index], program.center_2_m[index]
        radius = np.zeros(3)
        radius[[a, b]] = np.linalg.norm(points[index] - centre)
        points += [centre - radius, centre + radius]
    return np.min(points, axis=0), np.max(points, axis=0)


edges = st.tuples(*[st.integers(200, 5000).map(lambda um: um / 1e3)] * 3)


@given(paths(), edges, st.booleans())
@settings(max_examples=200)
def test_every_joule_is_in_a_voxel_within_the_path_s_box(rows, edges_mm, printer):
    timeline, voxels = voxels_of([*HEAT, *rows] if printer else rows, edges_mm, PRINTER if printer else MILL)
    assert math.fsum(voxels.energy_j) == pytest.approx(timeline.electric_j, rel=1e-9)
    moves = timeline.program.is_motion()
    assert math.fsum(voxels.time_s) == pytest.approx(math.fsum(timeline.duration_s[moves]), rel=1e-9)
    for values in (voxels.energy_j, voxels.motion_energy_j, voxels.time_s, voxels.volume_m3):
        assert np.all(values >= 0.0)
    low, high = box_of(timeline.program)
    edge = np.array(edges_mm) * MM
    assert np.all(voxels.index * edge <= high + 2e-9)
    assert np.all((voxels.index + 1) * edge >= low - 2e-9)
    order = [tuple(index[::-1]) for index in voxels.index.tolist()]
    assert order == sorted(set(order))


def with_columns(timeline, program, energy_j, duration_s):
    """The timeline of another program, with these columns over its instructions."""
    other = dataclasses.replace(timeline, program=program)
    vars(other).update(energy_j=energy_j, duration_s=duration_s)
    return other


@given(paths(), edges, st.tuples(*[st.integers(-50, 50)] * 3))
def test_a_path_moved_by_whole_voxels_moves_the_indices_and_nothing_else(rows, edges_mm, steps):
    timeline = build_timeline(build_program(rows), PRINTER, PLA)
    # the move from the origin to the path's first point is not moved with it: it takes nothing here
    still = {name: np.concatenate([[0.0], column[1:]]) for name, column in timeline.energy_j.items()}
    duration = np.concatenate([[0.0], timeline.duration_s[1:]])
    first = timeline.program.columns
    rest = {**first, "extrude_m3": np.concatenate([[0.0], first["extrude_m3"][1:]])}
    moved_to = [step * edge * MM for step, edge in zip(steps, edges_mm, strict=True)]
    shifted = {**rest, **{f"{axis}_m": rest[f"{axis}_m"] + by for axis, by in zip("xyz", moved_to, strict=True)}}
    for index in np.flatnonzero(rest["op"] == Op.ARC_FEED):
        a, b = ((0, 1), (2, 0), (1, 2))[int(rest["target"][index])]
        for name, axis in (("center_1_m", a), ("center_2_m", b)):
            shifted[name] = shifted[name].copy()
            shifted[name][index] += moved_to[axis]
    edge = tuple(edge * MM for edge in edges_mm)
    here, there = (
        energy_voxels(with_columns(timeline, Program(columns), still, duration), PRINTER, PLA, edge)
        for columns in (rest, shifted)
    )
    if here.time_s.any():  # something moved, not all is at the origin
        assert np.array_equal(there.index - here.index, np.tile(steps, (len(here), 1)))
    for name in ("energy_j", "motion_energy_j", "time_s", "volume_m3"):
        assert np.array_equal(getattr(here, name), getattr(there, name)), name


@given(lines, edges, st.integers(2, 5))
def test_finer_voxels_add_up_to_the_coarser_ones(rows, edges_mm, parts):
    fine_mm = tuple(round(edge / parts, 3) for edge in edges_mm)
    coarse_mm = tuple(edge * parts for edge in fine_mm)
    _, fine = voxels_of([*HEAT, *rows], fine_mm)
    _, coarse = voxels_of([*HEAT, *rows], coarse_mm)
    sums: dict[tuple, float] = {}
    for index, energy in zip((fine.index // parts).tolist(), fine.energy_j, strict=True):
        sums[tuple(index)] = sums.get(tuple(index), 0.0) + energy
    assert sums == pytest.approx(dict(zip(map(tuple, coarse.index.tolist()), coarse.energy_j, strict=True)), rel=1e-9)


@given(lines, edges)
@settings(max_examples=25)
def test_voxels_hold_what_points_along_the_path_say(rows, edges_mm):
    """The exact walk against many points on each move, put into voxels one by one."""
    timeline, voxels = voxels_of(rows, edges_mm, MILL)
    count, edge = 2000, np.array(edges_mm) * MM
    expected: dict[tuple, float] = {}
    program = timeline.program
    energy = sum(timeline.energy_j.values())
    for start, end, joules in zip(program.starts_m(), program.positions_m(), energy, strict=True):
        points = start + (np.arange(count)[:, None] + 0.5) / count * (end - start)
        for index, times in zip(*np.unique(np.floor(points / edge + 1e-9), axis=0, return_counts=True), strict=True):
            key = tuple(int(i) for i in index)
            expected[key] = expected.get(key, 0.0) + joules * times / count
    found = dict(zip(map(tuple, voxels.index.tolist()), voxels.motion_energy_j, strict=True))
    for key in set(expected) | set(found):
        assert found.get(key, 0.0) == pytest.approx(expected.get(key, 0.0), abs=2.1 * len(rows) / count * energy.max())


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [math.nan, 0.0, -1e-3, 9e-6, 1.1, math.inf])
def test_edges_beyond_the_limits_are_refused(edge):
    with pytest.raises(PredictionError, match="along y") as refused:
        voxels_of([line(1, 1, 1)], (1.0, edge * 1e3, 1.0))
    assert refused.value.code == ErrorCode.TOO_MANY_VOXELS


@pytest.mark.parametrize(
    ("rows", "edges_mm", "reason"),
    [
        ([line(2e6, 0, 0)], (1, 1, 1), "goes to 2000 m"),
        ([line(5e5, 0, 0)], (0.1, 0.1, 0.1), "5000001 voxels long"),
        ([line(2e4, 0, 0), line(0, 0, 0)] * 100, (0.01, 1, 1), "enters about 4e\\+08"),
        ([travel(1000, 0, 0), arc(1000, 0, 0, (0, 0), 32767)], (0.01, 0.01, 0.01), "enters about"),
    ],
)
def test_grids_that_are_too_large_are_refused(rows, edges_mm, reason):
    with pytest.raises(PredictionError, match=reason) as refused:
        voxels_of(rows, edges_mm, MILL)
    assert refused.value.code == ErrorCode.TOO_MANY_VOXELS
    assert refused.value.remedy


def test_more_voxels_than_memory_should_hold_are_refused(monkeypatch):
    monkeypatch.setattr("twin_node.voxels.MAX_VOXELS", 999)
    _, voxels = voxels_of([line(998.5, 0, 0)], profile=MILL)
    assert len(voxels) == 999
    with pytest.raises(PredictionError, match="touches more than 999 voxels"):
        voxels_of([line(999.5, 0, 0)], profile=MILL)


# --- file ----------------------------------------------------------------------------------------------


@pytest.fixture
def voxels(program, printer, pla):
    return energy_voxels(build_timeline(program, printer, pla), printer, pla, (1e-3, 1e-3, 1e-3), by_subsystem=True)


def same(one, other):
    for item in dataclasses.fields(EnergyVoxels):
        mine, yours = getattr(one, item.name), getattr(other, item.name)
        if item.name == "energy_by_subsystem_j":
            assert mine.keys() == yours.keys()
            assert all(np.array_equal(mine[key], yours[key]) for key in mine)
        else:
            assert np.array_equal(mine, yours), item.name


def test_a_file_gives_back_what_was_written(voxels, tmp_path):
    write_voxels(voxels, tmp_path / "a" / "v.h5")
    same(voxels, load_voxels(tmp_path / "a" / "v.h5"))
    write_voxels(voxels, tmp_path / "w.h5")
    assert (tmp_path / "w.h5").read_bytes() == (tmp_path / "a" / "v.h5").read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["v.h5"]


def test_the_file_says_its_units(voxels, tmp_path):
    write_voxels(voxels, tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5") as file:
        units = {name: file[name].attrs["units"] for name in file if name != "energy_by_subsystem_j"}
        assert units == {"index": "1", "energy_j": "J", "motion_energy_j": "J", "time_s": "s", "volume_m3": "m3"}
        assert set(file["energy_by_subsystem_j"]) == {"electronics", "motion", "hotend", "bed", "fan"}
        assert file.attrs["program_digest"] == voxels.program_digest.hex()
        assert file.attrs["total_j"] == pytest.approx(math.fsum(file["energy_j"][()]), rel=1e-9)


def test_an_empty_grid_has_a_file(tmp_path):
    _, empty = voxels_of([])
    write_voxels(empty, tmp_path / "v.h5")
    same(empty, load_voxels(tmp_path / "v.h5"))


def edited(path, edit):
    data = io.BytesIO(path.read_bytes())
    with h5py.File(data, "r+") as file:
        edit(file)
    path.write_bytes(data.getvalue())


def _replace(name, change):
    def edit(file):
        data = change(file[name][()])
        del file[name]
        file[name] = data

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _replace("energy_j", lambda energy: energy * 1.0001),
        _replace("time_s", lambda time: time[:-1]),
        _replace("time_s", lambda time: time.astype("f4")),
        _replace("volume_m3", lambda volume: -volume),
        _replace("index", lambda index: index[::-1]),
        _replace("index", lambda index: index[:, :2]),
        _replace("index", lambda index: np.vstack([index[:1], index[:-1]])),
        lambda file: file.attrs.update({"version": "9"}),
        lambda file: file.attrs.update({"program_digest": "xyz"}),
        lambda file: file.attrs.update({"voxel_size_m": [1.0, math.nan, 1.0]}),
        lambda file: file.attrs.update({"total_j": "much"}),
        lambda file: file.create_group("energy_by_subsystem_j/magic"),
        lambda file: file.pop("energy_j"),
    ],
)
def test_a_file_that_is_not_as_specified_is_refused(voxels, tmp_path, edit):
    path = tmp_path / "v.h5"
    write_voxels(voxels, path)
    edited(path, edit)
    with pytest.raises(InputError) as refused:
        load_voxels(path)
    assert refused.value.code == ErrorCode.VOXELS_BROKEN


def test_damaged_bytes_are_refused_or_change_nothing(voxels, tmp_path):
    path = tmp_path / "v.h5"
    write_voxels(voxels, path)
    data = path.read_bytes()
    random = np.random.default_rng(3)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="not a readable file"):
        load_voxels(path)
    refusals: Counter[ErrorCode] = Counter()
    for place in random.integers(0, len(data), 60):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            load_voxels(path)
        except InputError as error:
            refusals[error.code] += 1
    assert set(refusals) == {ErrorCode.VOXELS_BROKEN}
    assert refusals.total() > 10


def test_where_it_cannot_be_written(voxels, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as refused:
        write_voxels(voxels, tmp_path / "file" / "v.h5")
    assert refused.value.code == ErrorCode.FILE_UNREADABLE


def test_a_real_part_adds_up(reference_data):
    program = load_program(reference_data / "gcode" / "fdm" / "benchy_mk3s_pla_020_arc.gcode")
    timeline = build_timeline(program, PRINTER, PLA)
    voxels = energy_voxels(timeline, PRINTER, PLA, voxel_edges_m(program), by_subsystem=True)
    assert math.fsum(voxels.energy_j) == pytest.approx(timeline.electric_j, rel=1e-9)
    assert voxels.edge_m[2] == pytest.approx(0.2e-3)
    melted_m3 = timeline.steps.melted_kg.sum() / PLA.density
    assert math.fsum(voxels.volume_m3) == pytest.approx(melted_m3, rel=1e-9)
    part = voxels.volume_m3 > 0.0
    # a 60 x 31 x 48 mm boat in the middle of the bed; the purge line lies before it
    assert (voxels.index[part, 2].max() + 1) * voxels.edge_m[2] == pytest.approx(48e-3, abs=0.2e-3)
    assert voxels.energy_by_subsystem_j[Subsystem.BED].sum() > 0.2 * voxels.total_j
