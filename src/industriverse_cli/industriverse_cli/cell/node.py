"""The command line's view of a running cell: converts, calls, and hands plain values to the commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from industriverse_core.artefacts import ForecastCase
from industriverse_core.errors import ErrorCode, PermitError
from industriverse_core.states import JobStage, state_name
from industriverse_core.store import RunningCell
from industriverse_core.units import duration_text, energy_text
from industriverse_msgs.msg import StopRequest
from industriverse_msgs.srv import ClearStop, Forecast, ListJobs
from industriverse_ros import names
from industriverse_ros.client import CellClient
from industriverse_ros.convert import forecast_case_from_msg


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as the command line shows it."""

    job_id: str
    state: str
    intent: str
    machine: str
    copy: int
    quantity: int
    progress: float
    error_code: int
    error: str
    note: str  # what the state brought: the verdict, the prediction, the price, or the error
    details: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The job as a JSON object."""
        error = {"code": self.error_code, "message": self.error} if self.error_code else None
        return {
            "job_id": self.job_id, "state": self.state, "intent": self.intent, "machine": self.machine,
            "copy": self.copy, "quantity": self.quantity, "progress": self.progress, "error": error, **self.details,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ForecastView:
    """How the rest of a running job goes; times in seconds of the machine, `duration_s` that of the answer."""

    job_id: str
    instruction: int
    duration_s: float
    cases: tuple[ForecastCase, ...]


@dataclass(frozen=True, slots=True)
class Latch:
    """A latched stop."""

    machine: str
    latch_id: int
    cause: str


class CommandClient(CellClient):
    """The shared client, with jobs and latches as plain values."""

    def __init__(self, cell: RunningCell) -> None:
        super().__init__(cell.namespace, cell.domain_id, cell.machine)

    def list_jobs(self, limit: int) -> list[JobView]:
        """The newest jobs; limit 0 = all."""
        answer = self.call(ListJobs, names.LIST_JOBS, ListJobs.Request(limit=limit))
        return [_job(msg) for msg in answer.jobs]

    def follow_view(self, job_id: str, on_update: Callable[[JobView], None]) -> JobView:
        """Approve the job if it waits, watch it to its end; its last state."""
        return _job(self.follow(job_id, lambda msg: on_update(_job(msg))))

    def forecast(self, machine: str, cases: list[str]) -> ForecastView:
        """What the twin expects of the job that runs. Raises PredictionError(NO_FORECAST)."""
        answer = self.call(Forecast, names.FORECAST, Forecast.Request(machine_id=machine, cases=cases))
        found = tuple(forecast_case_from_msg(case) for case in answer.cases)
        return ForecastView(answer.job_id, answer.instruction, answer.duration_s, found)

    def stop(self, level: str, machine: str, reason: str, operator: str) -> Latch:
        """Ask for a stop until the shield reports a latch. Raises PermitError when it does not."""
        number = {"hold": StopRequest.HOLD, "stop1": StopRequest.STOP1, "stop0": StopRequest.STOP0}[level]
        safety = self.request_stop(number, f"cli {operator}", reason, machine)
        return Latch(self.machine_id, safety.latch_id, safety.error_msg)

    def latched(self, machine: str, operator: str, reason: str) -> Latch:
        """What is latched (first step of a clear). Raises PermitError(NOTHING_TO_CLEAR)."""
        answer = self._clear_stop(machine, operator, reason, 0)
        name = machine or self.machine_id
        if answer.latch_id == 0:
            raise PermitError(ErrorCode.NOTHING_TO_CLEAR, f"nothing is latched on {name}.")
        return Latch(name, answer.latch_id, answer.cause)

    def clear(self, latch: Latch, operator: str, reason: str) -> None:
        """Clear exactly this latch (second step)."""
        self._clear_stop(latch.machine, operator, reason, latch.latch_id)

    def _clear_stop(self, machine: str, operator: str, reason: str, latch_id: int) -> Any:
        request = ClearStop.Request(machine_id=machine or self.machine_id, operator_name=operator, reason=reason)
        request.confirm_latch_id = latch_id
        return self.call(ClearStop, names.CLEAR_STOP, request)


def _job(msg: Any) -> JobView:
    """JobState as a view."""
    state = state_name(JobStage, msg.state)
    return JobView(
        job_id=msg.job_id,
        state=state,
        intent=msg.intent,
        machine=msg.machine_id,
        copy=msg.copy,
        quantity=msg.quantity,
        progress=msg.progress,
        error_code=msg.error_code,
        error=msg.error_msg,
        note=_note(state, msg),
        details=_details(msg),
    )


def _note(state: str, msg: Any) -> str:
    """What a state brought, in a few words."""
    if msg.error_msg and state not in ("received", "compiled", "completed"):
        return msg.error_msg  # why it waits, holds or has ended
    if state == "compiled":
        return f"{msg.program.name}, {msg.program.instruction_count} instructions"
    if state == "checked":
        return f"{msg.report.warning_count} warnings"
    if state == "predicted":
        return f"{duration_text(msg.prediction.time_s.mean)}, {energy_text(msg.prediction.energy_j.mean)}"
    if state == "priced":
        return f"{msg.quote.total.mean:.2f} {msg.quote.currency}"
    if state == "completed" and msg.ledger.electric_j > 0:
        ledger = msg.ledger
        return (
            f"{duration_text(ledger.time_s)}, {energy_text(ledger.electric_j)}, {ledger.material_kg * 1e3:.1f} g, "
            f"{ledger.price:.2f} {ledger.currency}"
        )
    return ""


def _details(msg: Any) -> dict[str, Any]:
    """The artefacts that the job has so far, as numbers."""
    details: dict[str, Any] = {"program_digest": None, "predicted": None, "price": None, "ledger": None}
    if any(msg.program.digest):
        details["program_digest"] = bytes(bytearray(msg.program.digest)).hex()
    if msg.prediction.time_s.mean > 0:
        time_s, energy_j = msg.prediction.time_s, msg.prediction.energy_j
        details["predicted"] = {
            "time_s": time_s.mean, "time_s_90": [time_s.low, time_s.high],
            "energy_j": energy_j.mean, "energy_j_90": [energy_j.low, energy_j.high],
        }  # fmt: skip
    if msg.quote.currency:
        details["price"] = {"total": msg.quote.total.mean, "currency": msg.quote.currency}
    if msg.ledger.electric_j > 0:
        fields = ("time_s", "electric_j", "work_j", "heat_j", "stored_j", "residual_fraction", "material_kg")
        details["ledger"] = {name: getattr(msg.ledger, name) for name in fields}
    return details
