"""Columns, grid, digest and the Arrow file of a program."""

import hashlib
import json
import math
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.program import (
    COLUMNS,
    DIGESTED,
    GRID_M,
    GRID_M3,
    Metadata,
    Op,
    Program,
    SourceNote,
    build_program,
    normalise,
    read_program,
    renamed,
    write_program,
)

SPECIFICATION = Path(__file__).parents[3] / "docs" / "bytecode.md"


def small_program() -> Program:
    """The example of docs/bytecode.md."""
    return build_program(
        [
            {"op": Op.HOME, "target": 7},
            {"op": Op.WAIT_HEATER, "target": 1, "value": 215},
            {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.01, "y_m": 0.02, "z_m": 0.0002, "feed_m_s": math.nan},
            {
                "op": Op.ARC_FEED, "x_m": 0.02, "y_m": 0.02, "z_m": 0.0002, "feed_m_s": 0.02, "extrude_m3": 1.5e-9,
                "center_1_m": 0.015, "center_2_m": 0.02, "turns": -1,
            },
        ],
        Metadata(name="example"),
    )  # fmt: skip


floats = st.one_of(st.floats(), st.floats(-1, 1), st.sampled_from([-0.0, 1e-9, 2.5e-9, math.inf, -math.inf, math.nan]))
FLOAT_COLUMNS = [name for name, dtype in COLUMNS.items() if dtype.kind == "f"]
tables = st.integers(1, 20).flatmap(
    lambda n: st.fixed_dictionaries({name: st.lists(floats, min_size=n, max_size=n) for name in FLOAT_COLUMNS})
)


def columns_of(table) -> dict[str, np.ndarray]:
    length = len(table["x_m"])
    return {name: np.array(table.get(name, np.zeros(length)), dtype) for name, dtype in COLUMNS.items()}


@settings(max_examples=200, deadline=None)
@given(tables)
@example({name: [4194304.5540998755, 2.0**50 * 1e-9, 1125899.906842623, 1125899.906842625] for name in FLOAT_COLUMNS})
def test_normalising_twice_changes_nothing(table):
    once = normalise(columns_of(table))
    twice = normalise(once)
    for name in COLUMNS:
        assert once[name].tobytes() == twice[name].tobytes(), name
        assert once[name].dtype == COLUMNS[name]


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(-1e-6, 1e-6))
def test_normalised_values_are_the_nearest_on_the_grid(length_m, volume_m3):
    program = build_program([{"x_m": length_m, "extrude_m3": volume_m3}])
    assert abs(program.x_m[0] - length_m) <= 0.5 * GRID_M * (1 + 1e-6)
    assert abs(program.extrude_m3[0] - volume_m3) <= 0.5 * GRID_M3 * (1 + 1e-6)
    assert f"{program.x_m[0]:.9f}" == f"{float(f'{program.x_m[0]:.9f}'):.9f}"


def test_there_is_one_zero_and_one_nan():
    odd_nan = np.frombuffer(struct.pack("<Q", 0xFFF8000000000123))[0]
    program = build_program([{"x_m": -0.0, "feed_m_s": odd_nan, "extrude_m3": -1e-20}])
    assert program.x_m.tobytes() == program.extrude_m3.tobytes() == bytes(8)
    assert struct.unpack("<Q", program.feed_m_s.tobytes()) == (0x7FF8000000000000,)


def test_absent_positions_stay():
    program = build_program([{"x_m": 0.1}, {"y_m": 0.2}, {"op": Op.DWELL, "value": 1}])
    assert program.positions_m().tolist() == [[0.1, 0, 0], [0.1, 0.2, 0], [0.1, 0.2, 0]]
    assert program.starts_m().tolist() == [[0, 0, 0], [0.1, 0, 0], [0.1, 0.2, 0]]
    assert build_program([]).starts_m().shape == (0, 3)


def test_motion_mask():
    program = build_program([{"op": op} for op in Op])
    assert {Op(op) for op in program.op[program.is_motion()]} == {Op.STRAIGHT_TRAVERSE, Op.STRAIGHT_FEED, Op.ARC_FEED}


