"""The node against made-up stages in an own ROS domain: services, action and topics are real."""

import sys
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.action import ActionClient, ActionServer  # noqa: E402
from rclpy.experimental.events_executor import EventsExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

import industriverse_msgs.msg as im  # noqa: E402
import industriverse_msgs.srv as srv  # noqa: E402
from conductor_node.node import ConductorNode  # noqa: E402
from conductor_node.states import State  # noqa: E402
from industriverse_core.artefacts import Verdict  # noqa: E402
from industriverse_core.errors import CoreError, ErrorCode  # noqa: E402
from industriverse_core.telemetry import MachineState, TelemetrySample  # noqa: E402
from industriverse_msgs.action import ExecuteProgram, RunJob  # noqa: E402
from industriverse_ros import convert, names, qos  # noqa: E402
from industriverse_ros.testing import bring_up, spin_until  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import stories as s  # noqa: E402


class Stages:
    """Intent, shield, twin and machine in one node; tests change what they answer."""

    def __init__(self):
        self.node = rclpy.create_node("stages")
        self.verdict, self.digest = Verdict.ACCEPT, s.DIGEST
        self.armed, self.executions, self.calls, self.states = bytes(32), [], [], []
        self.machine = TelemetrySample(0.0, s.MACHINE, 5, 1, MachineState.IDLE)
        self.safety, self.latch_id, self.cause = im.SafetyState.IDLE, 0, ""
        self.goal = None
        make = self.node.create_service
        make(srv.CompileIntent, names.COMPILE_INTENT, self.compile)
        make(srv.CheckProgram, names.CHECK_PROGRAM, self.check)
        make(srv.Predict, names.PREDICT, self.predict)
        make(srv.Price, names.PRICE, self.price)
        make(srv.ArmProgram, names.ARM_PROGRAM, self.arm)
        make(srv.CloseLedger, names.CLOSE_LEDGER, self.close)
        self.server = ActionServer(
            self.node,
            ExecuteProgram,
            names.execute_program(s.MACHINE),
            execute_callback=self.executed,
            handle_accepted_callback=self.accept,
            cancel_callback=lambda handle: rclpy.action.CancelResponse.ACCEPT,
        )
        self.telemetry = self.node.create_publisher(im.MachineTelemetry, names.telemetry(s.MACHINE), qos.SENSOR)
        self.shield = self.node.create_publisher(im.SafetyState, names.safety_state(s.MACHINE), qos.STATE)
        self.node.create_subscription(im.JobState, names.JOB_STATE, self.states.append, qos.EVENT)
        self.node.create_timer(0.02, self.tick)
        self.submit = self.node.create_client(srv.SubmitJob, names.SUBMIT_JOB)
        self.list = self.node.create_client(srv.ListJobs, names.LIST_JOBS)
        self.runner = ActionClient(self.node, RunJob, names.RUN_JOB)

    def tick(self):
        self.telemetry.publish(convert.telemetry_to_msg(self.machine))
        state = im.SafetyState.LATCHED if self.latch_id else self.safety
        msg = im.SafetyState(state=state, latch_id=self.latch_id, error_msg=self.cause)
        msg.program_digest = convert.digest_to_msg(self.armed)
        self.shield.publish(msg)

    def compile(self, request, response):
        self.calls.append("compile")
        if request.intent == "rubbish":
            response.error_code, response.error_msg = int(ErrorCode.INTENT_NOT_UNDERSTOOD), "Not understood."
            return response
        response.program, response.material, response.quantity = convert.ref_to_msg(s.REF), "PLA", 1
        return response

    def check(self, request, response):
        self.calls.append("check")
        response.report = convert.report_to_msg(s.report(self.verdict, self.digest), 0.0)
        return response

    def predict(self, request, response):
        response.prediction = convert.prediction_to_msg(s.prediction())
        return response

    def price(self, request, response):
        response.quote = convert.quote_to_msg(s.quote(convert.prediction_from_msg(request.prediction)))
        return response

    def arm(self, request, response):
        self.armed = convert.digest_from_msg(request.program_digest)
        self.calls.append("arm" if any(self.armed) else "disarm")
        self.safety = im.SafetyState.PERMITTING if any(self.armed) else im.SafetyState.IDLE
        return response

    def close(self, request, response):
        response.ledger = convert.ledger_to_msg(s.ledger(request.job_id), 0.0)
        return response

    def accept(self, handle):
        self.goal = handle
        self.executions.append(handle.request.execution_id)
        self.machine = TelemetrySample(
            0.0, s.MACHINE, 5, 1, MachineState.EXECUTING, job_id=handle.request.job_id, instruction=7, progress=0.5
        )

    def finish(self, outcome=1, code=0, message="", executed=4512):
        self.result = ExecuteProgram.Result(outcome=outcome, error_code=code, error_msg=message, executed=executed)
        self.machine = TelemetrySample(0.0, s.MACHINE, 5, 1, MachineState.IDLE)
        goal, self.goal = self.goal, None
        goal.execute()

    def executed(self, handle):
        if handle.is_cancel_requested:
            handle.canceled()
        elif self.result.outcome == 1:
            handle.succeed()
        else:
            handle.abort()
        return self.result


