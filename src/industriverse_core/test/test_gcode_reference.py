"""Real and hostile files: what the slicers and LinuxCNC's own interpreter say about them."""

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.gcode import load_program, read_gcode, write_gcode
from industriverse_core.program import MOTION_OPS, Op
from industriverse_core.units import filament_area_m2

# hostile file -> kinds of notes (besides 'ignored'); the others are for the gates, not for the reader
HOSTILE_NOTES = {
    "h13_arc_zero_radius.gcode": {"malformed"},
    "h15_arc_leaves_bed.gcode": {"malformed"},
    "h17_overflow_digits.gcode": {"malformed"},
    "h23_bad_checksum.gcode": {"malformed"},
    "h25_m112_m502_m302.gcode": {"forbidden"},
    "h27_recursive_sub.ngc": {"unsupported"},
}
SLICED = [
    "benchy_ender3_pla_020.gcode",
    "benchy_mk3s_pla_020_absE.gcode",
    "benchy_mk3s_pla_020_arc.gcode",
    "candlestand_mk3s_petg_010.gcode",
    "cube20_mk3s_pla_020.gcode",
    "logo_mk3s_pla_020_arc.gcode",
    "vase_mk3s_pla_020_spiral.gcode",
]


def kinds(program) -> set[str]:
    return {note.kind for note in program.notes} - {"ignored"}


