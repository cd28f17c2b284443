"""Carries commands out: requests to the stages' services and the machine's action, answers back as events.

Nothing here blocks. A stage that is not there yet is tried again at each heartbeat until the job stops waiting.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from unique_identifier_msgs.msg import UUID

import industriverse_msgs.srv as srv
from conductor_node import job as j
from conductor_node.job import Command, Event, Stage
from industriverse_core.digest import NO_DIGEST
from industriverse_core.errors import ErrorCode
from industriverse_core.states import Outcome
from industriverse_msgs.action import ExecuteProgram
from industriverse_ros import convert, names


@dataclass(frozen=True, slots=True)
class Service:
    """One stage's service: how a command becomes a request and an answer an event."""

    stage: Stage
    kind: Any
    name: str
    request: Callable[[Any], Any]
    event: Callable[[Any], Event]


def _program_request(kind: Any, command: j.Check | j.Predict) -> Any:
    return kind.Request(
        program=convert.ref_to_msg(command.program), machine_id=command.machine_id, material=command.material
    )


def _compiled(answer: srv.CompileIntent.Response) -> Event:
    return j.Compiled(convert.ref_from_msg(answer.program), answer.material, answer.quantity, answer.understood)


SERVICES: dict[type, Service] = {
    j.Compile: Service(
        Stage.COMPILE,
        srv.CompileIntent,
        names.COMPILE_INTENT,
        lambda c: srv.CompileIntent.Request(intent=c.intent, machine_id=c.machine_id, material=c.material),
        _compiled,
    ),
    j.Check: Service(
        Stage.CHECK,
        srv.CheckProgram,
        names.CHECK_PROGRAM,
        partial(_program_request, srv.CheckProgram),
        lambda answer: j.Checked(convert.report_from_msg(answer.report)),
    ),
    j.Predict: Service(
        Stage.PREDICT,
        srv.Predict,
        names.PREDICT,
        partial(_program_request, srv.Predict),
        lambda answer: j.Predicted(convert.prediction_from_msg(answer.prediction)),
    ),
    j.Price: Service(
        Stage.PRICE,
        srv.Price,
        names.PRICE,
        lambda c: srv.Price.Request(prediction=convert.prediction_to_msg(c.prediction)),
        lambda answer: j.Priced(convert.quote_from_msg(answer.quote)),
    ),
    j.Arm: Service(
        Stage.ARM,
        srv.ArmProgram,
        names.ARM_PROGRAM,
        lambda c: srv.ArmProgram.Request(
            program_digest=convert.digest_to_msg(c.digest), machine_id=c.machine_id, job_id=c.job_id
        ),
        lambda answer: j.Armed(),
    ),
    j.CloseLedger: Service(
        Stage.LEDGER,
        srv.CloseLedger,
        names.CLOSE_LEDGER,
        lambda c: srv.CloseLedger.Request(job_id=c.job_id, machine_id=c.machine_id),
        lambda answer: j.LedgerClosed(convert.ledger_from_msg(answer.ledger)),
    ),
}


def stage_of(command: Command) -> Stage | None:
    """The stage whose answer a command asks for; None for commands without an answer."""
    if isinstance(command, j.Execute):
        return Stage.EXECUTE
    service = SERVICES.get(type(command))
    return service.stage if service else None


def answer_event(service: Service, answer: Any) -> Event:
    """An answer as an event; an error code, and an answer that cannot be read, is Failed."""
    if answer.error_code:
        return j.Failed(service.stage, answer.error_code, answer.error_msg)
    try:
        return service.event(answer)
    except ValueError as error:
        sentence = f"The answer of '{service.name}' cannot be read ({error})."
        return j.Failed(service.stage, int(ErrorCode.UNREADABLE_MESSAGE), sentence)


def result_event(result: ExecuteProgram.Result) -> j.Executed:
    """The machine's result as an event; an outcome that does not exist counts as a fault."""
    try:
        outcome = Outcome(result.outcome)
    except ValueError:
        outcome = Outcome.FAULT
    return j.Executed(outcome, result.error_code, result.error_msg, result.executed)