@pytest.fixture
def cell(ros, tmp_path):
    """Stages, executor and a way to start conductors."""
    executor = EventsExecutor()
    stages = Stages()
    executor.add_node(stages.node)
    conductors = []

    class Cell:
        def __init__(self):
            self.stages = stages

        def conductor(self, **values):
            parameters = {"cell_dir": str(tmp_path), **values}
            node = ConductorNode(parameter_overrides=[Parameter(name, value=v) for name, v in parameters.items()])
            executor.add_node(node)
            conductors.append(bring_up(node))
            return node

        def wait(self, condition):
            assert spin_until(executor, condition, 20.0), f"in vain; jobs: {[m.state for m in stages.states[-3:]]}"
            for node in conductors:
                if node.failure is not None:
                    raise node.failure

        def call(self, client, request):
            self.wait(client.service_is_ready)
            future = client.call_async(request)
            self.wait(future.done)
            return future.result()

        def submit(self, intent="cable clip", **fields):
            return self.call(stages.submit, srv.SubmitJob.Request(intent=intent, **fields))

        def follow(self, job_id, feedback=None):
            self.wait(stages.runner.server_is_ready)
            goal = stages.runner.send_goal_async(RunJob.Goal(job_id=job_id), feedback)
            self.wait(goal.done)
            return goal.result(), goal.result().get_result_async()

        def last(self, job_id):
            return next((m for m in reversed(stages.states) if m.job_id == job_id), None)

        def until(self, job_id, state):
            self.wait(lambda: (job := self.last(job_id)) is not None and job.state == state)
            return self.last(job_id)

        def die(self, node):
            for timer in node.timers:
                timer.cancel()
            executor.spin_once(timeout_sec=0.1)  # a beat that is queued already
            executor.remove_node(node)
            conductors.remove(node)
            node.stop()
            node.close()
            node.destroy_node()

    yield Cell()
    for node in conductors:
        node.close()
    executor.shutdown()


def test_one_job_all_the_way_and_the_heartbeat(cell):
    node = cell.conductor()
    cell.wait(lambda: cell.stages.states)
    idle = cell.stages.states[-1]
    assert (idle.state, idle.job_id, idle.incarnation) == (im.JobState.UNKNOWN, "", node.incarnation)
    job_id = cell.submit().job_id
    assert job_id == "J1"
    feedback = []
    _, result = cell.follow(job_id, lambda item: feedback.append(item.feedback.job.state))
    cell.wait(lambda: cell.stages.goal)
    cell.until(job_id, State.EXECUTING)
    count = len(cell.stages.states)
    cell.wait(lambda: len(cell.stages.states) > count + 3)  # the heartbeat goes on, with progress
    assert cell.last(job_id).progress == 0.5
    cell.stages.finish()
    cell.wait(result.done)
    job = result.result().result.job
    assert (job.state, job.error_code, job.ledger.job_id) == (State.COMPLETED, 0, job_id)
    assert job.ledger.electric_j == 100.0
    assert State.EXECUTING in feedback
    assert cell.stages.calls == ["compile", "check", "arm", "disarm"]
    seen = [m.state for m in cell.stages.states if m.job_id == job_id]
    assert [state for state, last in zip(seen, [0, *seen], strict=False) if state != last] == [*range(1, 9), 10]


def test_copies_queue_and_list(cell):
    cell.conductor()
    first = cell.submit(quantity=2).job_id
    second = cell.submit("rubbish").job_id
    for copy in (1, 2):
        cell.wait(lambda: cell.stages.goal)
        assert cell.last(first).copy == copy
        cell.stages.finish()
    cell.until(first, State.COMPLETED)
    assert cell.until(second, State.REFUSED).error_code == ErrorCode.INTENT_NOT_UNDERSTOOD
    assert len(set(cell.stages.executions)) == len(cell.stages.executions) == 2
    answer = cell.call(cell.stages.list, srv.ListJobs.Request())
    assert [(job.job_id, job.state) for job in answer.jobs] == [(second, State.REFUSED), (first, State.COMPLETED)]
    assert len(cell.call(cell.stages.list, srv.ListJobs.Request(limit=1)).jobs) == 1


