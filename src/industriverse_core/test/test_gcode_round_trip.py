"""Program to G-code to program keeps the digest: every instruction of both dialects, and our own examples.

The golden digests say that a program means the same on every machine and Python version, and after every change of
the reader that is not meant to change meaning.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.gcode import load_program, read_gcode, write_gcode
from industriverse_core.program import Heater, Limit, Metadata, Op, build_program, read_program, write_program

EXAMPLES = Path(__file__).parents[3] / "examples"
GOLDEN = {
    "bracket_mill.ngc": "a91c80aa204a0e1c69c90aabd549f1f1eaa25b54566a0528b32a6e65e5079ca9",
    "cable_clip_petg.gcode": "1dfde84ca1a9e4817f81f2f01fb5183e516da165936095b21e9b5065bf552ba2",
    "cable_clip_pla.gcode": "9fc7b5dccb31623efc1f69a69e9fdeebf3e0f33dd516747077f1f4a196f78c77",
    "motion_square.gcode": "5780317738864c09c4cd9f26f8af357e6a68c079943f7e4dbc21496c0ff65a09",
    "outside_envelope.gcode": "bd21ddde60eef965aa64a837221bba40b47515f85b31e93a1eb2515d720f851b",
    "washer_petg.gcode": "2e0ea1bf07d9dcfedfbd7c54b13cd81c06962a251ef07b7e944a95a8bd4f5cf4",
    "washer_pla.gcode": "3ba5817f6f70a00959e448567316954471a6df4bb28768fc1d7360e56fb4a135",
}
AXES = ("x_m", "y_m", "z_m")
length = st.floats(-0.5, 0.5)
speed = st.floats(1e-6, 0.5)
number = st.floats(0, 3000)


def row(op, **columns):
    return st.fixed_dictionaries({"op": st.just(op), **columns})


position = dict.fromkeys(AXES, length)
both = [
    row(Op.DWELL, value=number),
    row(Op.START_SPINDLE_CLOCKWISE, value=number),
    row(Op.START_SPINDLE_COUNTERCLOCKWISE, value=number),
    *(row(op) for op in (Op.STOP_SPINDLE_TURNING, Op.FLOOD_ON, Op.MIST_ON, Op.COOLANT_OFF, Op.PROGRAM_STOP)),
    row(Op.OPTIONAL_PROGRAM_STOP),
    row(Op.STRAIGHT_FEED, feed_m_s=speed, **position),
]
mill = [
    *both,
    row(Op.STRAIGHT_TRAVERSE, feed_m_s=st.just(math.nan), **position),
    row(Op.STRAIGHT_FEED, feed_m_s=st.just(0.0), **position),
    row(Op.CHANGE_TOOL, target=st.integers(0, 999)),
    row(Op.ORIENT_SPINDLE, value=st.floats(0, math.tau)),
]
ratio = Limit.MINIMUM_CRUISE_RATIO
printer = [
    *both,
    row(Op.STRAIGHT_TRAVERSE, feed_m_s=speed, **position),
    row(Op.STRAIGHT_FEED, feed_m_s=speed, extrude_m3=st.floats(-1e-6, 1e-6), **position),
    st.integers(1, 7).map(lambda h: {"op": Op.HOME, "target": h, **{AXES[a]: 0.0 for a in range(3) if h >> a & 1}}),
    row(Op.LEVEL_BED),
    row(Op.SET_HEATER, target=st.sampled_from(Heater), value=st.floats(0, 500)),
    row(Op.WAIT_HEATER, target=st.sampled_from(Heater), value=st.floats(0, 500), turns=st.integers(0, 1)),
    row(Op.SET_FAN, target=st.integers(0, 9), value=st.floats(0, 1)),
    row(Op.MOTORS_OFF, target=st.integers(1, 15)),
    row(Op.SET_LIMIT, target=st.sampled_from([limit for limit in Limit if limit != ratio]), value=st.floats(0, 50)),
    row(Op.SET_LIMIT, target=st.just(ratio), value=st.floats(0, 0.99)),
    row(Op.SET_PRESSURE_ADVANCE, value=st.floats(0, 99)),
]


def not_a_traverse_with_filament(rows):
    """A traverse feeds nothing; tiny amounts vanish on the grid."""
    return [item for item in rows if not 0.0 < abs(item.get("extrude_m3", 1.0)) < 1e-14]


def same(program):
    again = read_gcode(write_gcode(program), "again")
    assert again.digest == program.digest
    assert np.array_equal(again.op, program.op)
    assert write_gcode(again) == write_gcode(program)  # and nothing drifts


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(printer), min_size=1, max_size=25).map(not_a_traverse_with_filament), st.booleans())
def test_printers_programs(rows, ends):
    rows = [*rows, {"op": Op.LEVEL_BED}, *([{"op": Op.PROGRAM_END}] if ends else [])]
    same(build_program(rows, Metadata(filament_diameter_m=2.85e-3, material="PLA", generator="x")))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(mill), min_size=1, max_size=25), st.booleans())
def test_mills_programs(rows, ends):
    rows = [*rows, *([{"op": Op.PROGRAM_END}] if ends else [])]
    same(build_program(rows, Metadata(dialect="rs274")))


@pytest.mark.parametrize(
    "text",
    [
        "G21 G90 G98 S500 M3\nG0 Z5\nG83 X1 Z-3 R1 Q.7 F100\nX2\nG80\nG0 X0",
        "G21 S500 M3\nG99 G0 Z5\nG84 X1 Z-3 R1 F100 L2\nG86 Z-2 R1 P1\nG89 Z-2 R1 P1\nG73 Z-2 R1 Q.5",
        "G20 G93 G1 X1 Y1 F3\nG2 X2 I.5 F2\nG94 G1 X0 F10",
        "G21 S500 M3 G95 F.1 G1 X5\nG18 G3 X6 Z1 R4\nG19 G2 Y1 Z2 R4 P2",
        "G10 L2 P1 X0 Y0 Z0\nG10 L2 P2 X10\nG0 X1\nG55 X1\nG92 X0\nG0 X1\nG92.1 X1 ",
        "G0 X1\nG28.1\nX5\nG91 G28 Z1\nG90 G53 X1",
    ],
)
def test_what_mills_say_in_short_is_written_out(text):
    program = read_gcode(text.encode(), "x", "rs274")
    keep = program.op != Op.UNKNOWN
    assert keep.sum() > 2
    notes = tuple(note for note in program.notes if note.kind == "ignored")
    same(type(program)({name: column[keep] for name, column in program.columns.items()}, program.metadata, notes))


def test_printers_short_forms_are_written_out():
    text = """G21\nM83\nSET_VELOCITY_LIMIT ACCEL=3000 ACCEL_TO_DECEL=1500 VELOCITY=200\nM104 S200
