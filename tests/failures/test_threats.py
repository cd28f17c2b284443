"""A threat is named and stops the job; a person slows the machine, holds it, and lets it go on by leaving."""

import tempfile
import time
from pathlib import Path

import pytest
import yaml
from geometry_msgs.msg import Point

import industriverse_msgs.msg as im
from industriverse_core.errors import ErrorCode
from industriverse_core.frames import CELL
from industriverse_core.threats import Cause, Level
from industriverse_ros import names, qos
from machine_node.virtual.control import ask

from ..conftest import EXAMPLES

# wide limits: a busy computer must not be what stops the machine here
SAFETY = {
    "place": ["0 m", "0 m"], "reach": "0.4 m", "whole_space_seen": True,
    "sensors": [{"name": "floor_camera", "limit": "2 s"}], "separation": {"reaction": "2.5 s"},
}  # fmt: skip
FAR, NEAR, AT = 20.0, 5.0, 1.0


@pytest.fixture
def watched(cells, tmp_path):
    """Makes the demonstration cell with a control socket; its decisions are in `decisions`."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:

        def make(speed, **changes):
            virtual = {"seed": 7, "control": str(Path(short) / "faults.sock")}
            description = {
                "id": "watched", "title": "a test", "approval": "automatic", **changes,
                "machine": {"profile": "prusa_mk3s", "virtual": virtual},
            }  # fmt: skip
            path = tmp_path / "watched.yaml"
            path.write_text(yaml.safe_dump(description))
            cell = cells(path, speed)
            cell.control, cell.decisions = Path(virtual["control"]), []
            topic = names.decision(cell.machine)
            cell.node.create_subscription(im.Decision, topic, cell.decisions.append, qos.SENSOR)
            return cell

        yield make


def test_a_heater_that_is_stuck_on_is_named_and_stops_the_job(watched):
    cell = watched(speed=2.0)
    cell.ready()
    job_id = cell.run_until_moving(EXAMPLES / "motion_square.gcode")
    assert cell.decisions[-1].level == Level.RUN
    ask(cell.control, {"fault": "heater_stuck_on", "target": "hotend"})
    job = cell.wait_job(job_id, im.JobState.ABORTED)
    # the conductor hears of it from the shield, or from the machine that the shield has stopped
    assert job.error_code in (ErrorCode.THREAT, ErrorCode.STOP_REQUESTED), job.error_msg
    assert "heats without being told" in job.error_msg
    cell.wait(lambda: cell.decisions[-1].state == im.SafetyState.LATCHED, 10, "a decision after the stop")
    last = cell.decisions[-1]
    assert (Cause(last.cause), last.level) == (Cause.THERMAL_RUNAWAY, Level.STOP1)
    assert last.message
    assert last.evidence
    assert cell.safety.error_code == ErrorCode.THREAT


class Camera:
    """A sensor that sees one person, ten times a second while the cell's node is spun."""

    def __init__(self, cell):
        self.distance_m = FAR
        self._cell, self._incarnation = cell, time.time_ns()
        self._publisher = cell.node.create_publisher(im.PersonsSeen, names.PERSONS, qos.SENSOR)
        cell.node.create_timer(0.1, self._see)

    def _see(self):
        msg = im.PersonsSeen(sensor="floor_camera", incarnation=self._incarnation, uncertainty_m=0.05)
        msg.header.frame_id = CELL
        msg.header.stamp = self._cell.node.get_clock().now().to_msg()
        msg.positions.append(Point(x=self.distance_m))
        self._publisher.publish(msg)


def test_a_person_slows_the_machine_holds_it_and_lets_it_go_on_by_leaving(watched):
    cell = watched(speed=1.0, safety=SAFETY)
    camera = Camera(cell)
    cell.ready()
    job_id = cell.run_until_moving(EXAMPLES / "motion_square.gcode")

    def decided(level):
        last = cell.decisions[-1]
        return last.level == level and (level == Level.RUN or last.cause == Cause.OPERATOR_DANGER)

    camera.distance_m = NEAR
    cell.wait(lambda: decided(Level.REDUCED), 10, "a reduction")
    cell.wait(lambda: cell.permits[-1][1].speed_scale < 1.0, 10, "a permit to go slowly")
    camera.distance_m = AT
    cell.wait(lambda: decided(Level.HOLD), 10, "a hold")
    cell.wait(lambda: cell.telemetry.state == im.MachineTelemetry.HOLDING, 10, "a machine that holds")
    cell.step(3.0)  # longer than the grace time
    begun = len(cell.journal.events("motion_begin"))
    cell.step(1.0)
    assert len(cell.journal.events("motion_begin")) == begun, "it stands still"
    assert cell.safety.state == im.SafetyState.WITHHELD
    assert cell.safety.error_code == ErrorCode.PERSON_NEAR
    assert cell.jobs[job_id].state == im.JobState.HELD
    camera.distance_m = FAR
    cell.wait(lambda: decided(Level.RUN), 10, "permits again")
    cell.wait_job(job_id, im.JobState.COMPLETED, timeout_s=120)
