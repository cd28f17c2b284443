"""Helpers for node tests: wait for something while spinning, and activate a node in-process."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.executors import Executor

from industriverse_ros.node import CellNode


def spin_until(executor: Executor, condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
    """Spin until the condition holds; False when it did not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        executor.spin_once(timeout_sec=0.02)
    return True


def bring_up(node: CellNode) -> CellNode:
    """Configure and activate a node as `run` would; raise what its hooks raised."""
    node.trigger_configure()
    if node.failure is None:
        node.trigger_activate()
    if node.failure is not None:
        raise node.failure
    return node
