"""twin_node: oracle, price, ledger and shadow. Converts, calls the logic, publishes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from industriverse_core.artefacts import LedgerEntry, ProgramRef
from industriverse_core.digest import Digest
from industriverse_core.errors import CoreError, ErrorCode, PredictionError
from industriverse_core.machine import load_machine, with_stock
from industriverse_core.material import resolve_material
from industriverse_core.program import Program, read_program
from industriverse_core.safety import base_pose, load_safety
from industriverse_core.store import ProgramStore
from industriverse_core.telemetry import ResidualChannel, ResidualSample, TelemetrySample
from industriverse_msgs.msg import ExecutionTrace, MachineTelemetry, Residual
from industriverse_msgs.srv import CloseLedger, Forecast, Predict, Price
from industriverse_ros import convert, names, qos
from industriverse_ros.node import CellNode, release_realtime, run
from industriverse_ros.params import param
from twin_node.account import Account
from twin_node.body.node import ExpectedJoints
from twin_node.calibration import calibrated_prediction
from twin_node.journal import ResidualJournal
from twin_node.lookahead import chosen, look_ahead
from twin_node.markers import JobMarkers, frames_of
from twin_node.oracle import prediction_of
from twin_node.price import quote
from twin_node.tariff import load_tariff
from twin_node.timeline import build_timeline
from twin_node.twin import Expectation, Running, Twin
from twin_node.warmup import warm_up

INSTRUCTIONS_KEPT = 400_000  # of past simulations, for the job that follows a prediction; about 0.4 kB each
LAST_SAMPLES_S = 1.0  # how long a ledger waits for the telemetry that says that the job has ended
BUILD_WAIT_S = 5.0  # and for the simulation of a job that was very short
CLOSE_LIMIT_S = 2.0  # how long the executor's thread may take to close the books, or to say what runs


@dataclass(slots=True, eq=False)
class _Closing:
    """A request to close a job's books: the services' thread waits, the executor's thread does it."""

    job_id: str
    ended: threading.Event = field(default_factory=threading.Event)  # telemetry says so
    built: threading.Event = field(default_factory=threading.Event)  # its simulation is there, or never will be
    ledger: Future[LedgerEntry] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class TwinParams:
    """Parameters of twin_node."""

    machine: str = param("prusa_mk3s", "machine profile, by name or YAML path")
    cell_dir: str = param("", "data folder of the cell")
    stock: str = param("", "a mill's blank: x0,y0,z0,x1,y1,z1 in mm, or a YAML file; '' = the profile's")
    cell_file: str = param("", "cell description, for the machine's place in it; '' = at the cell's origin")
    tariff: str = param("default", "tariff, by name or YAML path")
    residual_rate_hz: float = param(10.0, "residuals published while telemetry arrives", unit="Hz", low=1.0, high=50.0)
    markers: bool = param(True, "show the job to whoever listens to its markers")


