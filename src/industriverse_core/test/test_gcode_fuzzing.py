"""A short sample of the fuzzing campaign (tools/fuzz_gcode.py), and that it notices a broken reader."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "fuzz_gcode.py"
BROKEN = """
import os, runpy, sys
os.environ["NUMBA_DISABLE_JIT"] = "1"
from industriverse_core.gcode import {module}
{change}
sys.argv = [{tool!r}, "--runs", "60", "--keep", {keep!r}]
runpy.run_path({tool!r}, run_name="__main__")
"""


def test_a_short_campaign_finds_nothing(tmp_path):
    result = subprocess.run(
        [sys.executable, TOOL, "--runs", "250", "--seconds", "600", "--keep", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "250 inputs" in result.stdout
    assert len(list((tmp_path / "inputs").iterdir())) > 20  # coverage guides it: far more than the seeds are kept
    assert not (tmp_path / "failures").exists()


@pytest.mark.parametrize(
    ("module", "change", "failure"),
    [
        ("rs274", "rs274.execute = lambda *_: 1 / 0", "ZeroDivisionError"),
        ("session", "session.Session.note = lambda *_, **__: None", "BrokenPromiseError"),
    ],
)
def test_a_broken_reader_is_noticed(tmp_path, module, change, failure):
    code = BROKEN.format(module=module, change=change, tool=str(TOOL), keep=str(tmp_path))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"FAILED {failure}" in result.stdout
    assert list((tmp_path / "failures").iterdir())
