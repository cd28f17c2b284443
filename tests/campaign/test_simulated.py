"""A short sample of the campaign in virtual time, and that its judge sees what it is there to see."""

import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from industriverse_core.permit import Permit, sign
from machine_node.permit_guard import GuardState, PermitGuard

from . import trial
from .__main__ import main
from .cell import KEY, Cell
from .table import as_text, clopper_pearson, rows_of
from .witness import Witness

SAMPLE = 120
DIGEST = b"\x01" * 32


def test_a_sample_of_every_class_violates_nothing():
    records = [trial.run(seed) for seed in range(SAMPLE)]
    assert {record.seed: record.violations for record in records if record.violations} == {}
    assert len(Counter(record.fault for record in records)) == len(trial.FAULTS)
    assert sum(len(record.rests_s) for record in records) > SAMPLE / 4
    assert sum(record.motion_lines for record in records) > 20 * SAMPLE


def test_the_seed_says_everything_about_a_run():
    def plain(record):
        return record.fault, record.at_s, record.noticed_s, record.rests_s, record.motion_lines, record.simulated_s

    assert [plain(trial.run(seed)) for seed in (5, 12, 28)] == [plain(trial.run(seed)) for seed in (5, 12, 28)]


def test_thousands_of_runs_fit_into_one_process():
    trial.run(0)
    before = len(os.listdir("/proc/self/fd"))
    trial.run(_seed("machine_node_killed", 1))
    assert len(os.listdir("/proc/self/fd")) == before


def _seed(fault, number):
    """The seed of this number that injects this class."""
    return number * len(trial.FAULTS) + trial.FAULTS.index(fault)


def test_the_documentation_names_every_class():
    text = (Path(__file__).parents[2] / "docs" / "campaign.md").read_text()
    assert [fault for fault in trial.FAULTS if f"`{fault}`" not in text] == []


# --- the judge judges: a cell that is not sound is found ---


def test_a_guard_that_believes_every_permit_is_found(monkeypatch):
    monkeypatch.setattr("machine_node.permit_guard.is_authentic", lambda *_: True)
    records = [trial.run(_seed("permit_forged", number)) for number in range(8)]
    assert any("without a permit" in text for record in records for text in record.violations)


def test_a_guard_that_forgets_the_time_is_found(monkeypatch):
    monkeypatch.setattr(PermitGuard, "motion_allowed", lambda self, _: self.state is GuardState.LIVE)
    monkeypatch.setattr("machine_node.permit_guard.GRACE_S", 1e9)
    monkeypatch.setattr(PermitGuard, "tick", lambda self, _: None)
    found = " ".join(text for number in range(6) for text in trial.run(_seed("shield_killed", number)).violations)
    assert "without a permit" in found
    assert "after permission had ended" in found


def test_a_latch_that_ends_by_itself_is_found(monkeypatch):
    monkeypatch.setattr(PermitGuard, "on_stop", lambda *_, **__: None)
    records = [trial.run(_seed("stop_request", number)) for number in range(6)]
    assert any("without a permit" in text for record in records for text in record.violations)


def test_the_witness_knows_genuine_permits_from_others():
    witness = Witness(grbl=False)
    permit = sign(Permit("m", 5, 1, 77, DIGEST), KEY)
    witness.challenged(77, 0.0)
    witness.signed(permit, 0.1, False)
    witness.began(DIGEST, 0.1)
    witness.handed(b"N1 G1 X1*1\n", 0.1)
    assert len(witness.violations) == 1  # no permit has arrived
    witness.arrived(permit, 0.2, 1.0)
    witness.handed(b"N2 G1 X1*1\nN3 M105*2\nN4 G28*3\n", 0.3)
    assert len(witness.violations) == 1
    witness.handed(b"N5 M400*3\n", 0.36)
    witness.arrived(permit, 0.36, 1.0)  # once more
    witness.handed(b"N6 G1 X2*1\n", 0.36)
    assert len(witness.violations) == 2
    witness.motion(0.21, "motion_begin")
    witness.motion(0.8, "motion_end")
    witness.conclude(2.0)
    assert witness.rests_s == [pytest.approx(0.45)]
    assert len(witness.violations) == 3


def test_a_part_of_a_line_counts_when_it_is_handed_over():
    witness = Witness(grbl=False)
    permit = sign(Permit("m", 5, 1, 77, DIGEST), KEY)
    witness.challenged(77, 0.0)
    witness.signed(permit, 0.0, False)
    witness.began(DIGEST, 0.0)
    witness.handed(b"N1 G1", 0.05)
    witness.arrived(permit, 0.1, 1.0)
    witness.handed(b" X5*1\n", 0.15)
    assert len(witness.violations) == 1


def test_an_idle_cell_gets_no_motion():
    cell = Cell(1, trial.profile_of("prusa_mk3s"))
    assert cell.world.run(10.0, lambda: cell.free)
    cell.world.run(5.0)
    cell.machine.machine.close()
    assert (cell.witness.motion_lines, cell.witness.violations) == (0, [])


# --- figures ---


def test_bounds_are_those_of_clopper_and_pearson():
    # 0 of n: 1 - (alpha/2)^(1/n); n of n is its mirror; 1 of 10 as tabulated
    assert clopper_pearson(0, 100) == (0.0, pytest.approx(1.0 - 0.025**0.01))
    assert clopper_pearson(10, 10) == (pytest.approx(0.025**0.1), 1.0)
    assert clopper_pearson(1, 10) == (pytest.approx(0.0025286, abs=1e-6), pytest.approx(0.4450161, abs=1e-6))
    with pytest.raises(ValueError, match="11 of 10"):
        clopper_pearson(11, 10)


def test_the_table_counts_runs_with_violations():
    def made(fault, violations, rests_s):
        return SimpleNamespace(
            seed=1, fault=fault, machine="m", noticed_s=0.1, rests_s=rests_s, state="LATCHED", violations=violations
        )

    rows = rows_of([made("a", [], [0.1, 0.2]), made("a", ["one", "two"], []), made("b", [], [])])
    seen = [(row.fault, row.runs, row.bad, row.rests) for row in rows]
    assert seen == [("a", 2, 1, 2), ("b", 1, 0, 0), ("all of m", 3, 1, 2)]
    assert rows[0].rest_s == (0.2, 0.2, 0.2, 0.2)
    assert as_text(rows).count("\n") == 4
    assert rows_of([]) == []


def test_the_command_repeats_one_run(capsys):
    assert main(["--only", "0"]) == 0
    assert "shield_frozen" in capsys.readouterr().out


def test_the_command_prints_a_table_and_writes_a_report(capsys, tmp_path):
    report, records = tmp_path / "report.json", tmp_path / "records.jsonl"
    command = ["--n", "3", "--jobs", "1", "--json", str(report), "--records", str(records)]
    assert main(command) == 0
    assert "| fault | n | detected |" in capsys.readouterr().out
    assert sum(row["n"] for row in json.loads(report.read_text())["classes"][:3]) == 3
    kept = records.read_text()
    assert main(command) == 0, "everything is in the records"
    assert records.read_text() == kept
    records.write_text('{"no": "run"}\n')
    with pytest.raises(SystemExit, match="holds no records"):
        main(command)
    with pytest.raises(SystemExit):
        main(["--n", "-1"])
