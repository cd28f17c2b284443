"""The README's first command, as a user runs it: the example job completes and its ledger closes."""

import json
import os
import subprocess
import sys

import pytest

from industriverse_core.store import cell_directory


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`./cell up --once --json`, run once for all tests of this file."""
    home = tmp_path_factory.mktemp("home")
    environment = dict(os.environ, INDUSTRIVERSE_HOME=str(home))
    environment.pop("ROS_DOMAIN_ID", None)
    command = [sys.executable, "-m", "industriverse_bringup.up", "--once", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done


@pytest.fixture
def result(finished):
    return json.loads(finished[1].stdout.splitlines()[-1])


def test_the_job_completes_with_a_prediction_a_measurement_and_a_price(result):
    assert result["state"] == "completed"
    assert len(result["program_digest"]) == 64
    for quantity in ("time_s", "energy_j"):
        low, high = result["predicted"][f"{quantity}_90"]
        assert 0 < low <= result["predicted"][quantity] <= high
        assert result["measured"][quantity] > 0
    assert result["price"]["total"] > 0


def test_prediction_and_measurement_agree(result):
    """The twin knows the profile, not the virtual printer's true parameters: agreement is a real result."""
    for quantity in ("time_s", "energy_j"):
        ratio = result["measured"][quantity] / result["predicted"][quantity]
        print(f"measured / predicted {quantity}: {ratio:.3f}")
        assert 0.75 < ratio < 1.33


def test_the_ledger_closes(result):
    ledger = result["ledger"]
    explained = ledger["work_j"] + ledger["heat_j"] + ledger["stored_j"]
    residual = (ledger["electric_j"] - explained) / ledger["electric_j"]
    print(f"ledger residual {residual:+.3%}")
    assert ledger["residual_fraction"] == pytest.approx(residual, abs=1e-6)
    assert abs(residual) < 0.15
    assert ledger["electric_j"] == pytest.approx(result["measured"]["energy_j"])


def test_the_key_is_private_and_nothing_is_left_running(finished, monkeypatch):
    home, _ = finished
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(home))
    key = cell_directory("demo") / "permit.key"
    assert key.stat().st_mode & 0o777 == 0o600
    running = subprocess.run(["pgrep", "-f", str(home)], capture_output=True, text=True).stdout.split()
    assert not running
    assert not (cell_directory("demo") / "cell.json").exists()
