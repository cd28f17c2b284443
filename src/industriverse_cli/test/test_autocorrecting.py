"""autocorrect: what it prints, what it writes, and that it changes nothing unasked."""

import json

import pytest

from industriverse_cli.main import main
from industriverse_core.gcode import load_program

IDLE = """\
G21
G90
M83
M140 S60
M190 S60
M104 S215
M109 S215
G28
G1 Z0.2 F600
G1 X50 Y50 F3000
G1 X60 E0.4 F1200
G1 X60 Y60 E0.4
G4 S300
M104 S0
M140 S0
"""


@pytest.fixture
def run(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["autocorrect", *(str(word) for word in words)])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def idle(tmp_path):
    path = tmp_path / "idle.gcode"
    path.write_text(IDLE)
    return path


def test_it_shows_and_leaves_the_file_alone(run, idle, tmp_path):
    status, out, err = run(idle)
    assert (status, err) == (0, "")
    assert "switch heaters off" in out
    assert "saves" in out
    assert "kJ" in out
    assert idle.read_text() == IDLE
    assert "Nothing is written." in out
    assert list(tmp_path.iterdir()) == [idle]


@pytest.mark.parametrize("suffix", ["gcode", "arrow"])
def test_it_writes_what_it_showed(run, idle, tmp_path, suffix):
    output = tmp_path / f"better.{suffix}"
    status, out, _ = run(idle, "--only", "switch_off_early", "-o", output, "--json")
    answer = json.loads(out)
    assert status == 0
    assert load_program(output).digest.hex() == answer["corrected_digest"]
    assert answer["saved_j"] > 1000
    (rewrite,) = answer["rewrites"]
    assert (rewrite["accepted"], rewrite["deviation_m"]) == (True, 0.0)


def test_it_never_overwrites_unasked(run, idle):
    status, _, err = run(idle, "-o", idle)
    assert status == 2
    assert "exists already" in err
    assert idle.read_text() == IDLE
    assert run(idle, "-o", idle, "--force")[0] == 0
    assert idle.read_text() != IDLE


def test_what_stays_refused_is_not_written(run, idle, tmp_path):
    idle.write_text(IDLE.replace("X50 Y50", "X400 Y50"))
    output = tmp_path / "better.gcode"
    status, out, err = run(idle, "-o", output)
    assert status == 3
    assert "saves" in out
    assert "Nothing is written." in out
    assert "-o FILE" not in out
    assert "[GATE_REFUSED] envelope.axis" in err
    assert not output.exists()
    status, out, _ = run(idle, "-o", output, "--json")
    answer = json.loads(out)
    assert (status, answer["output"]) == (3, None)
    assert answer["refusal"].startswith("envelope.axis")


def test_a_refused_program_that_no_rewrite_changes_is_not_called_correct(run, tmp_path):
    outside = tmp_path / "outside.gcode"
    outside.write_text("G21\nG90\nG28\nG1 X400 F3000\n")
    status, out, err = run(outside)
    assert status == 3
    assert "no rewrite helps" in out
    assert "GATE_REFUSED" in err


def test_what_cannot_be_written_is_one_sentence(run, idle, tmp_path):
    folder = tmp_path / "folder.gcode"
    folder.mkdir()
    for output, words in ((folder, "is a directory"), (idle / "part.gcode", "cannot be written")):
        status, out, err = run(idle, "-o", output, "--force")
        assert (status, out) == (2, "")
        assert words in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["--only", "cool_bad"], "no rewrite is called 'cool_bad'"), (["-o", "part.stl"], "what kind of file")],
)
def test_bad_usage_is_one_sentence(run, idle, words, sentence):
    status, _, err = run(idle, *words)
    assert status == 2
    assert sentence in err
    assert "Traceback" not in err
