"""Every pair of LinuxCNC's own interpreter tests: the same canonical commands, or a refusal by name with its line.

`expected` is what LinuxCNC's interpreter calls for the `.ngc` beside it. Its commands become tuples, and so do our
instructions; up to our first refused line they must be equal: kind, positions, centre and turns of arcs, feed,
dwell, spindle, tool, coolant, stops. Numbers are compared in the file's own unit to LinuxCNC's four decimals.
"""

import math
import re
from pathlib import Path

import pytest

from industriverse_core.controller import Controller
from industriverse_core.gcode import read_gcode
from industriverse_core.program import Op

COMPLETE = {  # file: number of canonical commands that both give
    "interp/fractional-linenumbers/test.ngc": 1,
    "interp/g52/g92-offset-persistence/g92_offsets.ngc": 1,
    "interp/g64-r-planner/test.ngc": 1,
    "interp/g81/g17/g98/g17-g98-g81.ngc": 39,
    "interp/g81/g18/g98/g18-g98-g81.ngc": 39,
    "interp/g81/g19/g98/g19-g98-g81.ngc": 39,
    "interp/g84/g17/g98/g17-g98-g84.ngc": 85,
}
PARAMETERS, SUBROUTINES, CALL = "parameters and expressions", "subroutines and loops", "subroutine call"
REFUSED = {  # file: line, kind and reason of the first refusal; commands before it that both give
    "ccomp/lathe-comp/test.ngc": (17, "unsupported", "the length of tool", 10),
    "ccomp/mill-line-arc-entry/test.ngc": (22, "unsupported", "cutter compensation", 12),
    "interp/abort-hot-comment/test.ngc": (1, "unsupported", PARAMETERS, 0),
    "interp/crazy-paths/test.ngc": (1, "unsupported", SUBROUTINES, 0),
    "interp/exists/test.ngc": (1, "unsupported", PARAMETERS, 0),
    "interp/g10/g10-l11/test.ngc": (2, "unsupported", "rotated coordinate system", 0),
    "interp/g10/g10-l20-while-active/test.ngc": (3, "unsupported", "rotated coordinate system", 0),
    "interp/g33.1/g33.1.ngc": (4, "unsupported", "spindle-synchronised motion", 2),
    "interp/g71-endless-loop2/g71-endless-loop2.ngc": (2, "unsupported", "constant surface speed", 0),
    "interp/g71-with-g70/g71-with-g70.ngc": (4, "unsupported", SUBROUTINES, 0),
    "interp/g72-missing-iteration/g72-iterations-missing.ngc": (2, "unsupported", "the length of tool", 0),
    "interp/g84/g18/g98/g18-g98-g84.ngc": (19, "unsupported", "tapping outside G17", 2),
    "interp/g84/g19/g98/g19-g98-g84.ngc": (19, "unsupported", "tapping outside G17", 2),
    "interp/iniparam/test.ngc": (1, "unsupported", PARAMETERS, 0),
    "interp/inside-corners/test.ngc": (9, "unsupported", SUBROUTINES, 5),
    "interp/m19/test.ngc": (2, "unsupported", "time limit (Q) of spindle orientation", 1),
    "interp/m98m99/02-variables/test.ngc": (5, "unsupported", PARAMETERS, 0),
    "interp/m98m99/04-M98-but-no-sub/test.ngc": (4, "unsupported", CALL, 0),
    "interp/m98m99/06-error-mixed-sub-styles/O...-called-with-O..._call.ngc": (4, "unsupported", SUBROUTINES, 0),
    "interp/m98m99/06-error-mixed-sub-styles/O...-ended-with-O..._endsub.ngc": (4, "unsupported", CALL, 0),
    "interp/m98m99/06-error-mixed-sub-styles/O...-sub-called-with-M98.ngc": (4, "unsupported", CALL, 0),
    "interp/m98m99/06-error-mixed-sub-styles/O...-sub-ended-with-M99.ngc": (4, "unsupported", SUBROUTINES, 0),
    "interp/m98m99/08-sub-follows-main/test.ngc": (4, "unsupported", CALL, 0),
    "interp/m98m99/10-M98-P001/test.ngc": (3, "unsupported", CALL, 0),
    "interp/m98m99/12-M99-endless-main-program/test.ngc": (9, "unsupported", PARAMETERS, 0),
    "interp/m98m99/14-o-expression-call/test.ngc": (5, "unsupported", PARAMETERS, 0),
    "interp/magic_comments/param_format_printing/test.ngc": (1, "unsupported", PARAMETERS, 0),
    "interp/nested-sub-error/test.ngc": (2, "unsupported", SUBROUTINES, 0),
    "interp/oword-bug315/test.ngc": (1, "unsupported", SUBROUTINES, 0),
    "interp/oword-unwind/fail.ngc": (2, "unsupported", SUBROUTINES, 0),
    "interp/oword-unwind/test.ngc": (1, "unsupported", SUBROUTINES, 0),
    "interp/python-self/test.ngc": (5, "unsupported", SUBROUTINES, 0),
    "interp/rotation/abs-pts/test.ngc": (4, "unsupported", SUBROUTINES, 0),
    "interp/rotation/g53/g53.ngc": (2, "unsupported", "rotated coordinate system", 0),
    "interp/sub-call-from-sub/test.ngc": (2, "unsupported", SUBROUTINES, 0),
    "interp/unit-conversion/test.ngc": (9, "unsupported", "axis A", 0),
    "oword/sub.0/test.ngc": (3, "unsupported", SUBROUTINES, 0),
    "remap/duplicate-o-word/rm207.ngc": (1, "unsupported", SUBROUTINES, 0),
    "remap/duplicate-o-word/test.ngc": (3, "unsupported", PARAMETERS, 0),
    "remap/fail/args.1/rm400.ngc": (1, "unsupported", SUBROUTINES, 0),
    "remap/fail/args.1/test.ngc": (1, "unknown", "M400", 0),
    "remap/fail/body-ngc/rm400.ngc": (1, "unsupported", SUBROUTINES, 0),
    "remap/fail/body-ngc/test.ngc": (2, "unknown", "M400", 0),
    "remap/fail/canon_error/test.ngc": (2, "unknown", "M400", 0),
    "remap/fail/prolog/test.ngc": (2, "unknown", "M400", 0),
    "remap/m30-interaction/rm400.ngc": (1, "unsupported", SUBROUTINES, 0),
    "remap/m30-interaction/test.ngc": (1, "unknown", "M400", 0),
    "remap/oword-pycall/test.ngc": (6, "unsupported", SUBROUTINES, 0),
    "remap/predefined-named-params/test.ngc": (18, "unsupported", SUBROUTINES, 2),
    "remap/remap-reentry/rm406.ngc": (1, "unsupported", SUBROUTINES, 0),
    "remap/remap-reentry/test.ngc": (3, "unknown", "M405", 0),
    "remap/spindle/test.ngc": (1, "unknown", "M500", 0),
}
NO_COMMAND = ("remap/duplicate-o-word/rm208.ngc",)  # only O words: not accepted as a program
EMPTY = ("remap/fail/canon_error/notcalled.ngc", "remap/fail/prolog/notcalled.ngc")

