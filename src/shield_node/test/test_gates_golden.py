"""Real and hostile files: the verdict that each must get."""

import csv
import time
from pathlib import Path

import pytest

from industriverse_core.artefacts import GateReport, Severity, Verdict
from industriverse_core.errors import CoreError
from industriverse_core.gcode import load_program
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from shield_node.gates import check
from shield_node.gates.document import document

PRINTER = load_machine("prusa_mk3s")
MK3S_FILES = (
    "benchy_mk3s_petg_030.gcode", "benchy_mk3s_pla_020.gcode", "benchy_mk3s_pla_020_absE.gcode",
    "benchy_mk3s_pla_020_arc.gcode", "calib_plate_mk3s_abs_030.gcode", "candlestand_mk3s_petg_010.gcode",
    "csgmodules_mk3s_abs_020_ps250.gcode", "cube20_mk3s_pla_020.gcode", "lattice_mk3s_abs_030.gcode",
    "logo_mk3s_pla_020_arc.gcode", "vase_mk3s_pla_020_spiral.gcode",
)  # fmt: skip
CAUSES = {  # the rule that has to refuse each hostile file; None = the reader refuses it before
    "h01_out_of_bounds_x.gcode": "envelope.axis",
    "h03_g92_shift_then_oob.gcode": "envelope.axis",
    "h05_overtemp.gcode": "thermal.overtemperature",
    "h09_blob.gcode": "extrusion.blob",
    "h11_feed_zero.gcode": "motion.feed",
    "h13_arc_zero_radius.gcode": None,
    "h15_arc_leaves_bed.gcode": None,  # its arcs have two radii as well, which the reader sees first
    "h17_overflow_digits.gcode": None,
    "h23_bad_checksum.gcode": "command.malformed",
    "h25_m112_m502_m302.gcode": "command.forbidden",
    "h27_recursive_sub.ngc": None,
    "h29_inch_mode.gcode": "envelope.axis",
    "h31_flow_over_limit.gcode": "extrusion.flow",
}


def _expectations(reference_data: Path) -> dict[str, str]:
    with (reference_data / "gcode" / "hostile" / "EXPECT.csv").open() as file:
        return {row["file"]: row["expected"].split(":")[0] for row in csv.DictReader(file)}


def _report(path: Path) -> GateReport | None:
    try:
        return check(load_program(path), PRINTER, load_material("PLA"))
    except CoreError:
        return None


def test_hostile_files(reference_data):
    folder = reference_data / "gcode" / "hostile"
    expectations = _expectations(reference_data)
    assert len(expectations) == 15
    for name, expected in expectations.items():
        report = _report(folder / name)
        if report is None:  # the reader has refused it
            assert expected == "reject", name
        elif expected == "reject":
            assert report.verdict is Verdict.REFUSE, name
            rules = {item.rule for item in report.findings if item.severity is Severity.ERROR}
            assert CAUSES[name] is None or CAUSES[name] in rules, f"{name}: {rules}"
        elif expected == "warn":
            assert report.verdict is Verdict.WARN, name
        else:
            assert report.verdict is Verdict.ACCEPT, f"{name}: {report.findings}"


@pytest.mark.parametrize("name", MK3S_FILES)
def test_real_files_pass(reference_data, name):
    program = load_program(reference_data / "gcode" / "fdm" / name)
    material = load_material(program.metadata.material)
    started = time.perf_counter()
    report = check(program, PRINTER, material)
    print(f"{name}: {len(program)} instructions in {time.perf_counter() - started:.2f} s")
    assert report.verdict is Verdict.ACCEPT, report.findings[:3]


def test_every_real_mk3s_file_is_listed(reference_data):
    with (reference_data / "gcode" / "fdm" / "LABELS.csv").open() as file:
        assert {row["file"] for row in csv.DictReader(file) if row["profile"].startswith("mk3s")} == set(MK3S_FILES)


@pytest.mark.parametrize("name", ["benchy_ender3_pla_020.gcode", "benchy_mk4is_pla_020.gcode"])
def test_files_of_other_machines_are_noticed(reference_data, name):
    report = check(load_program(reference_data / "gcode" / "fdm" / name), PRINTER, load_material("PLA"))
    assert report.verdict is not Verdict.ACCEPT


def test_the_page_is_current():
    page = Path(__file__).resolve().parents[3] / "docs" / "gates.md"
    assert page.read_text() == document(), "write it again: python -m shield_node.gates.document"
