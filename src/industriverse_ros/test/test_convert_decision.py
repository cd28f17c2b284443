"""Decisions survive the way to a message and back; constants of message and core are the same."""

import dataclasses
import math

import pytest

import industriverse_msgs.msg as im
from industriverse_core.threats import Cause, Decision, Evidence, Level, ThreatEstimate
from industriverse_ros.convert_decision import decision_from_msg, decision_to_msg


def decision() -> Decision:
    threat = ThreatEstimate(
        stamp_s=12.5,
        cause=Cause.CLOG,
        probability=0.75,
        severity=0.5,
        evidence=(Evidence("page_hinkley", "power", -6.0, 5.0, 3.5),),
        probabilities=tuple(1.0 / len(Cause) for _ in Cause),
        message="the hot end takes 6 W less than melting needs",
    )
    return Decision(
        stamp_s=13.0, machine_id="m", incarnation=5, tick=7, steady_s=99.5, level=Level.HOLD, speed_scale=0.0,
        threat=threat, state=3, program_digest=bytes(range(32)), telemetry_stamp_s=12.5, residual_stamp_s=12.25,
        latency_s=0.004,
    )  # fmt: skip


def test_a_decision_survives_both_ways():
    assert decision_from_msg(decision_to_msg(decision())) == decision()


def test_sources_that_were_never_heard_stay_unknown():
    silent = dataclasses.replace(decision(), residual_stamp_s=math.nan)
    assert math.isnan(decision_from_msg(decision_to_msg(silent)).residual_stamp_s)


def test_what_is_too_long_is_cut():
    long = dataclasses.replace(decision().threat, message="x" * 999, evidence=decision().threat.evidence * 20)
    msg = decision_to_msg(dataclasses.replace(decision(), threat=long))
    assert (len(msg.message), len(msg.evidence)) == (256, 8)


def test_constants_are_those_of_the_message():
    for level in Level:
        assert getattr(im.Decision, level.name) == level
    for cause in Cause:
        assert getattr(im.Decision, f"CAUSE_{cause.name}") == cause


def test_an_unknown_cause_is_an_error():
    msg = decision_to_msg(decision())
    msg.cause = 200
    with pytest.raises(ValueError, match="200"):
        decision_from_msg(msg)
