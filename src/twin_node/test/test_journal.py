"""The journal of residuals: what is kept, once, and found again after a restart."""

import pytest

from industriverse_core.errors import CoreError, ErrorCode
from twin_node.account import Account
from twin_node.calibration import NEWEST_JOBS, Residuals
from twin_node.journal import ResidualJournal
from twin_node.timeline import build_timeline


@pytest.fixture
def account(program, printer, pla, machine):
    account = Account("J1", program.digest, printer, build_timeline(program, printer, pla), pla)
    for sample in machine.run(0.5):
        if sample.job_id:
            account.observe(sample)
    account.executed = len(program)
    return account


def test_a_finished_job_is_found_again_after_a_restart(tmp_path, account, printer):
    journal = ResidualJournal(tmp_path / "residuals.sqlite")
    assert journal.residuals(printer.id) == Residuals()
    assert journal.add(account, 1.0)
    journal.close()
    found = ResidualJournal(tmp_path / "residuals.sqlite").residuals(printer.id)
    assert found.time == pytest.approx((1.0,), abs=0.02)
    assert found.energy == pytest.approx((1.0,), abs=0.02)


def test_a_job_counts_once_and_for_its_machine(tmp_path, account, printer):
    journal = ResidualJournal(tmp_path / "residuals.sqlite")
    assert [journal.add(account, stamp) for stamp in (1.0, 2.0)] == [True, False]
    assert journal.residuals("another") == Residuals()


@pytest.mark.parametrize("missing", ["end", "cold start", "meter", "program"])
def test_what_is_not_comparable_is_not_kept(tmp_path, account, missing):
    if missing == "end":
        account.executed -= 1
    if missing == "cold start":
        next(iter(account._heaters.values())).start_c = 60.0
    if missing == "meter":
        account.metered = False
    if missing == "program":
        account.timeline = None
    assert not ResidualJournal(tmp_path / "residuals.sqlite").add(account, 1.0)


def test_the_newest_jobs_are_given_oldest_first(tmp_path, account, printer):
    journal = ResidualJournal(tmp_path / "residuals.sqlite")
    whole = account.electric_j
    for number in range(NEWEST_JOBS + 5):
        account.job_id, account.electric_j = f"J{number}", whole * (1.0 + 0.001 * number)
        journal.add(account, float(number))
    energy = journal.residuals(printer.id).energy
    assert len(energy) == NEWEST_JOBS
    assert list(energy) == sorted(energy)
    assert energy[-1] / energy[0] == pytest.approx((1.0 + 0.001 * (NEWEST_JOBS + 4)) / 1.005)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "residuals.sqlite"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(CoreError, match="journal of residuals") as caught:
        ResidualJournal(path)
    assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
