"""Spoilt lines to a GRBL mill: what is taken is what was sent, in order, or the job ends in a named stop soon after."""

import pytest

from .noisy_mill import Job, OneFault, campaign, fault, words, wrong_by_mm

NAMED = {"OK", "HELD", "CONTROLLER_ERROR", "POSITION_MISMATCH", "PROTOCOL", "CONTROLLER_LOCKED", "CONTROLLER_RESET",
         "NO_REPLY"}  # fmt: skip


def test_a_good_line_is_taken_as_it_was_sent():
    outcome = campaign(1, 0.0, 0.0)
    assert (outcome.code, outcome.altered, outcome.spoilt) == ("OK", [], 0)
    assert outcome.moves > 200


@pytest.mark.parametrize("seed", range(16))
def test_one_spoilt_line_is_refused_noticed_or_small(seed):
    what, story, outcome = fault(seed)
    assert outcome.code in NAMED, story
    if what == "silent":
        assert max(map(wrong_by_mm, outcome.altered)) < 1.0, story


@pytest.mark.parametrize(("garble", "lose"), [(0.02, 2e-3), (2e-3, 2e-4), (2e-4, 2e-5)])
@pytest.mark.parametrize("seed", range(2))
def test_a_bad_line_ends_by_name_and_what_was_taken_is_in_order(seed, garble, lose):
    outcome = campaign(seed, garble, lose)
    assert outcome.code in NAMED
    assert len(outcome.altered) <= 3, outcome.altered  # until it is noticed


def test_the_witness_is_what_notices():
    """A dip of 4 mm in Z on the way up, along a path that the tool has just come: only the line number tells."""

    class Dip(OneFault):
        def __call__(self, data):
            if b"G0Z4." in data and not self.story:
                self.story = "dip"
                return data.replace(b"G0Z4.", b"G0Z.")
            return data

    codes = []
    for witness in (True, False):
        job = Job(6, 1, witness)
        job.port.spoil = Dip(0, 0)
        outcome = job.run()
        codes.append(outcome.code)
    assert codes == ["POSITION_MISMATCH", "OK"]
    assert outcome.altered


def test_words_are_compared_as_numbers_and_without_their_line():
    assert words("N12G1X10.0F500") == words("n7 g1 x10 f500")
    assert words("G1X10") != words("G1X1")


@pytest.mark.parametrize(
    ("old", "new"), [(b"S8000", b"S800"), (b"M3", b"M4"), (b"M9", b"M8"), (b"G54", b"G55"), (b"G17", b"G18")]
)
def test_a_mode_that_no_position_shows_is_noticed(old, new):
    """`$G` tells: the spindle's speed and sense, coolant, plane."""

    class Other(OneFault):
        def __call__(self, data):
            if old in data and not self.story:
                self.story = "other"
                return data.replace(old, new)
            return data

    job = Job(20, 3)
    job.port.spoil = Other(1, 1)
    outcome = job.run()
    assert outcome.code in ("PROTOCOL", "CONTROLLER_ERROR", "POSITION_MISMATCH")
