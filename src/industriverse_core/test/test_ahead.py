"""Loops from the module that is compiled ahead of time: the same bits as numba's, and numba wherever that has none."""

import hashlib
import os
import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest

from industriverse_core import ahead, compiled
from industriverse_core.compiled import OTHER, kind_of

CONSTANTS = "STEP = 0.1\n"
LOOPS = """
import math
from typing import NamedTuple

import numpy as np

import constants
from industriverse_core.compiled import compiled, compiled_ieee, inlined


class Columns(NamedTuple):
    x: np.ndarray
    count: np.ndarray


@inlined
def wave(value):
    return math.sin(value) * value


@compiled
def series(values, start, rows, backwards):
    out = np.empty(len(values))
    total = start
    for index in range(len(values)):
        total += wave(values[index]) / 3.0
        out[index] = total
        rows.x[index] = -total if backwards else total
    rows.count[0] += len(values)
    return out, int(total)


@compiled
def stepped(value):
    return value + constants.STEP


@compiled
def whole(number, negative):
    return -number if negative else number


@compiled
def quotient(value, divisor):
    return value / divisor


@compiled_ieee
def ieee_quotient(value, divisor):
    return value / divisor


@compiled
def wait(flag, count, limit):
    while count[0] < limit and flag[0] == 0.0:
        count[0] += 1.0
    return flag[0] != 0.0
"""
USE = """
import sys
import numpy as np
import loops

def use_all():
    rows = loops.Columns(np.zeros(50), np.zeros(1, np.int64))
    out, whole = loops.series(np.linspace(0.0, 9.0, 50), 0.5, rows, True)
    yield out.tobytes().hex(), whole, rows.x.tobytes().hex(), rows.count.tolist()
    yield loops.stepped(0.2), loops.quotient(1.0, 3.0), loops.ieee_quotient(1.0, 0.0)
    yield loops.whole(-(2**63), False), loops.whole(2**63 - 1, True)
    yield loops.wait(np.ones(1), np.zeros(1), 1.0)
"""
BUILD = (
    USE
    + """
from numba import typeof
from industriverse_core.ahead import build
from industriverse_core.compiled import record
recorded = record()
list(use_all())
build({name: (loop.dispatcher, tuple(map(typeof, called))) for name, (loop, called) in recorded.items()})
"""
)
RUN = (
    USE
    + """
try:
    loops.quotient(1.0, 0.0)
except ZeroDivisionError as error:
    print(error)
for answer in use_all():
    print(answer)
print("numba" in sys.modules)
"""
)


class Place:
    """A folder of sources, the module of their loops, and numba's cache."""

    def __init__(self, folder, module):
        self.folder, self.module = folder, module
        folder.mkdir(exist_ok=True)
        (folder / "constants.py").write_text(CONSTANTS)
        (folder / "loops.py").write_text(LOOPS)

    def python(self, code):
        """Lines that the code prints in a process of its own."""
        environment = {"INDUSTRIVERSE_LOOPS": str(self.module), "NUMBA_CACHE_DIR": str(self.folder / "cache")}
        paths = os.pathsep.join([str(self.folder), *sys.path])
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True, text=True, check=False, env={**os.environ, **environment, "PYTHONPATH": paths},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    def file(self):
        (file,) = self.module.iterdir()  # nothing else is left there
        return file


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sources with their module."""
    top = tmp_path_factory.mktemp("ahead")
    place = Place(top / "sources", top / "module")
    place.python(BUILD)
    return place


@pytest.fixture(scope="module")
def by_numba(built):
    """What numba's own loops print; they are cached from then on."""
    return Place(built.folder, built.folder / "no module").python(RUN)


@pytest.fixture
def spoilt(built, tmp_path):
    """The same sources with a copy of the module that the test may spoil."""
    (tmp_path / built.file().name).write_bytes(built.file().read_bytes())
    return Place(built.folder, tmp_path)


@pytest.fixture
def moved(built, tmp_path):
    """The module with a copy of the sources that the test may change."""
    return Place(tmp_path / "sources", built.module)


def test_the_module_gives_the_same_bits_and_errors_without_numba(built, by_numba):
    *answers, with_numba = built.python(RUN)
    assert by_numba == [*answers, "True"]
    assert with_numba == "False"
    assert "division by zero" in answers[0]


def test_another_place_of_the_sources_is_no_other_source(moved):
    assert moved.python(RUN)[-1] == "False"


def test_a_changed_constant_of_another_file_is_obeyed_and_other_loops_stay(moved):
    (moved.folder / "constants.py").write_text("STEP = 0.5\n")
    code = "import sys, loops\nprint(loops.quotient(1.0, 4.0), 'numba' in sys.modules, loops.stepped(0.25))"
    assert moved.python(code) == ["0.25 False 0.75"]


def test_what_numba_has_cached_for_another_constant_is_not_taken(tmp_path):
    place = Place(tmp_path / "sources", tmp_path / "no module")
    code = "import loops\nprint(loops.stepped(0.25), sum(loops.stepped.dispatcher.stats.cache_hits.values()))"
    assert [place.python(code), place.python(code)] == [["0.35 0"], ["0.35 1"]]
    (place.folder / "constants.py").write_text("STEP = 0.5\n")
    assert place.python(code) == ["0.75 0"]


