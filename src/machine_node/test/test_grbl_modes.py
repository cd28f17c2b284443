"""GRBL's modes against what was sent: what no position shows."""

import pytest

from industriverse_core.errors import ErrorCode
from machine_node.grbl.modes import PERIOD_S, ModesWitness

PREAMBLE = ("G21G90G94G17G54G40G49G80", "G92.1", "M5", "M9")
JOB = ("S8000M3", "M8", "G4P2", "G1X10.5Y3F600", "G0Z5")
GOOD = "G0 G54 G17 G21 G90 G94 M3 M8 T0 F600 S8000"


def ask(witness, answer):
    witness.on_asked(1.0)
    if answer is not None:
        witness.on_told(answer.split())
    return witness.on_end()


@pytest.fixture
def witness():
    found = ModesWitness()
    for command in (*PREAMBLE, *JOB):
        found.on_sent(command)
    return found


def test_the_modes_that_were_sent_are_no_doubt(witness):
    assert ask(witness, GOOD) is None
    assert witness.doubts == 0


@pytest.mark.parametrize(
    ("sent", "taken"),
    [("S8000", "S800"), ("M3", "M4"), ("M8", "M9"), ("F600", "F60"), ("G17", "G18"), ("G21", "G20"), ("G90", "G91"),
     ("G54", "G55"), ("G94", "G93"), ("S8000", ""), ("M8", "M7 M8")],
)  # fmt: skip
def test_another_mode_is_told_twice_and_then_a_stop(witness, sent, taken):
    wrong = GOOD.replace(sent, taken)
    assert ask(witness, wrong) is None
    assert witness.wants(1.0, PERIOD_S)  # at once again: the answer may be what is garbled
    error = ask(witness, wrong)
    assert error.code is ErrorCode.PROTOCOL


def test_one_answer_that_is_garbled_or_missing_is_borne(witness):
    for answer in (None, "G0 G54 G1Z", GOOD.replace("8000", "80x0")):
        assert ask(witness, answer) is None
        assert ask(witness, GOOD) is None
    assert not witness.wants(1.0, PERIOD_S)


def test_what_is_sent_behind_the_question_is_not_asked_for(witness):
    witness.on_asked(1.0)
    witness.on_sent("S9000")
    witness.on_told(GOOD.split())
    assert witness.on_end() is None
    assert witness.doubts == 0
    assert ask(witness, GOOD) is None
    assert witness.doubts == 1


def test_a_controller_that_has_restarted_or_ended_a_program_is_not_asked(witness):
    witness.on_sent("M2")
    assert not witness.wants(100.0, PERIOD_S)
    witness.on_sent("M8")
    assert not witness.wants(100.0, PERIOD_S)
    assert witness.wants(100.0 + PERIOD_S, PERIOD_S)
    witness.forget()
    assert not witness.wants(200.0, PERIOD_S)


def test_both_coolants_may_be_on(witness):
    witness.on_sent("M7")
    assert ask(witness, GOOD.replace("M8", "M7 M8")) is None
    assert witness.doubts == 0
