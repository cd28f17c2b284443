"""What the machine's node publishes of its meter."""

import math

import pytest

pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

import industriverse_msgs.msg as im
from industriverse_core.errors import CoreError, ErrorCode
from industriverse_ros import convert, names, qos
from industriverse_ros.testing import bring_up, spin_until
from machine_node.node import MachineNode

MACHINE, SPEED = "prusa_mk3s", 1.0  # no /clock here: ROS time is the system's


def make_node(folder, port, meter_port):
    values = {"cell_dir": str(folder), "machine": MACHINE, "port": port, "meter_port": meter_port, "time_scale": SPEED}
    return MachineNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])


def test_every_reading_is_published_with_its_clocks(ros, printer, tmp_path):
    virtual = printer(SPEED)
    node = bring_up(make_node(tmp_path / "cell", str(virtual.link), str(virtual.meter_link)))
    other, heard = ros.create_node("listener"), []
    other.create_subscription(im.PowerReading, names.power(MACHINE), heard.append, qos.SENSOR)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(other)
    assert spin_until(executor, lambda: len(heard) >= 20, 60.0)
    node.close()
    samples = [convert.power_from_msg(msg) for msg in heard]
    assert all(sample.power_w > 0.0 and math.isfinite(sample.energy_j) for sample in samples)
    for sample in samples:
        assert sample.stamp_s == pytest.approx(sample.source_s + sample.clock_offset_s, abs=1e-6)
        assert sample.received_s >= sample.stamp_s - 1e-6
    assert [sample.source_s for sample in samples] == sorted(sample.source_s for sample in samples)


def test_a_wrong_meter_address_is_an_error_at_start(ros, tmp_path):
    with pytest.raises(CoreError) as error:
        bring_up(make_node(tmp_path, "/nowhere", "modbus://"))
    assert error.value.code is ErrorCode.BAD_PARAMETER
