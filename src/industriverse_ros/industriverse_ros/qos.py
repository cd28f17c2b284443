"""The four QoS profiles, and those that bags need to listen to others and to repeat them; a test refuses any other."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

SENSOR = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=5)
EVENT = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=10)
STATE = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
)
PERMIT = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    deadline=Duration(seconds=0.1),
    lifespan=Duration(seconds=0.15),
    liveliness=LivelinessPolicy.AUTOMATIC,
    liveliness_lease_duration=Duration(seconds=1.0),
)


def listening(offered: Sequence[QoSProfile], depth: int) -> QoSProfile:
    """A subscription that hears every publisher that offers these, and latched messages where all have them."""
    reliable = bool(offered) and all(each.reliability is ReliabilityPolicy.RELIABLE for each in offered)
    latched = bool(offered) and all(each.durability is DurabilityPolicy.TRANSIENT_LOCAL for each in offered)
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
    )


def recording(profile: QoSProfile, depth: int) -> QoSProfile:
    """A subscription to what is published with this profile, by a reader that may be late: it keeps `depth` samples."""
    return QoSProfile(
        reliability=profile.reliability, durability=profile.durability, history=HistoryPolicy.KEEP_LAST, depth=depth
    )


def repeating(
    reliable: bool, latched: bool, depth: int, deadline_ns: int, lifespan_ns: int, liveliness_lease_ns: int
) -> QoSProfile:
    """A publisher that offers what a recorded one did. Durations in [ns]."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        deadline=Duration(nanoseconds=deadline_ns),
        lifespan=Duration(nanoseconds=lifespan_ns),
        liveliness=LivelinessPolicy.AUTOMATIC,
        liveliness_lease_duration=Duration(nanoseconds=liveliness_lease_ns),
    )