class TwinNode(CellNode):
    """Predicts, prices, follows in lockstep, and closes the books. Its silence ends the permit."""

    Params = TwinParams

    def __init__(self, **options: Any) -> None:
        super().__init__("twin", **options)

    def setup(self) -> None:
        """Load the documents, warm the numeric loops, open every connection."""
        self._profile = with_stock(load_machine(self.params.machine), self.params.stock)
        self._tariff = load_tariff(self.params.tariff)
        self._store = ProgramStore(self.cell_paths().programs)
        self._journal = ResidualJournal(self.cell_paths().residuals)
        self._calibration = self._journal.residuals(self._profile.id)
        warm_up()
        self._twin = Twin(self._profile)
        self._body = ExpectedJoints(self, self._profile)
        self._expectations: OrderedDict[tuple[Digest, str], Expectation] = OrderedDict()
        self._materials: dict[Digest, str] = {}  # by which material a program was last predicted
        self._lock = threading.Lock()  # guards the two above: services run in their own thread
        self._published_s = float("-inf")
        self._lag_s = self._worst_lag_s = 0.0
        self._residual_count = 0
        self._problem = ""
        self._closings: list[_Closing] = []
        self._builder: threading.Thread | None = None
        machine = self._profile.id
        self._residuals = self.create_publisher(Residual, names.residual(machine), qos.SENSOR)
        self.create_subscription(MachineTelemetry, names.telemetry(machine), self._on_telemetry, qos.SENSOR)
        self.create_subscription(ExecutionTrace, names.execution_trace(machine), self._on_trace, qos.EVENT)
        self._markers = JobMarkers(self, self._profile, self._twin.moment) if self.params.markers else None
        safety = load_safety(Path(self.params.cell_file)) if self.params.cell_file else None
        self._frames = frames_of(self, self._profile, base_pose(safety, self._profile))
        self.create_long_service(Predict, names.PREDICT, self._predict)
        self.create_long_service(Price, names.PRICE, self._price)
        self.create_long_service(CloseLedger, names.CLOSE_LEDGER, self._close_ledger)
        self.create_long_service(Forecast, names.FORECAST, self._forecast)

    def close(self) -> None:
        """Let a simulation that still runs come to its end."""
        builder = getattr(self, "_builder", None)
        if builder is not None:
            builder.join(BUILD_WAIT_S)
        if getattr(self, "_markers", None) is not None:
            self._markers.close()
        if hasattr(self, "_journal"):
            self._journal.close()
        if hasattr(self, "_body"):
            self._body.close()

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        """What the twin follows, and how late it is."""
        if not hasattr(self, "_twin"):
            return DiagnosticStatus.WARN, "not configured", {}
        values = {
            "job": self._twin.job_id,
            "residuals": self._residual_count,
            "lag_ms": f"{self._lag_s * 1e3:.2f}",
            "worst_lag_ms": f"{self._worst_lag_s * 1e3:.2f}",
            "position_delay_ms": f"{self._twin.alignment.delay_s * 1e3:.0f}",
            "position_delay_sd_ms": f"{self._twin.alignment.sd_s * 1e3:.0f}",
            "calibrated_by_jobs": len(self._calibration.energy),
            **self._body.values(),
        }
        if self._problem:
            return DiagnosticStatus.WARN, self._problem, values
        return DiagnosticStatus.OK, "active" if self.active else "inactive", values

    # --- following the machine ---

    def _on_telemetry(self, msg: MachineTelemetry) -> None:
        received_s = self.steady_s()
        try:
            sample = convert.telemetry_from_msg(msg)
        except ValueError as error:  # a state or heater that does not exist: no heartbeat for it
            self.get_logger().warning(f"telemetry refused: {error}", throttle_duration_sec=5.0)
            return
        if sample.machine_id != self._profile.id:
            return
        channels, begun = self._twin.observe(sample)
        if begun is not None:
            self._begin_build(sample.job_id, begun)
        self._tell_closings()
        # three quarters of a period: a telemetry period's jitter must not halve the rate
        if self.active and received_s - self._published_s >= 0.75 / self.params.residual_rate_hz:
            self._publish(sample, channels, received_s)
        if self.active:
            self._body.observe(sample, self._twin.motion(sample))

    def _on_trace(self, msg: ExecutionTrace) -> None:
        self._twin.observe_trace(convert.trace_from_msg(msg))

    def _publish(self, sample: TelemetrySample, channels: tuple[ResidualChannel, ...], received_s: float) -> None:
        self._lag_s = self.steady_s() - received_s
        self._worst_lag_s = max(self._worst_lag_s, self._lag_s)
        residual = ResidualSample(
            stamp_s=sample.stamp_s,
            machine_id=sample.machine_id,
            incarnation=self.incarnation,
            job_id=sample.job_id,
            program_digest=sample.program_digest,
            instruction=sample.instruction,
            channels=channels,
            lag_s=self._lag_s,
        )
        self._residuals.publish(convert.residual_to_msg(residual))
        self._frames.move(sample.position_m, sample.stamp_s)
        self._published_s = received_s
        self._residual_count += 1

    def _begin_build(self, job_id: str, digest: Digest) -> None:
        """Simulate the job's program in a thread of its own; residuals go on meanwhile."""
        self._builder = threading.Thread(target=self._build, args=(job_id, digest), name="expectation", daemon=True)
        self._builder.start()

    def _build(self, job_id: str, digest: Digest) -> None:
        release_realtime()
        try:
            program = read_program(self._store.path(digest), digest)
            with self._lock:
                material = self._materials.get(digest, "") or program.metadata.material
            expectation = self._expect(program, material)
            expectation.timeline.prepare_to_follow()
        except CoreError as error:
            self.post(self._not_built, job_id, str(error))
        except Exception as error:  # noqa: BLE001 - a bug in a worker thread must end the process too
            self.failure = error
        else:
            self.post(self._built, job_id, expectation)

    def _built(self, job_id: str, expectation: Expectation) -> None:
        self._problem = ""
        self._twin.expect(job_id, expectation)
        if self._markers is not None:
            self._markers.expect(expectation)
        self._tell_closings()

    def _not_built(self, job_id: str, reason: str) -> None:
        self._problem = f"job {job_id} is followed without its program: {reason}"
        self.get_logger().warning(self._problem)
        self._tell_closings()

    # --- services ---

    def _predict(self, request: Predict.Request, response: Predict.Response) -> Predict.Response:
        self._check_machine(request.machine_id, ErrorCode.CANNOT_PREDICT)
        ref: ProgramRef = convert.ref_from_msg(request.program)
        program = ProgramStore.load(ref)
        material = request.material or ref.material or program.metadata.material
        expectation = self._expect(program, material)
        with self._lock:
            self._materials[ref.digest] = material
        response.prediction = convert.prediction_to_msg(expectation.prediction)
        return response

    def _price(self, request: Price.Request, response: Price.Response) -> Price.Response:
        try:
            prediction = convert.prediction_from_msg(request.prediction)
        except ValueError as error:
            raise PredictionError(
                ErrorCode.CANNOT_PRICE, f"the prediction cannot be read: {error}.", "Predict the job again."
            ) from error
        self._check_machine(prediction.machine_id, ErrorCode.CANNOT_PRICE)
        material = resolve_material(prediction.material, self._profile.kind)
        response.quote = convert.quote_to_msg(quote(prediction, self._profile, material, self._tariff))
        return response

    def _forecast(self, request: Forecast.Request, response: Forecast.Response) -> Forecast.Response:
        self._check_machine(request.machine_id, ErrorCode.NO_FORECAST)
        started_s, cases = self.steady_s(), chosen(request.cases)
        running = self._running()
        found = look_ahead(running.timeline, running.present, cases, self._calibration, running.prediction)
        response.job_id, response.instruction = running.job_id, running.present.instruction
        response.cases = [convert.forecast_case_to_msg(case) for case in found]
        response.duration_s = self.steady_s() - started_s
        return response

    def _running(self) -> Running:
        """What runs now, asked of the executor's thread, to which it belongs."""
        answer: Future[Running | None] = Future()
        self.post(lambda: answer.set_result(self._twin.running()))
        try:
            running, why = answer.result(CLOSE_LIMIT_S), "no job runs whose program is simulated"
        except TimeoutError:
            running, why = None, f"the twin did not say within {CLOSE_LIMIT_S:g} s what runs"
        if running is None:
            remedy = "Ask again while a job is executed; its program is simulated in its first seconds."
            raise PredictionError(ErrorCode.NO_FORECAST, f"{self._profile.id}: {why}.", remedy)
        return running

    def _close_ledger(self, request: CloseLedger.Request, response: CloseLedger.Response) -> CloseLedger.Response:
        self._check_machine(request.machine_id, ErrorCode.NO_LEDGER)
        closing = _Closing(request.job_id)
        self.post(self._open_closing, closing)
        closing.ended.wait(LAST_SAMPLES_S)
        closing.built.wait(BUILD_WAIT_S)
        self.post(self._close_account, closing)
        try:
            ledger = closing.ledger.result(CLOSE_LIMIT_S)
        except TimeoutError:
            raise PredictionError(
                ErrorCode.NO_LEDGER, f"job {request.job_id}: its books were not closed in {CLOSE_LIMIT_S:g} s.",
                "The twin is overloaded or ends; look at its log.",
            ) from None  # fmt: skip
        response.ledger = convert.ledger_to_msg(ledger, self.now_s())
        return response

    def _open_closing(self, closing: _Closing) -> None:
        self._closings.append(closing)
        self._tell_closings()

    def _tell_closings(self) -> None:
        """Let those who wait for a job's end, or for its simulation, go on."""
        for closing in self._closings:
            if closing.job_id != self._twin.job_id:
                closing.ended.set()
            if self._problem or self._twin.is_expected(closing.job_id):
                closing.built.set()

    def _close_account(self, closing: _Closing) -> None:
        self._closings.remove(closing)
        try:
            account = self._twin.account(closing.job_id)
            closing.ledger.set_result(account.close(self._tariff))
            if account.set_up_s > 0.0:
                spent = f"{account.set_up_s:.1f} s, {account.set_up_j:.0f} J"
                self.get_logger().info(f"job {closing.job_id}: {spent} before its program began")
        except CoreError as error:
            closing.ledger.set_exception(error)
        else:
            self._learn(account)

    def _learn(self, account: Account) -> None:
        """Calibrate the next predictions by a finished job. A journal that cannot be written costs only that."""
        try:
            if self._journal.add(account, self.now_s()):
                self._calibration = self._journal.residuals(self._profile.id)
        except CoreError as error:
            self.get_logger().warning(str(error))

    def _expect(self, program: Program, material_name: str) -> Expectation:
        """Simulate a program, or find it among the last ones; its prediction calibrated by the jobs until now."""
        material = resolve_material(material_name, self._profile.kind)
        key = (program.digest, material.id)
        with self._lock:
            found = self._expectations.get(key)
        if found is not None:
            return self._calibrated(found)
        timeline = build_timeline(program, self._profile, material)
        expectation = Expectation(timeline, material, prediction_of(timeline, self._profile, material))
        with self._lock:
            self._expectations[key] = expectation
            kept = [len(item.timeline.program) for item in self._expectations.values()]
            while len(kept) > 1 and sum(kept) > INSTRUCTIONS_KEPT:
                self._expectations.popitem(last=False)
                kept.pop(0)
        return self._calibrated(expectation)

    def _calibrated(self, raw: Expectation) -> Expectation:
        return replace(raw, prediction=calibrated_prediction(raw.prediction, self._calibration))

    def _check_machine(self, machine_id: str, code: ErrorCode) -> None:
        if machine_id not in ("", self._profile.id):
            raise PredictionError(
                code, f"machine '{machine_id}' is not this twin's.", f"This twin follows {self._profile.id}."
            )


def main() -> None:
    """Entry point."""
    run(TwinNode)


if __name__ == "__main__":
    main()
