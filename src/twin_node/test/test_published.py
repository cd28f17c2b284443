"""The model against what others have published: whole-printer energy, firmware heater models, slicers' filament."""

import csv

import pytest

from industriverse_core.gcode import load_program, read_gcode
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from twin_node.oracle import predict
from twin_node.power import power_series
from twin_node.timeline import build_timeline

MK3S = load_machine("prusa_mk3s")
PRINT_S, NOZZLE_C, BED_C = 5005.0, 215.0, 60.0  # the benchy, as its slicer states it
RULES_J = {
    "maker, 80 W in PLA": 80.0 * PRINT_S,
    "Hopkins 2021": (-0.056 + (7e-6 * NOZZLE_C + 89e-6 * BED_C) * PRINT_S / 60.0) * 1e6,
    "Manford & Budinoff 2024, 0.431 of the supply's 240 W": 0.431 * 240.0 * PRINT_S,
}


def slices(reference_data):
    folder = reference_data / "gcode" / "fdm"
    with (folder / "LABELS.csv").open() as table:
        return [(folder / row["file"], row) for row in csv.DictReader(table) if row["filament_mm"]]


def test_the_three_rules_span_what_is_said_of_them():
    assert min(RULES_J.values()) == pytest.approx(400e3, rel=0.005)
    assert max(RULES_J.values()) == pytest.approx(518e3, rel=0.005)


def test_a_benchy_takes_what_three_published_rules_say(reference_data):
    program = load_program(reference_data / "gcode" / "fdm" / "benchy_mk3s_pla_020.gcode")
    energy = predict(program, MK3S, load_material("PLA")).energy_j
    assert min(RULES_J.values()) < energy.mean < max(RULES_J.values())
    assert energy.low < max(RULES_J.values())
    assert energy.high > min(RULES_J.values())


@pytest.mark.parametrize(
    ("file", "material", "stated_w"),
    [("benchy_mk3s_pla_020.gcode", "PLA", 80.0), ("calib_plate_mk3s_abs_030.gcode", "ABS", 120.0)],
)
def test_the_printing_power_is_the_makers(reference_data, file, material, stated_w):
    """The maker states 80 W in PLA and 120 W in ABS with default settings; a tenth is within a printer's spread."""
    program = load_program(reference_data / "gcode" / "fdm" / file)
    timeline = build_timeline(program, MK3S, load_material(material))
    series = power_series(timeline, 60.0)
    printing = series.total_w[15:-5]  # heated up and not yet at its end
    assert printing.mean() == pytest.approx(stated_w, rel=0.1)


def test_the_hot_end_is_the_firmwares_thermal_model():
    hotend = MK3S.hotend
    assert (hotend.power, hotend.heat_capacity) == (38.0, 12.1)
    assert 1.0 / hotend.loss == pytest.approx(20.5, rel=0.002)
    assert 1.0 / (hotend.loss + hotend.fan_loss) == pytest.approx(10.1, rel=0.002)


def test_filament_is_the_slicers(reference_data):
    """The slicer leaves the flow factor of its own start commands (M221) out of its figure; so does this test.

    PrusaSlicer 2.5 leaves the intro line of the start commands out as well.
    """
    for path, label in slices(reference_data):
        text = path.read_bytes().replace(b"\nM221 S", b"\n;M221 S")
        if "2.5" in label["generator"]:
            text = text.replace(b" E9 F1000 ; intro", b" F1000 ; intro").replace(b" E12.5 F1000 ; intro", b" F1000 ;")
        program = read_gcode(text, path.name)
        density = float(label["density"]) * 1e3
        material = load_material(label["filament_type"]).model_copy(update={"density": density})
        timeline = build_timeline(program, MK3S, material)
        mass_kg = float(timeline.steps.melted_kg.sum())
        assert timeline.filament_m == pytest.approx(float(label["filament_mm"]) * 1e-3, rel=1e-3), path.name
        # volume and mass are stated with two decimals
        assert mass_kg / density == pytest.approx(float(label["filament_cm3"]) * 1e-6, rel=1e-3, abs=5e-9), path.name
        assert mass_kg == pytest.approx(float(label["filament_g"]) * 1e-3, rel=1e-3, abs=5e-6), path.name


def test_a_flow_factor_feeds_less_filament(reference_data):
    path = reference_data / "gcode" / "fdm" / "benchy_mk3s_pla_020.gcode"
    stated_m, intro_m = 4.07226, 21.5e-3  # the intro line comes before the factor
    timeline = build_timeline(load_program(path), MK3S, load_material("PLA"))
    assert timeline.filament_m == pytest.approx(intro_m + 0.95 * (stated_m - intro_m), rel=1e-3)
