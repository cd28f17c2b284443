"""Start-up: loops from the module that the warm-up builds, without numba, give the answers that numba's loops give."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
PRINT, MILL = str(EXAMPLES / "washer_pla.gcode"), str(EXAMPLES / "bracket_mill.ngc")
COMMANDS = [
    ["check", PRINT],
    ["price", MILL, "--machine", "grbl_mill"],
    *(["predict", PRINT, "--machine", machine] for machine in ("prusa_mk3s", "ender3", "voron_24")),
    ["predict", MILL, "--machine", "grbl_mill"],
    ["autocorrect", PRINT],
]
CODE = f"""
import sys
from industriverse_cli.main import main
for words in {COMMANDS}:
    try:
        main([*words, "--json"])
    except SystemExit as end:
        print(end.code)
print("numba" in sys.modules)
"""


def output(*arguments: str, loops: Path) -> list[str]:
    environment = {**os.environ, "INDUSTRIVERSE_LOOPS": str(loops)}
    result = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, env=environment)
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    """The folder of the module that the warm-up builds."""
    folder = tmp_path_factory.mktemp("loops")
    assert output("-m", "industriverse_core.warmup", loops=folder) == []
    return folder


def test_predictions_need_no_numba_and_are_the_same_to_the_last_digit(loops, tmp_path):
    *answers, with_numba = output("-c", CODE, loops=loops)
    assert with_numba == "False"
    assert output("-c", CODE, loops=tmp_path) == [*answers, "True"]
    assert len(answers) >= 2 * len(COMMANDS)
