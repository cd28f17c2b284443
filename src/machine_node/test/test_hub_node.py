"""The hub against a made-up cell in an own ROS domain: what was published is in the file; an accelerometer's burst."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

import industriverse_msgs.msg as im  # noqa: E402
from industriverse_core import telemetry as t  # noqa: E402
from industriverse_core.errors import CoreError, ErrorCode  # noqa: E402
from industriverse_core.program import Heater  # noqa: E402
from industriverse_ros import convert, names, qos  # noqa: E402
from industriverse_ros.testing import bring_up, spin_until  # noqa: E402
from machine_node.hub.buffer import LIVE_NAME  # noqa: E402
from machine_node.hub.node import HubNode  # noqa: E402
from machine_node.hub.reading import RecordReader  # noqa: E402
from machine_node.hub.rows import MACHINE_STREAMS  # noqa: E402
from machine_node.virtual.port import Port  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from test_vibration import line  # noqa: E402

MACHINE = "prusa_mk3s"
DIGEST = bytes(range(32))


def hub(folder, **changes):
    values = {"cell_dir": str(folder), "machines": MACHINE, "flush_period_s": 0.1, "min_free_mib": 0, **changes}
    return HubNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])


def stored(folder, stream):
    with RecordReader(folder / LIVE_NAME) as reader:
        return reader.rows(f"{MACHINE}/{stream}")


class Cell:
    """Everybody whom the hub hears."""

    def __init__(self):
        self.node = rclpy.create_node("cell")
        make = self.node.create_publisher
        self.out = {
            "telemetry": make(im.MachineTelemetry, names.telemetry(MACHINE), qos.SENSOR),
            "joint_states": make(JointState, names.joint_states(MACHINE), qos.SENSOR),
            "power": make(im.PowerReading, names.power(MACHINE), qos.SENSOR),
            "execution_trace": make(im.ExecutionTrace, names.execution_trace(MACHINE), qos.EVENT),
            "residual": make(im.Residual, names.residual(MACHINE), qos.SENSOR),
            "safety_state": make(im.SafetyState, names.safety_state(MACHINE), qos.STATE),
            "job_state": make(im.JobState, names.JOB_STATE, qos.EVENT),
        }

    def messages(self):
        sample = t.TelemetrySample(
            5.0, MACHINE, 17, 1, t.MachineState.EXECUTING, 3, "text ü", "J1", DIGEST, 42, 0.25, (0.1, 0.2, 0.3),
            heaters=(t.HeaterReading(Heater.BED, 60.5, 60.0, 0.5),), power_w=123.5, energy_j=4567.0,
        )  # fmt: skip
        residual = t.ResidualSample(
            5.25, MACHINE, 9, "J1", DIGEST, 4, (t.ResidualChannel(t.Quantity.POWER, 100.0, 110.0, 8.0),), 0.5
        )
        joints = JointState(name=["joint_y", f"{MACHINE}/x", "e"], position=[0.2, 0.1, 0.5], velocity=[0.02, 0.01])
        joints.header.stamp = convert.time_to_msg(6.0)
        return {
            "telemetry": convert.telemetry_to_msg(sample),
            "joint_states": joints,
            "power": convert.power_to_msg(t.PowerSample(5.5, MACHINE, 5.75, 12.0, -6.5, 24.0, 4.0, 96.0, 1234.0)),
            "execution_trace": convert.trace_to_msg(t.Trace(5.5, MACHINE, "J1", DIGEST, 3, 2, 1, 9)),
            "residual": convert.residual_to_msg(residual),
            "safety_state": im.SafetyState(
                machine_id=MACHINE, state=3, permits_issued=77,
                sources=[im.SourceHealth(source="twin", age_s=0.25, limit_s=0.5, fresh=True)],
            ),
            "job_state": im.JobState(machine_id=MACHINE, job_id="J1", state=8, progress=0.5, copy=1, quantity=2),
        }  # fmt: skip


@pytest.fixture
def spin(ros):
    executor = SingleThreadedExecutor()

    def until(*nodes, condition, timeout_s=20.0):
        for node in nodes:
            executor.add_node(node)
        return spin_until(executor, condition, timeout_s)

    yield until
    executor.shutdown()


def test_everything_that_is_said_is_recorded_with_its_clocks(spin, tmp_path):
    node, cell = bring_up(hub(tmp_path)), Cell()
    streams = set(cell.out)
    messages = cell.messages()

    def all_stored():
        for name, publisher in cell.out.items():
            publisher.publish(messages[name])
        return (tmp_path / LIVE_NAME).exists() and all(len(stored(tmp_path, name)) for name in streams)

    assert spin(node, cell.node, condition=all_stored)
    node.close()
    for name in streams:
        row = stored(tmp_path, name)[0]
        assert row["received_s"] > 1e9
        assert 0.0 < row["steady_s"] <= time.monotonic()
    first = {name: stored(tmp_path, name)[0] for name in (*streams, "messages")}
    assert first["telemetry"]["bed_c"] == 60.5
    assert first["telemetry"]["energy_j"] == 4567.0
    assert first["telemetry"]["stamp_s"] == 5.0
    assert first["telemetry"]["hotend_c"] != first["telemetry"]["hotend_c"]  # NaN
    assert (first["joint_states"]["x_m"], first["joint_states"]["y_m"], first["joint_states"]["e_m"]) == (0.1, 0.2, 0.5)
    assert first["joint_states"]["z_m"] != first["joint_states"]["z_m"]
    assert (first["power"]["source_s"], first["power"]["clock_offset_s"]) == (12.0, -6.5)
    assert first["power"]["meter_received_s"] == 5.75
    assert first["execution_trace"]["program_digest"] == DIGEST.hex().encode()
    assert first["residual"]["power_measured"] == 110.0
    assert (first["safety_state"]["twin_age_s"], first["safety_state"]["permits_issued"]) == (0.25, 77)
    assert (first["job_state"]["job_id"], first["job_state"]["progress"]) == (b"J1", 0.5)
    assert len(stored(tmp_path, "messages")) == 1  # once, for it did not change
    assert first["messages"]["text"].decode() == "text ü"
    assert {stream.name for stream in MACHINE_STREAMS} == {*streams, "vibration", "messages"}


def test_an_accelerometers_bursts_are_published_and_recorded(spin, tmp_path):
    sensor = Port(tmp_path / "sensor.tty")
    node = bring_up(hub(tmp_path, accelerometers=f"{MACHINE}={tmp_path / 'sensor.tty'}"))
    other, heard = rclpy.create_node("listener"), []
    other.create_subscription(im.VibrationFeatures, names.vibration(MACHINE), heard.append, qos.SENSOR)
    burst = line(1500, 1600, [(1000 * (-1) ** n, 0, 9810) for n in range(64)])

    def arrived():
        sensor.check_connection()
        sensor.write(b"\n" + burst)
        return len(heard) > 3 and (tmp_path / LIVE_NAME).exists() and len(stored(tmp_path, "vibration")) > 3

    assert spin(node, other, condition=arrived)
    node.close()
    sensor.close()
    sample = convert.vibration_from_msg(next(msg for msg in heard if msg.axis == 1))
    assert sample.rms_m_s2 == pytest.approx(1.0)
    assert sample.dominant_frequency_hz == pytest.approx(800.0, rel=0.05)
    assert sample.source_s == 1.5
    assert sample.stamp_s == pytest.approx(sample.source_s + sample.clock_offset_s, abs=1e-3)
    rows = stored(tmp_path, "vibration")
    assert rows["band7_m2_s4"][rows["axis"] == 1][0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"machines": "no_such_machine"}, ErrorCode.UNKNOWN_MACHINE),
        ({"accelerometers": "/dev/ttyUSB1"}, ErrorCode.BAD_PARAMETER),
        ({"accelerometers": "lathe=/dev/ttyUSB1"}, ErrorCode.BAD_PARAMETER),
        ({"cell_dir": ""}, ErrorCode.BAD_PARAMETER),
        ({"cell_dir": "/proc/nowhere"}, ErrorCode.FILE_UNREADABLE),
    ],
)
def test_wrong_parameters_are_errors_at_start(ros, tmp_path, changes, code):
    with pytest.raises(CoreError) as error:
        bring_up(hub(tmp_path, **changes))
    assert error.value.code is code


def test_the_process_ends_in_order_and_leaves_a_clean_file(ros_domain, tmp_path):
    command = [sys.executable, "-m", "machine_node.hub.node", "--ros-args", "-p", f"cell_dir:={tmp_path}"]
    process = subprocess.Popen([*command, "-p", "min_free_mib:=0"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / LIVE_NAME).exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == 0, process.stderr.read()
    with RecordReader(tmp_path / LIVE_NAME) as reader:
        assert reader.rows("hub/events")["kind"].tolist() == [b"start", b"stop"]
