"""The worker processes of the folder tool: stuck, dead, used up or never started, with workers made for it."""

import signal
import sys
import time

import pytest

from industriverse_cli.corpus.pool import Pool
from industriverse_cli.corpus.rows import Task, first_row
from industriverse_core.errors import ErrorCode, InputError

WORKERS = '''
import os, signal, sys, time
from industriverse_cli.corpus.rows import first_row
from industriverse_cli.corpus.worker import READY


def by_name(connection, settings):
    """Does what the file's name says."""
    connection.send(READY)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        if "meet" in task.name:  # waits for another process that does the same
            open(os.path.join(settings, str(os.getpid())), "w").close()
            while len(os.listdir(settings)) < 2:
                time.sleep(0.01)
        if "hang" in task.name:
            time.sleep(1000)
        if "exit" in task.name:
            os._exit(7)
        if "crash" in task.name:
            os.kill(os.getpid(), signal.SIGSEGV)
        row = first_row(task) | {"ok": True, "message": str(hasattr(sys, "corpus_test_was_here")), "bytes": os.getpid()}
        last = "last" in task.name
        connection.send((row, last))
        if last:
            return


def dies_at_once(connection, settings):
    os._exit(3)


def dies_at_rest(connection, settings):
    """Ends after its first file without saying so."""
    connection.send(READY)
    connection.send((first_row(connection.recv()) | {"ok": True}, False))
'''


@pytest.fixture
def target(tmp_path, monkeypatch):
    """A worker function by name, from a module that spawned processes can import, too."""
    (tmp_path / "corpus_test_workers.py").write_text(WORKERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "corpus_test_workers", raising=False)
    import importlib

    module = importlib.import_module("corpus_test_workers")
    return lambda name: getattr(module, name)


def run(pool, names):
    """{file: row}; each file must have exactly one."""
    rows = {}
    for result in pool.run([Task(name, 1, 1) for name in names]):
        if result is not None:
            task, row = result
            assert task.name not in rows
            rows[task.name] = row
    assert set(rows) == set(names)
    return rows


def test_stuck_dead_and_used_up_workers_cost_one_file_at_most(target):
    names = [f"{number:02d} {kind}" for number in range(3) for kind in ("a", "hang", "b", "exit", "c", "crash", "last")]
    rows = run(Pool(None, 2, 0.5, target("by_name")), names)
    errors = {name: (row["error"], row["message"]) for name, row in rows.items() if row["error"]}
    assert {name.split()[1] for name in errors} == {"hang", "exit", "crash"}
    assert len(errors) == 9
    for name, (error, message) in errors.items():
        if "hang" in name:
            assert (error, "not done within 0.5 s" in message) == ("TOO_SLOW", True)
        else:
            reason = "exit status 7" if "exit" in name else "signal SIGSEGV"
            assert (error, reason in message) == ("WORKER_DIED", True)
    assert all(rows[name]["ok"] for name in set(names) - set(errors))


def test_workers_are_fresh_processes_and_not_copies_of_this_one(target, monkeypatch):
    monkeypatch.setattr(sys, "corpus_test_was_here", True, raising=False)
    rows = run(Pool(None, 2, 20.0, target("by_name")), ["a", "b", "c", "d"])
    assert {row["message"] for row in rows.values()} == {"False"}


def test_all_workers_get_work_and_end(target, tmp_path):
    (tmp_path / "meeting").mkdir()
    pool = Pool(tmp_path / "meeting", 2, 60.0, target("by_name"))
    rows = run(pool, [*(f"meet {number}" for number in range(4)), *(str(number) for number in range(200))])
    assert all(row["ok"] for row in rows.values())
    assert len({row["bytes"] for row in rows.values()}) == 2
    assert pool._workers == []


def test_a_worker_that_ends_at_rest_is_replaced(target):
    rows = run(Pool(None, 1, 20.0, target("dies_at_rest")), ["a"])
    assert rows["a"]["ok"]


def test_workers_that_never_start_end_the_run(target):
    with pytest.raises(InputError, match="exit status 3") as refused:
        run(Pool(None, 2, 20.0, target("dies_at_once")), ["a", "b"])
    assert refused.value.code == ErrorCode.WORKER_DIED


def test_leaving_early_ends_the_workers(target):
    before = signal.getsignal(signal.SIGINT)  # a shell that starts a process in the background ignores it
    pool = Pool(None, 2, 60.0, target("by_name"))
    results = pool.run([Task(name, 1, 1) for name in ("hang 1", "a", "b", "hang 2", "c")])
    assert any(result is not None for result in results)
    processes = [worker.process for worker in pool._workers]
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 20.0
    assert all(not process.is_alive() for process in processes)
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_no_tasks_no_workers(target):
    assert run(Pool(None, 2, 1.0, target("dies_at_once")), []) == {}


def test_a_row_that_only_knows_its_file():
    row = first_row(Task("od\udcff.gcode", 5, 7))
    assert (row["path"], row["bytes"], row["mtime_ns"], row["ok"]) == ("od\\udcff.gcode", 5, 7, None)
