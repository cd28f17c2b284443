"""A bad serial line: every move is made once and in order, or the job stops in a named state. Nothing is skipped."""

import json
import random
import subprocess
import sys

import pytest

from industriverse_core.gcode import read_gcode
from machine_node.line_noise import Noise
from machine_node.marlin.protocol import numbered

from .noisy_line import Judge, campaign, compare, program_text, taken, taken_by_grbl, wanted

HOURS, SPEED = 0.1, 20.0  # 18 s a whole attempt


def test_a_print_over_a_bad_line_with_cable_pulls_is_whole_or_named(tmp_path):
    attempts = list(campaign(tmp_path, HOURS, SPEED, pulls=2, seed=5))
    for attempt in attempts:
        print(attempt)
    assert all(attempt.sound for attempt in attempts)
    assert [attempt.deviations for attempt in attempts] == [()] * len(attempts)
    assert [(attempt.outcome, attempt.code) for attempt in attempts[:2]] == [("FAULT", "PORT_UNAVAILABLE")] * 2
    assert all(attempt.motions_taken < attempt.motions_wanted for attempt in attempts[:2])
    last = attempts[-1]
    assert (last.outcome, last.motions_taken) == ("COMPLETED", last.motions_wanted)
    assert last.resends > 20  # the line was bad indeed


# --- the judge itself: each kind of harm shows ---


@pytest.fixture(scope="module")
def program():
    return read_gcode(program_text(120.0).encode(), "noisy.gcode", "marlin")


def commands_of(program):
    """What a faithful driver sends, one line a move."""
    out, fed = [], None
    for item in wanted(program):
        if item.end is None:
            out.append("G28 W")
            continue
        x, y, z = item.end
        feed = "" if item.feed == fed else f" F{item.feed:.3f}"
        fed = item.feed
        out.append(f"G1 X{x:.4f} Y{y:.4f} Z{z:.4f} E{item.filament:.5f}{feed}")
    return out


def test_a_faithful_stream_has_no_deviation(program):
    result = compare(program, commands_of(program))
    assert (result.done, result.deviations) == (len(wanted(program)), [])


def test_a_stream_that_stops_is_a_prefix(program):
    result = compare(program, commands_of(program)[:50])
    assert (result.done, result.deviations) == (50, [])


@pytest.mark.parametrize("harm", ["skip", "double", "swap", "digit", "filament", "feed", "extra"])
def test_harm_shows(program, harm):
    commands = commands_of(program)
    at = 30
    if harm == "skip":
        del commands[at]
    elif harm == "double":
        commands.insert(at, commands[at])
    elif harm == "swap":
        commands[at], commands[at + 1] = commands[at + 1], commands[at]
    elif harm == "digit":
        commands[at] = commands[at].replace("X2", "X3").replace("X3", "X4")
    elif harm == "filament":
        commands[at] = commands[at].split(" E")[0] + " E0.9"
    elif harm == "feed":
        commands[at] += " F60"
    else:
        commands.insert(at, "G1 X1 Y1")
    assert compare(program, commands).deviations


def test_pieces_of_a_move_are_one_move():
    program = read_gcode(b"G28\nM83\nG1 X100 Y0 Z0 E2 F6000\nG1 X0\n", "x.gcode", "marlin")
    judge = Judge(wanted(program))
    for command in ("G28 W", "G1 X50 E1 F6000", "G1 X75.0001 E0.5", "G1 X100 E0.5", "G1 X0"):
        judge.take(command)
    assert (judge.result.done, judge.result.deviations) == (3, [])


def test_one_altered_line_is_one_deviation(program):
    """Also when a number of it cannot be read, or when it is a part of a move: what follows is in order again."""
    for words in ("G1 X92.56 Y143.30\x00 E0.03326", "G1 X9256 E0.3"):
        commands = commands_of(program)
        commands[30] = words
        result = compare(program, commands)
        assert len(result.deviations) == 1
        assert result.done == len(wanted(program))
        assert result.after_first == len(commands) - 31


