"""The warm-up at build time runs, importing core stays cheap, and loops run in Python or compiled as told."""

import os
import subprocess
import sys
import textwrap

from industriverse_core import warmup
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from industriverse_core.motion import plan_motion


def test_every_warm_up_runs():
    warmup.warm_all()


def test_importing_the_program_and_the_gcode_package_loads_no_compiler():
    code = (
        "import sys, industriverse_core.program, industriverse_core.gcode, industriverse_core.store;"
        "print([name for name in ('numba', 'scipy', 'pyarrow') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


SMALL = b"G28\nM204 S800\nG1 X10 Y5 E1 F600\nG2 X20 Y5 I5 J0 E.5\nM106 S127\nG3 X10 Y5 R7\nG1 X1e5\nM107\n" * 20


def run_python(code: str, **environment: str) -> str:
    """Standard output of the code in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=True, env={**os.environ, **environment},
    )  # fmt: skip
    return result.stdout.strip()


def test_loops_are_plain_python_where_numba_is_switched_off():
    output = run_python(
        f"""
        import sys
        from industriverse_core.gcode import read_gcode
        from industriverse_core.machine import load_machine
        from industriverse_core.motion import plan_motion
        program = read_gcode({SMALL!r}, "x")
        total_s = plan_motion(program, load_machine("prusa_mk3s")).total_s
        from industriverse_core.gcode import lines
        print(program.digest.hex(), repr(total_s), "numba" in sys.modules, type(lines.run).__name__)
        """,
        NUMBA_DISABLE_JIT="1",
    )
    program = read_gcode(SMALL, "x")
    total_s = plan_motion(program, load_machine("prusa_mk3s")).total_s
    assert output.split() == [program.digest.hex(), repr(total_s), "False", "function"]


def test_a_compilation_is_announced_once_and_a_cached_loop_is_not(tmp_path):
    (tmp_path / "loops.py").write_text(
        "from industriverse_core.compiled import compiled\n\n@compiled\ndef double(value):\n    return 2 * value\n"
    )
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from industriverse_core.compiled import announce_compilation
        announce_compilation(lambda: print("compiling"))
        from loops import double
        print(double(1), double(1.0))
        """
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["compiling", "2", "2.0"]
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["2", "2.0"]
