"""The compiled loop against Python: every line that it carries out itself means the same when Python reads it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode import lines, read_gcode, reader, repeats
from industriverse_core.program import Op


def in_python(content: bytes, dialect: str):
    """The program when the compiled loop hands over every line that it can hand over."""
    run = lines.run

    def handing_over(data, at, stop, line, state, skipped, known, columns, count):
        state[it.HAND_OVER] = 1.0
        return run(data, at, stop, line, state, np.zeros_like(skipped), known, columns, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "run", handing_over)
        patch.setattr(repeats, "REPEATABLE", frozenset())
        return read_gcode(content, "x", dialect)


def assert_same(content: bytes, dialect: str):
    fast, slow = read_gcode(content, "x", dialect), in_python(content, dialect)
    assert fast.notes == slow.notes
    assert fast.metadata == slow.metadata
    for name in fast.columns:
        assert fast.columns[name].tobytes() == slow.columns[name].tobytes(), name


def with_checksum(line: str, number: int) -> str:
    numbered = f"N{number} {line}"
    total = 0
    for byte in numbered.encode():
        total ^= byte
    return f"{numbered}*{total}"


decimals = st.decimals(-300, 300, places=3, allow_nan=False).map(str)
number = st.one_of(
    decimals, st.integers(-9, 9).map(str), st.sampled_from(["", ".", "-.5", "+1", "1.", "0" * 20 + "1", "1e3"])
)
space = st.sampled_from([" ", "", "  ", "\t"])
word = st.tuples(st.sampled_from("XYZEFIJKRPxyze"), space, number).map("".join)
motion = st.tuples(
    st.sampled_from(["G1", "G0", "G01", "g1", "G2", "G3", "G92", "G1.5", "", "N7 G1", "G 1"]), space,
    st.lists(word, max_size=5).map(" ".join), st.sampled_from(["", " ; note", "(note)", "\r", " (open", " *5", " %"]),
).map("".join)  # fmt: skip
other = st.sampled_from(
    ["", "; comment", "(comment)", "M204 S800", "M204 P500 T900", "M106 S127", "M106 S300", "M107", "G92 E0",
     "G20", "G21", "G90", "G91", "M82", "M83", "M73 P5", "M73 P5 * x", "M117 50% of (it", "M221 S95", "M220 S50",
     "G17", "G18", "G4 P10", "M205 X8 Y8 Z.4 E5", "M900 K.05", "M900 K30", "M104 S200", "G80", "M400",
     "M201 X5 Y5", "M203 E5", "T0", "M572 S0.1"]
)  # fmt: skip
text = st.lists(st.one_of(motion, other), max_size=25).map("\n".join)


@settings(max_examples=400, deadline=None)
@given(text, st.sampled_from(["marlin", "rs274"]))
def test_both_ways_give_the_same_program(content, dialect):
    assert_same(("G21\n" + content + "\nM204 S800\nG1 X1 F60").encode(), dialect)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(motion, other), st.integers(0, 20)), max_size=15), st.sampled_from(["marlin", "rs274"])
)
def test_both_ways_count_checked_lines_alike(rows, dialect):
    checked = [
        with_checksum(line.split("*")[0].rstrip("\r"), number if number > 15 else index)
        for index, (line, number) in enumerate(rows)
    ]
    assert_same(("G21\n" + "\n".join(checked)).encode(), dialect)


@pytest.mark.parametrize("command", sorted(repeats.REPEATABLE))
def test_a_repeated_line_does_not_depend_on_what_came_between(command):
    words = {
        "G4": "P5",
        "M106": "P1 S99",
        "M107": "P1",
        "M572": "S.2",
        "M900": "K.2",
        "M204": "S7 T8",
        "M205": "J.02 X5",
    }
    line = f"{command} {words.get(command, 'X5 E3')}"
    between = "G1 X5 E2 F60\nM221 S50\nM220 S20\nM82\nG91\nM104 S200\nM83\nG92 X3\nG20\nG21\nG18\nG1 Z5\nM302"
    assert_same(f"G28\n{line}\n{line}\n{between}\n{line}\nG20\n{line}\n{line}\n".encode(), "marlin")


def test_repeated_lines_are_read_by_python_once(monkeypatch):
    calls = []
    execute = reader.marlin.execute
    monkeypatch.setattr(reader.marlin, "execute", lambda *args: calls.append(args[1]) or execute(*args))
    program = read_gcode(b"G28\n" + b"M204 S800\nG1 X1 F600\nM106 S127\n" * 500, "x", "marlin")
    assert calls == ["G28", "M204", "M106"]
    assert (program.op == Op.SET_FAN).sum() == 500
    assert (program.op == Op.SET_LIMIT).sum() == 1000


def test_more_texts_than_the_table_holds_are_all_read():
    content = b"G28\n" + b"".join(b"M106 S%d.%03d\n" % (i % 250, i % 997) for i in range(2 * repeats.MAX_TEXTS)) * 2
    program = read_gcode(content, "x", "marlin")
    wanted = [(i % 250 + i % 997 / 1000) / 255 for i in range(2 * repeats.MAX_TEXTS)] * 2
    assert program.value[1:].tolist() == pytest.approx(wanted, abs=1e-9)


def test_lines_of_many_rows_find_room():
    program = read_gcode(b"G28\n" + b"M205 X8 Y8 Z.4 E5 J.01\n" * 1000, "x", "marlin")
    assert len(program) == 5001
    assert program.line[-1] == 1001


def test_a_column_does_not_share_a_position_with_the_next_text():
    """A text that is the beginning of another one is not it."""
    program = read_gcode(
        b"G28\nM106 S1\nM106 S12\nM106 S1\nM106 S12\nM106 S123456789012345678901234567890 ;\n", "x", "marlin"
    )
    assert (program.value[1:5] * 255).round(6).tolist() == [1, 12, 1, 12]
    assert program.op[5] == Op.UNKNOWN
