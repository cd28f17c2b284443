"""The processes that work on files: fed, watched, and replaced when they are stuck, dead or used up."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from industriverse_cli.corpus.rows import Row, Settings, Task, first_row, refuse
from industriverse_cli.corpus.worker import READY, serve
from industriverse_core.errors import ErrorCode, InputError

QUEUED = 2  # tasks that a worker has: one in work, one that it can begin at once
START_LIMIT_S = 600.0  # loops that are not in numba's cache are compiled first
MAX_FAILED_STARTS = 3
POLL_S = 0.5
END_S = 5.0


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    deadline_s: float
    ready: bool = False
    tasks: deque[Task] = field(default_factory=deque)


class Pool:
    """Runs tasks on worker processes. One file at a time each; a file can cost a worker, never the run."""

    def __init__(
        self,
        settings: Settings,
        workers: int,
        time_limit_s: float,
        target: Callable[[Connection, Settings], None] = serve,
    ) -> None:
        self._settings = settings
        self._time_limit_s = time_limit_s
        self._target = target
        self._context = multiprocessing.get_context("spawn")
        self._waiting: deque[Task] = deque()
        self._failed_starts = 0
        self._count = workers
        self._workers: list[_Worker] = []

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Row] | None]:
        """(task, row) of each task as they end, in no order; None when nothing has ended for a while.

        Raises InputError (WORKER_DIED) when workers do not even start.
        """
        self._waiting = deque(tasks)
        try:
            while self._waiting or any(worker.tasks for worker in self._workers):
                self._feed()
                ended = list(self._collect())
                yield from ended or [None]
        finally:
            self._close()

    def _feed(self) -> None:
        """Start what is missing, and give every worker that is ready something to do."""
        unfinished = len(self._waiting) + sum(bool(worker.tasks) for worker in self._workers)
        while len(self._workers) < min(self._count, unfinished):
            self._start()
        for depth in range(1, QUEUED + 1):  # everybody gets a first task before anybody gets a second
            for worker in self._workers:
                if worker.ready and len(worker.tasks) < depth and self._waiting:
                    self._send(worker, self._waiting.popleft())

    def _start(self) -> None:
        here, there = self._context.Pipe()
        process = self._context.Process(target=self._target, args=(there, self._settings), daemon=True)
        # the new process inherits the mask: Ctrl-C is this process's to handle, also while that one is starting
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        there.close()
        self._workers.append(_Worker(process, here, time.monotonic() + START_LIMIT_S))

    def _send(self, worker: _Worker, task: Task) -> None:
        if not worker.tasks:
            worker.deadline_s = time.monotonic() + self._time_limit_s
        worker.tasks.append(task)
        try:
            worker.connection.send(task)
        except OSError:  # it has died: found out, and its tasks shared out again, when its end is read
            pass

    def _collect(self) -> Iterator[tuple[Task, Row]]:
        """What workers have sent, and what became of those that died or are too slow."""
        heard = set(wait([worker.connection for worker in self._workers], POLL_S))
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.connection in heard:
                yield from self._hear(worker)
            elif worker.deadline_s < now and (worker.tasks or not worker.ready):
                yield from self._lose(worker, slow=True)

    def _hear(self, worker: _Worker) -> Iterator[tuple[Task, Row]]:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._lose(worker, slow=False)
            return
        if message == READY:
            worker.ready = True
            self._failed_starts = 0
            return
        row, last = message
        task = worker.tasks.popleft()
        worker.deadline_s = time.monotonic() + self._time_limit_s
        yield task, row
        if last:
            self._end(worker)

    def _lose(self, worker: _Worker, slow: bool) -> Iterator[tuple[Task, Row]]:
        """Take leave of a worker; the file that it was working on has failed."""
        self._end(worker, kill=True)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise InputError(
                    ErrorCode.WORKER_DIED,
                    f"{MAX_FAILED_STARTS} worker processes ended while they started ({_exit_text(worker.process)}).",
                    "Run one file with industriverse predict, which says what is wrong with the installation.",
                )
        if not worker.tasks:
            return
        task = worker.tasks[0]
        self._waiting.popleft()  # _end has put it back
        if slow:
            what = f"{task.name}: not done within {self._time_limit_s:g} s."
            error = InputError(ErrorCode.TOO_SLOW, what, "Raise --time-limit and use --retry.")
        else:
            what = f"{task.name}: the process that worked on it ended ({_exit_text(worker.process)})."
            error = InputError(ErrorCode.WORKER_DIED, what, "Try it alone with industriverse predict.")
        yield task, refuse(first_row(task), error)

    def _end(self, worker: _Worker, kill: bool = False) -> None:
        """End a worker; what it had not begun waits again, first in line."""
        self._workers.remove(worker)
        self._waiting.extendleft(reversed(worker.tasks))
        worker.connection.close()
        if not kill:
            worker.process.join(END_S)
        worker.process.kill()
        worker.process.join()

    def _close(self) -> None:
        """End all workers at once: those at rest hold nothing, and what the others do is not wanted any more."""
        for worker in self._workers:
            worker.process.kill()
            worker.connection.close()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()


def _exit_text(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"
