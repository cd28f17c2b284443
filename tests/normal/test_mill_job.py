"""A mill's job through the whole cell, as a user runs it: every move once and in order, and books that close."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from industriverse_core.gcode import load_program
from industriverse_core.machine import load_machine
from industriverse_core.program import MOTION_OPS
from machine_node.hub.reading import RecordSet

from ..conftest import EXAMPLES, MILL_CELL, MOTION_WORD, Journal

MILL = load_machine("grbl_mill")
TOP_M = np.array([axis.maximum for axis in MILL.kinematics.axes()])  # machine zero, in work coordinates
SPEED = 8.0
WRITTEN_M = 2e-6  # digits of a line


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(home):
    """`./cell up --cell mill --once --json`, run once for all tests of this file."""
    environment = dict(os.environ, INDUSTRIVERSE_HOME=str(home), INDUSTRIVERSE_ROOT=str(EXAMPLES.parent))
    environment.pop("ROS_DOMAIN_ID", None)
    options = ["--cell", str(MILL_CELL), "--once", "--json", "--speed", str(SPEED)]
    command = [sys.executable, "-m", "industriverse_bringup.up", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "spindle 10000 rpm" in done.stderr
    assert "nozzle" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def journal(home, result):
    return Journal(home / "mill" / "run" / "machine.jsonl")


@pytest.fixture
def record(home, result):
    with RecordSet.find(home / "mill", home) as found:
        yield found


def test_the_job_completes_and_its_ledger_closes_with_the_spindle_in_it(result):
    assert result["state"] == "completed"
    ledger = result["ledger"]
    print(f"ledger residual {ledger['residual_fraction']:+.3%}, {ledger['energy_by_subsystem_j']}")
    assert abs(ledger["residual_fraction"]) < 0.1
    parts = ledger["energy_by_subsystem_j"]
    assert sum(parts.values()) == pytest.approx(ledger["electric_j"], rel=1e-6)
    assert 0.4 * ledger["electric_j"] < parts["spindle"] < 0.8 * ledger["electric_j"]
    assert "hotend" not in parts
    # the first job homes, which no prediction of a program holds
    assert result["predicted"]["time_s"] < result["measured"]["time_s"] < 1.33 * result["predicted"]["time_s"]
    assert 0.75 < result["measured"]["energy_j"] / result["predicted"]["energy_j"] < 1.33


def test_every_move_was_made_once_and_in_order(journal):
    written = [event for event in journal.events("rx") if MOTION_WORD.search(event["line"])]
    assert written[0]["line"] == "$H"
    moves = journal.events("move")
    assert [move["number"] for move in moves] == [event["number"] for event in written[1:]]
    assert not journal.events("dropped", "steps_lost", "alarm")


def test_the_moves_are_those_of_the_program(journal):
    program = load_program(EXAMPLES / "bracket_mill.ngc", MILL.controller)
    rows = np.flatnonzero(np.isin(program.op, MOTION_OPS))
    wanted = np.stack([program.columns[name][rows] for name in ("x_m", "y_m", "z_m")], axis=1)
    reached = np.array([move["end_m"] for move in journal.events("move")]) + TOP_M
    at = 0
    for target in wanted:
        near = np.flatnonzero(np.abs(reached[at:] - target).max(axis=1) < WRITTEN_M)
        assert len(near), f"{target * 1e3} mm was not reached after move {at}"
        at += int(near[0])
    assert at == len(reached) - 1, "the last move is the program's"


def test_place_and_power_were_as_the_twin_expected(record):
    rows = record.rows("grbl_mill/residual")
    rows = rows[(rows["job_id"] != b"") & np.isfinite(rows["position_measured"])]
    assert len(rows) > 100
    for name, limit in (("position", 5.0), ("power", 3.0)):
        scores = np.abs(rows[f"{name}_measured"] - rows[f"{name}_expected"]) / rows[f"{name}_sigma"]
        print(f"{name}: largest residual {scores.max():.2f} standard deviations, median {np.median(scores):.2f}")
        assert scores.max() < limit


def test_the_hub_has_recorded_joints_power_and_vibration(record):
    """The sensors' own rates are in physics time, which the cell's ROS time is; the joints' is in steady time."""
    joints = record.rows("grbl_mill/joint_states")
    print(f"joint states: {1.0 / np.median(np.diff(joints['steady_s'])):.1f} Hz")
    assert np.median(np.diff(joints["steady_s"])) == pytest.approx(0.02, rel=0.25)
    assert joints["x_m"].max() > 0.25  # where it homed
    assert joints["z_m"].min() == pytest.approx(-0.002, abs=5e-5)
    power = record.rows("grbl_mill/power")
    assert np.median(np.diff(power["source_s"])) == pytest.approx(0.1, rel=0.02)
    assert power["power_w"].max() > MILL.power.electronics + MILL.power.motors_enabled + 40.0
    vibration = record.rows("grbl_mill/vibration")
    for axis in (1, 2, 3):
        own = vibration[vibration["axis"] == axis]
        assert np.median(np.diff(own["source_s"])) == pytest.approx(1.0, rel=0.02)
    shaken = vibration[(vibration["axis"] == 1) & (vibration["rms_m_s2"] > 0.15)]
    print(f"x shakes at {np.median(shaken['dominant_frequency_hz']):.1f} Hz while the spindle turns")
    assert np.median(shaken["dominant_frequency_hz"]) == pytest.approx(10000.0 / 60.0, abs=2.0)
