"""Conversions of the shield's decisions; see convert.py."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Time

import industriverse_msgs.msg as im
from industriverse_core import threats as th
from industriverse_ros.convert import digest_from_msg, digest_to_msg, time_from_msg, time_to_msg

MOST_EVIDENCE = 8  # that Decision.msg holds
LONGEST_MESSAGE = 256


def decision_to_msg(decision: th.Decision) -> im.Decision:
    """Decision; evidence and message are cut to what the message holds."""
    threat = decision.threat
    return im.Decision(
        stamp=time_to_msg(decision.stamp_s),
        machine_id=decision.machine_id,
        incarnation=decision.incarnation,
        tick=decision.tick,
        steady_s=decision.steady_s,
        state=decision.state,
        level=int(decision.level),
        speed_scale=decision.speed_scale,
        program_digest=digest_to_msg(decision.program_digest),
        cause=int(threat.cause),
        probability=threat.probability,
        severity=threat.severity,
        probabilities=list(threat.probabilities),
        evidence=[
            im.Evidence(
                detector=item.detector, channel=item.channel, value=item.value, limit=item.limit, weight=item.weight
            )
            for item in threat.evidence[:MOST_EVIDENCE]
        ],
        message=threat.message[:LONGEST_MESSAGE],
        telemetry_stamp=_to_stamp(decision.telemetry_stamp_s),
        residual_stamp=_to_stamp(decision.residual_stamp_s),
        latency_s=decision.latency_s,
    )


def decision_from_msg(msg: im.Decision) -> th.Decision:
    """Decision; its threat's stamp is that of the telemetry. Raises ValueError for an unknown cause or level."""
    telemetry_stamp_s = _from_stamp(msg.telemetry_stamp)
    threat = th.ThreatEstimate(
        stamp_s=telemetry_stamp_s,
        cause=th.Cause(msg.cause),
        probability=msg.probability,
        severity=msg.severity,
        evidence=tuple(th.Evidence(i.detector, i.channel, i.value, i.limit, i.weight) for i in msg.evidence),
        probabilities=tuple(msg.probabilities),
        message=msg.message,
    )
    return th.Decision(
        stamp_s=time_from_msg(msg.stamp),
        machine_id=msg.machine_id,
        incarnation=msg.incarnation,
        tick=msg.tick,
        steady_s=msg.steady_s,
        level=th.Level(msg.level),
        speed_scale=msg.speed_scale,
        threat=threat,
        state=msg.state,
        program_digest=digest_from_msg(msg.program_digest),
        telemetry_stamp_s=telemetry_stamp_s,
        residual_stamp_s=_from_stamp(msg.residual_stamp),
        latency_s=msg.latency_s,
    )


def _to_stamp(seconds: float) -> Time:
    return Time() if math.isnan(seconds) else time_to_msg(seconds)


def _from_stamp(stamp: Time) -> float:
    return math.nan if stamp.sec == 0 and stamp.nanosec == 0 else time_from_msg(stamp)