class StageClients:
    """Clients of all stages of one machine's loop.

    Args:
        node: the conductor (makes service clients; runs callbacks in its executor).
        execute: the client of the machine's action.
        on_event: called with a job's id and what came back.
    """

    def __init__(self, node: Any, execute: Any, on_event: Callable[[str, Event], None]) -> None:
        self._node = node
        self._execute = execute
        self._on_event = on_event
        self._clients = {kind: node.create_client(item.kind, item.name) for kind, item in SERVICES.items()}
        self._waiting: list[Command] = []  # for a stage that is not there yet
        self._latest: dict[str, Command] = {}  # the one command of each job whose answer counts
        self._running: tuple[str, Any] | None = None  # job and goal handle of the execution

    def carry_out(self, command: Command) -> None:
        """Begin to do what the loop asks for; returns at once."""
        if isinstance(command, j.Disarm):
            self._disarm(command)
        elif isinstance(command, j.CancelExecution):
            if self._running is not None and self._running[0] == command.job_id:
                self._running[1].cancel_goal_async()
        else:
            self._latest[command.job_id] = command
            self._send_or_wait(command)

    def retry(self, is_awaited: Callable[[Command], bool]) -> None:
        """Try again what waits for its stage; forget what nobody awaits any more."""
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            if is_awaited(command):
                self._send_or_wait(command)

    def forget(self, job_id: str) -> None:
        """Drop what is kept for a job."""
        self._latest.pop(job_id, None)

    def _send_or_wait(self, command: Command) -> None:
        if isinstance(command, j.Execute):
            if self._execute.server_is_ready():
                self._start(command)
                return
        elif self._clients[type(command)].service_is_ready():
            request = SERVICES[type(command)].request(command)
            future = self._clients[type(command)].call_async(request)
            future.add_done_callback(lambda done: self._node.post(self._answered, command, done))
            return
        self._waiting.append(command)

    def _answered(self, command: Command, future: Any) -> None:
        if self._latest.get(command.job_id) is command:
            self._on_event(command.job_id, answer_event(SERVICES[type(command)], future.result()))

    def _disarm(self, command: j.Disarm) -> None:
        client = self._clients[j.Arm]
        if client.service_is_ready():  # a shield that is not there permits nothing
            request = srv.ArmProgram.Request(
                program_digest=convert.digest_to_msg(NO_DIGEST), machine_id=command.machine_id, job_id=command.job_id
            )
            client.call_async(request)

    def _start(self, command: j.Execute) -> None:
        goal = ExecuteProgram.Goal(
            program=convert.ref_to_msg(command.program), job_id=command.job_id, execution_id=command.execution_id
        )
        goal_id = UUID(uuid=list(uuid.UUID(command.execution_id).bytes))
        future = self._execute.send_goal_async(goal, goal_uuid=goal_id)
        future.add_done_callback(lambda done: self._node.post(self._accepted, command, done))

    def _accepted(self, command: j.Execute, future: Any) -> None:
        handle = future.result()
        awaited = self._latest.get(command.job_id) is command
        if not handle.accepted:
            if awaited:
                message = "the machine does not accept the program"
                self._on_event(command.job_id, j.Failed(Stage.EXECUTE, int(ErrorCode.BUSY), message))
        elif not awaited:  # the job has ended meanwhile
            handle.cancel_goal_async()
        else:
            self._running = (command.job_id, handle)
            handle.get_result_async().add_done_callback(lambda done: self._node.post(self._ended, command, done))
            self._on_event(command.job_id, j.Started())

    def _ended(self, command: j.Execute, future: Any) -> None:
        if self._running is not None and self._running[0] == command.job_id:
            self._running = None
        if self._latest.get(command.job_id) is command:
            self._on_event(command.job_id, result_event(future.result().result))