CALL_TEXT = re.compile(r"^\s*(?:\d+\s+)?N[.\d]+\s+([A-Z][A-Z0-9_]*)\((.*)\)\s*$")
START = {"START_SPINDLE_CLOCKWISE": 1.0, "START_SPINDLE_COUNTERCLOCKWISE": -1.0}
SIMPLE = {
    "FLOOD_ON",
    "MIST_ON",
    "PROGRAM_STOP",
    "OPTIONAL_PROGRAM_STOP",
    "PROGRAM_END",
    "ORIENT_SPINDLE",
}  # its angle has that machine's own offset
BY_ITSELF = ("CHANGE_TOOL", "SET_SPINDLE_MODE")  # what follows a stop of the spindle that no line asks for
ZERO = (0.0, 0.0, 0.0)
ALL_ZERO = Controller({"G54": ZERO}, ZERO, ZERO)  # LinuxCNC without a parameter file


def linuxcnc(path: Path) -> list[tuple]:
    """The canonical commands of an expected output that our instructions have, in the file's unit.

    What LinuxCNC does by itself is left out: it stops the spindle before a tool change and after the program's end.
    """
    commands: list[tuple] = []
    feed = speed = tool = 0.0
    calls = [match.groups() for match in map(CALL_TEXT.match, path.read_text(errors="replace").splitlines()) if match]
    for index, (name, text) in enumerate(calls):
        numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]
        following = calls[index + 1][0] if index + 1 < len(calls) else ""
        if name == "SET_FEED_RATE":
            feed = numbers[0]
        elif name == "SET_SPINDLE_SPEED":
            speed = numbers[-1]
        elif name == "SELECT_TOOL":
            tool = numbers[0]
        elif name == "CHANGE_TOOL":
            commands.append((name, tool))
        elif name == "STRAIGHT_TRAVERSE":
            commands.append((name, *numbers[:3]))
        elif name == "STRAIGHT_FEED":
            commands.append((name, *numbers[:3], feed))
        elif name == "ARC_FEED":
            commands.append((name, *numbers[:6], feed))
        elif name == "DWELL":
            commands.append((name, *numbers))
        elif name in START:
            commands.append((name, speed))
        elif name in SIMPLE or (name == "STOP_SPINDLE_TURNING" and following not in BY_ITSELF):
            commands.append((name,))
        if name == "PROGRAM_END":  # one file holds several runs of the same program
            break
    return commands


