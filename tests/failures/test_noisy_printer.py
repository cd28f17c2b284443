"""A bad line to a Marlin printer in simulated time: each move once and in order, or a named stop; and cold after it."""

import pytest

from .noisy_printer import Job

NAMED = {"OK", "PROTOCOL", "CONTROLLER_ERROR", "NO_REPLY", "CANCELLED"}


class Spoil:
    """Changes one line, the first that holds `old` after `after` lines."""

    def __init__(self, old, new, after=60):
        self.old, self.new, self.left, self.partial = old, new, after, b""

    def pass_through(self, data):
        *lines, self.partial = (self.partial + data).split(b"\n")
        out = []
        for line in lines:
            self.left -= 1
            if self.left <= 0 and self.old in line:
                line, self.left = line.replace(self.old, self.new), 10**9
            out.append(line + b"\n")
        return b"".join(out)


def job_with(spoil):
    job = Job(120, 1, 0.0, 0.0)
    job._noises = spoil, job._noises[1]
    return job


def test_a_good_line_is_followed_to_the_end():
    outcome = Job(120, 1, 0.0, 0.0).run()
    assert (outcome.code, outcome.deviations, outcome.resends) == ("OK", [], 0)
    assert outcome.moves > 120


@pytest.mark.parametrize("seed", range(4))
def test_a_bad_line_is_followed_in_order_or_ends_by_name(seed):
    outcome = Job(300, seed, 0.02, 2e-3).run()
    assert outcome.code in NAMED
    assert outcome.resends > 5
    assert outcome.altered or not outcome.deviations


@pytest.mark.parametrize("seed", range(4))
def test_a_stop_over_a_bad_line_leaves_a_cold_printer_and_a_prefix_of_the_program(seed):
    outcome = Job(150, seed, 0.02, 2e-3, stop_at=40 + 20 * seed).run()
    assert outcome.code in NAMED
    assert outcome.stopped in ("DONE", "PROTOCOL", "NO_REPLY")
    assert not outcome.heating
    assert outcome.altered or not outcome.deviations


def test_a_line_that_is_cut_before_its_command_is_noticed():
    """The move is carried out without its number, and would be again with it: the ok without a number tells."""
    outcome = job_with(Spoil(b" G1 X", b"\nG1 X")).run()
    assert (outcome.code, outcome.stopped) == ("PROTOCOL", "DONE")
    assert "without its number" in outcome.message
    assert outcome.deviations == []  # it was taken once: it is not sent again


def test_a_wait_that_has_become_another_word_drops_no_motion():
    """One wrong byte must not make a quick stop of a wait: that is why it is not M400."""
    job = job_with(Spoil(b"G4*", b"G1*"))
    assert job.streamer._dialect.wait == "G4"
    outcome = job.run()
    assert (outcome.code, outcome.deviations) == ("OK", [])
    assert job.ear.dropped == 0
    assert outcome.resends > 0
