"""The node over DDS: a heartbeat while telemetry comes, services, and a whole job with its ledger."""

import dataclasses
import itertools
import math
import sys
import threading
import time

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

import industriverse_msgs.msg as im
from industriverse_core.digest import NO_DIGEST
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.store import CellPaths, ProgramStore
from industriverse_core.telemetry import MachineState, Trace
from industriverse_msgs.msg import ExecutionTrace, MachineTelemetry, Residual
from industriverse_msgs.srv import CloseLedger, Forecast, Predict, Price
from industriverse_ros import convert, names, qos
from industriverse_ros.testing import bring_up, spin_until
from twin_node.lookahead import WHAT_IFS
from twin_node.node import TwinNode

PERIOD_S = 0.05


class Cell:
    """A twin, and this test in the places of machine and conductor."""

    def __init__(self, ros, directory):
        self.twin = TwinNode(parameter_overrides=[Parameter("cell_dir", value=str(directory))])
        self.peer = ros.create_node("peer")
        self.executor = SingleThreadedExecutor()
        for node in (self.twin, self.peer):
            self.executor.add_node(node)
        bring_up(self.twin)
        machine = "prusa_mk3s"
        self.telemetry = self.peer.create_publisher(MachineTelemetry, names.telemetry(machine), qos.SENSOR)
        self.traces = self.peer.create_publisher(ExecutionTrace, names.execution_trace(machine), qos.EVENT)
        self.residuals = []
        self.peer.create_subscription(
            Residual, names.residual(machine), lambda m: self.residuals.append((time.monotonic(), m)), qos.SENSOR
        )
        assert spin_until(self.executor, lambda: self.telemetry.get_subscription_count() > 0, 20.0)

    def call(self, kind, name, **request):
        client = self.peer.create_client(kind, name)
        assert spin_until(self.executor, client.service_is_ready)
        future = client.call_async(kind.Request(**request))
        assert spin_until(self.executor, future.done, 30.0)
        return future.result()

    def publish(self, sample):
        self.telemetry.publish(convert.telemetry_to_msg(sample))


@pytest.fixture
def cell(ros, tmp_path, program):
    ref = ProgramStore(CellPaths(tmp_path).programs).add(program)
    cell = Cell(ros, tmp_path)
    cell.ref = convert.ref_to_msg(ref)
    yield cell
    cell.twin.close()
    cell.executor.shutdown()
    for node in (cell.twin._long_node, cell.twin, cell.peer):
        node.destroy_node()


def play(cell, samples, until):
    """Publish samples at 20 Hz from another thread while this one spins."""
    stop = threading.Event()

    def send():
        for sample in samples:
            if stop.wait(PERIOD_S):
                return
            cell.publish(sample)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        return spin_until(cell.executor, until, 30.0)
    finally:
        stop.set()
        thread.join()


def test_predict_then_price(cell):
    answer = cell.call(Predict, names.PREDICT, program=cell.ref, machine_id="prusa_mk3s", material="PLA")
    assert (answer.error_code, answer.error_msg) == (0, "")
    assert answer.prediction.time_s.low < answer.prediction.time_s.mean < answer.prediction.time_s.high
    priced = cell.call(Price, names.PRICE, prediction=answer.prediction)
    assert priced.error_code == 0
    assert priced.quote.total.mean > 0.0
    assert bytes(priced.quote.prediction_digest) == bytes(answer.prediction.digest)


