"""Whatever is wrong with the input: one line on standard error, exit status 2, no traceback. Real processes."""

import json
import os
import struct
import subprocess
import sys

import pytest

from industriverse_core.gcode import load_program
from industriverse_core.machine import MACHINE_FOLDER
from industriverse_core.program import write_program

GOOD = "G21\nG90\nG28\nG1 X10 F3000\n"
PROFILE = (MACHINE_FOLDER / "prusa_mk3s.yaml").read_text()


def run(*words, **options):
    command = [sys.executable, "-m", "industriverse_cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def refused(name, *words):
    """Run with and without --json; the line on standard error."""
    ended = run(*words)
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"industriverse: [{name}] ")
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr
    with_json = run(*words, "--json")
    error = json.loads(with_json.stdout)["error"]
    assert with_json.returncode == 2
    assert error["name"] == name
    assert error["message"]
    assert error["remedy"]
    return ended.stderr


@pytest.fixture
def arrow(tmp_path):
    source = tmp_path / "good.gcode"
    source.write_text(GOOD)
    write_program(load_program(source), tmp_path / "good.arrow")
    return tmp_path / "good.arrow"


def test_missing_file(tmp_path):
    assert "no such file" in refused("FILE_NOT_FOUND", "check", tmp_path / "none.gcode")


def test_directory(tmp_path):
    refused("FILE_IS_DIRECTORY", "check", tmp_path)


@pytest.mark.parametrize("ending", ["gcode", "arrow"])
def test_empty_file(tmp_path, ending):
    path = tmp_path / f"empty.{ending}"
    path.touch()
    refused("FILE_EMPTY", "check", path)


@pytest.mark.parametrize("command", ["check", "predict", "price", "show"])
def test_binary_rubbish(tmp_path, command):
    path = tmp_path / "rubbish.gcode"
    path.write_bytes(bytes(range(256)) * 40)
    refused("NOT_A_PROGRAM", command, path)


def test_truncated_bytecode(arrow):
    arrow.write_bytes(arrow.read_bytes()[:-100])
    refused("BYTECODE_BROKEN", "check", arrow)


def test_bytecode_with_one_changed_byte(arrow):
    data = bytearray(arrow.read_bytes())
    place = data.index(struct.pack("<d", 0.01))  # X10, in metres
    data[place + 6] ^= 0x10
    arrow.write_bytes(bytes(data))
    refused("DIGEST_MISMATCH", "check", arrow)


def test_unknown_machine(tmp_path):
    (tmp_path / "good.gcode").write_text(GOOD)
    assert "prusa_mk3s" in refused("UNKNOWN_MACHINE", "check", tmp_path / "good.gcode", "--machine", "prusa_mk3")
    refused("UNKNOWN_MATERIAL", "check", tmp_path / "good.gcode", "--material", "cheese")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("rapid_speed: 180 mm/s", "rapid_speed: 180 kg", "kinematics.rapid_speed"),
        ("rapid_speed: 180 mm/s", "rapid_sped: 180 mm/s", "kinematics.rapid_sped"),
        ("rapid_speed: 180 mm/s", "rapid_speed: nan mm/s", "kinematics.rapid_speed"),
        ("max_flow: 15 mm^3/s", "max_flow: .nan", "extruder.max_flow"),
        ("motion_per_speed: 30", "motion_per_speed: .nan", "power.motion_per_speed"),
        ("kind: printer", "kind: [", "line"),
    ],
)
def test_wrong_profiles(tmp_path, old, new, place):
    assert old in PROFILE
    (tmp_path / "machine.yaml").write_text(PROFILE.replace(old, new))
    (tmp_path / "good.gcode").write_text(GOOD)
    words = ("check", tmp_path / "good.gcode", "--machine", tmp_path / "machine.yaml")
    assert place in refused("BAD_PROFILE", *words)


def test_usage():
    assert "check --help" in refused("USAGE", "check")
    assert "No such command" in refused("USAGE", "chekc", "x")
    assert run().returncode == 2
    assert run("show", "x.gcode", "--first", "-1").returncode == 2


def test_cell_that_does_not_run(tmp_path):
    environment = {**os.environ, "INDUSTRIVERSE_HOME": str(tmp_path)}
    (tmp_path / "demo").mkdir()
    dead = {"cell": "demo", "namespace": "/demo", "domain_id": 1, "pid": 2**22 + 1, "machine": "prusa_mk3s"}
    for content in (None, "", "[]", "{}", json.dumps(dead), json.dumps({**dead, "pid": -1})):
        if content is not None:
            (tmp_path / "demo" / "cell.json").write_text(content)
        ended = run("jobs", env=environment)
        assert ended.returncode == 1
        assert ended.stderr.startswith("industriverse: [CELL_NOT_RUNNING] ")
        assert "./cell up" in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_broken_pipe_is_quiet(tmp_path):
    path = tmp_path / "long.gcode"
    path.write_text(GOOD + "G1 X20\nG1 X10\n" * 5000)
    command = f"{sys.executable} -m industriverse_cli.main show {path} --first 10000 --json | head -c 10"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("words", [["machines"], ["machines", "--json"]])
def test_a_full_disk_is_one_sentence(words):
    command = [sys.executable, "-m", "industriverse_cli.main", *words]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith("industriverse: [FILE_UNREADABLE] standard output cannot be written")
    assert ended.stderr.count("\n") == 1


def test_no_ros_for_what_needs_none(tmp_path):
    (tmp_path / "good.gcode").write_text(GOOD)
    code = (
        "import sys\nfrom industriverse_cli.main import main\n"
        "try:\n main(['check', sys.argv[1]])\n"
        "finally:\n print([name for name in sys.modules if name.split('.')[0] in ('rclpy', 'industriverse_msgs')])"
    )
    command = [sys.executable, "-c", code, tmp_path / "good.gcode"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom industriverse_cli.main import main\n"
        "try:\n main(['--help'])\n"
        "finally:\n print([name for name in ('numpy', 'pydantic', 'pyarrow', 'numba', 'rclpy') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]"
