"""`./cell up`: start a cell, run its example job, show what happens, and leave nothing running."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

import industriverse_msgs.msg as im
from industriverse_bringup import display
from industriverse_bringup.description import CellDescription, cell_names, load_cell, processes
from industriverse_bringup.domain import cell_domain
from industriverse_bringup.supervisor import Supervisor
from industriverse_cli.output import exit_status, print_json
from industriverse_core.errors import CoreError, ErrorCode, JobError
from industriverse_core.machine import load_machine
from industriverse_core.states import JobStage, state_name
from industriverse_core.store import CellPaths, ProgramStore, RunningCell, cell_directory, sole_owner
from industriverse_ros import convert
from industriverse_ros.client import ENDED, CellClient

EXIT_OF_STATE = {im.JobState.COMPLETED: 0, im.JobState.REFUSED: 3, im.JobState.ABORTED: 1}
START_TIMEOUT_S = 120.0  # a busy computer takes its time for seven processes
LOG_WIDTH = 140  # where nobody has said how wide


@dataclass(slots=True)
class Session:
    """One run of `./cell up`."""

    cell: CellDescription
    supervisor: Supervisor
    client: CellClient
    console: Console
    started_s: float
    is_mill: bool = False
    loop_running_s: float = math.nan  # from the start of the command until the machine is active
    _shown: set[tuple[str, int, str]] = field(default_factory=set)

    def wait_until_running(self) -> None:
        """Wait until the cell can take a job."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self.client.running():
            self._step()
            if time.monotonic() > deadline_s:
                raise JobError(
                    ErrorCode.SERVICE_UNAVAILABLE,
                    f"The cell did not start within {START_TIMEOUT_S:.0f} s.",
                    f"Its logs are in {self.supervisor.log_dir}.",
                )
        self.loop_running_s = time.monotonic() - self.started_s

    def _step(self) -> None:
        self.client.spin(0.1)
        self.supervisor.poll()
        if (words := self.supervisor.hopeless()) is not None:
            raise JobError(ErrorCode.SERVICE_UNAVAILABLE, words)

    def run(self, intent: str) -> im.JobState:
        """Submit a job and show it until it ends."""
        self.console.print(f"job: {_shown(intent)}", soft_wrap=True)
        job_id = self.client.submit(intent)
        last_text_s = -math.inf
        cutting: display.Cutting | None = None
        with Live(console=self.console, refresh_per_second=4, transient=True) as live:
            while (job := self.client.jobs.get(job_id)) is None or job.state not in ENDED:
                self._step()
                if self.client.telemetry is None or job is None or job.state < im.JobState.PERMITTED:
                    continue
                if cutting is None and self.is_mill:
                    cutting = display.Cutting(ProgramStore.load(convert.ref_from_msg(job.program)))
                sample = convert.telemetry_from_msg(self.client.telemetry)
                if self.console.is_terminal:
                    live.update(display.machine_view(sample, self._permit_name(), cutting))
                elif time.monotonic() - last_text_s > 5.0:
                    last_text_s = time.monotonic()
                    self.console.print(display.machine_line(sample, self._permit_name(), cutting), soft_wrap=True)
            live.update("")
        return job

    def _permit_name(self) -> str:
        return display.permit_word(self.client.safety.state if self.client.safety else 0)

    def _show_stage(self, job: im.JobState) -> None:
        """Print each stage of each job once, with what it found, and each new reason to wait."""
        shown = (job.job_id, job.state, job.error_msg)
        if shown in self._shown:
            return
        self._shown.add(shown)
        state, detail = job.state, job.error_msg
        if state == im.JobState.COMPILED:
            detail = f"{job.program.name}, {job.program.instruction_count} instructions, digest {_hex(job)[:12]}"
        elif state == im.JobState.CHECKED:
            report = convert.report_from_msg(job.report)
            detail = f"{report.verdict.name.lower()}, {report.warning_count} warnings"
        elif state == im.JobState.PREDICTED:
            detail = display.prediction_text(convert.prediction_from_msg(job.prediction))
        elif state == im.JobState.PRICED:
            detail = detail or display.quote_text(convert.quote_from_msg(job.quote))
        self.console.print(display.stage_row(job.job_id, state_name(JobStage, state), detail))

    def show_ledger(self, job: im.JobState) -> None:
        """The account of a job that has one."""
        if job.ledger.job_id:
            entry = convert.ledger_from_msg(job.ledger)
            self.console.print()
            self.console.print(display.ledger_table(entry))
            self.console.print(display.ledger_text(entry, job.state == im.JobState.COMPLETED), soft_wrap=True)
        if self.client.safety is not None and self.client.safety.state == im.SafetyState.LATCHED:
            self.console.print(
                "A stop is latched. In another terminal: ./cell exec -- industriverse clear --reason '...'"
            )


def _shown(intent: str) -> str:
    """A file below the current folder by its short name."""
    path, here = Path(intent), Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else intent


def _hex(job: im.JobState) -> str:
    return convert.digest_from_msg(job.program.digest).hex()