def test_refusals_are_answers(cell, tmp_path):
    answer = cell.call(Predict, names.PREDICT, program=cell.ref, machine_id="other", material="PLA")
    assert answer.error_code == ErrorCode.CANNOT_PREDICT
    answer = cell.call(Predict, names.PREDICT, program=cell.ref, machine_id="", material="granite")
    assert answer.error_code == ErrorCode.UNKNOWN_MATERIAL
    cell.ref.uri = (tmp_path / "absent.arrow").as_uri() + "#sha256=" + "0" * 64
    assert cell.call(Predict, names.PREDICT, program=cell.ref).error_code == ErrorCode.FILE_NOT_FOUND
    assert cell.call(Price, names.PRICE).error_code == ErrorCode.CANNOT_PRICE
    broken = im.Prediction(machine_id="prusa_mk3s", material="PLA", time_s=im.Estimate(mean=math.nan))
    assert cell.call(Price, names.PRICE, prediction=broken).error_code == ErrorCode.CANNOT_PRICE
    assert cell.call(CloseLedger, names.CLOSE_LEDGER, job_id="J9").error_code == ErrorCode.NO_LEDGER


def test_the_heartbeat_goes_on_while_a_prediction_runs_and_stops_with_the_telemetry(cell, machine):
    sample = next(machine.run())
    idle = [
        dataclasses.replace(sample, stamp_s=n * PERIOD_S, job_id="", program_digest=NO_DIGEST, state=MachineState.IDLE)
        for n in range(1, 400)
    ]
    requests = [
        cell.peer.create_client(Predict, names.PREDICT).call_async(Predict.Request(program=cell.ref, material=name))
        for name in ("PLA", "PETG", "ABS")
    ]
    assert play(cell, idle, lambda: len(cell.residuals) >= 20 and all(request.done() for request in requests))
    gaps = [later[0] - earlier[0] for earlier, later in zip(cell.residuals, cell.residuals[1:], strict=False)]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.1, abs=0.04)  # every second sample at 20 Hz
    message = cell.residuals[-1][1]
    assert message.incarnation == cell.twin.incarnation
    assert 0.0 <= message.lag_s < 1.0
    count = len(cell.residuals)
    assert not spin_until(cell.executor, lambda: len(cell.residuals) > count + 1, 0.5)


def test_an_inactive_twin_is_silent(cell, machine):
    cell.twin.trigger_deactivate()
    sample = next(machine.run())
    samples = [dataclasses.replace(sample, stamp_s=n * PERIOD_S) for n in range(20)]
    play(cell, samples, lambda: cell.twin._twin.job_id == "J1")
    assert cell.residuals == []


def test_a_whole_job_is_followed_and_its_books_close(cell, machine):
    cell.call(Predict, names.PREDICT, program=cell.ref, machine_id="prusa_mk3s", material="PLA")
    samples = list(machine.run(2.5))
    assert play(cell, samples, lambda: cell.twin._twin.job_id == "" and "J1" in cell.twin._twin._accounts)
    done = len(machine.program)
    trace = Trace(samples[-1].stamp_s, "prusa_mk3s", "J1", machine.program.digest, done, done, done, done)
    cell.traces.publish(convert.trace_to_msg(trace))
    assert spin_until(cell.executor, lambda: cell.twin._twin.account("J1").executed == done)
    answer = cell.call(CloseLedger, names.CLOSE_LEDGER, job_id="J1", machine_id="prusa_mk3s")
    assert (answer.error_code, answer.error_msg) == (0, "")
    ledger = convert.ledger_from_msg(answer.ledger)
    assert abs(ledger.residual_fraction) < 0.03
    assert ledger.time_s == pytest.approx(ledger.prediction.time_s.mean, rel=0.05)
    followed = [message for _, message in cell.residuals if message.job_id == "J1"]
    assert len(followed) > 0.4 * len(samples)
    assert len(followed[-1].channels) == 4