TEMPERATURE_WAIT SENSOR=extruder MINIMUM=198\nM190 R50\nM400 S2\nG29 P1\nTURN_OFF_HEATERS\nM220 S50\nM221 S95
G1 X10 E1 F600\nG2 X12 I1 E.2\nG18\nG2 X14 Z2 R5\nG91\nG20\nG1 X.1 E.01"""
    same(read_gcode(text.encode(), "x", "marlin"))


@pytest.mark.parametrize("name", GOLDEN)
def test_examples_have_their_digest_in_every_container(name, tmp_path):
    program = load_program(EXAMPLES / name)
    assert program.digest.hex() == GOLDEN[name]
    write_program(program, tmp_path / "p.arrow")
    assert read_program(tmp_path / "p.arrow").digest == program.digest
    same(program)


def test_every_example_is_golden():
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".gcode", ".ngc")} == set(GOLDEN)


# --- any words at all -----------------------------------------------------------------------------------

MILL_CODES = (  # noqa: SIM905
    "G0 G1 G2 G3 G4 G10 G17 G18 G19 G20 G21 G28 G28.1 G30 G53 G54 G55 G59.1 G73 G74 G80 G81 G82 G83 G84 G85 G86 G89 "
    "G90 G91 G90.1 G91.1 G92 G92.1 G92.2 G92.3 G93 G94 G95 G98 G99 M3 M4 M5 M6 M7 M9 M0 M30"
).split()
PRINTER_CODES = (  # noqa: SIM905
    "G0 G1 G2 G3 G4 G18 G20 G21 G28 G29 G53 G54 G90 G91 G92 M82 M83 M104 M109 M190 M106 M107 M201 M204 M205 M220 M221 "
    "M302 M400 M486 M1002 M1006 T0 T1 SET_VELOCITY_LIMIT TEMPERATURE_WAIT TURN_OFF_HEATERS SET_PRESSURE_ADVANCE "
    "START_PRINT BED_MESH_CALIBRATE M572 M900"
).split()
NUMBERS = ("", "0", "1", "-1", "2.5", "10", "100", "-0.5", "1000", "0.001", "1e5", "60")
ODD = ("ACCEL=5", "TARGET=", "SENSOR=extruder", "MINIMUM=20", "=", "#1", "[", "(c)", ";x", "*12", "%", "/", "_", "@")
word = st.one_of(
    st.builds("".join, st.tuples(st.sampled_from("XYZEFIJKRPQLSTDNHABCO"), st.sampled_from(NUMBERS))),
    st.sampled_from(ODD),
)


def texts(codes):
    line = st.builds(
        lambda names, words, gap: gap.join([*names, *words]),
        st.lists(st.sampled_from(codes), min_size=1, max_size=2), st.lists(word, max_size=5), st.sampled_from(" \t"),
    )  # fmt: skip
    return st.lists(line, min_size=1, max_size=10).map("\n".join)


def read_well(text: str, dialect: str):
    """Whatever is written: no crash, one note for each unread line, no NaN, and what was read can be written."""
    program = read_gcode(text.encode(), "x", dialect)
    unread = program.op == Op.UNKNOWN
    assert unread.sum() == sum(note.kind != "ignored" for note in program.notes)
    assert all(note.line > 0 and note.reason for note in program.notes)
    for name in (*AXES, "extrude_m3", "center_1_m", "center_2_m", "value"):
        assert np.isfinite(program.columns[name]).all(), name
    ignored = tuple(note for note in program.notes if note.kind == "ignored")
    kept = {name: column[~unread] for name, column in program.columns.items()}
    if len(kept["op"]) and len(kept["op"]) < 2000:
        again = read_gcode(write_gcode(type(program)(kept, program.metadata, ignored)), "again")
        assert again.digest == type(program)(kept, program.metadata, ignored).digest


@settings(max_examples=300, deadline=None)
@given(texts(MILL_CODES))
def test_any_words_for_a_mill(text):
    read_well("G21 G90 G98 S100 M3 F60\nG0 X0 Z5\n" + text, "rs274")


@settings(max_examples=300, deadline=None)
@given(texts(PRINTER_CODES))
def test_any_words_for_a_printer(text):
    read_well("G21\n" + text + "\nG1 X1 F60", "marlin")
