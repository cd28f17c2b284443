"""The commands for a running cell, over real DDS, against nodes that answer as the conductor and the shield do."""

import json
import math
import os
import threading
import time

import pytest

from industriverse_cli.main import main

DIGEST = [7] * 32


class FakeCell:
    """A conductor and a shield in one process: real interfaces, answers that the test chooses."""

    def __init__(self, rclpy, states=("received", "compiled", "executing", "completed")):
        from rclpy.executors import SingleThreadedExecutor

        from industriverse_msgs.srv import ClearStop, Forecast, ListJobs, SubmitJob
        from industriverse_ros import names

        self.node = rclpy.create_node("fake", namespace="/demo")
        self.submitted, self.cleared, self.stops = [], [], []
        self.states = states
        self.node.create_service(SubmitJob, names.SUBMIT_JOB, self.submit)
        self.node.create_service(ListJobs, names.LIST_JOBS, self.list)
        self.node.create_service(ClearStop, names.CLEAR_STOP, self.clear)
        self.node.create_service(Forecast, names.FORECAST, self.forecast)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.spin, daemon=True)
        self.running = True

    def offer_shield(self, latches=True):
        from industriverse_msgs.msg import SafetyState, StopRequest
        from industriverse_ros import names, qos

        publisher = self.node.create_publisher(SafetyState, names.safety_state("prusa_mk3s"), qos.STATE)
        publisher.publish(SafetyState(machine_id="prusa_mk3s", state=SafetyState.PERMITTING))

        def hear(msg):
            self.stops.append(msg)
            if latches:
                state = SafetyState(machine_id="prusa_mk3s", state=SafetyState.LATCHED, latch_id=42)
                state.error_msg = f"stop requested by {msg.source}: {msg.reason}"
                publisher.publish(state)

        self.node.create_subscription(StopRequest, names.STOP_REQUEST, hear, qos.EVENT)

    def offer_action(self):
        from rclpy.action import ActionServer, GoalResponse

        from industriverse_msgs.action import RunJob
        from industriverse_ros import names

        def accept(goal):
            return GoalResponse.ACCEPT if goal.job_id == "job-1" else GoalResponse.REJECT

        def execute(handle):
            for state in self.states:
                handle.publish_feedback(RunJob.Feedback(job=self.job(state)))
                time.sleep(0.05)
            handle.succeed()
            return RunJob.Result(job=self.job(self.states[-1]))

        self.action = ActionServer(self.node, RunJob, names.RUN_JOB, execute, goal_callback=accept)

    def forecast(self, request, response):
        from industriverse_msgs.msg import Estimate, ForecastCase

        if request.machine_id == "other":
            response.error_code, response.error_msg = 604, "no job runs."
            return response
        response.job_id, response.instruction, response.duration_s = "job-1", 12, 0.02
        for number, name in enumerate(request.cases):
            time_s, energy_j = 100.0 + 25.0 * number, 2e4 + 5e3 * number
            case = ForecastCase(name=name, peak_power_w=83.2)
            case.time = Estimate(mean=time_s, low=time_s - 10.0, high=time_s + 10.0)
            case.energy = Estimate(mean=energy_j, low=0.9 * energy_j, high=1.1 * energy_j)
            if name == "pause_600":
                case.time = case.energy = Estimate(mean=math.inf, low=math.inf, high=math.inf)
            case.violations = ["line 7: the hot end is too cold."] if name == "slower_20" else []
            response.cases.append(case)
        return response

    def job(self, state):
        from industriverse_msgs.msg import JobState

        job = JobState(job_id="job-1", machine_id="prusa_mk3s", intent="two clips", copy=1, quantity=2)
        job.state = getattr(JobState, state.upper())
        job.program.digest = DIGEST
        if state == "refused":
            job.error_code, job.error_msg = 300, "envelope.axis: too far."
        if state == "completed":
            job.ledger.electric_j, job.ledger.time_s, job.ledger.currency = 1e5, 100.0, "EUR"
            job.ledger.residual_fraction = float("nan")
        return job

    def submit(self, request, answer):
        self.submitted.append(request)
        answer.job_id = "job-1"
        if request.intent == "nonsense":
            answer.error_code, answer.error_msg = 108, "'nonsense' is not understood."
        return answer

    def list(self, request, answer):
        answer.jobs = [self.job("executing"), self.job("refused")][: request.limit or None]
        return answer

    def clear(self, request, answer):
        self.cleared.append(request)
        answer.latch_id, answer.cause = 42, "operator's stop"
        return answer

    def spin(self):
        while self.running:
            self.executor.spin_once(timeout_sec=0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *reason):
        self.running = False
        self.thread.join()
        self.node.destroy_node()


@pytest.fixture
def home(tmp_path, monkeypatch, ros_domain):
    """A cell folder as ./cell up leaves it, for this process."""
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    (tmp_path / "demo").mkdir()
    content = {"cell": "demo", "namespace": "demo", "domain_id": ros_domain, "pid": os.getpid()}
    (tmp_path / "demo" / "cell.json").write_text(json.dumps({**content, "machine": "prusa_mk3s"}))
    return tmp_path


@pytest.fixture
def run(capsys, home, monkeypatch):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_submit_a_sentence(ros, run):
    with FakeCell(ros) as cell:
        status, out, _ = run("submit", "two clips", "--quantity", "2", "--material", "PETG", "--machine", "prusa_mk3s")
    (request,) = cell.submitted
    assert (status, out) == (0, "job-1\n")
    assert (request.intent, request.quantity) == ("two clips", 2)
    assert (request.material, request.machine_id) == ("PETG", "prusa_mk3s")


