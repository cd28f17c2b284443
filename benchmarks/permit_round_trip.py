"""From a signed permit to its verified echo from another process over DDS, at the shield's 20 Hz."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

PERMITS = 400
GOAL_P99_MS = 20.0
KEY = b"benchmark" * 3 + b"-----"
THERE, BACK = "permit", "permit_echo"  # topics of this benchmark's own processes


def _node(name: str):
    import rclpy
    from rclpy.experimental.events_executor import EventsExecutor

    rclpy.init()
    node = rclpy.create_node(name, namespace="benchmark")
    executor = EventsExecutor()
    executor.add_node(node)
    return node, executor


def echo() -> None:
    """The other process: verifies each permit as the machine does and sends it back."""
    import industriverse_msgs.msg as im
    from industriverse_core.permit import is_authentic
    from industriverse_ros import convert, qos
    from industriverse_ros.node import request_realtime

    request_realtime()
    node, executor = _node("echo")
    publisher = node.create_publisher(im.MotionPermit, BACK, qos.PERMIT)

    def answer(msg: im.MotionPermit) -> None:
        if is_authentic(convert.permit_from_msg(msg), KEY):
            publisher.publish(msg)

    node.create_subscription(im.MotionPermit, THERE, answer, qos.PERMIT)
    while True:
        executor.spin_once(timeout_sec=0.5)


def run() -> Iterator[dict]:
    import os

    import domain_coordinator

    with domain_coordinator.domain_id() as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        child = subprocess.Popen([sys.executable, "-c", "from benchmarks.permit_round_trip import echo; echo()"])
        try:
            yield from _measure()
        finally:
            child.kill()
            child.wait()


def _measure() -> Iterator[dict]:
    import rclpy

    import industriverse_msgs.msg as im
    from industriverse_core.permit import PERMIT_PERIOD_S, Permit, sign
    from industriverse_ros import convert, qos
    from industriverse_ros.node import request_realtime

    realtime = request_realtime()
    node, executor = _node("issuer")
    publisher = node.create_publisher(im.MotionPermit, THERE, qos.PERMIT)
    sent: dict[int, float] = {}
    trips: list[float] = []
    node.create_subscription(
        im.MotionPermit, BACK, lambda msg: trips.append(time.perf_counter() - sent[msg.sequence]), qos.PERMIT
    )
    permit = Permit("m", 1, 0, 1, b"d" * 32)

    def issue() -> None:
        if publisher.get_subscription_count() and node.count_publishers(f"/benchmark/{BACK}"):
            number = len(sent) + 1
            sent[number] = time.perf_counter()
            publisher.publish(convert.permit_to_msg(sign(dataclasses.replace(permit, sequence=number), KEY), 0.0))

    node.create_timer(PERMIT_PERIOD_S, issue)
    deadline = time.monotonic() + PERMITS * PERMIT_PERIOD_S + 20
    while len(sent) < PERMITS and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    rclpy.shutdown()
    p50, p99 = np.percentile(np.array(trips) * 1e3, [50, 99])
    common = {"unit": "ms", "sent": len(sent), "returned": len(trips), "realtime": realtime}
    yield {"metric": "permit round trip p50", "value": round(p50, 2), **common}
    yield {"metric": "permit round trip p99", "value": round(p99, 2), "goal": GOAL_P99_MS, **common}
