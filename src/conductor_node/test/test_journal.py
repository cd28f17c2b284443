import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from conductor_node import job as j
from conductor_node.journal import Journal, decode, encode
from conductor_node.states import State
from industriverse_core.artefacts import Verdict
from industriverse_core.errors import ErrorCode, JobError

sys.path.insert(0, str(Path(__file__).parent))
import stories as s


def full_job():
    job, _ = s.play(s.new_job(), *s.TO_EXECUTING, s.DONE, j.LedgerClosed(s.ledger()))
    return replace(job, report=s.report(Verdict.REFUSE))  # with a finding, whose value is NaN


def test_a_job_comes_back_as_it_was():
    job = full_job()
    back = decode(encode(job))
    assert repr(back) == repr(job.durable())  # NaN is not equal to itself, its text is
    assert back.prediction.digest == job.prediction.digest
    assert back.execution_id == job.execution_id


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'[{"number": 1}]', b"\xff"])
def test_rubbish_is_no_job(data):
    with pytest.raises(ValidationError):
        decode(data)


def test_numbers_grow_across_restarts_and_only_unfinished_jobs_go_on(tmp_path):
    path = tmp_path / "jobs.sqlite"
    journal = Journal(path)
    first = journal.append(s.new_job(number=journal.next_number()), "Submitted")
    second = journal.append(s.new_job(number=journal.next_number()), "Submitted")
    journal.append(replace(first, state=State.COMPLETED), "LedgerClosed")
    journal.close()
    journal = Journal(path)
    assert journal.next_number() == 3
    assert journal.unfinished() == [second]
    assert [(job.job_id, job.state) for job in journal.latest(9)] == [("J2", State.RECEIVED), ("J1", State.COMPLETED)]
    assert journal.latest(1) == [second]
    assert journal.get(1).state is State.COMPLETED
    assert journal.get(3) is None
    journal.close()


def test_it_only_grows(tmp_path):
    journal = Journal(tmp_path / "jobs.sqlite")
    job = journal.append(s.new_job(), "Submitted")
    with pytest.raises(JobError) as error:
        journal.append(s.new_job(), "Submitted")  # version 1 again
    assert error.value.code is ErrorCode.STORE_UNAVAILABLE
    assert journal.append(job, "Approve").version == 2
    journal.close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        for change in ("UPDATE events SET state = 'COMPLETED'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                connection.execute(change)


def _rubbish(path):
    path.write_bytes(b"this is no database at all, not even nearly one" * 100)


def _truncated(path):
    journal = Journal(path)
    for _ in range(50):
        journal.append(s.new_job(number=journal.next_number()), "Submitted")
    journal.close()
    path.write_bytes(path.read_bytes()[:9000])


def _newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")


def _unwritable(path):
    path.mkdir()


@pytest.mark.parametrize("spoil", [_rubbish, _truncated, _newer, _unwritable])
def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path, spoil):
    path = tmp_path / "jobs.sqlite"
    spoil(path)
    with pytest.raises(JobError) as error:
        Journal(path)
    assert error.value.code is ErrorCode.STORE_UNAVAILABLE
    assert str(path) in error.value.message
    assert error.value.remedy
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError) as error:
        Journal(tmp_path / "file" / "jobs.sqlite")
    assert error.value.code is ErrorCode.STORE_UNAVAILABLE


def test_a_row_that_is_no_job_is_one_sentence(tmp_path):
    path = tmp_path / "jobs.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO events VALUES (1, 1, 'Submitted', 'RECEIVED', 0, 0, '{}')")
    connection.close()
    journal = Journal(path)
    with pytest.raises(JobError, match="cannot be used"):
        journal.unfinished()
    journal.close()


def test_a_second_conductor_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("conductor_node.journal.BUSY_WAIT_S", 0.05)
    journal = Journal(tmp_path / "jobs.sqlite")
    with pytest.raises(JobError) as error:
        Journal(tmp_path / "jobs.sqlite")
    assert error.value.code is ErrorCode.STORE_UNAVAILABLE
    assert "Another conductor" in error.value.remedy
    journal.close()


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import stories as s
from conductor_node.journal import Journal
journal = Journal(Path(sys.argv[1]))
while True:
    job = s.new_job(number=journal.next_number())
    for _ in range(3):
        job = journal.append(replace(job, copy=job.copy + 1), "Observed")
        print(job.number, job.version, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    path = tmp_path / "jobs.sqlite"
    acknowledged = {}
    for round_ in range(3):
        command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines = [writer.stdout.readline() for _ in range(20 + round_)]  # running: at whatever it does now
        time.sleep(0.003 * round_)
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        for line in lines:
            if line.endswith("\n"):
                number, version = map(int, line.split())
                assert version == acknowledged.get(number, 0) + 1, "a number or a version was given twice"
                acknowledged[number] = version
    journal = Journal(path)
    for number, version in acknowledged.items():
        assert journal.get(number).version >= version
        assert journal.get(number).copy == journal.get(number).version + 1
    journal.close()
    assert len(acknowledged) >= 20
