"""Fixtures that every test may use: an own ROS domain on localhost, and the reference data."""

import contextlib
import gc
import itertools
import os
import threading
from pathlib import Path

import pytest
from hypothesis import settings

# the same examples on every run and no time limits: a test fails for what the code does and for nothing else.
# HYPOTHESIS_PROFILE=explore searches anew, for whoever hunts bugs.
settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

DOMAINS = itertools.cycle(range(1, 101))

REFERENCE_DATA = Path(__file__).parent.parent / "shared" / "data"


@pytest.fixture
def ros_domain(monkeypatch):
    """A ROS domain id that no other test uses, in the environment of this process and its children."""
    coordinator = pytest.importorskip("domain_coordinator")
    # always the next one: what a failed test has left behind in its domain answers nobody else
    with coordinator.domain_id(lambda: next(DOMAINS)) as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        if "FASTRTPS_DEFAULT_PROFILES_FILE" not in os.environ:  # ./cell sets a profile that is loopback only
            monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        yield domain


@pytest.fixture
def ros(ros_domain):
    """rclpy, initialised in its own domain; no participant outlives the test.

    Nodes are in reference cycles, and actions in some that the collector cannot break: end them here. What is left
    would be collected while a later test runs, and answer it or hang it.
    """
    import rclpy
    from rclpy.action import ActionClient, ActionServer
    from rclpy.node import Node

    before = set(threading.enumerate())
    rclpy.init()
    yield rclpy
    for kind, end in ((ActionClient, "destroy"), (ActionServer, "destroy"), (Node, "destroy_node")):
        for left in [each for each in gc.get_objects() if issubclass(type(each), kind)]:
            with contextlib.suppress(ValueError):  # destroyed already
                getattr(left, end)()
    rclpy.try_shutdown()
    for thread in set(threading.enumerate()) - before:
        thread.join(3.0)  # of long services, which end with the context
    gc.collect()


@pytest.fixture
def reference_data():
    """The folder of reference data beside the project; the test skips where it is absent."""
    if not REFERENCE_DATA.is_dir():
        pytest.skip(f"reference data not found at {REFERENCE_DATA}")
    return REFERENCE_DATA