def test_the_books_wait_for_the_end_of_the_job(cell, machine, monkeypatch):
    """The request comes before the telemetry that says that the job has ended: the last sample is in the books."""
    monkeypatch.setattr("twin_node.node.LAST_SAMPLES_S", 20.0)  # a busy machine may be late
    cell.call(Predict, names.PREDICT, program=cell.ref, machine_id="prusa_mk3s", material="PLA")
    samples = list(machine.run(2.5))
    running = [sample for sample in samples if sample.job_id]
    assert play(cell, running, lambda: cell.twin._twin.job_id == "J1" and cell.twin._twin.account("J1").samples > 20)
    client = cell.peer.create_client(CloseLedger, names.CLOSE_LEDGER)
    assert spin_until(cell.executor, client.service_is_ready)
    answer = client.call_async(CloseLedger.Request(job_id="J1"))
    assert spin_until(cell.executor, lambda: len(cell.twin._closings) == 1)
    cell.publish(running[-1])
    cell.publish(dataclasses.replace(samples[-1], job_id="", program_digest=NO_DIGEST, state=MachineState.IDLE))
    assert spin_until(cell.executor, answer.done, 10.0)
    ledger = convert.ledger_from_msg(answer.result().ledger)
    assert ledger.time_s == pytest.approx(running[-1].stamp_s - running[0].stamp_s)
    assert cell.twin._closings == []


def test_the_body_is_described_to_whoever_looks(cell):
    got = []
    topic = names.robot_description("prusa_mk3s")
    cell.peer.create_subscription(String, topic, lambda msg: got.append(msg.data), qos.STATE)
    assert spin_until(cell.executor, lambda: got)
    assert "prusa_mk3s_tool" in got[0]


def test_who_looks_sees_the_job(cell, machine):
    cell.call(Predict, names.PREDICT, program=cell.ref, machine_id="prusa_mk3s", material="PLA")
    seen = {}
    cell.peer.create_subscription(
        MarkerArray,
        names.markers("prusa_mk3s"),
        lambda msg: seen.update({(marker.ns, marker.id): marker for marker in msg.markers}),
        qos.STATE,
    )
    # a busy machine may come to its last sample before the picture is there: the job goes on as long as it takes
    samples = [sample for sample in machine.run(2.5) if sample.job_id]
    last = (dataclasses.replace(samples[-1], stamp_s=samples[-1].stamp_s + n * PERIOD_S) for n in range(1, 10_000))

    def shown():
        ending = seen.get(("ending", 0))
        return ending is not None and "ends at" in ending.text and ("done", 0) in seen and seen["done", 0].points

    assert play(cell, itertools.chain(samples, last), shown)
    assert {"done", "to_do", "energy", "expected_tool", "legend"} <= {namespace for namespace, _ in seen}
    assert seen["done", 0].header.frame_id == "prusa_mk3s_base"


def test_a_job_without_its_program_is_followed_and_says_so(cell, machine):
    unknown = [dataclasses.replace(s, program_digest=bytes([7] * 32)) for s in machine.run(2.5)]
    assert play(cell, unknown, lambda: len(cell.residuals) > 10)
    assert "followed without its program" in cell.twin.health()[1]
    assert cell.residuals[-1][1].channels[0].sigma > 0.0