def ours(program, unit_m: float) -> list[tuple]:
    """The program's instructions up to the first refused line, in the same form."""
    commands: list[tuple] = []
    for index, code in enumerate(program.op.tolist()):
        op = Op(code)
        end = (program.positions_m()[index] / unit_m).tolist()
        feed = program.feed_m_s[index] * 60.0 / unit_m
        if op is Op.UNKNOWN:
            break
        if op is Op.STRAIGHT_TRAVERSE:
            commands.append((op.name, *end))
        elif op is Op.STRAIGHT_FEED:
            commands.append((op.name, *end, feed))
        elif op is Op.ARC_FEED:
            first = int(program.target[index]) * 2 % 3
            centre = program.center_1_m[index] / unit_m, program.center_2_m[index] / unit_m
            plane = end[first], end[(first + 1) % 3], *centre
            commands.append((op.name, *plane, program.turns[index], end[(first + 2) % 3], feed))
        elif op is Op.DWELL:
            commands.append((op.name, program.value[index]))
        elif op.name in START:
            commands.append((op.name, program.value[index] * 60.0 / math.tau))
        elif op is Op.CHANGE_TOOL:
            commands.append((op.name, program.target[index]))
        else:
            commands.append((op.name,))
    return commands


def compare(golden: Path, name: str):
    """The program, and the number of commands before the first refusal, which must be LinuxCNC's."""
    path = golden / name
    text = path.read_bytes()
    program = read_gcode(text, name, "rs274", ALL_ZERO)
    unit_m = 25.4e-3 if re.search(rb"(?im)^[^;(]*g20", text) else 1e-3
    got = ours(program, unit_m)
    want = linuxcnc(path.parent / "expected")
    for place, (mine, theirs) in enumerate(zip(got, want, strict=False)):
        assert mine[0] == theirs[0], (place, mine, theirs)
        assert mine[1:] == pytest.approx(theirs[1:], abs=1.01e-4), (place, mine, theirs)
    assert len(got) <= len(want)
    return program, len(got), len(want)


@pytest.fixture
def golden(reference_data):
    return reference_data / "gcode/cnc/golden"


def test_every_file_is_in_one_table(golden):
    found = {path.relative_to(golden).as_posix() for path in golden.rglob("*.ngc")}
    tables = [*COMPLETE, *REFUSED, *NO_COMMAND, *EMPTY]
    assert len(tables) == len(set(tables))
    assert found == set(tables)


@pytest.mark.parametrize("name", COMPLETE)
def test_files_in_scope_agree_command_for_command(golden, name):
    program, mine, theirs = compare(golden, name)
    assert not [note for note in program.notes if note.kind != "ignored"]
    assert mine == theirs == COMPLETE[name]


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_agree_up_to_the_line_that_is_refused_by_name(golden, name):
    line, kind, reason, commands = REFUSED[name]
    program, mine, _ = compare(golden, name)
    first = next(note for note in program.notes if note.kind != "ignored")
    assert (first.line, first.kind) == (line, kind)
    assert reason in first.reason
    assert mine == commands
    assert program.op[first.instruction] == Op.UNKNOWN


@pytest.mark.parametrize("name", [*NO_COMMAND, *EMPTY])
def test_files_without_a_command_are_no_program(golden, name):
    from industriverse_core.errors import InputError
    from industriverse_core.gcode import load_program

    with pytest.raises(InputError):
        load_program(golden / name)
