"""price: what it prints for people and as JSON, and what it refuses."""

import json
import math

import pytest

from industriverse_cli.main import main
from industriverse_core.units import KWH

GOOD = """\
;FILAMENT
G21
G90
M83
G28
M140 S60
M104 S215
M190 S60
M109 S215
G1 Z0.2 F600
G1 X50 Y50 F3000
G1 X60 E0.4 F1200
G1 X60 Y60 E0.4
M104 S0
M140 S0
"""
TIMED = ("--tariff", "time_of_use", "--start", "2026-03-02T18:00")


@pytest.fixture
def price(capsys, tmp_path):
    """Price a program in this process; (exit status, standard output, standard error)."""
    path = tmp_path / "good.gcode"
    path.write_text(GOOD)

    def run(*words, file=path):
        with pytest.raises(SystemExit) as ended:
            main(["price", str(file), *map(str, words)])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def answer_of(result):
    status, out, err = result
    assert (status, err) == (0, "")
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def test_json_adds_up(price):
    answer = answer_of(price("--json", *TIMED, "--quantity", 3))
    low, high = answer["total_90"]
    assert low <= answer["total"] <= high
    assert math.fsum(answer["parts"].values()) == pytest.approx(answer["total"])
    assert (answer["start"], answer["quantity"], answer["tariff"]) == ("2026-03-02T18:00:00", 3, "time_of_use")
    (band,) = answer["energy_bands"]
    assert band["name"] == "evening peak"
    assert band["cost"] == pytest.approx(band["energy_j"] / KWH * 0.29)
    assert band["cost"] == pytest.approx(answer["parts"]["energy"])
    exergy = answer["exergy"]
    out_j = sum(exergy[name] for name in ("part_j", "rest_j", "melt_j", "stored_j", "destroyed_j"))
    out_j += sum(stream["exergy_j"] for stream in exergy["heat"])
    assert out_j == pytest.approx(exergy["electric_j"] + exergy["material_in_j"], rel=1e-9)
    footprint = answer["footprint"]
    layers = ("destroyed_j", "lost_j", "material_j", "electricity_j", "failures_j")
    assert sum(footprint[name] for name in layers) == pytest.approx(footprint["total_j"])
    assert 0.0 <= footprint["score"] <= 100.0


def test_people_see_the_same_numbers(price):
    answer = answer_of(price("--json", *TIMED))
    status, out, _ = price(*TIMED)
    assert status == 0
    assert out.startswith(f"{answer['total']:.2f} EUR a part  good.gcode on prusa_mk3s with PLA\n")
    assert "from Monday 2026-03-02 18:00 local time, tariff time_of_use" in out
    for name in ("material", "energy", "machine_time", "labour", "carbon", "expected_loss", "yield_loss"):
        assert f"{name.replace('_', ' ')} " in out
        assert f"{answer['parts'][name]:.4f}" in out
    for title in ("Price of one good part", "Electricity of one run", "Exergy of one run", "Thermal Footprint of one"):
        assert title in out
    assert "entropy " not in out.partition("Electricity of one run")[0]
    assert f"Thermal Footprint Score {answer['footprint']['score']:.0f} of 100" in out


def test_a_start_that_is_not_given_is_said(price):
    plain, timed = price(), price("--tariff", "time_of_use")
    assert "start not given" in plain[1]
    assert "No start is given" not in plain[1]  # it makes no difference to a flat tariff
    assert "No start is given: electricity is priced at the week's mean" in timed[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--start", "tomorrow"), "[BAD_PARAMETER] the start 'tomorrow' is not a local date and time."),
        (("--tariff", "cheap"), "[BAD_PROFILE] unknown tariff 'cheap'."),
        (("--quantity", "0"), "[CANNOT_PRICE] a quantity of 0 is out of range."),
        (("--quantity", "many"), "[USAGE]"),
    ],
)
def test_what_is_not_understood(price, words, sentence):
    status, out, err = price(*words)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_program_that_makes_nothing_has_no_score(price, tmp_path):
    path = tmp_path / "square.gcode"
    path.write_text(";no material\nG21\nG90\nG28\nG1 Z1 F600\nG1 X50 Y50 F3000\nG1 X60\nM84\n")
    assert answer_of(price("--json", file=path))["footprint"]["score"] is None
    assert "No Thermal Footprint Score" in price(file=path)[1]