def test_the_rest_of_a_running_job_is_forecast(cell, machine):
    answer = cell.call(Forecast, names.FORECAST)
    assert answer.error_code == ErrorCode.NO_FORECAST
    assert "no job runs" in answer.error_msg
    running = [sample for sample in machine.run(2.5) if sample.job_id]
    halfway = running[: len(running) // 2]
    assert play(cell, halfway, lambda: cell.twin._twin.job_id == "J1" and cell.twin._twin.account("J1").timeline)
    cell.publish(running[len(running) // 2])
    cell.publish(running[len(running) // 2 + 1])
    here = running[len(running) // 2 + 1]
    assert spin_until(cell.executor, lambda: cell.twin._twin._stamp_s > here.stamp_s - 1e-3)
    answer = cell.call(Forecast, names.FORECAST, machine_id="prusa_mk3s")
    assert (answer.error_code, answer.error_msg, answer.job_id) == (0, "", "J1")
    assert answer.instruction == here.instruction
    assert [case.name for case in answer.cases] == list(WHAT_IFS)
    assert answer.duration_s > 0.0
    plain = convert.forecast_case_from_msg(answer.cases[0])
    assert plain.time_s.mean == pytest.approx(running[-1].stamp_s - here.stamp_s, rel=0.03)
    only = cell.call(Forecast, names.FORECAST, cases=["slower_20"])
    assert [case.name for case in only.cases] == ["slower_20"]
    assert only.cases[0].time.mean > plain.time_s.mean
    assert cell.call(Forecast, names.FORECAST, cases=["tomorrow"]).error_code == ErrorCode.NO_FORECAST
    assert cell.call(Forecast, names.FORECAST, machine_id="other").error_code == ErrorCode.NO_FORECAST


def test_a_twin_without_a_cell_does_not_start(ros):
    twin = TwinNode()
    with pytest.raises(CoreError, match="cell_dir"):
        bring_up(twin)


def test_a_finished_job_calibrates_the_next_prediction(cell, machine):
    before = cell.call(Predict, names.PREDICT, program=cell.ref, machine_id="prusa_mk3s", material="PLA").prediction
    running = [sample for sample in machine.run(2.5) if sample.job_id]
    leaky = [dataclasses.replace(s, energy_j=5e3 + 1.2 * (s.energy_j - 5e3)) for s in running]
    idle = dataclasses.replace(leaky[-1], stamp_s=leaky[-1].stamp_s + 1.0, job_id="", program_digest=NO_DIGEST)
    assert play(cell, [*leaky, idle], lambda: cell.twin._twin.job_id == "" and "J1" in cell.twin._twin._accounts)
    done = len(machine.program)
    trace = Trace(leaky[-1].stamp_s, "prusa_mk3s", "J1", machine.program.digest, done, done, done, done)
    cell.traces.publish(convert.trace_to_msg(trace))
    assert spin_until(cell.executor, lambda: cell.twin._twin.account("J1").executed == done)
    for _ in range(2):  # closing again adds nothing
        assert cell.call(CloseLedger, names.CLOSE_LEDGER, job_id="J1", machine_id="prusa_mk3s").error_code == 0
    assert cell.twin.health()[2]["calibrated_by_jobs"] == 1
    after = cell.call(Predict, names.PREDICT, program=cell.ref, machine_id="prusa_mk3s", material="PLA").prediction
    assert 1.05 < after.energy_j.mean / before.energy_j.mean < 1.2
    assert after.time_s.mean == pytest.approx(before.time_s.mean, rel=0.01)


def test_the_body_publishes_where_the_machine_should_be(cell, machine):
    joints = []
    cell.peer.create_subscription(JointState, names.expected_joint_states("prusa_mk3s"), joints.append, qos.SENSOR)
    cell.call(Predict, names.PREDICT, program=cell.ref, machine_id="prusa_mk3s", material="PLA")
    moving = [sample for sample in machine.run(0.1) if sample.job_id and sample.instruction > 10]
    assert play(cell, moving, lambda: len(joints) >= 20)
    message = joints[-1]
    assert list(message.name) == ["prusa_mk3s_x", "prusa_mk3s_y", "prusa_mk3s_z"]
    assert len(message.position) == len(message.velocity) == len(message.effort) == 3
    stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
    sample = min(moving, key=lambda each: abs(each.stamp_s - stamp_s))
    assert sample.stamp_s == pytest.approx(stamp_s, abs=1e-6)
    assert math.dist(message.position, sample.position_m) < 0.02
    values = cell.twin.health()[2]
    assert (values["body"], values["planned_collisions"]) == ("follows", 0)


def test_the_twin_goes_on_without_mujoco(ros, tmp_path, program, machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    cell = Cell(ros, tmp_path)
    try:
        assert "MuJoCo" in cell.twin.health()[2]["body"]
        assert play(cell, machine.run(0.5), lambda: len(cell.residuals) > 5)
    finally:
        cell.twin.close()
        cell.executor.shutdown()
        for node in (cell.twin._long_node, cell.twin, cell.peer):
            node.destroy_node()
