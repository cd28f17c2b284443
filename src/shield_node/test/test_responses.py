"""The response table: monotone, documented, harder at once, softer only after a calm."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode
from industriverse_core.permit import GRACE_S
from industriverse_core.threats import Cause, Level, ThreatEstimate
from shield_node.responses import CALM_S, RULES, RUN, SILENT, Responder, Response, Steady, certain, document
from shield_node.threats.identifier import SEVERITY

DOCUMENT = Path(__file__).parents[3] / "docs" / "safety.md"
NUMBER = st.floats(0, 1)


def estimate(cause, probability, severity=1.0, message="The hotend rises."):
    return ThreatEstimate(0.0, cause, probability, severity, (), (), message)


def respond(seen, lasted_s=10.0):
    """The response to an estimate that has lasted."""
    responder = Responder()
    responder.observe(seen, 0.0)
    return responder.observe(seen, lasted_s)


def test_the_document_has_the_table_as_it_is():
    assert document() in DOCUMENT.read_text()


def test_every_cause_has_a_row_or_a_reason_to_have_none():
    assert {rule.cause for rule in RULES} | SILENT.keys() == set(Cause)
    assert not {rule.cause for rule in RULES} & SILENT.keys()


@given(st.sampled_from(Cause), NUMBER, NUMBER, NUMBER, NUMBER)
def test_surer_and_worse_is_never_softer(cause, one, other, mild, grave):
    (low, high), (mild, grave) = sorted((one, other)), sorted((mild, grave))
    assert respond(estimate(cause, low, mild)).hardness <= respond(estimate(cause, high, grave)).hardness


@given(st.sampled_from(Cause), st.floats(0, 0.949), NUMBER)
def test_what_may_well_be_false_latches_nothing_but_a_program_that_was_changed(cause, probability, severity):
    response = respond(estimate(cause, probability, severity))
    assert response.level < Level.STOP1 or cause is Cause.PROGRAM_TAMPERING


def test_a_response_names_cause_probability_and_what_was_seen():
    response = respond(estimate(Cause.THERMAL_RUNAWAY, 0.981))
    assert (response.level, response.code, response.at_rest) == (Level.STOP1, ErrorCode.THREAT, True)
    assert response.message == "The hotend rises."
    assert respond(estimate(Cause.CLOG, 0.981, message="")).message == "Clog (98.1% sure)."
    assert respond(estimate(Cause.NONE, 1.0)) == RUN


@pytest.mark.parametrize("number", [float("nan"), -1.0])
def test_a_number_that_says_nothing_asks_for_nothing(number):
    assert respond(estimate(Cause.COLLISION, number)) == RUN


def test_a_row_acts_when_it_has_lasted_without_a_break():
    responder, ill, well = Responder(), estimate(Cause.THERMAL_RUNAWAY, 0.98), estimate(Cause.NONE, 1.0)
    for now_s, seen in ((0.0, ill), (0.15, ill), (0.18, well), (0.2, ill), (0.35, ill)):
        assert responder.observe(seen, now_s) == RUN
    assert responder.observe(ill, 0.4).level is Level.STOP1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.cause.name}-{rule.level.name}")
def test_every_row_can_act(rule):
    """With the severity that the identifier gives this cause; a row that never acts would be a promise."""
    seen = estimate(rule.cause, rule.probability, SEVERITY[rule.cause])
    assert respond(seen, rule.lasts_s).level is rule.level


def test_harder_at_once_softer_after_a_calm():
    steady, hold = Steady(), Response(Level.HOLD)
    slow = Response(Level.REDUCED, 0.5)
    assert steady.observe(RUN, 0.0) == RUN
    assert steady.observe(hold, 1.0) == hold
    assert steady.observe(slow, 1.1) == hold
    assert steady.observe(RUN, 1.0 + CALM_S - 0.01) == hold
    assert steady.observe(RUN, 1.0 + CALM_S) == slow, "what was asked for since"
    assert steady.observe(RUN, 1.1 + CALM_S) == RUN
    assert CALM_S < GRACE_S, "else every hold would latch"


@given(st.lists(st.tuples(st.floats(0.01, 0.4), st.sampled_from(Level)), min_size=1, max_size=40))
def test_steady_is_the_hardest_of_the_last_while(steps):
    steady, now_s, asked = Steady(), 0.0, []
    for step_s, level in steps:
        now_s += step_s
        asked.append((now_s, level))
        expected = max(level for at_s, level in asked if now_s - at_s < CALM_S)
        assert steady.observe(Response(level), now_s).level == expected


def test_a_certain_estimate_is_one():
    sure = certain(Cause.CLOG)
    assert (sure.probability, sum(sure.probabilities), sure.probabilities[Cause.CLOG]) == (1.0, 1.0, 1.0)
