"""Bad input: each is refused with its line and the reason, in time and memory that grow with its size alone."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.gcode import load_program, read_gcode, reader, text, tokens
from industriverse_core.program import Op

START = b"G21\nG1 X1 F600\n"


def refusal(content: bytes, dialect: str | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read_gcode(content, "part.gcode", dialect)
    assert caught.value.code is ErrorCode.NOT_A_PROGRAM
    assert "part.gcode" in caught.value.message
    assert caught.value.remedy
    return caught.value


def note(content: bytes, dialect: str = "marlin"):
    """The only note of a program with one line that is not carried out."""
    program = read_gcode(content, "x", dialect)
    assert (program.op == Op.UNKNOWN).sum() == 1
    (only,) = [item for item in program.notes if item.kind != "ignored"]
    return only


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("G1 Xnan Y5", ""),
        ("G1 XNaN", ""),
        ("G1 Xinf", ""),
        ("G1 X-inf Y1", ""),
        ("G1 X1e308 Y5", "a number has an exponent"),
        ("G1 X1e+308", "a number has an exponent"),
        ("G1 X1E+308", "a number has an exponent"),
        ("G1 X1.5e-3", "a number has an exponent"),
        ("G1 X" + "9" * 309, "a number is too large"),
        ("G1 X" + "9" * 5000, "a number is too large"),
        ("G1 X1000000000001", "a number is too large"),
        ("G1 X--1", "a number cannot be read"),
        ("M104 S{print_temperature}", "the slicer has not filled in a {placeholder}"),
        ("G1 X1.2.3", "a character has no meaning"),
        ("G1 X1,5", "a character has no meaning"),
        ("G1 X0x10", ""),
        ("G1 X5 Y", ""),
        ("G1 X5 (no end", "a comment does not end"),
    ],
)
@pytest.mark.parametrize("dialect", ["marlin", "rs274"])
def test_numbers_that_are_none(line, reason, dialect):
    content = START + line.encode() + b"\nG1 X2\n"
    seen = note(content, dialect)
    assert seen.line == 3
    assert seen.reason
    assert reason in seen.reason
    assert seen.text == line[:80]
    program = read_gcode(content, "x", dialect)
    assert program.x_m.tolist()[-3:] == [0.001, 0.001, 0.002]


def test_a_filament_word_without_space_is_no_exponent():
    for line in ("G1 X1E5", "g1x1e5", "G1 X1 e5", "G1 X1e.5", "G1 X1E-5"):
        assert Op.UNKNOWN not in read_gcode(START + line.encode(), "x", "marlin").op, line


@pytest.mark.parametrize("mark", [b"", b"\xff\xfe"])
def test_utf16(mark):
    error = refusal(mark + "G28\nG1 X5\n".encode("utf-16-le"))
    assert "line 1" in error.message
    assert ("UTF-16" in error.message) == bool(mark)


def test_nul_bytes():
    assert "part.gcode, line 3: a NUL byte" in refusal(START + b"G1 X\0" + b"\nG1 X2\n" * 5).message
    assert "line 200003: a NUL byte" in refusal(START + b"G1 X1 Y1 Z1\n" * 200_000 + b"\0").message


def test_control_characters():
    assert "line 3" in refusal(START + b"\x01\x02\n\x03").message


def test_a_few_control_characters_are_malformed_lines():
    assert note(START + b"G1 X1\n" * 100 + b"G1 \x01X5\n").line == 103


@pytest.mark.parametrize(
    "long",
    [
        b"G1 X5 " * 1_700_000,
        b";" + b"x" * 10_000_000,
        b"(" * 10_000_000,
        b" " * 10_000_000,
        b"G1 X" + b"1" * 10_000_000,
    ],
)
def test_long_lines(long):
    assert "line 3: longer than" in refusal(START + long).message
    assert "line 3: longer than" in refusal(START + long + b"\nG1 X2\n").message


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_the_longest_line(length):
    content = START + b";" + b"x" * (tokens.MAX_LINE_BYTES - 1 + length) + b"\nG1 X2 F60\n"
    if length > 0:
        assert "line 3: longer than" in refusal(content).message
    else:
        assert len(read_gcode(content, "x")) == 2


def test_a_long_line_that_is_one_of_many_words_is_one_unknown_instruction():
    assert note(START + b"G1 " + b"X1" * 100_000).line == 3


def test_every_line_refused_ends_reading(monkeypatch):
    monkeypatch.setattr(reader, "MAX_REFUSED_LINES", 100)
    assert len(read_gcode(START + b"H5\n" * 100, "x", "marlin")) == 101
    error = refusal(START + b"G28\nH5\n" * 101)
    assert "line 204: 101 lines" in error.message
    assert "line 4" in error.message


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_truncated_file_reads_up_to_its_last_line(cut):
    whole = START + b"G1 X10.25 Y20.5 E0.125\nG1 X1"
    program = read_gcode(whole[: len(START) + cut], "x", "marlin")
    assert program.metadata.source_line_count in (3, 4)
    assert all(item.line in (3, 4) for item in program.notes if item.kind != "ignored")


def test_truncated_bytecode(tmp_path):
    from industriverse_core.program import write_program

    path = tmp_path / "part.arrow"
    write_program(read_gcode(START, "x"), path)
    data = path.read_bytes()
    for size in (7, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(InputError) as caught:
            load_program(path)
        assert caught.value.code is ErrorCode.BYTECODE_BROKEN


def test_a_file_that_grows_while_it_is_read_is_read_to_an_end(tmp_path, monkeypatch):
    path = tmp_path / "part.gcode"
    path.write_bytes(START)
    survey = text.survey

    def growing(file, start, name):
        seen = survey(file, start, name)
        with path.open("ab") as end:
            end.write(b"G1 X3\n" * 1000)
        return seen

    monkeypatch.setattr(text, "survey", growing)
    assert len(load_program(path)) == 1001


WORDS = (
    b"G1 X1|G1| X5|E5|nan|1e308|inf|M104 S200|M204 S800|;|(|)|*51|N1 |%|/"
    b"|#1=5|O100|\r|\t|\n|\n|\xc3\xa4|\x07|.|-|G2 I1|G92 E0|M30"
)
pieces_of_lines = st.sampled_from([*WORDS.split(b"|"), b"9" * 40])


@settings(max_examples=500, deadline=None)
@given(st.lists(pieces_of_lines, max_size=60).map(b"".join), st.sampled_from([None, "marlin", "rs274"]))
def test_what_is_rejected_names_line_and_reason(content, dialect):
    try:
        program = read_gcode(content, "part.gcode", dialect)
    except InputError:
        refusal(content, dialect)
        return
    lines = content.count(b"\n") + (not content.endswith(b"\n"))
    assert program.metadata.source_line_count == lines
    rejected = [item for item in program.notes if item.kind != "ignored"]
    assert [item.instruction for item in rejected] == [
        i for i, op in enumerate(program.op.tolist()) if op == Op.UNKNOWN
    ]
    for item in rejected:
        assert 1 <= item.line <= lines
        assert item.reason
        assert item.line == program.line[item.instruction]
    assert all(math.isfinite(value) for value in program.positions_m().ravel().tolist())


@pytest.mark.parametrize(
    ("content", "line"), [(b"G28\n; note\rM104 S400\nG1 X5\n", 2), (b"G28\nG1 X5\rY5\n", 2), (b"G28\rG1 X5\r", 1)]
)
def test_a_carriage_return_within_a_line_is_refused(content, line):
    message = refusal(content).message
    assert f"line {line}: a carriage return within the line" in message


def test_carriage_returns_at_the_end_of_a_line_are_its_end():
    usual = read_gcode(b"G28\nG1 X5 F600\n", "part.gcode", "marlin")
    assert read_gcode(b"G28\r\r\nG1 X5 F600\r", "part.gcode", "marlin").digest == usual.digest