def test_wrong_columns_are_a_mistake_of_the_caller():
    columns = dict(small_program().columns)
    with pytest.raises(ValueError, match="column x_m"):
        Program({**columns, "x_m": columns["x_m"].astype("f4")})
    with pytest.raises(ValueError, match="column y_m"):
        Program({**columns, "y_m": columns["y_m"][:-1]})
    with pytest.raises(AttributeError):
        _ = small_program().w_m


# --- digest ---------------------------------------------------------------------------------------------


def digest_by_the_specification(program: Program) -> str:
    """docs/bytecode.md, 'Digest', written again from the page."""
    types = {"u1": "|u1", "i2": "<i2", "i4": "<i4", "f8": "<f8"}
    unknown = [note.text for note in program.notes if note.kind != "ignored"]
    meaning = (
        f'{{"filament_diameter_m":{program.metadata.filament_diameter_m!r},"format":"industrial-bytecode",'
        f'"unknown":{json.dumps(unknown, separators=(",", ":"))},"version":"1.0"}}'
    )
    parts = [b"IBC1", meaning.encode()]
    for name in sorted(set(COLUMNS) - {"line"}):
        parts.append(f"{name}:{types[COLUMNS[name].str[1:]]}".encode())
        parts.append(program.columns[name].tobytes())
    return hashlib.sha256(b"".join(struct.pack("<Q", len(part)) + part for part in parts)).hexdigest()


def test_the_specifications_example_has_its_digest():
    text = SPECIFICATION.read_text()
    stated = re.search(r"(?m)^digest: `([0-9a-f]{64})`$", text)
    assert stated, "the specification has no test vector"
    assert small_program().digest.hex() == stated.group(1)
    assert digest_by_the_specification(small_program()) == stated.group(1)
    assert '{"filament_diameter_m":0.00175,"format":"industrial-bytecode","unknown":[],"version":"1.0"}' in text


def test_the_specification_names_every_column_op_and_value():
    text = SPECIFICATION.read_text()
    for name in COLUMNS:
        assert f"`{name}`" in text, name
    for op in Op:
        assert op.name in text, op
        assert re.search(rf"\b{int(op)}\b", text), op


@settings(max_examples=100, deadline=None)
@given(
    tables, st.lists(st.tuples(st.sampled_from(["ignored", "unknown", "malformed"]), st.text(max_size=20)), max_size=4)
)
def test_the_digest_is_what_the_specification_says(table, noted):
    notes = tuple(SourceNote(kind, 1, text) for kind, text in noted)
    program = Program(normalise(columns_of(table)), Metadata(filament_diameter_m=2.85e-3), notes)
    assert program.digest.hex() == digest_by_the_specification(program)


def test_what_does_not_count_in_the_digest():
    program = small_program()
    notes = (SourceNote("ignored", 3, "M73 P5", "display"),)
    metadata = Metadata(name="x", generator="y", material="PLA", machine="MK3S", slicer_time_s=5, layer_height_m=1e-4)
    lines = {**program.columns, "line": np.arange(4, dtype="<i4")}
    assert Program(lines, metadata, notes).digest == program.digest
    assert renamed(program, "other").digest == program.digest
    assert renamed(program, "other").metadata.name == "other"


@pytest.mark.parametrize("name", DIGESTED)
def test_every_other_column_counts_in_the_digest(name):
    program = small_program()
    column = program.columns[name].copy()
    column[3] += 1
    assert Program({**program.columns, name: column}, program.metadata).digest != program.digest


def test_unread_text_and_filament_count_in_the_digest():
    program = small_program()
    digests = {
        program.digest,
        replace(program, metadata=Metadata(filament_diameter_m=2.85e-3)).digest,
        replace(program, notes=(SourceNote("unknown", 1, "M5000"),)).digest,
        replace(program, notes=(SourceNote("unknown", 1, "M5001"),)).digest,
        replace(program, notes=(SourceNote("unknown", 1, "M5001"),) * 2).digest,
    }
    assert len(digests) == 5


def test_moving_a_value_to_another_column_changes_the_digest():
    assert build_program([{"x_m": 0.1}]).digest != build_program([{"y_m": 0.1}]).digest
    assert build_program([{}, {"x_m": 0.1}]).digest != build_program([{"x_m": 0.1}, {"x_m": 0.1}]).digest


# --- file -----------------------------------------------------------------------------------------------


