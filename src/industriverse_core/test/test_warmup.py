"""The warm-up at build time runs, and importing core stays cheap."""

import subprocess
import sys

from industriverse_core import warmup


def test_every_warm_up_runs():
    warmup.main()


def test_importing_the_program_and_the_gcode_package_loads_no_compiler():
    code = (
        "import sys, industriverse_core.program, industriverse_core.gcode, industriverse_core.store;"
        "print([name for name in ('numba', 'scipy', 'pyarrow') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