@pytest.fixture
def labels(reference_data):
    with (reference_data / "gcode/fdm/LABELS.csv").open() as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_hostile_files_are_noted_or_left_to_the_gates(reference_data):
    folder = reference_data / "gcode/hostile"
    with (folder / "EXPECT.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]
    assert len(names) >= 15
    for name in names:
        program = load_program(folder / name)
        assert kinds(program) == HOSTILE_NOTES.get(name, set()), name
        assert (Op.UNKNOWN in program.op) == (name in HOSTILE_NOTES), name


def test_hostile_values_reach_the_gates_unchanged(reference_data):
    folder = reference_data / "gcode/hostile"
    assert load_program(folder / "h01_out_of_bounds_x.gcode").x_m.max() == 0.4
    assert load_program(folder / "h03_g92_shift_then_oob.gcode").x_m.max() == pytest.approx(0.3, abs=1e-12)
    assert load_program(folder / "h29_inch_mode.gcode").x_m.max() == 0.3048
    assert load_program(folder / "h05_overtemp.gcode").value.max() == 450.0
    assert load_program(folder / "h11_feed_zero.gcode").feed_m_s[-1] == 0.0
    accepted = load_program(folder / "h19_crlf_bom_tabs_lower.gcode")
    assert accepted.x_m[-2:].tolist() == [0.05, 0.0605]


@pytest.mark.parametrize("name", SLICED)
def test_filament_length_is_what_the_slicer_says(reference_data, labels, name):
    """Within 0.1 % of the slicer's length.

    PrusaSlicer counts the start purge (since 2.9), does not apply M221, and does not take the last retraction off: its
    length is the highest point of the filament. So M221 is blanked and the peak is compared.
    """
    data = (reference_data / "gcode/fdm" / name).read_bytes()
    program = read_gcode(re.sub(rb"(?m)^M221.*$", b"", data), name)
    fed_mm = np.cumsum(program.extrude_m3) / filament_area_m2(program.metadata.filament_diameter_m) * 1e3
    assert fed_mm.max() == pytest.approx(float(labels[name]["filament_mm"]), rel=1e-3)
    scaled = read_gcode(data, name)
    if b"\nM221 S95" in data:
        assert scaled.extrude_m3.sum() == pytest.approx(0.95 * program.extrude_m3.sum(), rel=1e-3)


@pytest.mark.parametrize("name", SLICED)
def test_every_motion_line_is_one_instruction(reference_data, labels, name):
    data = (reference_data / "gcode/fdm" / name).read_bytes()
    program = read_gcode(data, name)
    assert not kinds(program)
    label = labels[name]
    lines = [line.split(b";")[0] for line in data.splitlines()]
    straight = [line for line in lines if re.match(rb"G[01] ", line)]
    feed_only = [line for line in straight if not re.search(rb"[XYZE]", line)]
    assert len(straight) == int(label["G0_G1"])
    assert np.isin(program.op, MOTION_OPS[:2]).sum() == int(label["G0_G1"]) - len(feed_only)
    assert (program.op == Op.ARC_FEED).sum() == int(label["G2_G3"])
    assert program.metadata.source_line_count in (int(label["lines"]), int(label["lines"]) + 1)


def test_metadata_of_a_sliced_file(reference_data, labels):
    for name in ("cube20_mk3s_pla_020.gcode", "candlestand_mk3s_petg_010.gcode"):
        metadata = load_program(reference_data / "gcode/fdm" / name).metadata
        label = labels[name]
        assert metadata.name == name
        assert metadata.dialect == "marlin"
        assert metadata.generator == label["generator"]
        assert metadata.material == label["filament_type"]
        assert metadata.machine.startswith("MK3S")
        assert metadata.slicer_time_s == float(label["est_normal_s"])
        assert metadata.slicer_filament_m == pytest.approx(float(label["filament_mm"]) / 1e3, abs=5e-6)
        assert metadata.layer_height_m == pytest.approx(float(label["layer_height"]) * 1e-3)
        assert metadata.nozzle_diameter_m == 0.0004
    cura = load_program(reference_data / "gcode/fdm/cura_cube20.gcode").metadata
    assert (cura.generator, cura.slicer_time_s) == ("Cura_SteamEngine 4.13.0", 0.0)  # it says 6666, CuraEngine's blank


def test_cura_placeholders_are_malformed(reference_data):
    program = load_program(reference_data / "gcode/fdm/cura_cube20.gcode")
    assert [note.line for note in program.notes if note.kind == "malformed"] == [23, 24, 25, 26]


def test_binary_gcode_is_refused_with_a_remedy(reference_data):
    with pytest.raises(InputError) as caught:
        load_program(reference_data / "gcode/fdm/cube20_mk4is_pla_020.bgcode")
    assert caught.value.code is ErrorCode.NOT_A_PROGRAM
    assert "binary G-code" in caught.value.message
    assert "slicer" in caught.value.remedy


@pytest.mark.parametrize(
    "name", ["cube20_mk3s_pla_020.gcode", "cube20_ender3_pla_020.gcode", "logo_mk3s_pla_020_arc.gcode"]
)
def test_writing_and_reading_a_sliced_file_keeps_its_digest(reference_data, name):
    program = load_program(reference_data / "gcode/fdm" / name)
    assert read_gcode(write_gcode(program), "again").digest == program.digest


CNC_COMPLETE = [
    "Gates_combined_R12.nc", "ShapeOko_Calibration_Pattern_01b.ngc", "arc_rword_test.gcode", "buffer_stress_test.gcode",
    "circle-inch.gcode", "circle.gcode", "comments.gcode", "communicator.nc", "electric_turtle.nc", "enclosure.nc",
    "g17-g18-g19.gcode", "line_skip_test.gcode", "no_spaces.gcode", "ordbot_handle.nc", "ruler.gcode",
    "serial_stress_test.gcode", "spaces.gcode", "spiral.gcode", "square.nc", "stress_test.gcode", "ugs.gcode",
]  # fmt: skip


@pytest.mark.parametrize("name", CNC_COMPLETE)
def test_cnc_files_are_read_completely_and_survive_writing(reference_data, name):
    program = load_program(reference_data / "gcode/cnc/other" / name)
    assert program.metadata.dialect == "rs274"
    assert not kinds(program)
    assert program.is_motion().any()
    assert read_gcode(write_gcode(program), "again").digest == program.digest


# --- LinuxCNC's canonical commands ----------------------------------------------------------------------

NUMBER = r"(-?\d+\.\d+)"
CANON = re.compile(
    rf"(STRAIGHT_TRAVERSE|STRAIGHT_FEED)\({NUMBER}, {NUMBER}, {NUMBER}|"
    rf"(ARC_FEED)\({NUMBER}, {NUMBER}, {NUMBER}, {NUMBER}, (-?\d+), {NUMBER}"
)


def canonical(path: Path) -> list[tuple]:
    """Motions of an expected output: (op, x, y, z) or ('ARC_FEED', end 1, end 2, centre 1, centre 2, turns, end 3)."""
    motions = []
    for line in path.read_text(errors="replace").splitlines():
        match = CANON.search(line)
        if match:
            words = [word for word in match.groups() if word is not None]
            motions.append((words[0], *(float(word) for word in words[1:])))
    return motions


def ours(program, unit_m: float) -> list[tuple]:
    """The program's motions up to the first UNKNOWN in the same form, in the file's unit."""
    motions: list[tuple] = []
    for index, op in enumerate(program.op.tolist()):
        if op == Op.UNKNOWN:
            break
        if op not in MOTION_OPS:
            continue
        end = program.positions_m()[index] / unit_m
        if op == Op.ARC_FEED:
            first = (0, 2, 1)[program.target[index]]
            centre = program.center_1_m[index] / unit_m, program.center_2_m[index] / unit_m
            motions.append(
                ("ARC_FEED", end[first], end[(first + 1) % 3], *centre, program.turns[index], end[(first + 2) % 3])
            )
        else:
            motions.append((Op(op).name, *end))
    return motions


def assert_same(got: list[tuple], want: list[tuple], tolerance: float):
    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        assert mine[0] == theirs[0], (mine, theirs)
        assert mine[1:] == pytest.approx(theirs[1:], abs=tolerance), (mine, theirs)


@pytest.mark.parametrize(
    ("folder", "motions", "unit_m"),
    [
        ("ccomp/mill-line-arc-entry", 11, 25.4e-3),  # up to the first cutter compensation
        ("ccomp/lathe-comp", 8, 25.4e-3),
    ],
)
def test_motions_before_the_first_unsupported_line_are_linuxcncs(reference_data, folder, motions, unit_m):
    golden = reference_data / "gcode/cnc/golden" / folder
    got = ours(load_program(golden / "test.ngc"), unit_m)
    assert len(got) == motions
    assert_same(got, canonical(golden / "expected")[:motions], 1e-4)


@pytest.mark.parametrize(("name", "motions", "unit_m"), [("inside-corners", 45, 25.4e-3), ("crazy-paths", 7, 1e-3)])
def test_subroutine_bodies_without_compensation_are_linuxcncs(reference_data, name, motions, unit_m):
    """These files call a subroutine first with tool radius 0: its body, written out, must give the same motions."""
    golden = reference_data / "gcode/cnc/golden/interp" / name
    text = (golden / "test.ngc").read_text()
    body = re.split(r"(?im)^o\d+ endsub", text)[0]
    plain = re.sub(r"(?im)^(?:o\d+ .*|g4[12]\.1 .*)$", "", body)
    got = ours(read_gcode(plain.encode(), name), unit_m)
    want = canonical(golden / "expected")[: len(got)]
    assert len(got) == motions
    assert_same(got, want, 2e-4)


@pytest.mark.parametrize("name", ["interp/fractional-linenumbers", "interp/g64-r-planner"])
def test_files_without_motion_are_read_completely(reference_data, name):
    program = load_program(reference_data / "gcode/cnc/golden" / name / "test.ngc")
    assert not kinds(program)
    assert program.op.tolist() == [Op.PROGRAM_END]


@pytest.mark.parametrize("name", ["3dtest.ngc", "arcspiral.ngc", "plasmatest.ngc", "tort.ngc"])
def test_linuxcnc_examples_that_need_no_more(reference_data, name):
    program = load_program(reference_data / "gcode/cnc/linuxcnc_nc_files" / name)
    assert not kinds(program)
    assert program.op[-1] == Op.PROGRAM_END
    assert math.isfinite(program.positions_m().sum())


def test_no_reference_file_breaks_the_reader(reference_data):
    """Every text in the corpus gives a program or an InputError; an unread line is always a noted instruction."""
    for path in sorted((reference_data / "gcode/cnc").rglob("*")):
        if not path.is_file():
            continue
        try:
            program = load_program(path)
        except InputError:
            continue
        unknown = int((program.op == Op.UNKNOWN).sum())
        noted = sum(note.kind != "ignored" for note in program.notes)
        assert min(unknown, 1000) <= noted <= unknown, path