def test_a_mill_comes_from_anywhere_and_then_follows_its_program():
    program = read_gcode(b"G21 G90 G17 G94\nG0 Z5\nG0 X10 Y10\nG1 X20 F900\nG1 Y20 F900\nM2\n", "x.ngc", "rs274")
    commands = ["G0X150Y90", "G0X0Y0", "G0Z20", "G0Z5", "G0X10Y10", "G1X15F900", "G1X20F900", "G1Y20F900"]
    result = compare(program, commands, approach=True)
    assert (result.done, result.deviations) == (4, [])
    result = compare(program, [*commands[:6], "G1X70F900", *commands[6:]], approach=True)
    assert result.deviations
    assert result.after_first == 2
    lines = [{"event": "rx", "line": f"N{number}{command}"} for number, command in enumerate(commands)]
    assert list(taken_by_grbl(lines)) == commands


def test_what_marlin_takes_follows_its_published_rule():
    good = [numbered(number, f"G1 X{number}").decode().strip() for number in (1, 2, 3)]
    lines = [good[0], good[0], good[1].replace("X2", "X7"), good[2], good[1], good[2], "M108", "G1 X9*3"]
    events = [{"event": "rx", "line": line} for line in lines]
    assert list(taken(events)) == ["G1 X1", "G1 X2", "G1 X3", "M108", "G1 X9"]


# --- the noise ---


def test_noise_does_what_it_says_and_the_same_for_the_same_seed():
    lines = b"".join(numbered(n, f"G1 X{n}.25 Y{n}.5") for n in range(20_000))
    one, two = Noise(0.01, 0.001, 3), Noise(0.01, 0.001, 3)
    spoilt = one.pass_through(lines)
    assert spoilt == two.pass_through(lines)
    assert one.counts.lines == 20_000
    assert 150 < one.counts.garbled_lines < 250  # 200 wanted, 3.5 standard deviations
    assert abs(one.counts.lost_bytes - len(lines) * 1e-3) < 4.0 * (len(lines) * 1e-3) ** 0.5
    assert len(spoilt) == len(lines) - one.counts.lost_bytes
    assert Noise(0.0, 0.0, 3).pass_through(lines) == lines


def test_noise_does_not_wait_for_the_end_of_a_line():
    noise = Noise(0.5, 0.1, 1)
    draw = random.Random(1)
    data = bytes(draw.randrange(256) for _ in range(5000))
    came = b"".join(noise.pass_through(data[at : at + 7]) for at in range(0, len(data), 7))
    assert len(came) + noise.counts.lost_bytes == len(data)


def test_a_line_from_nowhere_is_one_sentence(tmp_path):
    command = [sys.executable, "-m", "machine_node.line_noise", "--from", str(tmp_path / "no"), "--link", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_line_as_a_process_counts_and_tidies_up(tmp_path):
    printer = [sys.executable, "-m", "machine_node.virtual.main", "--link", str(tmp_path / "printer")]
    noise = [sys.executable, "-m", "machine_node.line_noise", "--from", str(tmp_path / "printer")]
    noise += ["--link", str(tmp_path / "noisy"), "--pull", "0.1:0.1"]
    with subprocess.Popen(printer, stdout=subprocess.PIPE, text=True) as machine:
        machine.stdout.readline()
        with subprocess.Popen(noise, stdout=subprocess.PIPE, text=True) as line:
            assert line.stdout.readline().strip() == str(tmp_path / "noisy")
            with pytest.raises(subprocess.TimeoutExpired):
                line.wait(1.0)
            line.terminate()
            counts = json.loads(line.stdout.read())
            assert line.wait(10) == 0
        machine.terminate()
    assert counts["pulls"] == 1
    assert not (tmp_path / "noisy").is_symlink()