def test_a_changed_callee_is_obeyed(moved):
    (moved.folder / "loops.py").write_text(LOOPS.replace("math.sin(value) * value", "0.0 * value"))
    assert moved.python("import loops\nfrom pathlib import Path\n" + USE + "print(next(use_all())[1])") == ["0"]


@pytest.mark.parametrize("spoil", ["empty", "short", "half", "one bit", "no library", "not there", "a folder"])
def test_a_broken_module_is_none(spoilt, monkeypatch, spoil):
    monkeypatch.setenv("INDUSTRIVERSE_LOOPS", str(spoilt.module))
    file = spoilt.file()
    content = file.read_bytes()
    assert ahead.module_file() == file
    middle = len(content) // 2
    if spoil in ("not there", "a folder"):
        file.unlink()
    if spoil == "a folder":
        file.mkdir()
    elif spoil != "not there":
        library = b"\x7fELF" + bytes(500)
        contents = {
            "empty": b"",
            "short": content[: ahead.DIGEST_BYTES],
            "half": content[:middle],
            "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "no library": library + hashlib.sha256(library).digest(),
        }
        file.write_bytes(contents[spoil])
    assert ahead._module.__wrapped__() is None


def test_without_a_whole_module_numba_runs_the_loops(spoilt, by_numba):
    spoilt.file().write_bytes(spoilt.file().read_bytes()[:-1])
    assert spoilt.python(RUN) == by_numba


def test_arguments_of_another_kind_are_compiled_by_numba(built):
    calls = {
        "stepped(np.float64(0.2))": "0.30000000000000004 False",  # to numba the same type as a float
        "whole(np.int64(3), np.True_)": "-3 False",
        "quotient(1, 4)": "0.25 True",
        "stepped(np.float32(0.5))": "0.6 True",
        "stepped(2**63)": "9.223372036854776e+18 True",
        "stepped(np.array([0.5, 1.5]))": "[0.6 1.6] True",
        "wait(np.ones(4)[::2], np.zeros(1), 1.0)": "True True",
        "wait(np.ones(1, '>f8'), np.zeros(1), 1.0)": "refused True",
        "wait(np.ones(1), np.zeros(1), None)": "refused True",
        "wait(np.ones(1), np.zeros(1))": "refused True",
        "series(np.ones(1), 0.5, (np.zeros(1), np.zeros(1, np.int64)), True)": "refused True",
        "stepped(value=0.2)": "refused True",
    }
    code = f"""
        import sys
        import numpy as np
        import loops
        for call in {list(calls)}:
            try:
                answer = eval("loops." + call)
            except Exception:
                answer = "refused"
            print(answer, "numba" in sys.modules)
        """
    assert built.python(code) == list(calls.values())


def test_other_threads_run_while_a_loop_does(built):
    code = """
        import sys, threading
        import numpy as np
        import loops
        flag, count = np.zeros(1), np.zeros(1)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(loops.wait(flag, count, 1e10)))
        thread.start()
        while count[0] == 0.0:
            pass
        flag[0] = 1.0
        thread.join()
        print(answers, "numba" in sys.modules)
        """
    assert built.python(code) == ["[True] False"]


def test_without_a_compiler_nothing_is_built_and_the_reason_is_said(spoilt):
    code = BUILD.replace("build({", "build_or_say({").replace(
        "recorded = record()",
        """recorded = record()
from industriverse_core.ahead import BuildError
def build_or_say(loops):
    try:
        build(loops)
    except BuildError as error:
        print("reason:", bool(str(error)))
""",
    )
    before = spoilt.file().read_bytes()
    assert spoilt.python("import os\nos.environ['CC'] = os.environ['CXX'] = '/nowhere/cc'\n" + code) == ["reason: True"]
    assert spoilt.file().read_bytes() == before


def fixed(array):
    array.flags.writeable = False
    return array


def type_of(value):
    return compiled._type_of(kind_of(value))


GRID = np.zeros((3, 4))
SAMPLES = [
    True, np.True_, 1, np.int64(1), 1.5, np.float64(2.5),
    np.zeros(3), np.ones(5), np.zeros(8)[2:4], np.zeros(9)[::3], fixed(np.zeros(3)), fixed(np.zeros(9)[::3]),
    np.zeros(3, np.float32),
    GRID, GRID.T, GRID[:, :1], GRID[:1], GRID[:, 1:2], GRID[1:2, :2], np.zeros((3, 1)), np.zeros((0, 4)).T, GRID[::2],
    (1, 2.0), (1, 2), ((1,), GRID), ((1,), GRID.T), (), (GRID,),
]  # fmt: skip


def test_kinds_are_equal_exactly_where_numba_has_one_type():
    for first in SAMPLES:
        for second in SAMPLES:
            same = numba.typeof(first) == numba.typeof(second)
            assert (type_of(first) == type_of(second)) == same, (first, second)
            assert same or kind_of(first) != kind_of(second), (first, second)


def test_an_array_at_an_odd_address_is_not_of_the_kind_of_another():
    assert type_of(np.zeros(25, np.uint8)[1:].view(np.float64)) != type_of(np.zeros(3))


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, None, "text", np.float32(1), GRID.view(np.recarray)])
def test_what_only_numba_can_tell_is_of_kind_other(value):
    assert kind_of(value) is OTHER