def assert_equal(first: Program, second: Program):
    for name in COLUMNS:
        assert first.columns[name].tobytes() == second.columns[name].tobytes(), name
    assert first.metadata == second.metadata
    assert first.notes == second.notes


@settings(max_examples=40, deadline=None)
@given(tables, st.text(max_size=20))
def test_a_file_gives_back_its_program(tmp_path_factory, table, name):
    notes = (SourceNote("malformed", 3, "G1 X\ufffd", "why", 2), SourceNote("ignored", 4, "M73"))
    program = Program(normalise(columns_of(table)), Metadata(name=name, material="PLA"), notes)
    path = tmp_path_factory.mktemp("arrow") / "program.arrow"
    write_program(program, path)
    assert_equal(read_program(path), program)
    assert_equal(read_program(path, program.digest), program)


def test_an_empty_program_can_be_stored(tmp_path):
    path = tmp_path / "p.arrow"
    write_program(build_program([]), path)
    assert len(read_program(path)) == 0


def test_another_program_than_expected_is_refused(tmp_path):
    path = tmp_path / "p.arrow"
    write_program(small_program(), path)
    with pytest.raises(InputError) as caught:
        read_program(path, bytes(32))
    assert caught.value.code is ErrorCode.DIGEST_MISMATCH
    assert str(path) in caught.value.message


def test_no_changed_byte_gives_another_program(tmp_path):
    """One bit of every byte of the file in turn: refused, or the program is the same where it counts."""
    program = replace(small_program(), notes=(SourceNote("unknown", 2, "M5000", "no such command", 1),))
    path = tmp_path / "p.arrow"
    write_program(program, path)
    original = path.read_bytes()
    accepted = 0
    for at in range(len(original)):
        changed = bytearray(original)
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(changed)
        try:
            again = read_program(path)
        except InputError:
            continue
        accepted += 1
        assert again.digest == program.digest
        for name in DIGESTED:
            assert again.columns[name].tobytes() == program.columns[name].tobytes(), (at, name)
    assert accepted < 0.6 * len(original)  # padding, source lines, names and reasons may change


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(tmp_path, keep):
    path = tmp_path / "p.arrow"
    write_program(small_program(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError) as caught:
        read_program(path)
    assert caught.value.code in (ErrorCode.BYTECODE_BROKEN, ErrorCode.FILE_EMPTY)
    assert "\n" not in caught.value.message


def rewrite(path: Path, change):
    """The file with its Arrow schema metadata or columns changed by `change(table, header)`."""
    import pyarrow as pa

    table = pa.ipc.open_file(path.read_bytes()).read_all()
    header = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    table, header = change(table, header)
    with pa.ipc.new_file(str(path), table.schema.with_metadata(header)) as writer:
        writer.write_table(table.replace_schema_metadata(header))


@pytest.mark.parametrize(
    "change",
    [
        lambda table, header: (table, {**header, "version": "2.0"}),
        lambda table, header: (table, {**header, "format": "something"}),
        lambda table, header: (table, {key: value for key, value in header.items() if key != "digest"}),
        lambda table, header: (table, {**header, "digest": "xyz"}),
        lambda table, header: (table, {**header, "digest": "00"}),
        lambda table, header: (table, {**header, "notes": "["}),
        lambda table, header: (table, {**header, "notes": "[[1]]"}),
        lambda table, header: (table, {**header, "metadata": "[]"}),
        lambda table, header: (table, {**header, "metadata": '{"owner": "me"}'}),
        lambda table, header: (table, {**header, "metadata": '{"name": 5}'}),
        lambda table, header: (table, {**header, "metadata": '{"source_line_count": true}'}),
        lambda table, header: (table, {**header, "notes": '[["ignored", "x", "M73", "", 1]]'}),
        lambda table, header: (table, {**header, "notes": "[" * 100_000}),
        lambda table, header: (table.drop_columns(["z_m"]), header),
        lambda table, header: (table.slice(0, 2), header),
        lambda table, header: (table, {}),
    ],
)
def test_a_file_with_other_content_is_refused(tmp_path, change):
    path = tmp_path / "p.arrow"
    write_program(small_program(), path)
    rewrite(path, change)
    with pytest.raises(InputError) as caught:
        read_program(path)
    assert caught.value.code in (ErrorCode.BYTECODE_BROKEN, ErrorCode.DIGEST_MISMATCH)