def test_operator_approves_by_following(cell):
    cell.conductor(approval="operator")
    job_id = cell.submit().job_id
    cell.until(job_id, State.PRICED)
    cell.wait(lambda: "approval" in cell.last(job_id).error_msg)
    assert not cell.stages.executions
    _, one = cell.follow(job_id)
    _, two = cell.follow(job_id)
    cell.wait(lambda: cell.stages.goal)
    cell.until(job_id, State.EXECUTING)
    cell.stages.finish()
    cell.wait(lambda: one.done() and two.done())
    assert two.result().result.job.state == State.COMPLETED


def test_cancel_while_executing(cell):
    cell.conductor()
    job_id = cell.submit().job_id
    handle, result = cell.follow(job_id)
    cell.until(job_id, State.EXECUTING)
    cell.wait(handle.cancel_goal_async().done)
    cell.wait(lambda: cell.stages.goal.is_cancel_requested)
    cell.stages.finish(outcome=2, code=int(ErrorCode.CANCELLED), message="Cancelled.", executed=9)
    cell.wait(result.done)
    assert result.result().result.error_code == ErrorCode.CANCELLED
    assert "9 of 4,512" in result.result().result.error_msg
    assert cell.last(job_id).state == State.ABORTED
    assert "disarm" in cell.stages.calls


def test_latched_stop_states_the_fate_and_the_next_job_waits(cell):
    cell.conductor()
    first, second = cell.submit().job_id, cell.submit().job_id
    cell.until(first, State.EXECUTING)
    cell.stages.latch_id, cell.stages.cause = 77, "Someone asked to stop."
    cell.until(first, State.HELD)
    cell.stages.finish(outcome=2, code=int(ErrorCode.STOP_REQUESTED), message="Someone asked to stop.", executed=9)
    job = cell.until(first, State.ABORTED)
    assert job.error_code == ErrorCode.STOP_REQUESTED
    assert "9 of 4,512" in job.error_msg
    cell.wait(lambda: (m := cell.last(second)) and m.state == State.APPROVED and "latched" in m.error_msg)
    assert len(cell.stages.executions) == 1
    cell.stages.latch_id = 0
    cell.until(second, State.EXECUTING)


def test_gates_refuse(cell):
    cell.conductor()
    cell.stages.verdict = Verdict.REFUSE
    job = cell.until(cell.submit().job_id, State.REFUSED)
    assert job.error_code == ErrorCode.GATE_REFUSED
    assert job.report.findings[0].rule == "envelope.axis"
    assert "arm" not in cell.stages.calls


def test_a_report_for_another_program_refuses(cell):
    cell.conductor()
    cell.stages.digest = s.OTHER
    assert cell.until(cell.submit().job_id, State.REFUSED).error_code == ErrorCode.DIGEST_MISMATCH


def test_restart_while_executing(cell):
    node = cell.conductor()
    first, second = cell.submit().job_id, cell.submit("another").job_id
    cell.until(first, State.EXECUTING)
    cell.die(node)
    cell.stages.states.clear()
    cell.conductor()
    job = cell.until(first, State.ABORTED)
    assert job.error_code == ErrorCode.CONDUCTOR_RESTARTED
    assert "executing" in job.error_msg
    assert len(cell.stages.executions) == 1
    cell.stages.machine = TelemetrySample(0.0, s.MACHINE, 5, 1, MachineState.IDLE)
    cell.until(second, State.EXECUTING)
    assert cell.submit().job_id == "J3"
    _, result = cell.follow(first)
    cell.wait(result.done)
    assert result.result().result.job.state == State.ABORTED


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"intent": ""}, ErrorCode.USAGE),
        ({"intent": "x" * 4097}, ErrorCode.USAGE),
        ({"quantity": 101}, ErrorCode.USAGE),
        ({"material": "x" * 65}, ErrorCode.USAGE),
        ({"machine_id": "another"}, ErrorCode.UNKNOWN_MACHINE),
    ],
)
def test_bad_submissions(cell, fields, code):
    cell.conductor()
    answer = cell.submit(**fields)
    assert (answer.error_code, answer.job_id) == (code, "")
    assert answer.error_msg


@pytest.mark.parametrize("job_id", ["", "J9", "x", "J" + "9" * 40, "J²"])
def test_unknown_jobs_are_said_to_be_unknown(cell, job_id):
    cell.conductor()
    _, result = cell.follow(job_id)
    cell.wait(result.done)
    assert result.result().result.error_code == ErrorCode.UNKNOWN_JOB


@pytest.mark.parametrize("values", [{"approval": "nobody"}, {"cell_dir": ""}, {"machine": "unheard_of"}])
def test_bad_parameters(cell, values):
    with pytest.raises(CoreError):
        cell.conductor(**values)


def test_unusable_database_ends_the_start(cell, tmp_path):
    (tmp_path / "jobs.sqlite").write_bytes(b"rubbish" * 1000)
    with pytest.raises(CoreError) as error:
        cell.conductor()
    assert error.value.code is ErrorCode.STORE_UNAVAILABLE