def test_submit_sends_the_files_whole_path(ros, run, home, monkeypatch):
    (home / "part.gcode").write_text("G28\n")
    monkeypatch.chdir(home)
    with FakeCell(ros) as cell:
        status, out, _ = run("submit", "part.gcode", "--json")
    assert (status, json.loads(out)) == (0, {"job_id": "job-1"})
    assert cell.submitted[0].intent == str(home / "part.gcode")


def test_submit_what_is_not_understood(ros, run):
    with FakeCell(ros):
        status, out, err = run("submit", "nonsense", "--json")
    assert status == 2
    assert json.loads(out)["error"]["name"] == "INTENT_NOT_UNDERSTOOD"
    assert err == "industriverse: [INTENT_NOT_UNDERSTOOD] 'nonsense' is not understood.\n"


def test_follow_to_the_end(ros, run):
    with FakeCell(ros) as cell:
        cell.offer_action()
        status, out, _ = run("submit", "two clips", "--follow")
    assert status == 0
    states = [line.split()[0] for line in out.splitlines()[1:] if line.strip()]
    assert states[-1] == "completed"
    assert states == [state for state in cell.states if state in states]  # each once, in order
    assert "100.0 kJ" in out


@pytest.mark.parametrize(("last", "expected"), [("completed", 0), ("refused", 3), ("aborted", 1)])
def test_the_exit_status_is_the_jobs_fate(ros, run, last, expected):
    with FakeCell(ros, ("received", last)) as cell:
        cell.offer_action()
        status, out, _ = run("submit", "two clips", "--follow", "--json")
    answer = json.loads(out, parse_constant=pytest.fail)
    assert (status, answer["state"]) == (expected, last)
    assert answer["program_digest"] == bytes(DIGEST).hex()


def test_jobs(ros, run):
    with FakeCell(ros):
        _, out, _ = run("jobs")
        status, listed, _ = run("jobs", "--limit", "1", "--json")
    assert "job-1" in out
    assert "envelope.axis: too far." in out
    assert status == 0
    assert [job["state"] for job in json.loads(listed)["jobs"]] == ["executing"]


def test_forecast(ros, run):
    with FakeCell(ros):
        status, out, _ = run("forecast")
        _, listed, _ = run("forecast", "--case", "as_is", "--case", "slower_20", "--json")
    assert status == 0
    rows = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert rows["as_is"].split()[1:] == ["1:40", "1:30", "to", "1:50", "20.0", "18.0", "to", "22.0", "83", "W"]
    assert rows["slower_20"].split()[-2:] == ["+0:25", "+5.0"]
    assert "never ends" in rows["pause_600"]
    assert "line 7: the hot end is too cold." in out
    answer = json.loads(listed)
    assert (answer["job_id"], answer["instruction"]) == ("job-1", 12)
    assert [case["name"] for case in answer["cases"]] == ["as_is", "slower_20"]
    assert answer["cases"][0]["time_s_90"] == [90.0, 110.0]
    assert answer["cases"][1]["violations"] == ["line 7: the hot end is too cold."]


def test_forecast_of_what_is_no_what_if_and_without_a_job(ros, run):
    status, _, error = run("forecast", "--case", "x" * 300)
    assert status == 2
    assert "is no what-if. There are: as_is" in error
    with FakeCell(ros):
        status, _, error = run("forecast", "--machine", "other")
    assert status == 2
    assert error == "industriverse: [NO_FORECAST] no job runs.\n"


def test_stop_asks_until_the_shield_latches(ros, run):
    with FakeCell(ros) as cell:
        cell.offer_shield()
        status, out, _ = run("stop", "--level", "stop0", "--reason", "smoke")
    assert status == 0
    assert "latch 42" in out
    assert "smoke" in out
    assert len(cell.stops) > 1
    assert {(stop.level, stop.machine_id) for stop in cell.stops} == {(3, "")}


def test_stop_without_a_shield(ros, run):
    status, _, err = run("stop")
    assert status == 1
    assert "no shield answers" in err


def test_stop_that_does_not_latch(ros, run):
    with FakeCell(ros) as cell:
        cell.offer_shield(latches=False)
        status, _, err = run("stop")
    assert status == 1
    assert "reports no latch" in err


def test_clear_is_two_steps(ros, run):
    with FakeCell(ros) as cell:
        status, out, _ = run("clear", "--reason", "part removed", "--operator", "ada", "--yes")
    first, second = cell.cleared
    assert status == 0
    assert "operator's stop" in out
    assert (first.confirm_latch_id, second.confirm_latch_id) == (0, 42)
    assert (second.machine_id, second.operator_name, second.reason) == ("prusa_mk3s", "ada", "part removed")


def test_clear_asks_a_person_and_takes_a_script_at_its_word(ros, run, monkeypatch):
    with FakeCell(ros) as cell:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("typer.confirm", lambda *words, **options: False)
        assert run("clear", "--reason", "part removed")[0] == 1
        assert len(cell.cleared) == 1, "no second step without a yes"
        monkeypatch.setattr("typer.confirm", lambda *words, **options: True)
        assert run("clear", "--reason", "part removed")[0] == 0
        assert len(cell.cleared) == 3
        monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
        assert run("clear", "--reason", "part removed")[0] == 0
        assert len(cell.cleared) == 5


def test_clear_needs_a_reason(run):
    status, _, err = run("clear", "--reason", " ")
    assert status == 2
    assert "[REASON_MISSING]" in err
