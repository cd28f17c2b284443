"""The process that works on files, one after the other. Started afresh (spawned, never forked: numba keeps threads)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from industriverse_cli.corpus.analysis import analyse, judge
from industriverse_cli.corpus.rows import Row, Settings, Task, first_row, refuse
from industriverse_core.errors import CoreError, ErrorCode, InputError

FILES_PER_WORKER = 5000  # then it is replaced, so that no leak grows for days
RESIDENT_SHARE = 0.25  # of a worker's memory limit; one that keeps more between two files is replaced
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
READY = "ready"


def serve(connection: Connection, settings: Settings) -> None:
    """Answer each Task with (row, whether this was the worker's last), until None or the end of the connection.

    The first message is READY: the compiled loops are loaded.
    """
    _prepare(settings)
    warm_up(settings)
    try:
        connection.send(READY)
        for done in range(1, FILES_PER_WORKER + 1):
            task = connection.recv()
            if task is None:
                return
            row, broken = _row(task, settings)
            last = broken or done == FILES_PER_WORKER or _resident_bytes() > RESIDENT_SHARE * settings.memory_bytes
            connection.send((row, last))
            if last:
                return
    except (EOFError, BrokenPipeError, ConnectionResetError):  # whoever started this process has gone
        return


def warm_up(settings: Settings) -> None:
    """Load the compiled loops that the settings need, with one tiny program."""
    from industriverse_cli.choosing import AUTO, Chosen
    from industriverse_core.gcode import read_gcode
    from industriverse_core.machine import DEFAULT_MACHINE, load_machine

    text = b"G28\nM104 S200\nM109 S200\nG1 X1 Y1 E1 F600\nG2 X2 Y0 I1 J0\n"
    with suppress(CoreError):  # a mill heats nothing: what it needs is loaded all the same
        profile = load_machine(DEFAULT_MACHINE if settings.machine == AUTO else settings.machine)
        judge(Chosen(read_gcode(text, "warm-up", "marlin"), profile, ""), settings, {})


def _prepare(settings: Settings) -> None:
    """Ctrl-C is the parent's to handle; this process ends with it, and takes no more memory than it may."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = settings.memory_bytes if hard == resource.RLIM_INFINITY else min(settings.memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _row(task: Task, settings: Settings) -> tuple[Row, bool]:
    """The file's row, and whether a bug was met: then nothing in this process is to be trusted any more."""
    try:
        return analyse(task, settings), False
    except Exception as bug:  # noqa: BLE001  one file must not end the run; the process ends, and the row says why
        place = traceback.extract_tb(bug.__traceback__)[-1]
        what = f"{task.name}: a bug: {type(bug).__name__} at {Path(place.filename).name}:{place.lineno}: {bug}"
        remedy = "Report it with the file."
        return refuse(first_row(task), InputError(ErrorCode.WORKER_DIED, f"{what[:500]}.", remedy)), True


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no such file system: the count of files is the limit
        return 0