def result_object(job: im.JobState, loop_running_s: float) -> dict[str, Any]:
    """The JSON object of a finished job; numbers that do not exist are null."""
    prediction, entry = job.prediction, job.ledger
    has_prediction, has_ledger = any(prediction.program_digest), bool(entry.job_id)
    predicted = None
    if has_prediction:
        time_s, energy_j = prediction.time_s, prediction.energy_j
        predicted = {
            "time_s": time_s.mean,
            "energy_j": energy_j.mean,
            "time_s_90": [time_s.low, time_s.high],
            "energy_j_90": [energy_j.low, energy_j.high],
        }
    books = ("electric_j", "work_j", "heat_j", "stored_j", "residual_fraction")
    return {
        "state": state_name(JobStage, job.state),
        "job_id": job.job_id,
        "error_code": job.error_code,
        "error_msg": job.error_msg,
        "program_digest": _hex(job) if any(job.program.digest) else None,
        "predicted": predicted,
        "measured": {"time_s": entry.time_s, "energy_j": entry.electric_j} if has_ledger else None,
        "ledger": {name: getattr(entry, name) for name in books} | _by_subsystem(entry) if has_ledger else None,
        "price": {
            "total": job.quote.total.mean,
            "total_90": [job.quote.total.low, job.quote.total.high],
            "measured": entry.price if has_ledger else None,
            "currency": job.quote.currency,
        }
        if job.quote.currency
        else None,
        "loop_running_s": loop_running_s,
    }


def _by_subsystem(entry: im.LedgerEntry) -> dict[str, Any]:
    parts = convert.ledger_from_msg(entry).energy_by_subsystem_j
    return {"energy_by_subsystem_j": {subsystem.name.lower(): joules for subsystem, joules in parts.items()}}


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./cell up",
        description="Start a cell, run its example job stage by stage, and account for it. Ctrl-C ends the cell.",
    )
    parser.add_argument("--cell", default="demo", help=f"name or YAML path (ships: {', '.join(cell_names())})")
    parser.add_argument("--job", default=None, help="a program file or a sentence, instead of the cell's example")
    parser.add_argument("--no-job", action="store_true", help="start the cell and wait for jobs")
    parser.add_argument("--once", action="store_true", help="end the cell when the job has ended")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")
    parser.add_argument("--speed", type=float, default=None, help="speed of a virtual machine; 1 = real time")
    options = parser.parse_args(arguments)
    if options.speed is not None and not 1.0 <= options.speed <= 100.0:
        parser.error(f"--speed {options.speed}: 1 to 100 are possible")
    if options.no_job and (options.once or options.job):
        parser.error("--no-job goes with neither --once nor --job")
    return options


def _job_intent(options: argparse.Namespace, cell: CellDescription) -> str:
    """A path that exists becomes absolute, because the cell's nodes run elsewhere; a sentence stays one."""
    intent = options.job if options.job is not None else cell.job
    for base in (Path.cwd(), Path(os.environ.get("INDUSTRIVERSE_ROOT", "."))):
        if intent and (base / intent).exists():
            return str((base / intent).resolve())
    return intent


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Entry point; the exit status: 0 completed, 1 aborted, 2 bad input, 3 refused, 130 interrupted."""
    started_s = time.monotonic()
    options = _arguments(sys.argv[1:] if arguments is None else arguments)
    console = Console(stderr=options.json, highlight=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    try:
        cell = load_cell(options.cell)
        return _run(options, cell, console, started_s)
    except CoreError as error:
        console.print(f"./cell up: [{ErrorCode(error.code).name}] {error}", markup=False, soft_wrap=True)
        return exit_status(error)


def _run(options: argparse.Namespace, cell: CellDescription, console: Console, started_s: float) -> int:
    cell_dir = cell_directory(cell.id)
    paths = CellPaths(cell_dir)
    profile = load_machine(cell.machine.profile)
    items = processes(cell, cell_dir, options.speed)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with sole_owner(paths), cell_domain(cell_dir) as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        running = RunningCell(cell.id, cell.id, domain, os.getpid(), profile.id)
        supervisor = Supervisor(cell.id, paths.log, os.environ, lambda text: console.print(f"  {text}", markup=False))
        try:
            supervisor.start(items)
            with CellClient(cell.id, domain, profile.id) as client:
                session = Session(cell, supervisor, client, console, started_s, profile.kind == "mill")
                client.on_job = session._show_stage  # noqa: SLF001
                console.print(f"{cell.title}: starting {len(items)} processes", highlight=False)
                session.wait_until_running()
                running.write()
                console.print(f"  running after {session.loop_running_s:.1f} s, ROS_DOMAIN_ID={domain}")
                return _job_and_after(options, cell, session)
        except KeyboardInterrupt:
            console.print("\nstopping")
            return 130
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # the end is not interrupted
            supervisor.stop()
            running.remove()
            console.print("stopped; nothing is left running")


def _job_and_after(options: argparse.Namespace, cell: CellDescription, session: Session) -> int:
    status = 0
    intent = "" if options.no_job else _job_intent(options, cell)
    if intent:
        job = session.run(intent)
        session.show_ledger(job)
        status = EXIT_OF_STATE[job.state]
        if options.json:
            print_json(result_object(job, session.loop_running_s))
    if options.once:
        return status
    session.console.print(
        "\nThe cell is running. Another terminal: ./cell exec -- industriverse submit FILE. Ctrl-C ends it."
    )
    while True:
        session._step()  # noqa: SLF001


if __name__ == "__main__":
    sys.exit(main())
